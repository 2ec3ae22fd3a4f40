"""Real vectors, normal as a whole or in each dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart, floored, require_vector
from probseq.part import require
from probseq.protocols import Element

COVARIANCES = ("diagonal", "full", "low-rank")


@dataclass(eq=False, repr=False)
class Gaussian(LikelihoodPart):
    """yₜ ~ N(μ, Σ), with μ = V h + c and σ = min_scale + softplus(·), which starts near 1.

    | covariance | Σ |
    |---|---|
    | "diagonal" | diag σ² |
    | "full" | L Lᵀ, L lower triangular with the diagonal σ: σⱼ is the deviation of yₜⱼ given those before it in yₜ |
    | "low-rank" | diag σ² + W Wᵀ, W of `rank` columns: what the dimensions share, and what each has by itself |

    All of μ, σ, L and W are learned maps of the features. With a fixed `scale`, maximum likelihood is least squares
    (Deep Learning, 5.5.1).

    Args:
        scale: a fixed standard deviation, or None to learn one for each step and dimension.
        min_scale: a floor below which no σ goes, in the data's units: the density of an exactly predictable series is
            unbounded, and the floor bounds it, at (2π min_scale²)^(−d/2).
        covariance: see the table.
        rank: the number of columns of W.

    Raises:
        ValueError: a scale or a floor that is not positive, another covariance, a fixed scale beside one that is not
            diagonal, or a rank where there is no W, none where there is, or one below 1.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Reals(3), ps.GRU(4), ps.Gaussian(covariance="full"), ps.BernoulliStop())
    >>> state = model.start()
    >>> model.emit(state.features, state.position, state.context).element.covariance_matrix.shape
    torch.Size([1, 3, 3])
    """

    scale: float | None = None
    min_scale: float = 1e-4
    covariance: str = "diagonal"
    rank: int | None = None

    def __post_init__(self) -> None:
        require(self.scale is None or self.scale > 0, f"scale must be positive; got {self.scale}.")
        require(self.min_scale > 0, f"min_scale must be positive; got {self.min_scale}.")
        require(self.covariance in COVARIANCES, f"covariance must be one of {COVARIANCES}; got {self.covariance!r}.")
        require(
            self.scale is None or self.covariance == "diagonal",
            f"a fixed scale stands for a diagonal covariance; got covariance={self.covariance!r}. Leave one out.",
        )
        low, rank = self.covariance == "low-rank", self.rank
        require(
            rank is not None and rank >= 1 if low else rank is None,
            f"rank, a number from 1, goes with covariance='low-rank', and with it only; got rank={rank} and "
            f"covariance={self.covariance!r}.",
        )

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        dim = self.dim = require_vector(self, element)
        beside = {"diagonal": 0, "full": dim * (dim - 1) // 2, "low-rank": dim * (self.rank or 0)}
        self.widths = [dim] if self.scale else [dim, dim, beside[self.covariance]]
        self.project = nn.Linear(features, sum(self.widths))

    def forward(self, features: Float[Tensor, "*b h"]) -> Any:
        if self.scale is not None:
            loc = self.raw(features)
            return dist.Normal(loc, torch.full_like(loc, self.scale), validate_args=False).to_event(1)
        loc, raw, beside = self.raw(features).split(self.widths, -1)
        scale = floored(raw, self.min_scale)
        if self.covariance == "diagonal":
            return dist.Normal(loc, scale, validate_args=False).to_event(1)
        if self.covariance == "low-rank":
            return _LowRankNormal(loc, beside.unflatten(-1, (self.dim, -1)), scale)
        row, column = torch.tril_indices(self.dim, self.dim, -1, device=loc.device)
        factor = torch.diag_embed(scale)
        factor[..., row, column] = beside
        return dist.MultivariateNormal(loc, scale_tril=factor, validate_args=False)


class _LowRankNormal(dist.LowRankMultivariateNormal):
    """N(loc, diag scale² + factor factorᵀ), in float64 within.

    Woodbury's identity takes what the factor explains from the whole. Where the scale is at its floor, almost all is
    explained, and in float32 what is left would be off by nats.
    """

    def __init__(self, loc: Tensor, factor: Tensor, scale: Tensor) -> None:
        self.dtype = loc.dtype
        super().__init__(loc.double(), factor.double(), scale.double().square(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _LowRankNormal:
        new = type(self).__new__(type(self))
        new.dtype = self.dtype
        return super().expand(batch_shape, new)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return super().rsample(torch.Size(sample_shape)).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value).to(self.dtype)

"""Ordered symbols, and integers of a known range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from probseq.likelihoods.base import LikelihoodPart, floored, mixed_symbols
from probseq.part import require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class Ordinal(LikelihoodPart):
    """Symbols of `Tokens` in an order, as grades: P(yₜ ≤ v) = σ(cᵥ − w·h), the cumulative logit.

    The cut points c₀ < c₁ < … are learned, and the same at every step; the features only move the whole along
    (McCullagh, Regression models for ordinal data, 1980). So each step costs one number, and what is learned of one
    grade tells of its neighbours. At the start all symbols are equally probable where w·h is 0.

    Args:
        min_gap: a floor below which no two cut points come together, so that every symbol keeps a probability.

    Raises:
        ValueError: a floor that is not positive; when built, with another element than Tokens of 2 symbols or more.
    """

    min_gap: float = 1e-4

    def __post_init__(self) -> None:
        require(self.min_gap > 0, f"min_gap must be positive; got {self.min_gap}.")

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        size = _size(element) or 0
        require(size >= 2, f"{self.describe()} needs Tokens of 2 or more; got {element!r}.")
        self.project = nn.Linear(features, 1, bias=False)
        cuts = torch.special.logit(torch.arange(1, size) / size)
        self.lowest = nn.Parameter(cuts[0])
        self.gaps = nn.Parameter((cuts.diff() - self.min_gap).clamp(min=self.min_gap).expm1().log())

    def logits(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b v"]:
        """Normalised log-probabilities."""
        gaps = self.min_gap + F.softplus(self.gaps)
        cuts = self.lowest + F.pad(gaps.cumsum(0), (1, 0))
        return _log_bins(cuts - self.raw(features), gaps)

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Categorical:
        return dist.Categorical(logits=self.logits(features), validate_args=False)

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> dist.Categorical:
        return mixed_symbols(self.logits(features), log_weights)


@dataclass(eq=False, repr=False)
class DiscretisedLogistic(LikelihoodPart):
    """A mixture of logistic laws over the integers 0 … levels − 1, as intensities or quantised sound.

    P(y) = Σₖ wₖ [σ((y + ½ − μₖ) / sₖ) − σ((y − ½ − μₖ) / sₖ)], where the lowest and the highest level take the tails
    (Salimans et al., PixelCNN++, 2017). Neighbouring levels share what is learned, at 3 numbers a component, where
    `Categorical` has one a level. The components start spread over the range. Over `Tokens`, the levels are the
    symbols; over `Reals(d)`, each dimension has its own mixture.

    Args:
        components: how many.
        levels: how many integers there are; of Tokens, None, which is their size.
        min_scale: a floor below which no scale s goes, in levels. At 0.05 a level in whose middle μ lies has all but
            10⁻⁴ of the probability.

    Raises:
        ValueError: no components, a floor that is not positive; when built, fewer than 2 levels, or none given with a
            vector, or some with Tokens. When scoring: values of a vector that are no level.
    """

    components: int = 5
    levels: int | None = None
    min_scale: float = 0.05

    def __post_init__(self) -> None:
        require(self.components >= 1, f"DiscretisedLogistic needs one component at least; got {self.components}.")
        require(self.min_scale > 0, f"min_scale must be positive; got {self.min_scale}.")

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        size = _size(element)
        self.symbols = size is not None
        require(
            (size is None) != (self.levels is None) and len(element.shape) <= 1,
            f"{self.describe()} needs Tokens, whose size is the number of levels, or a vector such as Reals(2) beside "
            f"levels=…; got {element!r}.",
        )
        self.count = int(size or self.levels)  # type: ignore[arg-type]
        require(self.count >= 2, f"{self.describe()} needs 2 levels or more; got {self.count}.")
        if not self.symbols:
            element.narrow(constraints.independent(constraints.integer_interval(0, self.count - 1), 1))
        self.own = (*element.shape, self.components)
        self.project = nn.Linear(features, 3 * torch.Size(self.own).numel())
        with torch.no_grad():
            places = (2 * torch.arange(self.components) + 1) / self.components - 1
            self.project.bias.view(3, *self.own)[0] = places

    def parameters_of(self, features: Float[Tensor, "*b h"]) -> tuple[Tensor, Tensor, Tensor]:
        """μ, s and log w, each (*b, *e, k)."""
        loc, raw, weight = self.raw(features).unflatten(-1, (3, *self.own)).unbind(-1 - len(self.own))
        loc = (self.count - 1) / 2 + self.count / 2 * loc
        scale = self.min_scale + self.count / 8 * floored(raw, 0.0)
        return loc, scale, weight.log_softmax(-1)

    def logits(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b *e v"]:
        """Normalised log-probabilities of every level."""
        loc, scale, log_weights = (each.unsqueeze(-1) for each in self.parameters_of(features))
        edges = torch.arange(self.count - 1, device=loc.device, dtype=loc.dtype) + 0.5
        gaps = scale.reciprocal().expand(*scale.shape[:-1], self.count - 2)
        return (log_weights + _log_bins((edges - loc) / scale, gaps)).logsumexp(-2)

    def _mixture(self, features: Float[Tensor, "*b h"]) -> dist.MixtureSameFamily:
        """The law of one number, (*b, *e)."""
        loc, scale, log_weights = self.parameters_of(features)
        mixing = dist.Categorical(logits=log_weights, validate_args=False)
        return dist.MixtureSameFamily(mixing, _DiscretisedLogistic(loc, scale, self.count), validate_args=False)

    def forward(self, features: Float[Tensor, "*b h"]) -> Any:
        if self.symbols:
            return dist.Categorical(logits=self.logits(features), validate_args=False)
        return self._mixture(features).to_event(1)

    def log_prob(self, features: Float[Tensor, "n h"], y: Tensor) -> Float[Tensor, " n"]:
        """Of one level, not of all."""
        return self._mixture(features).log_prob(y) if self.symbols else super().log_prob(features, y)

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> Any:
        return mixed_symbols(self.logits(features), log_weights) if self.symbols else super().mix(features, log_weights)


class _DiscretisedLogistic(TorchDistribution):
    """A logistic law rounded to the nearest of 0 … levels − 1.

    σ(a) − σ(b) = σ(a) σ(−b) (1 − exp(b − a)): three factors, of which none cancels.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(self, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.loc, self.scale, self.levels = loc, scale, levels
        super().__init__(loc.shape, validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = torch.arange(self.levels, device=self.loc.device, dtype=self.loc.dtype)
        values = values.reshape(-1, *[1] * self.loc.ndim)
        return values.expand(-1, *self.loc.shape) if expand else values

    def log_prob(self, value: Tensor) -> Tensor:
        above, below = (value + 0.5 - self.loc) / self.scale, (value - 0.5 - self.loc) / self.scale
        lowest, highest = value == 0, value == self.levels - 1
        log_upper = torch.where(highest, 0.0, F.logsigmoid(above))
        log_lower = torch.where(lowest, 0.0, F.logsigmoid(-below))
        return log_upper + log_lower + torch.where(lowest | highest, 0.0, _log_width(self.scale.reciprocal()))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        drawn = self.loc + self.scale * torch.special.logit(uniform)
        return drawn.round().clamp(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _DiscretisedLogistic:
        return _DiscretisedLogistic(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels)


def _size(element: Element) -> int | None:
    """The number of symbols, or None where the element is not one of some."""
    return getattr(element, "size", None) if element.discrete and element.shape == () else None


def _log_width(gap: Tensor) -> Tensor:
    """log(1 − exp(−gap))."""
    return torch.log(-torch.expm1(-gap))


def _log_bins(edges: Float[Tensor, "*b m"], gaps: Float[Tensor, "*c n"]) -> Float[Tensor, "*b v"]:
    """What a standard logistic law gives each of the bins between v − 1 edges, whose v − 2 distances are `gaps`."""
    log_upper, log_lower = F.pad(F.logsigmoid(edges), (0, 1)), F.pad(F.logsigmoid(-edges), (1, 0))
    return log_upper + log_lower + F.pad(_log_width(gaps), (1, 1))

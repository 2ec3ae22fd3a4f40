"""Real vectors with heavy tails."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart, floored, require_vector
from probseq.part import require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class StudentT(LikelihoodPart):
    """yₜⱼ ~ μⱼ + σⱼ · t(νⱼ), independent in each dimension; location, scale and degrees of freedom learned per step.

    μ = V h + c, σ = min_scale + softplus(·), ν = min_df (max_df / min_df)^sigmoid(·). Outliers pull less on it than on
    `Gaussian`: the density falls as |y|^−(ν + 1). Moments of an order below `min_df` exist, whatever is learned: with 2
    the mean, with 3 the variance too. From ν = 100 on the law is close to normal.

    Args:
        min_scale: a floor below which no scale goes, in the data's units, as in `Gaussian`.
        min_df: what the degrees of freedom are above.
        max_df: what they are below.

    Raises:
        ValueError: a floor that is not positive, or max_df not above min_df.
    """

    min_scale: float = 1e-4
    min_df: float = 2.0
    max_df: float = 100.0

    def __post_init__(self) -> None:
        require(self.min_scale > 0, f"min_scale must be positive; got {self.min_scale}.")
        require(
            0 < self.min_df < self.max_df < math.inf,
            f"StudentT needs 0 < min_df < max_df < ∞; got {self.min_df} and {self.max_df}.",
        )

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        self.project = nn.Linear(features, 3 * require_vector(self, element))

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Independent:
        loc, raw, place = self.raw(features).chunk(3, -1)
        df = self.min_df * torch.exp(math.log(self.max_df / self.min_df) * torch.sigmoid(place))
        return dist.StudentT(df, loc, floored(raw, self.min_scale), validate_args=False).to_event(1)

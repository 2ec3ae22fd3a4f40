"""Real vectors, normal in each dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart, require_vector
from probseq.part import require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class Gaussian(LikelihoodPart):
    """yₜ ~ N(μ, diag σ²), with μ = V h + c and σ = min_scale + softplus(·), which starts near 1.

    With a fixed `scale`, maximum likelihood is least squares (Deep Learning, 5.5.1).

    Args:
        scale: a fixed standard deviation, or None to learn one for each step and dimension.
        min_scale: a floor below which no standard deviation goes, in the data's units: the density of an
            exactly predictable series is unbounded, and the floor bounds it.

    Raises:
        ValueError: a scale that is not positive.
    """

    scale: float | None = None
    min_scale: float = 1e-4

    def __post_init__(self) -> None:
        require(self.scale is None or self.scale > 0, f"scale must be positive; got {self.scale}.")
        require(self.min_scale > 0, f"min_scale must be positive; got {self.min_scale}.")

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        self.dim = require_vector(self, element)
        self.project = nn.Linear(features, self.dim * (1 if self.scale else 2))

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Independent:
        if self.scale is not None:
            loc = self.raw(features)
            scale = torch.full_like(loc, self.scale)
        else:
            loc, raw = self.raw(features).split(self.dim, -1)
            scale = self.min_scale + F.softplus(raw + math.log(math.e - 1))
        return dist.Normal(loc, scale, validate_args=False).to_event(1)

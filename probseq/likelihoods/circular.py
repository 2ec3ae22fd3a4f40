"""Angles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import constraints

from probseq.likelihoods.base import LikelihoodPart, floored, require_vector
from probseq.part import require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class VonMises(LikelihoodPart):
    """Angles in [−π, π], radians: p(yₜⱼ) = exp(κⱼ cos(yₜⱼ − μⱼ)) / (2π I₀(κⱼ)), independent in each dimension.

    μ = atan2(b, a) of two maps of the features, which wraps as angles do; κ = 1 / σ² with σ = min_scale + softplus(·),
    which starts near 1, and is about the standard deviation where it is small. Beside `Parametric(dist.VonMises)`, the
    density is right for large κ too, where κ cos(·) and log I₀(κ) cancel.

    Args:
        min_scale: a floor below which no σ goes, radians, as in `Gaussian`.

    Raises:
        ValueError: a floor that is not positive. When scoring: angles outside [−π, π].
    """

    min_scale: float = 1e-3

    def __post_init__(self) -> None:
        require(self.min_scale > 0, f"min_scale must be positive; got {self.min_scale}.")

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        self.project = nn.Linear(features, 3 * require_vector(self, element))
        element.narrow(constraints.independent(constraints.interval(-math.pi, math.pi), 1))

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Independent:
        a, b, raw = self.raw(features).chunk(3, -1)
        concentration = floored(raw, self.min_scale).square().reciprocal()
        return _VonMises(torch.atan2(b.double(), a.double()), concentration).to_event(1)


class _VonMises(dist.VonMises):
    """Scored in float64, and as −2 κ sin²((y − μ) / 2) − log(2π e^−κ I₀(κ)), where nothing large is left to cancel.

    μ is in float64, as the difference from it may be small; draws and densities are of the dtype of κ.
    """

    support = constraints.interval(-math.pi, math.pi)

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self.dtype = concentration.dtype
        super().__init__(loc, concentration.double(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _VonMises:
        return _VonMises(self.loc.expand(batch_shape), self.concentration.to(self.dtype).expand(batch_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return super().sample(torch.Size(sample_shape)).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        off = torch.sin((value - self.loc) / 2).square()
        log_norm = torch.log(2 * math.pi * torch.special.i0e(self.concentration))
        return (-2 * self.concentration * off - log_norm).to(self.dtype)

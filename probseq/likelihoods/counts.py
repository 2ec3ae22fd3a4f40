"""Vectors of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from probseq.likelihoods.base import LikelihoodPart, floored, require_vector
from probseq.part import Part, require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class _Counts(LikelihoodPart):
    """What the laws of counts share: d numbers from 0, 1, 2, … in Reals(d), each with a mean above a floor."""

    min_mean: float = 1e-6

    def __post_init__(self) -> None:
        require(self.min_mean > 0, f"min_mean must be positive; got {self.min_mean}.")

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        self.dim = require_vector(self, element)
        element.narrow(constraints.independent(constraints.nonnegative_integer, 1))

    def log_mean(self, raw: Tensor) -> Tensor:
        """log(min_mean + exp(raw))."""
        return torch.logaddexp(raw, raw.new_tensor(math.log(self.min_mean)))


@dataclass(eq=False, repr=False)
class Poisson(_Counts):
    """yₜⱼ ~ Poisson(μⱼ), μ = min_mean + exp(V h + c), independent in each dimension of `Reals(d)`.

    Beside `Parametric(dist.Poisson)` it has a floor, so that a count after many zeros is improbable and not
    impossible, and adds up in float64 what in float32 would be lost to cancellation at counts above some thousands.

    Args:
        min_mean: a floor below which no mean goes.

    Raises:
        ValueError: a floor that is not positive. When scoring: counts that are negative or no integers.
    """

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        super().build(features, element)
        self.project = nn.Linear(features, self.dim)

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Independent:
        return _Poisson(self.log_mean(self.raw(features)).exp(), validate_args=False).to_event(1)


@dataclass(eq=False, repr=False)
class NegativeBinomial(_Counts):
    """Counts of mean μ and variance μ + α μ², independent in each dimension of `Reals(d)`.

    μ = min_mean + exp(V h + c), and the dispersion α = min_dispersion + softplus(·), which starts near 1: the Poisson
    law, its mean drawn from a Gamma law of shape 1 / α. Beside `Parametric(dist.NegativeBinomial)` its parameters are a
    mean and a dispersion, it comes near to the Poisson law without an overflow, and scores large counts in float64.

    Args:
        min_mean: a floor below which no mean goes.
        min_dispersion: a floor below which no dispersion goes: the variance is at least μ + min_dispersion μ².

    Raises:
        ValueError: a floor that is not positive. When scoring: counts that are negative or no integers.
    """

    min_dispersion: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.min_dispersion > 0, f"min_dispersion must be positive; got {self.min_dispersion}.")

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        super().build(features, element)
        self.project = nn.Linear(features, 2 * self.dim)

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Independent:
        raw, dispersion = self.raw(features).chunk(2, -1)
        return _NegativeBinomial(self.log_mean(raw), floored(dispersion, self.min_dispersion)).to_event(1)


@dataclass(eq=False, repr=False)
class ZeroInflated(LikelihoodPart):
    """P(yₜⱼ) = πⱼ [yₜⱼ = 0] + (1 − πⱼ) P₀(yₜⱼ), π = σ(V h + c): a law of counts with zeros beyond its own.

    Args:
        likelihood: a likelihood part for counts whose dimensions are independent, as `Poisson()`.

    Raises:
        ValueError: something else than a likelihood part; when built, a law of dependent dimensions, or no counts.
    """

    likelihood: Any

    def __post_init__(self) -> None:
        require(
            isinstance(self.likelihood, Part) and self.likelihood.kind == "likelihood",
            f"ZeroInflated takes a likelihood part; got {self.likelihood!r}.",
        )

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        self.project = nn.Linear(features, require_vector(self, element))
        self.likelihood.build(features, element)
        with torch.no_grad():
            law: Any = self.likelihood(self.project.weight.new_zeros(1, features))
        support: Any = law.support
        require(
            isinstance(law, torch.distributions.Independent) and not law.base_dist.event_shape and support.is_discrete,
            f"{self.describe()} needs a law of counts, independent in each dimension, such as Poisson(). Of a mixture, "
            "inflate the components: MixtureOf(ZeroInflated(Poisson()), 3).",
        )

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Independent:
        law, gate = self.likelihood(features).base_dist, self.raw(features)
        return _ZeroInflated(law, gate).to_event(1)


class _ZeroInflated(TorchDistribution):
    """A law of one number, or 0 with probability σ(gate)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(self, law: Any, gate: Tensor) -> None:
        self.law, self.gate = law, gate
        super().__init__(gate.shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.law.support

    def log_prob(self, value: Tensor) -> Tensor:
        drawn = F.logsigmoid(-self.gate) + self.law.log_prob(value)
        return torch.where(value == 0, torch.logaddexp(F.logsigmoid(self.gate), drawn), drawn)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self.law.sample(torch.Size(sample_shape))
        return torch.where(torch.rand_like(drawn) < torch.sigmoid(self.gate), 0.0, drawn)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _ZeroInflated:
        return _ZeroInflated(self.law.expand(batch_shape), self.gate.expand(batch_shape))


class _Poisson(dist.Poisson):
    """Scored in float64: y log μ − μ − log y! cancels almost wholly where y is large."""

    def log_prob(self, value: Tensor) -> Tensor:
        law = torch.distributions.Poisson(self.rate.double(), validate_args=False)
        return law.log_prob(value.double()).to(self.rate.dtype)


class _NegativeBinomial(dist.NegativeBinomial):
    """In float64 within, for the same reason; draws and densities are of the dtype of the parameters."""

    def __init__(self, log_mean: Tensor, dispersion: Tensor) -> None:
        self.log_mean, self.dispersion = log_mean, dispersion
        wide = dispersion.double()
        super().__init__(wide.reciprocal(), logits=log_mean.double() + wide.log(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _NegativeBinomial:
        return _NegativeBinomial(self.log_mean.expand(batch_shape), self.dispersion.expand(batch_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return super().sample(torch.Size(sample_shape)).to(self.log_mean.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value.double()).to(self.log_mean.dtype)

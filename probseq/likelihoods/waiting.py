"""The time until the next event."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from probseq.likelihoods.base import LikelihoodPart, floored, require_vector
from probseq.nextstep import NextStep
from probseq.numerics import log_sum
from probseq.part import require
from probseq.protocols import Element

WaitingFamily = Literal["lognormal", "weibull", "loglogistic", "exponential"]

SMALL = -18.0
"""Below, 1 − exp(−eᶻ) is eᶻ − e²ᶻ/2 to the last digit of float64."""


class _Noise(NamedTuple):
    """A law of ε, by functions of z that are exact in both tails; `quantile` takes float64."""

    log_pdf: Callable[[Tensor], Tensor]
    log_cdf: Callable[[Tensor], Tensor]
    log_survival: Callable[[Tensor], Tensor]
    quantile: Callable[[Tensor], Tensor]


def _log_cdf_gumbel(z: Tensor) -> Tensor:
    """log(1 − exp(−eᶻ))."""
    hazard = z.exp()
    return torch.where(z < SMALL, z - hazard / 2, torch.log(-torch.expm1(-z.clamp(min=SMALL).exp())))


_NORMAL = _Noise(
    lambda z: -0.5 * z.square() - 0.5 * math.log(2 * math.pi),
    torch.special.log_ndtr,
    lambda z: torch.special.log_ndtr(-z),
    torch.special.ndtri,
)
_GUMBEL = _Noise(lambda z: z - z.exp(), _log_cdf_gumbel, lambda z: -z.exp(), lambda p: torch.log(-torch.log1p(-p)))
_LOGISTIC = _Noise(
    lambda z: F.logsigmoid(z) + F.logsigmoid(-z), F.logsigmoid, lambda z: F.logsigmoid(-z), torch.special.logit
)
NOISES = {"lognormal": _NORMAL, "weibull": _GUMBEL, "loglogistic": _LOGISTIC, "exponential": _GUMBEL}


@dataclass(eq=False, repr=False)
class Waiting(LikelihoodPart):
    """log τ = μ + σ ε: the time τ > 0 until the next event, with log P(τ > t) in closed form, as `Window` needs it.

    ε is normal, the log of a standard exponential (Weibull; exponential, where σ = 1), or logistic. A mixture of
    log-normals comes near any law of waiting times (Shchur, Biloš & Günnemann, Intensity-free learning of temporal
    point processes, 2020).

    Args:
        family: the law of τ; "exponential" is a constant rate from each event to the next.
        components: how many of them are mixed, with learned weights.
        min_scale: a floor below which no σ goes: the density of exactly repeated times is unbounded.

    Raises:
        ValueError: another family, fewer than one component, or a floor that is not positive; when built, another
            element than Reals(1).
    """

    family: WaitingFamily = "lognormal"
    components: int = 1
    min_scale: float = 1e-3

    timed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.family in NOISES, f"family must be one of {tuple(NOISES)}; got {self.family!r}.")
        require(self.components >= 1, f"Waiting needs components ≥ 1; got {self.components}.")
        require(self.min_scale > 0, f"min_scale must be positive; got {self.min_scale}.")

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        require(
            require_vector(self, element) == 1,
            f"{self.describe()} is the law of one time, Reals(1); got {element!r}.",
        )
        element.narrow(constraints.independent(constraints.positive, 1))
        self.widths = [
            self.components if self.components > 1 else 0,
            self.components,
            0 if self.family == "exponential" else self.components,
        ]
        self.project = nn.Linear(features, sum(self.widths))

    def forward(self, features: Float[Tensor, "*b h"]) -> _WaitingLaw:
        logits, loc, raw = self.raw(features).split(self.widths, -1)
        log_weights = logits.log_softmax(-1) if self.widths[0] else torch.zeros_like(loc)
        scale = floored(raw, self.min_scale) if self.widths[2] else torch.ones_like(loc)
        return _WaitingLaw(NOISES[self.family], log_weights, loc, scale)

    def within(self, features: Float[Tensor, "*b h"], rest: Float[Tensor, "*b"]) -> NextStep:
        """The law of τ ≤ rest, log P(τ > rest) and log P(τ ≤ rest); where nothing is left no event is possible."""
        law, left = self(features), rest > 0
        # Some law must stand there.
        rest = torch.where(left, rest, 1.0)
        log_stop = torch.where(left, law.log_survival(rest), 0.0)
        log_go = torch.where(left, law.log_cdf(rest), -torch.inf)
        return NextStep(law.until(rest), log_stop, log_go)


class _WaitingLaw(TorchDistribution):
    """A mixture over k of log τ = locₖ + scaleₖ ε, given τ ≤ `end` where there is one.

    Shapes:
        log_weights, loc, scale: (*b, k). end: (*b). Event: (1).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(
        self, noise: _Noise, log_weights: Tensor, loc: Tensor, scale: Tensor, end: Tensor | None = None
    ) -> None:
        self.noise, self.log_weights, self.loc, self.scale, self.end = noise, log_weights, loc, scale, end
        super().__init__(loc.shape[:-1], torch.Size((1,)), validate_args=False)

    @property
    def support(self) -> Any:
        if self.end is None:
            return constraints.independent(constraints.positive, 1)
        return constraints.independent(constraints.interval(0.0, self.end.unsqueeze(-1)), 1)

    def until(self, end: Float[Tensor, "*b"]) -> _WaitingLaw:
        """The same law, given τ ≤ end."""
        return _WaitingLaw(self.noise, self.log_weights, self.loc, self.scale, end)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _WaitingLaw:
        shape = torch.Size(batch_shape)
        log_weights, loc, scale = (
            part.expand(*shape, part.shape[-1]) for part in (self.log_weights, self.loc, self.scale)
        )
        return _WaitingLaw(self.noise, log_weights, loc, scale, None if self.end is None else self.end.expand(shape))

    def _mixed(self, log_of: Callable[[Tensor], Tensor], time: Tensor) -> Tensor:
        """log Σₖ weightₖ exp(log_of(zₖ)), for z of times (…, *b)."""
        return log_sum(self.log_weights + log_of((time.log().unsqueeze(-1) - self.loc) / self.scale))

    def log_survival(self, time: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """log P(τ > time), whatever `end` is."""
        return self._mixed(self.noise.log_survival, time)

    def log_cdf(self, time: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """log P(τ ≤ time), whatever `end` is."""
        return self._mixed(self.noise.log_cdf, time)

    def log_prob(self, value: Tensor) -> Tensor:
        time = value.squeeze(-1)
        inside = time > 0 if self.end is None else (time > 0) & (time <= self.end)
        time = torch.where(inside, time, 1.0)
        density = self._mixed(lambda z: self.noise.log_pdf(z) - self.scale.log(), time) - time.log()
        return torch.where(inside, density if self.end is None else density - self.log_cdf(self.end), -torch.inf)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A component given τ ≤ end, and within it the inverse of its distribution function."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            log_below = torch.zeros_like(self.loc)
            if self.end is not None:
                log_below = self.noise.log_cdf((self.end.log().unsqueeze(-1) - self.loc) / self.scale)
            logits = self.log_weights + log_below
            chosen = torch.distributions.Categorical(logits=logits, validate_args=False).sample(shape).unsqueeze(-1)
            log_below, loc, scale = (
                part.expand(*shape, *part.shape).gather(-1, chosen) for part in (log_below, self.loc, self.scale)
            )
            below = log_below.double().exp()
            z = self.noise.quantile(torch.rand_like(below).clamp(min=torch.finfo(below.dtype).tiny) * below)
            time = (loc + scale * z).exp().to(loc).clamp(min=torch.finfo(loc.dtype).tiny)
            return time if self.end is None else time.minimum(self.end.unsqueeze(-1))

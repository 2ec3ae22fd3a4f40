"""Linear-Gaussian series, whose likelihood has a closed form."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.elements import Reals
from probseq.nextstep import NextStep
from probseq.oracles.stepwise import Stepwise, fixed_end, real


class LinearGaussianAR(Stepwise):
    """yₜ = Σⱼ aⱼ yₜ₋ⱼ + scale · εₜ, εₜ ~ N(0, 1), with yₜ = 0 for t ≤ 0 and exactly `length` elements.

    The features are the last p values, the newest first.

    Shapes:
        coefficients: (p,), a₁ first; p = 0 is white noise. Elements are (1,).

    Args:
        scale: the standard deviation of the noise, in the units of y.
        length: every sequence has exactly this many elements.

    Raises:
        ValueError: coefficients of another shape, a scale that is not positive, a negative length.
    """

    def __init__(self, coefficients: Tensor | Sequence, scale: float, length: int) -> None:
        self.coefficients = real(coefficients, "coefficients", None)
        if scale <= 0 or length < 0:
            raise ValueError(f"expected scale > 0 and length ≥ 0; got {scale}, {length}.")
        self.scale = scale
        self.length = self.max_length = length
        self.element = Reals(1)

    def first(self) -> Float[Tensor, " p"]:
        return torch.zeros_like(self.coefficients)

    def read(self, features: Float[Tensor, "b p"], y: Float[Tensor, "b 1"]) -> Float[Tensor, "b p"]:
        return torch.cat([y.to(features), features], -1)[:, : features.shape[-1]]

    def emit(self, features: Float[Tensor, "b *n p"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        mean = features @ self.coefficients
        element = dist.Normal(mean.unsqueeze(-1), self.scale, validate_args=False).to_event(1)
        return NextStep(element, *fixed_end(self.length, position, mean))


class LinearGaussianStateSpace(Stepwise):
    """zₜ₊₁ = A zₜ + offset + N(0, Q), yₜ = C zₜ + N(0, R), z₁ ~ N(m, P), with the hidden path integrated out.

    The features are the Kalman filter's prediction, the mean and covariance of zₜ given y₍<t₎, so that
    yₜ | y₍<t₎ ~ N(C mₜ, C Pₜ Cᵀ + R) and the chain rule gives the exact likelihood.

    Shapes:
        transition A, transition_cov Q: (d, d). emission C: (e, d). emission_cov R: (e, e).
        initial_mean m, transition_offset: (d,). initial_cov P: (d, d), of z₁ and not of a z₀ before it.
        Elements are (e,).

    Args:
        length: every sequence has exactly this many elements.

    Raises:
        ValueError: shapes disagree, a covariance that is not symmetric positive semi-definite (R: positive
            definite), or a negative length.

    Source: Kalman, A new approach to linear filtering and prediction problems, 1960; the covariance is updated in
    Joseph's form, which keeps it symmetric and positive.
    """

    def __init__(
        self,
        transition: Tensor | Sequence,
        transition_cov: Tensor | Sequence,
        emission: Tensor | Sequence,
        emission_cov: Tensor | Sequence,
        initial_mean: Tensor | Sequence,
        initial_cov: Tensor | Sequence,
        length: int,
        transition_offset: Tensor | Sequence | None = None,
    ) -> None:
        self.initial_mean = real(initial_mean, "initial_mean", None)
        d = len(self.initial_mean)
        self.emission = real(emission, "emission", None, d)
        self.transition = real(transition, "transition", d, d)
        self.transition_cov = _covariance(transition_cov, "transition_cov", d)
        self.initial_cov = _covariance(initial_cov, "initial_cov", d)
        self.emission_cov = _covariance(emission_cov, "emission_cov", len(self.emission), definite=True)
        offset = torch.zeros_like(self.initial_mean) if transition_offset is None else transition_offset
        self.transition_offset = real(offset, "transition_offset", d)
        if length < 0:
            raise ValueError(f"expected length ≥ 0; got {length}.")
        self.length = self.max_length = length
        self.element = Reals(len(self.emission))

    def first(self) -> Float[Tensor, " h"]:
        return torch.cat([self.initial_mean, self.initial_cov.flatten()])

    def predicted(self, features: Float[Tensor, "*b h"]) -> tuple[Float[Tensor, "*b d"], Float[Tensor, "*b d d"]]:
        """The mean and the covariance of the hidden state to come, given what was read."""
        d = len(self.initial_mean)
        return features[..., :d], features[..., d:].reshape(*features.shape[:-1], d, d)

    def read(self, features: Float[Tensor, "b h"], y: Float[Tensor, "b e"]) -> Float[Tensor, "b h"]:
        mean, cov = self.predicted(features)
        c, r = self.emission, self.emission_cov
        gain = torch.linalg.solve(c @ cov @ c.T + r, c @ cov).mT
        kept = torch.eye(len(self.initial_mean)).to(cov) - gain @ c
        mean = mean + (gain @ (y.to(mean) - mean @ c.T).unsqueeze(-1)).squeeze(-1)
        cov = kept @ cov @ kept.mT + gain @ r @ gain.mT
        mean = mean @ self.transition.T + self.transition_offset
        cov = self.transition @ cov @ self.transition.T + self.transition_cov
        return torch.cat([mean, cov.flatten(-2)], -1)

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        mean, cov = self.predicted(features)
        c = self.emission
        scale_tril = torch.linalg.cholesky(c @ cov @ c.T + self.emission_cov)
        element = dist.MultivariateNormal(mean @ c.T, scale_tril=scale_tril, validate_args=False)
        return NextStep(element, *fixed_end(self.length, position, features[..., 0]))


def _covariance(values: Tensor | Sequence, name: str, size: int, definite: bool = False) -> Tensor:
    cov = real(values, name, size, size)
    least = float(torch.linalg.eigvalsh(cov.detach()).min())
    symmetric = torch.allclose(cov, cov.T)
    # A semi-definite matrix has eigenvalues of zero that rounding makes slightly negative.
    slack = 0.0 if definite else 1e-9 * float(cov.detach().abs().max())
    if not symmetric or least < -slack or (definite and least <= 0):
        wanted = "symmetric and positive " + ("definite" if definite else "semi-definite")
        raise ValueError(
            f"{name} must be {wanted}; got {'' if symmetric else 'no symmetry and '}a least eigenvalue of {least:.3g}. "
            "Pass variances, not standard deviations with signs."
        )
    return cov

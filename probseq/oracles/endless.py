"""A model that is not tight."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.elements import Tokens
from probseq.nextstep import NextStep
from probseq.oracles.stepwise import Stepwise


class Endless(Stepwise):
    """Uniform symbols, and P(stop after t) = 1 − exp(−c / (t + 1)²): all finite sequences together have `mass`.

    P(length ≥ t) = exp(−c Σ_{s=1…t} 1 / s²) falls to exp(−c π² / 6) = 1 − mass and no further: the rest is lost to
    sequences without end. Every step may stop, and yet the end comes too seldom.

    Args:
        mass: the probability of ending at all, in (0, 1).
        symbols: the size of the alphabet.

    Raises:
        ValueError: a mass outside (0, 1), or symbols below 1.

    Source: the kind of example that Welleck et al., 2020, and Du et al., 2023, call inconsistent and not tight.
    """

    max_length: int | None = None

    def __init__(self, mass: float, symbols: int = 2) -> None:
        if not 0 < mass < 1 or symbols < 1:
            raise ValueError(f"expected mass in (0, 1) and symbols ≥ 1; got {mass}, {symbols}.")
        self.mass, self.element = mass, Tokens(symbols)
        self.rate = -math.log1p(-mass) * 6 / math.pi**2

    def survival(self, longest: int) -> Float[Tensor, " t"]:
        """P(length ≥ t), t = 0…longest + 1, in closed form."""
        terms = torch.arange(1, longest + 2, dtype=torch.float64).pow(-2)
        return torch.cat([terms.new_zeros(1), -self.rate * terms.cumsum(0)]).exp()

    def first(self) -> Float[Tensor, " 1"]:
        return torch.zeros(1, dtype=torch.float64)

    def read(self, features: Float[Tensor, "b 1"], y: Int[Tensor, " b"]) -> Float[Tensor, "b 1"]:
        return features + 1

    def emit(self, features: Float[Tensor, "b *n 1"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        log_go = -self.rate / (features.squeeze(-1) + 1).square()
        logits = features.new_zeros(*features.shape[:-1], self.element.size)
        return NextStep(dist.Categorical(logits=logits, validate_args=False), torch.log(-torch.expm1(log_go)), log_go)

"""What the likelihoods share."""

from __future__ import annotations

import math
from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from probseq.numerics import at_least_float32
from probseq.part import Part, require
from probseq.protocols import Element


class LikelihoodPart(Part):
    """A likelihood scores with its distribution, unless it knows a faster way."""

    kind: ClassVar[str] = "likelihood"
    takes_symbols: ClassVar[bool] = False

    project: nn.Linear

    def raw(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b p"]:
        """The unconstrained parameters of the law."""
        return at_least_float32(self.project(features))

    def forward(self, features: Float[Tensor, "*b h"]) -> TorchDistributionMixin:
        raise NotImplementedError

    def log_prob(self, features: Float[Tensor, "n h"], y: Tensor) -> Float[Tensor, " n"]:
        return self(features).log_prob(y)

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> TorchDistributionMixin:
        mixing = dist.Categorical(logits=log_weights, validate_args=False)
        return dist.MixtureSameFamily(mixing, self(features), validate_args=False)


def floored(raw: Tensor, floor: float) -> Tensor:
    """floor + softplus(raw + c), with c such that what is above the floor is 1 where raw is 0."""
    return floor + F.softplus(raw + math.log(math.e - 1))


def mixed_symbols(logits: Float[Tensor, "*b k v"], log_weights: Float[Tensor, "*b k"]) -> dist.Categorical:
    """A mixture of laws over symbols is one law over symbols; the logits are normalised."""
    return dist.Categorical(logits=(logits + log_weights.unsqueeze(-1)).logsumexp(-2), validate_args=False)


def least_last(weight: Float[Tensor, "v h"], bias: Float[Tensor, " v"], bound: float) -> float:
    """What the last of softmax(W h + b) is at least, for |hᵢ| ≤ bound: 1 / (1 + Σᵥ exp(bᵥ − bₑ + bound ‖wᵥ − wₑ‖₁))."""
    weight, bias = weight.detach().double(), bias.detach().double()
    most = bias[:-1] - bias[-1] + bound * (weight[:-1] - weight[-1]).abs().sum(-1)
    return float(torch.sigmoid(-most.logsumexp(0)))


def require_vector(likelihood: Part, element: Element, discrete: bool = False) -> int:
    """The dimension of a vector element.

    Raises:
        ValueError: the element is not a vector, or not of the discrete or continuous kind that is asked.
    """
    require(
        element.discrete == discrete and len(element.shape) == 1,
        f"{likelihood.describe()} needs a vector element such as Reals(2) or Bits(2); got {element!r}. "
        "For Tokens use Categorical().",
    )
    return element.shape[0]

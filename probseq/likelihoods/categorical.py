"""Symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart
from probseq.part import require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class Categorical(LikelihoodPart):
    """P(yₜ = v) = softmax(V h + c)ᵥ over the symbols of `Tokens` (Deep Learning, eq. 10.10–11)."""

    takes_symbols: ClassVar[bool] = True

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        size = getattr(element, "size", None)
        require(
            element.discrete and element.shape == () and size is not None,
            f"Categorical() needs a Tokens element; got {element!r}. Use Gaussian(), Bernoulli() or Parametric().",
        )
        self.end = int(size)  # type: ignore[arg-type]
        self.project = nn.Linear(features, self.end + symbols)

    def logits(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b v"]:
        """Unnormalised log-probabilities; the end, if it is a symbol, comes last."""
        return self.raw(features)

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Categorical:
        return dist.Categorical(logits=self.logits(features), validate_args=False)

    def log_prob(self, features: Float[Tensor, "n h"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return -F.cross_entropy(self.logits(features), y, reduction="none")

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> dist.Categorical:
        """A mixture of laws over symbols is one law over symbols."""
        joint = self.logits(features).log_softmax(-1) + log_weights.unsqueeze(-1)
        return dist.Categorical(logits=joint.logsumexp(-2), validate_args=False)

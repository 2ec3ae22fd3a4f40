"""Vectors of zeros and ones."""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
from jaxtyping import Float
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart, require_vector
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class Bernoulli(LikelihoodPart):
    """Independent bits within one element: P(yₜ) = ∏ⱼ σ(zⱼ)^yₜⱼ (1 − σ(zⱼ))^(1−yₜⱼ), z = V h + c."""

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        self.project = nn.Linear(features, require_vector(self, element))

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Independent:
        return dist.Bernoulli(logits=self.raw(features), validate_args=False).to_event(1)

"""Mixtures of any law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart
from probseq.mixed import Mixed
from probseq.numerics import log_sum
from probseq.part import Part, require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class MixtureOf(LikelihoodPart):
    """p(yₜ) = Σₖ wₖ pₖ(yₜ): `components` laws of one kind, each with maps of the features of its own.

    w = min_weight + (1 − components · min_weight) softmax(V h + c). All is summed in logs. One component is drawn for
    the element as a whole, so that its dimensions depend on each other through it. (Bishop, Mixture density networks,
    1994; Graves, Generating sequences with recurrent neural networks, 2013.)

    The floors of the components are their own, as `MixtureOf(Gaussian(min_scale=0.01), 5)`: without one, a component
    that settles on a single value has an unbounded density.

    Args:
        likelihood: any likelihood part; each component is a fresh copy, from random weights of its own.
        components: how many.
        min_weight: a floor below which no weight goes, so that every component keeps being trained; 0 for none.

    Raises:
        ValueError: something else than a likelihood part, no components, or floors that make up more than all.

    >>> import probseq as ps
    >>> likelihood = ps.MixtureOf(ps.StudentT(min_scale=0.01), 3)
    >>> model = ps.SequenceModel(ps.Reals(2), ps.GRU(4), likelihood, ps.BernoulliStop())
    >>> model.likelihood
    MixtureOf(likelihood=StudentT(min_scale=0.01), components=3)
    """

    likelihood: Any
    components: int
    min_weight: float = 0.0

    def __post_init__(self) -> None:
        require(
            isinstance(self.likelihood, Part) and self.likelihood.kind == "likelihood",
            f"MixtureOf takes a likelihood part; got {self.likelihood!r}.",
        )
        require(self.components >= 1, f"MixtureOf needs one component at least; got {self.components}.")
        require(
            0 <= self.min_weight * self.components < 1,
            f"min_weight must lie in [0, 1 / components); got {self.min_weight} with {self.components} components.",
        )

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        self.parts: Any = nn.ModuleList(self.likelihood.fresh() for _ in range(self.components))
        for part in self.parts:
            part.build(features, element)
        self.project = nn.Linear(features, self.components)

    def log_weights(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b k"]:
        """log w, nats."""
        free = self.raw(features).log_softmax(-1)
        if not self.min_weight:
            return free
        floor = free.new_tensor(math.log(self.min_weight))
        return torch.logaddexp(floor, free + math.log1p(-self.components * self.min_weight))

    def forward(self, features: Float[Tensor, "*b h"]) -> Mixed:
        return Mixed(self.log_weights(features), [part(features) for part in self.parts])

    def log_prob(self, features: Float[Tensor, "n h"], y: Tensor) -> Float[Tensor, " n"]:
        """By what each component knows of a faster way."""
        each = torch.stack([part.log_prob(features, y) for part in self.parts], -1)
        return log_sum(each + self.log_weights(features))

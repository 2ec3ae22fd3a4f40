"""Symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart, least_last, mixed_symbols
from probseq.part import require
from probseq.protocols import Element


class _Tied(nn.Module):
    """[E; e] M h + c, with E an embedding that belongs to another module."""

    def __init__(self, features: int, embedding: nn.Embedding, symbols: int) -> None:
        super().__init__()
        # Within a tuple it stays the other module's: one name among the parameters, one place in a saved file.
        self.shared = (embedding,)
        size, dim = embedding.weight.shape
        self.match = nn.Identity() if features == dim else nn.Linear(features, dim, bias=False)
        self.ends = nn.Parameter(torch.randn(symbols, dim))
        self.bias = nn.Parameter(torch.zeros(size + symbols))

    def forward(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b v"]:
        weight = self.shared[0].weight
        weight = torch.cat([weight, self.ends]) if len(self.ends) else weight
        return F.linear(self.match(features), weight, self.bias)

    @property
    def weight(self) -> Float[Tensor, "v h"]:
        """[E; e] M."""
        weight = torch.cat([self.shared[0].weight, self.ends])
        return weight if isinstance(self.match, nn.Identity) else weight @ self.match.weight


@dataclass(eq=False, repr=False)
class Categorical(LikelihoodPart):
    """P(yₜ = v) = softmax(V h + c)ᵥ over the symbols of `Tokens` (Deep Learning, eq. 10.10–11).

    Args:
        tied: whether the rows of V for the symbols are the embedding that the symbols are read through (Press & Wolf,
            Using the output embedding to improve language models, 2017), one set of weights in two places. Where its
            width is not that of h, a learned map takes h there; c, and the row for the end, are their own.

    Raises:
        ValueError: when built, with another element than Tokens, or tied to Tokens that are not read back in.
    """

    tied: bool = False

    takes_symbols: ClassVar[bool] = True

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        size = getattr(element, "size", None)
        require(
            element.discrete and element.shape == () and size is not None,
            f"Categorical() needs a Tokens element; got {element!r}. Use Gaussian(), Bernoulli() or Parametric().",
        )
        self.end = int(size)  # type: ignore[arg-type]
        if not self.tied:
            self.project = nn.Linear(features, self.end + symbols)
            return
        embedding = getattr(element, "embedding", None)
        require(
            embedding is not None,
            f"Categorical(tied=True) shares the embedding of its element, but {element!r} has none. Leave tied out.",
        )
        self.project = _Tied(features, embedding, symbols)  # type: ignore[assignment, arg-type]

    def logits(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b v"]:
        """Unnormalised log-probabilities; the end, if it is a symbol, comes last."""
        return self.raw(features)

    def least_end(self, bound: float) -> float:
        """What P(the end, a symbol) is at least, whatever features there are with |hᵢ| ≤ bound."""
        return least_last(self.project.weight, self.project.bias, bound)

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Categorical:
        return dist.Categorical(logits=self.logits(features), validate_args=False)

    def log_prob(self, features: Float[Tensor, "n h"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return -F.cross_entropy(self.logits(features), y, reduction="none")

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> dist.Categorical:
        return mixed_symbols(self.logits(features).log_softmax(-1), log_weights)

"""Symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property

from probseq.likelihoods.base import LikelihoodPart, least_last, mixed_symbols
from probseq.numerics import at_least_float32
from probseq.part import require
from probseq.protocols import Element
from probseq.softmax import is_large, log_softmax_at


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

    def operands(self, features: Float[Tensor, "*b h"]) -> tuple[Tensor, Tensor, Tensor]:
        """M h, [E; e] and c."""
        weight = self.shared[0].weight
        return self.match(features), torch.cat([weight, self.ends]) if len(self.ends) else weight, self.bias

    def forward(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b v"]:
        return F.linear(*self.operands(features))

    @property
    def weight(self) -> Float[Tensor, "v h"]:
        """[E; e] M."""
        weight = torch.cat([self.shared[0].weight, self.ends])
        return weight if isinstance(self.match, nn.Identity) else weight @ self.match.weight


class _Projected(dist.Categorical):
    """softmax(W h + c) over many symbols: the logits wait until they are asked for, which a score of y does not."""

    def __init__(
        self, features: Float[Tensor, "*b h"], weight: Float[Tensor, "v h"], bias: Float[Tensor, " v"]
    ) -> None:
        self.operands = (features, weight, bias)
        self._num_events = len(weight)
        Distribution.__init__(self, features.shape[:-1], validate_args=False)

    @lazy_property
    def logits(self) -> Float[Tensor, "*b v"]:  # type: ignore[override]
        features, weight, bias = self.operands
        # Under autocast features may come in 16 bits, and be read when it is over.
        return at_least_float32(F.linear(features, weight.to(features), bias.to(features))).log_softmax(-1)

    @property
    def _param(self) -> Tensor:
        return self.logits

    def expand(self, batch_shape: Any, _instance: Any = None) -> dist.Categorical:
        return dist.Categorical(logits=self.logits, validate_args=False).expand(batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if value.shape != self.batch_shape:
            return super().log_prob(value)
        features, weight, bias = self.operands
        found = log_softmax_at(features.reshape(-1, features.shape[-1]), weight, bias, value.reshape(-1).long())
        return found.reshape(value.shape)


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

    def _operands(self, features: Float[Tensor, "*b h"]) -> tuple[Tensor, Tensor, Tensor]:
        """What the logits are made of: features, weights, biases."""
        return self.project.operands(features) if self.tied else (features, self.project.weight, self.project.bias)  # type: ignore[operator]

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Categorical:
        operands = self._operands(features)
        if is_large(*operands[:2]):
            return _Projected(*operands)
        return dist.Categorical(logits=self.logits(features), validate_args=False)

    def log_prob(self, features: Float[Tensor, "n h"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return log_softmax_at(*self._operands(features), y)

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> dist.Categorical:
        return mixed_symbols(self.logits(features).log_softmax(-1), log_weights)

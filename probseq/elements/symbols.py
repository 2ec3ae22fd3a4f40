"""Symbols, and vectors of symbols."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from probseq.elements.base import Space, integers, refuse, shaped
from probseq.part import require
from probseq.sequences import Sequences


@dataclass(eq=False, repr=False)
class Tokens(Space):
    """One of `size` symbols, numbered from 0; read back in through a learned embedding.

    Args:
        size: the number of symbols. The end is not one of them.
        dim: the width of the embedding.
        dropout: the share of embedding entries zeroed in training.
        feedback: whether an element is read back in; without it the elements are independent given x and the end.
        symbols: the characters that the numbers stand for, in order, so that questions may be asked in letters; None
            where there are no such.

    Raises:
        ValueError: size or dim below 1, dropout outside [0, 1), or symbols that are not `size` different characters.
    """

    size: int
    dim: int = 64
    dropout: float = 0.0
    feedback: bool = True
    symbols: str | None = None

    def __post_init__(self) -> None:
        require(
            self.symbols is None or len(set(self.symbols)) == len(self.symbols) == self.size,
            f"symbols must be {self.size} different characters, one for each token; got {self.symbols!r}.",
        )
        require(self.size >= 1 and self.dim >= 1, f"Tokens needs size ≥ 1 and dim ≥ 1; got {self.size}, {self.dim}.")
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1); got {self.dropout}.")

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def discrete(self) -> bool:
        return True

    @property
    def cardinality(self) -> int:
        """How many different elements there are."""
        return self.size

    @property
    def width(self) -> int:
        return self.dim if self.feedback else 0

    def build(self) -> None:
        self.embedding = nn.Embedding(self.size, self.dim) if self.feedback else None

    def read(self, y: Tensor) -> Float[Tensor, "b n i"]:
        if self.embedding is None:
            return torch.empty(*y.shape, 0, device=y.device)
        return F.dropout(self.embedding(y), self.dropout, self.training)

    def conform(self, y: Sequences) -> Sequences:
        y = integers(shaped(y, self.shape, self.describe()), "tokens")
        if y.values.numel():
            low, high = torch.aminmax(y.values)
            if int(low) < 0 or int(high) >= self.size:
                bad = (y.values < 0) | (y.values >= self.size)
                refuse(y, bad, f"a token in 0…{self.size - 1}", "Check the alphabet, or make Tokens larger.")
        return self._supported(y)


@dataclass(eq=False, repr=False)
class Choices(Space):
    """A vector of symbols, each from an alphabet of its own: the voices of a chorale, the columns of a table.

    Read back in as Σⱼ Eⱼ[yⱼ], with a learned embedding for each position.

    Args:
        sizes: how many symbols each position has, numbered from 0.
        dim: the width of the embeddings.
        dropout: the share of the entries of the sum zeroed in training.
        feedback: whether an element is read back in; without it the elements are independent given x and the end.

    Raises:
        ValueError: no sizes, a size or dim below 1, or dropout outside [0, 1).
    """

    sizes: tuple[int, ...]
    dim: int = 64
    dropout: float = 0.0
    feedback: bool = True

    def __post_init__(self) -> None:
        self.sizes = tuple(self.sizes)
        require(
            len(self.sizes) >= 1 and min(self.sizes) >= 1 and self.dim >= 1,
            f"Choices needs sizes, all ≥ 1, and dim ≥ 1; got {self.sizes}, {self.dim}.",
        )
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1); got {self.dropout}.")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sizes),)

    @property
    def discrete(self) -> bool:
        return True

    @property
    def cardinality(self) -> int:
        """How many different elements there are."""
        return math.prod(self.sizes)

    @property
    def width(self) -> int:
        return self.dim if self.feedback else 0

    def build(self) -> None:
        self.embedding = nn.Embedding(sum(self.sizes), self.dim) if self.feedback else None
        first = [0, *itertools.accumulate(self.sizes[:-1])]
        self.first: Tensor
        self.register_buffer("first", torch.tensor(first), persistent=False)

    def read(self, y: Tensor) -> Float[Tensor, "b n i"]:
        if self.embedding is None:
            return torch.empty(*y.shape[:-1], 0, device=y.device)
        return F.dropout(self.embedding(y + self.first).sum(-2), self.dropout, self.training)

    def conform(self, y: Sequences) -> Sequences:
        y = integers(shaped(y, self.shape, self.describe()), "choices")
        if y.values.numel():
            bad = ((y.values < 0) | (y.values >= y.values.new_tensor(self.sizes))).any(-1)
            if bool(bad.any()):
                refuse(y, bad, f"symbols below {list(self.sizes)}", "Check the alphabets, or make Choices larger.")
        return self._supported(y)

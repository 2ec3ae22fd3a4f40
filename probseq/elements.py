"""What one element of a sequence is, and how it is read back in."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from probseq.part import Part, require
from probseq.sequences import Sequences


def _refuse(y: Sequences, bad: Tensor, what: str, cure: str) -> None:
    """Raise for the first real slot where `bad` (b, t) is True."""
    where = (bad & y.mask()).nonzero()
    if len(where):
        row, column = (int(i) for i in where[0])
        value = y.values[row, column].tolist()
        raise ValueError(f"sequence {row}, position {column}: got {value}; expected {what}. {cure}")


def _shaped(y: Sequences, shape: tuple[int, ...], name: str) -> Sequences:
    """`y` if its elements have `shape`; a batch of empty sequences fits every shape."""
    if not isinstance(y, Sequences):
        raise TypeError(f"expected Sequences; got {type(y).__name__}. Use Sequences.of(list) or Sequences.from_dense.")
    got = tuple(y.values.shape[2:])
    if got != shape and not y.values.shape[1]:
        return Sequences(y.values.new_zeros(len(y), 0, *shape), y.lengths, y.ended)
    require(
        got == shape,
        f"{name} reads elements of shape {shape}; got {got}: values must be (batch, time, {', '.join(map(str, shape))}"
        f"{')' if shape else ') without further axes'}. Reshape the values or change the element.",
    )
    return y


def _integers(y: Sequences, what: str) -> Sequences:
    """`y` as int64, 0 in the padding."""
    require(
        not y.values.is_floating_point() and not y.values.is_complex(),
        f"{what} are integers; got {y.values.dtype}. Convert the values with .long(), or use Reals or Bits.",
    )
    return y.to(dtype=torch.int64).filled(0)


class _Space(Part):
    """What the elements share: a likelihood may narrow the space to its support."""

    kind: ClassVar[str] = "element"
    support: Any = None

    def narrow(self, support: Any) -> None:
        """Let `conform` refuse what lies outside `support`, a constraint over one element."""
        self.support = support

    def _supported(self, y: Sequences) -> Sequences:
        """`y` checked against the support, with a value of y in the padding: 0 may lie outside, or on the edge."""
        if self.support is None or not y.values.numel():
            return y
        bad = ~self.support.check(y.values)
        if bool(bad.any()):
            _refuse(y, bad, f"a value in the likelihood's support, {self.support}", "Transform the data.")
        real = y.values[y.mask()]
        return y.filled(real[0]) if len(real) else y.trim()


@dataclass(eq=False, repr=False)
class Tokens(_Space):
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
        y = _integers(_shaped(y, self.shape, self.describe()), "tokens")
        if y.values.numel():
            low, high = torch.aminmax(y.values)
            if int(low) < 0 or int(high) >= self.size:
                bad = (y.values < 0) | (y.values >= self.size)
                _refuse(y, bad, f"a token in 0…{self.size - 1}", "Check the alphabet, or make Tokens larger.")
        return self._supported(y)


@dataclass(eq=False, repr=False)
class Reals(_Space):
    """A vector of `dim` real numbers, read back in as it is.

    Args:
        dim: how many numbers.
        feedback: whether an element is read back in; without it the elements are independent given x and the end.

    Raises:
        ValueError: dim below 1.
    """

    dim: int = 1
    feedback: bool = True

    def __post_init__(self) -> None:
        require(self.dim >= 1, f"{type(self).__name__} needs dim ≥ 1; got {self.dim}.")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def discrete(self) -> bool:
        return False

    @property
    def width(self) -> int:
        return self.dim if self.feedback else 0

    def build(self) -> None:
        pass

    def read(self, y: Tensor) -> Float[Tensor, "b n i"]:
        return y if self.feedback else y[..., :0]

    def conform(self, y: Sequences) -> Sequences:
        y = _shaped(y, self.shape, self.describe())
        require(not y.values.is_complex(), f"expected real numbers; got {y.values.dtype}.")
        dtype = y.values.dtype if y.values.is_floating_point() else torch.get_default_dtype()
        y = y.to(dtype=dtype).filled(0)
        if not bool(torch.isfinite(y.values).all()):
            bad = ~torch.isfinite(y.values).all(-1)
            _refuse(y, bad, "finite numbers", "Remove or impute NaN and ±∞ before scoring.")
        return self._supported(y)


@dataclass(eq=False, repr=False)
class Bits(Reals):
    """A vector of `dim` zeros and ones, as floats (Pyro's convention for Bernoulli); bools and integers are taken too.

    Args:
        dim: how many bits.
        feedback: as in `Reals`.

    Raises:
        ValueError: dim below 1.
    """

    @property
    def cardinality(self) -> int:
        """How many different elements there are."""
        return 2**self.dim

    def conform(self, y: Sequences) -> Sequences:
        y = super().conform(y)
        bad = (y.values != 0) & (y.values != 1)
        if bool(bad.any()):
            _refuse(y, bad.any(-1), "zeros and ones", "Binarise the values, or use Reals.")
        return y


@dataclass(eq=False, repr=False)
class Choices(_Space):
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
        y = _integers(_shaped(y, self.shape, self.describe()), "choices")
        if y.values.numel():
            bad = ((y.values < 0) | (y.values >= y.values.new_tensor(self.sizes))).any(-1)
            if bool(bad.any()):
                _refuse(y, bad, f"symbols below {list(self.sizes)}", "Check the alphabets, or make Choices larger.")
        return self._supported(y)

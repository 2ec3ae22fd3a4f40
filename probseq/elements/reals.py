"""Vectors of numbers, and of zeros and ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.elements.base import Space, refuse, shaped
from probseq.part import require
from probseq.sequences import Sequences


@dataclass(eq=False, repr=False)
class Reals(Space):
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
        y = shaped(y, self.shape, self.describe())
        require(not y.values.is_complex(), f"expected real numbers; got {y.values.dtype}.")
        dtype = y.values.dtype if y.values.is_floating_point() else torch.get_default_dtype()
        y = y.to(dtype=dtype).filled(0)
        if not bool(torch.isfinite(y.values).all()):
            bad = ~torch.isfinite(y.values).all(-1)
            refuse(
                y,
                bad,
                "finite numbers",
                "Missing values (NaN) are for infill() and MissingValues().",
            )
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
            refuse(y, bad.any(-1), "zeros and ones", "Binarise the values, or use Reals.")
        return y

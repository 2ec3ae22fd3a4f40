"""Elements made of several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.elements.base import Space, refuse, shaped
from probseq.part import Part, require
from probseq.sequences import Sequences


@dataclass(eq=False, repr=False)
class Record(Space):
    """An element made of several, side by side: one vector of floats, in which tokens stand as their numbers.

    A pen stroke is `Record((Reals(2), Tokens(2)))`, three columns: how far the pen moves, and whether it is lifted.
    Each member checks and reads its own columns. The likelihood is a `Product`, with one law for each member.

    Args:
        members: element parts, in the order of the columns.

    Raises:
        ValueError: no members, or one that is no element of at most one axis.

    >>> import probseq as ps
    >>> Record((ps.Reals(2), ps.Tokens(3))).conform(Sequences.of([[[0.5, -1.0, 2.0]]])).values.tolist()
    [[[0.5, -1.0, 2.0]]]
    """

    members: Any

    def __post_init__(self) -> None:
        self.members = tuple(self.members)
        for member in self.members:
            require(
                isinstance(member, Part) and member.kind == "element" and len(member.shape) <= 1,  # type: ignore[attr-defined]
                f"Record needs elements such as Reals(2) or Tokens(3); got {member!r}.",
            )
        require(bool(self.members), "Record needs one element at least; got none.")
        self.widths = [torch.Size(member.shape).numel() for member in self.members]
        self.listed = nn.ModuleList(self.members)

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self.widths),)

    @property
    def discrete(self) -> bool:
        return False

    @property
    def cardinality(self) -> int | None:
        """How many different elements there are, or None where a member has no such number."""
        sizes = [getattr(member, "cardinality", None) for member in self.members]
        return None if None in sizes else math.prod(sizes)  # type: ignore[arg-type]

    @property
    def feedback(self) -> bool:
        """Whether anything of an element is read back in."""
        return any(member.width for member in self.members)

    @property
    def width(self) -> int:
        return sum(member.width for member in self.members)

    def build(self) -> None:
        for member in self.members:
            member.build()

    def read_first(self, count: int, y: Tensor) -> list[Tensor]:
        """What is read back in of the first `count` members, from their columns y (…, w)."""
        parts = y.split(self.widths[:count], -1)
        return [member.read(_own(member, part)) for member, part in zip(self.members, parts, strict=False)]

    def read(self, y: Tensor) -> Float[Tensor, "b n i"]:
        return torch.cat(self.read_first(len(self.members), y), -1)

    def conform(self, y: Sequences) -> Sequences:
        y = shaped(y, self.shape, self.describe()).trim()
        dtype = y.values.dtype if y.values.is_floating_point() else torch.get_default_dtype()
        found = []
        for i, (member, part) in enumerate(zip(self.members, y.values.split(self.widths, -1), strict=True)):
            try:
                if member.discrete:
                    refuse(y, (part != part.round()).any(-1), "a whole number", "Tokens are integers, if in floats.")
                own = member.conform(Sequences(_own(member, part), y.lengths, y.ended)).values
            except ValueError as error:
                raise ValueError(f"member {i}, {member.describe()}: {error}") from None
            found.append(own.reshape(*own.shape[:2], part.shape[-1]).to(dtype))
        return self._supported(Sequences(torch.cat(found, -1), y.lengths, y.ended))


def _own(member: Any, part: Tensor) -> Tensor:
    """Columns (…, w) of a record as its member takes them."""
    part = part.reshape(*part.shape[:-1], *member.shape)
    return part.long() if member.discrete else part

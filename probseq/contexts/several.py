"""Several contexts at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.context import Context
from probseq.contexts.base import ContextPart
from probseq.part import Part, require
from probseq.rows import count_rows
from probseq.structure import SOURCE, Links, Place, context_links, entrances, nested


@dataclass(eq=False, repr=False)
class Several(ContextPart):
    """Any mixture of contexts, each entering where it says; a model takes a plain tuple of them too.

    Args:
        members: context parts, as `(Vector(3), Labels(4, enters="state"), Aligned(Reals(2)))`.

    Shapes:
        x: a tuple with what each member takes, in their order, all of one batch.

    Raises:
        ValueError: no members, or one that is no context part.
    """

    members: Any

    event_dims: ClassVar[int] = 0

    def __post_init__(self) -> None:
        self.members = tuple(self.members)
        shown = [getattr(member, "kind", type(member).__name__) for member in self.members]
        require(
            bool(shown) and all(isinstance(m, Part) and m.kind == "context" for m in self.members),
            f"Several takes one or more context parts, as (Vector(3), Labels(4)); got kinds {shown}.",
        )
        self.joined = nn.ModuleList(self.members)

    @property
    def aligned(self) -> bool:  # type: ignore[override]
        return any(member.aligned for member in self.members)

    @property
    def width(self) -> int:
        return sum(member.width for member in self.members)

    @property
    def input_width(self) -> int:
        return sum(member.input_width for member in self.members)

    @property
    def state_width(self) -> int:
        return sum(member.state_width for member in self.members)

    @property
    def aligned_width(self) -> int:  # type: ignore[override]
        return sum(member.aligned_width for member in self.members)

    @property
    def source_width(self) -> int:  # type: ignore[override]
        return sum(getattr(member, "source_width", 0) for member in self.members)

    @property
    def scale_width(self) -> int:  # type: ignore[override]
        return sum(getattr(member, "scale_width", 0) for member in self.members)

    def build(self) -> None:
        for member in self.members:
            member.build()

    def links(self, steps: int) -> Links:
        """Those of each member."""
        links: Links = []
        for i, member in enumerate(self.members, 1):
            links += nested(context_links(member, steps), i)
            links += [(Place(*end[:2], (i,)), end) for end in entrances(member, steps)]
            if getattr(member, "source_width", 0):
                links += [(Place(SOURCE, t, (i,)), Place(SOURCE, t)) for t in range(1, steps + 1)]
        return links

    def conform(self, x: Any) -> tuple[Any, ...]:
        if not isinstance(x, tuple | list) or len(x) != len(self.members):
            expected = ", ".join(type(member).__name__ for member in self.members)
            got = f"{len(x)} of them" if isinstance(x, tuple | list) else type(x).__name__
            raise ValueError(f"the context must be a tuple of {len(self.members)} members ({expected}); got {got}.")
        conformed = tuple(member.conform(each) for member, each in zip(self.members, x, strict=True))
        counts = [count_rows(each) for each in conformed]
        require(len(set(counts)) == 1, f"the members of the context must have one batch; got {counts}.")
        self.lengths(conformed)
        return conformed

    def lengths(self, x: Any) -> Int[Tensor, " b"] | None:
        found = [member.lengths(each) for member, each in zip(self.members, x, strict=True)]
        found = [lengths for lengths in found if lengths is not None]
        for other in found[1:]:
            wrong = (other != found[0]).nonzero()
            if len(wrong):
                row = int(wrong[0])
                raise ValueError(
                    f"aligned x-sequences must be of one length; those of sequence {row} have {int(found[0][row])} and "
                    f"{int(other[row])} elements. Cut or pad one of them."
                )
        return found[0] if found else None

    def encode(self, x: tuple[Any, ...]) -> Context:
        encoded = [member.encode(each) for member, each in zip(self.members, x, strict=True)]
        aligned = [each for each in encoded if each.aligned is not None]
        whole = next((each for each in encoded if each.source is not None), encoded[0])
        scale = next((each.scale for each in encoded if each.scale is not None), None)
        whole = replace(whole, summary=torch.cat([each.summary for each in encoded], -1), scale=scale)
        if not aligned:
            return whole
        features = torch.cat([each.aligned for each in aligned], -1)  # type: ignore[misc]
        return replace(whole, aligned=features, aligned_lengths=aligned[0].aligned_lengths)

    def at(self, context: Context, position: Int[Tensor, "b n"]) -> Float[Tensor, "b n i"]:
        pairs = zip(self.members, self._parted(context), strict=True)
        return torch.cat([member.at(own, position) for member, own in pairs], -1)

    def initial(self, context: Context) -> Float[Tensor, "b w"]:
        pairs = zip(self.members, self._parted(context), strict=True)
        return torch.cat([member.initial(own) for member, own in pairs], -1)

    def _parted(self, context: Context) -> list[Context]:
        """To each member what it encoded."""
        summaries = context.summary.split([member.width for member in self.members], -1)
        if context.aligned is None:
            return [Context(summary) for summary in summaries]
        aligned = context.aligned.split([member.aligned_width for member in self.members], -1)
        pairs = zip(summaries, aligned, strict=True)
        return [Context(summary, aligned=own, aligned_lengths=context.aligned_lengths) for summary, own in pairs]

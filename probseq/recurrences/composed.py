"""Recurrences made of recurrences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.context import Context
from probseq.part import Part, advance, attends, begun, build_recurrence, feature_bound, prepared, require
from probseq.recurrences.wrapping import Wrapping
from probseq.structure import INPUT, OUTPUT, SOURCE, Links, Place, nested, recurrence_links


@dataclass(eq=False, repr=False)
class Stack(Part):
    """Recurrences of any kinds on top of each other, each reading the features of the one below (figure 10.13).

    With `skip` each of them reads the input too, and their features stand side by side: short paths from the input
    and to the output through every layer (Graves, Generating sequences with recurrent neural networks, 2013).

    Args:
        members: recurrence parts, the lowest first.
        skip: whether every layer reads the input and is seen by the output.

    Shapes:
        inputs: (b, n, i). features: (b, n, h), h that of the last member, or with `skip` the sum of all.

    Raises:
        ValueError: no members, or one that is no recurrence.
    """

    members: Any
    skip: bool = False

    kind: ClassVar[str] = "recurrence"

    def __post_init__(self) -> None:
        self.members = tuple(self.members)
        for member in self.members:
            require(
                isinstance(member, Part) and member.kind == "recurrence",
                f"Stack needs recurrence parts such as LSTM(32); got {member!r}.",
            )
        require(bool(self.members), "Stack needs one recurrence at least; got none.")
        self.stacked = nn.ModuleList(self.members)

    @property
    def features(self) -> int:
        return sum(member.features for member in self.members) if self.skip else self.members[-1].features

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(shape for member in self.members for shape in member.memory_shapes)

    @property
    def max_length(self) -> int | None:
        longest = (getattr(member, "max_length", None) for member in self.members)
        return min((n for n in longest if n is not None), default=None)

    @property
    def copies(self) -> int | None:
        """Those of the last member, whose features come last."""
        return getattr(self.members[-1], "copies", None)

    def begin(self, memory: tuple[Tensor, ...], batch: int) -> tuple[Any, ...]:
        """One memory for each member."""
        flat = iter(memory)
        return tuple(begun(member, tuple(next(flat) for _ in member.memory_shapes), batch) for member in self.members)

    @property
    def attends(self) -> bool:
        return any(map(attends, self.members))

    def prepare(self, context: Context) -> tuple[Any, ...]:
        """What each member makes of the source."""
        return tuple(prepared(member, context) for member in self.members)

    def feature_bound(self, start: float) -> float:
        """That of the last member, or with `skip` of all."""
        return max(feature_bound(member, start) for member in (self.members if self.skip else self.members[-1:]))

    def build(self, inputs: int, source: int = 0) -> None:
        below = inputs
        for i, member in enumerate(self.members):
            build_recurrence(member, below + (inputs if self.skip and i else 0), source)
            below = member.features

    def links(self, steps: int) -> Links:
        """Each member reads the one below, and with `skip` the input."""
        links, top = [], len(self.members)
        for i, member in enumerate(self.members, 1):
            links += nested(recurrence_links(member, steps), i)
            links += [(Place(SOURCE, t), Place(SOURCE, t, (i,))) for t in range(1, steps + 1) if attends(member)]
            for t in range(1, steps + 1):
                below = Place(OUTPUT, t, (i - 1,)) if i > 1 else Place(INPUT, t)
                links += [
                    (source, Place(INPUT, t, (i,))) for source in {below, Place(INPUT, t) if self.skip else below}
                ]
                links += [(Place(OUTPUT, t, (i,)), Place(OUTPUT, t))] if self.skip or i == top else []
        return links

    def forward(
        self, inputs: Float[Tensor, "b n i"], memory: tuple[Any, ...], context: Context | None = None
    ) -> tuple[Float[Tensor, "b n h"], tuple[Any, ...]]:
        features, every, after = inputs, [], []
        for i, (member, before) in enumerate(zip(self.members, memory, strict=True)):
            read = torch.cat([features, inputs], -1) if self.skip and i else features
            seen = replace(context, attended=context.attended[i]) if context and context.attended else context
            features, own = advance(member, read, before, seen)
            every.append(features)
            after.append(own)
        return torch.cat(every, -1) if self.skip else features, tuple(after)


@dataclass(eq=False, repr=False)
class Positional(Wrapping):
    """A recurrence that also reads which element comes next: conditionals that may differ from step to step.

    A recurrent network shares its parameters over time, which supposes that the conditionals are stationary
    (Goodfellow et al., Deep Learning, 10.2.3); with a learned embedding of the position as one more input they
    need not be. Compare the two on held-out data.

    Args:
        recurrence: a recurrence part.
        positions: how many positions are told apart; later ones count as the last.
        dim: the width of the embedding.

    Shapes:
        inputs: (b, n, i). features: those of `recurrence`.

    Raises:
        ValueError: no recurrence, or positions or dim below 1.
    """

    positions: int
    dim: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.positions >= 1 and self.dim >= 1,
            f"Positional needs positions ≥ 1 and dim ≥ 1; got {self.positions}, {self.dim}.",
        )

    @property
    def features(self) -> int:
        return self.recurrence.features

    @property
    def copies(self) -> int | None:
        return getattr(self.recurrence, "copies", None)

    def begin(self, memory: tuple[Tensor, ...], batch: int) -> tuple[Any, Tensor]:
        """The memory of the recurrence, and how many inputs were read, (b,)."""
        counter = torch.zeros(batch, dtype=torch.int64, device=self.embedding.weight.device)
        return begun(self.recurrence, memory, batch), counter

    def feature_bound(self, start: float) -> float:
        """That of the recurrence."""
        return feature_bound(self.recurrence, start)

    def build(self, inputs: int, source: int = 0) -> None:
        self.embedding = nn.Embedding(self.positions, self.dim)
        build_recurrence(self.recurrence, inputs + self.dim, source)

    def links(self, steps: int) -> Links:
        """Those of the recurrence: a position is nothing that could vary."""
        return recurrence_links(self.recurrence, steps)

    def forward(
        self, inputs: Float[Tensor, "b n i"], memory: tuple[Any, Tensor], context: Context | None = None
    ) -> tuple[Float[Tensor, "b n h"], tuple[Any, Tensor]]:
        own, counter = memory
        position = counter.unsqueeze(1) + torch.arange(inputs.shape[1], device=inputs.device)
        place = self.embedding(position.clamp(max=self.positions - 1))
        features, own = advance(self.recurrence, torch.cat([inputs, place], -1), own, context)
        return features, (own, counter + inputs.shape[1])

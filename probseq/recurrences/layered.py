"""What stacks of layers of one kind share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from probseq.part import Part, require
from probseq.structure import Links, recurrent


@dataclass(eq=False, repr=False)
class Layered(Part):
    """Layers of one width on top of each other, each of which reads the one below and its own past.

    Args:
        size: the width of each layer.
        layers: how many are stacked.
        dropout: the share of each layer's outputs zeroed in training, between layers and after the last.

    Raises:
        ValueError: size or layers below 1, or dropout outside [0, 1).
    """

    size: int
    layers: int = 1
    dropout: float = 0.0

    kind: ClassVar[str] = "recurrence"
    states: ClassVar[int] = 1
    """Tensors of the memory."""

    def __post_init__(self) -> None:
        require(
            self.size >= 1 and self.layers >= 1,
            f"{type(self).__name__} needs size ≥ 1 and layers ≥ 1; got {self.size}, {self.layers}.",
        )
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1); got {self.dropout}.")

    @property
    def features(self) -> int:
        return self.size

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.layers, self.size),) * self.states

    def links(self, steps: int) -> Links:
        """Every layer reads the one below and its own past."""
        return recurrent(steps, self.layers)

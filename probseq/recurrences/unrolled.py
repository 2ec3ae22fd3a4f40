"""A recurrence run step by step from its equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.part import Part, feature_bound, require
from probseq.structure import Links, recurrence_links

Memory = tuple[Tensor, ...]


@dataclass(eq=False, repr=False)
class Unrolled(Part):
    """Any cell, one step at a time in plain torch: slow, open to every edit, the twin the fused kernels answer to.

    `Unrolled(LSTM(8))` has the parameters of `LSTM(8)` (under `cell.`) and computes the same function. A cell of
    your own is a part with `build(inputs)`, `features`, `memory_shapes` and `step(inputs, memory)`.

    Raises:
        ValueError: the cell has no `step`.
    """

    cell: Any

    kind: ClassVar[str] = "recurrence"

    def __post_init__(self) -> None:
        require(
            isinstance(self.cell, Part) and hasattr(self.cell, "step"),
            f"Unrolled needs a part with a `step`, such as LSTM(8); got {self.cell!r}.",
        )

    @property
    def features(self) -> int:
        return self.cell.features

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.cell.memory_shapes

    def feature_bound(self, start: float) -> float:
        """That of the cell."""
        return feature_bound(self.cell, start)

    def build(self, inputs: int) -> None:
        self.cell.build(inputs)

    def links(self, steps: int) -> Links:
        """Those of the cell."""
        return recurrence_links(self.cell, steps)

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        features = []
        for moment in inputs.unbind(1):
            feature, memory = self.cell.step(moment, memory)
            features.append(feature)
        return torch.stack(features, 1), memory

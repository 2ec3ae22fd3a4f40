"""A recurrence that also sees values from further back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.context import Context
from probseq.part import advance, begun, build_recurrence, require
from probseq.recurrences.wrapping import Wrapping
from probseq.structure import INPUT, OUTPUT, SOURCE, Links, Place, nested, recurrence_links


@dataclass(eq=False, repr=False)
class Lagged(Wrapping):
    """A recurrence that reads yₜ₋ₗ too, for chosen lags l, and whose features hold them beside its own.

    Seasons are then as near as yesterday, and by the features the likelihood sees them in a linear map: the seasonal
    naive forecast yₜ₋ₗ is representable from the start. Of what would stand before the first input the value is 0, and
    a mark, 1, says so.

    Args:
        recurrence: a recurrence part.
        lags: of the element to be predicted, as (1, 24, 168); 1 is what is read in this step.
        dim: how many of the inputs are lagged, the first ones: the width of the element that is fed back.

    Shapes:
        inputs: (b, n, i). features: (b, n, (dim + 1) · lags + h), the values and marks, then those of `recurrence`.
        memory: that of `recurrence`, and the last max(lags) − 1 inputs, (b, max(lags) − 1, dim + 1).

    Raises:
        ValueError: no recurrence, lags that are not different numbers from 1 on, dim below 1 or above the inputs.
    """

    lags: tuple[int, ...]
    dim: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lags = tuple(self.lags)
        require(
            bool(self.lags) and min(self.lags) >= 1 and len(set(self.lags)) == len(self.lags) and self.dim >= 1,
            f"Lagged needs different lags ≥ 1, as (1, 24), and dim ≥ 1; got {self.lags} and {self.dim}.",
        )

    @property
    def features(self) -> int:
        return len(self.lags) * (self.dim + 1) + self.recurrence.features

    @property
    def copies(self) -> int | None:
        return getattr(self.recurrence, "copies", None)

    def begin(self, memory: tuple[Tensor, ...], batch: int) -> tuple[Any, Tensor]:
        """The memory of the recurrence, and inputs that were not there, with their marks."""
        absent: Any = self.absent
        return begun(self.recurrence, memory, batch), absent.expand(batch, -1, -1)

    def build(self, inputs: int, source: int = 0) -> None:
        require(self.dim <= inputs, f"{self.describe()} lags {self.dim} inputs, but reads {inputs}. Give dim={inputs}.")
        absent = torch.zeros(1, max(self.lags) - 1, self.dim + 1)
        absent[..., -1] = 1
        self.register_buffer("absent", absent, persistent=False)
        build_recurrence(self.recurrence, inputs + len(self.lags) * (self.dim + 1), source)

    def links(self, steps: int) -> Links:
        """Each step, and what is seen of it, reads the lagged inputs; the recurrence reads its own as it does."""
        links = nested(recurrence_links(self.recurrence, steps), 1)
        for t in range(1, steps + 1):
            lagged = [Place(INPUT, t - lag + 1) for lag in self.lags if lag <= t]
            links += [(place, end) for place in lagged for end in (Place(INPUT, t, (1,)), Place(OUTPUT, t))]
            links += [(Place(INPUT, t), Place(INPUT, t, (1,))), (Place(OUTPUT, t, (1,)), Place(OUTPUT, t))]
            links += [(Place(SOURCE, t), Place(SOURCE, t, (1,)))] if self.attends else []
        return links

    def forward(
        self, inputs: Float[Tensor, "b n i"], memory: tuple[Any, Tensor], context: Context | None = None
    ) -> tuple[Float[Tensor, "b n h"], tuple[Any, Tensor]]:
        own, past = memory
        n = inputs.shape[1]
        present = torch.cat([inputs[..., : self.dim], torch.zeros_like(inputs[..., :1])], -1)
        every = torch.cat([past, present], 1)
        newest = past.shape[1] + 1
        lagged = torch.cat([every[:, newest - lag : newest - lag + n] for lag in self.lags], -1)
        features, own = advance(self.recurrence, torch.cat([inputs, lagged], -1), own, context)
        return torch.cat([lagged, features], -1), (own, every[:, n:])

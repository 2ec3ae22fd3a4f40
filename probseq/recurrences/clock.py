"""A recurrence that knows how much time has passed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.context import Context
from probseq.part import advance, begun, build_recurrence
from probseq.recurrences.wrapping import Wrapping
from probseq.structure import INPUT, OUTPUT, Links, Place, recurrence_links


@dataclass(eq=False, repr=False)
class Clock(Wrapping):
    """A recurrence over events, whose first input is the time τ since the last one.

    The elapsed time, the sum of all τ read, stands last among the features, where the stop law `Window` finds it. The
    recurrence reads log τ in place of τ: waits of every order are told apart.

    Args:
        recurrence: a recurrence part.

    Shapes:
        inputs: (b, n, i). features: (b, n, h + 1), h being those of `recurrence`.

    Raises:
        ValueError: no recurrence.
    """

    clocked: ClassVar[bool] = True

    @property
    def features(self) -> int:
        return self.recurrence.features + 1

    def begin(self, memory: tuple[Tensor, ...], batch: int) -> tuple[Any, Tensor, Tensor]:
        """The memory of the recurrence, the elapsed time (b,), and whether anything was read (b,)."""
        elapsed = next(self.recurrence.parameters()).new_zeros(batch)
        return begun(self.recurrence, memory, batch), elapsed, torch.zeros_like(elapsed, dtype=torch.bool)

    def build(self, inputs: int, source: int = 0) -> None:
        build_recurrence(self.recurrence, inputs, source)

    def links(self, steps: int) -> Links:
        """Those of the recurrence, and c, the elapsed time."""
        clock = [Place("c", t) for t in range(steps + 1)]
        links = recurrence_links(self.recurrence, steps) + list(pairwise(clock))
        for t in range(1, steps + 1):
            links += [(Place(INPUT, t), clock[t]), (clock[t], Place(OUTPUT, t))]
        return links

    def forward(
        self, inputs: Float[Tensor, "b n i"], memory: tuple[Any, Tensor, Tensor], context: Context | None = None
    ) -> tuple[Float[Tensor, "b n h"], tuple[Any, Tensor, Tensor]]:
        own, before, started = memory
        time, others = inputs[..., 0], inputs[..., 1:]
        # The first input of all is the start vector, which takes no time.
        events = torch.cat([started.unsqueeze(1), torch.ones_like(time[:, 1:], dtype=torch.bool)], 1)
        elapsed = before.unsqueeze(1) + torch.where(events, time, 0.0).cumsum(1)
        log_time = torch.where(events, time.clamp(min=torch.finfo(time.dtype).tiny).log(), time)
        read = torch.cat([log_time.unsqueeze(-1), others], -1)
        features, own = advance(self.recurrence, read, own, context)
        return torch.cat([features, elapsed.unsqueeze(-1)], -1), (own, elapsed[:, -1], torch.ones_like(started))

"""What every question about a sequence is compiled to: an automaton that says which outcome it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

SPAN_LIMIT = 1 << 23
"""Most numbers that `spans` lists: 64 MiB in float64."""


@dataclass(frozen=True)
class Monitor:
    """A finite automaton that reads a sequence from state 0 and says which of o outcomes it came to.

    It reads classes of elements, not elements. After `steps` elements it reads no more, whatever the sequence does.
    What is asked of the outcome is a table: m numbers for each, whose expectation is the answer. Where the last state
    leaves it open what such a number is, `low` and `high` differ; else they are equal.

    Shapes:
        next: (s, c), int64, the state after each state and class.
        end: (s,), int64, the outcome of a sequence that ends in each state.
        last: (s,), int64, the outcome after `steps` elements.
        low, high: (o, m).
    """

    next: Int[Tensor, "s c"]
    end: Int[Tensor, " s"]
    last: Int[Tensor, " s"]
    steps: int
    low: Float[Tensor, "o m"]
    high: Float[Tensor, "o m"]

    @staticmethod
    def of(
        next: Sequence[Sequence[int]] | Tensor,
        end: Sequence[int] | Tensor,
        last: Sequence[int] | Tensor,
        steps: int,
        low: Sequence[Sequence[float]] | Tensor,
        high: Sequence[Sequence[float]] | Tensor | None = None,
    ) -> Monitor:
        """From lists; without `high` the numbers are those of `low`."""
        low = torch.as_tensor(low, dtype=torch.float64)
        high = low if high is None else torch.as_tensor(high, dtype=torch.float64)
        return Monitor(
            torch.as_tensor(next, dtype=torch.int64),
            torch.as_tensor(end, dtype=torch.int64),
            torch.as_tensor(last, dtype=torch.int64),
            steps,
            low,
            high,
        )

    def to(self, device: torch.device) -> Monitor:
        """On another device."""
        next, end, last, low, high = (
            tensor.to(device) for tensor in (self.next, self.end, self.last, self.low, self.high)
        )
        return Monitor(next, end, last, self.steps, low, high)

    def reading(self, classes: Int[Tensor, " k"]) -> Monitor:
        """The same automaton where only these of its classes occur, numbered anew."""
        return Monitor(self.next[:, classes], self.end, self.last, self.steps, self.low, self.high)

    @cached_property
    def decided(self) -> Int[Tensor, "t s"]:
        """The outcome that is certain in state s after t elements, whatever follows, or −1; t = 0…steps."""
        rows = [self.last]
        for _ in range(self.steps):
            every = torch.cat([rows[-1][self.next], self.end.unsqueeze(1)], 1)
            same = (every == every[:, :1]).all(1)
            rows.append(torch.where(same, self.end, -1))
        return torch.stack(rows[::-1])

    @cached_property
    def spans(self) -> tuple[Float[Tensor, "t s m"], Float[Tensor, "t s m"]]:
        """The least and the greatest that each number can still be in state s after t elements.

        Where there would be too many of them, over all states and t, which bounds them as well, less closely.
        """
        states, numbers = self.next.shape[0], self.low.shape[1]
        if (self.steps + 1) * states * numbers > SPAN_LIMIT:
            whole = (self.steps + 1, states, numbers)
            return self.low.amin(0).expand(whole), self.high.amax(0).expand(whole)
        low, high = [self.low[self.last]], [self.high[self.last]]
        for _ in range(self.steps):
            low.append(low[-1][self.next].amin(1).minimum(self.low[self.end]))
            high.append(high[-1][self.next].amax(1).maximum(self.high[self.end]))
        return torch.stack(low[::-1]), torch.stack(high[::-1])

    def prefixes(self, sizes: Float[Tensor, " c"]) -> float:
        """How many prefixes leave the outcome open, the empty one aside, with `sizes` symbols in each class.

        Reading each of them once answers the question exactly.
        """
        states, total = self.next.shape[0], 0.0
        count = torch.zeros(states, dtype=torch.float64, device=self.next.device)
        count[0] = float(self.decided[0, 0] < 0)
        for t in range(1, self.steps):
            flow = count.unsqueeze(1) * sizes
            count = torch.zeros_like(count).index_add(0, self.next.flatten(), flow.flatten())
            count = torch.where(self.decided[t] < 0, count, 0.0)
            total += float(count.sum())
        return total

"""Units that integrate over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.part import Part, require

Memory = tuple[Tensor, ...]


@dataclass(eq=False, repr=False)
class Leaky(Part):
    """h' = a ∘ h + (1 − a) ∘ tanh(W x + U h + b): units that forget at a learned rate a (Deep Learning, 10.9.2).

    The time constants 1 / (1 − a) start spread over 1 … `longest` steps, evenly in their logarithm.

    Args:
        size: the number of units.
        longest: the longest time constant at the start, in steps.

    Shapes:
        inputs: (b, n, i). features: (b, n, size). memory: one tensor (b, size).

    Raises:
        ValueError: size below 1, or longest below 1.
    """

    size: int
    longest: float = 50.0

    kind: ClassVar[str] = "recurrence"

    def __post_init__(self) -> None:
        require(self.size >= 1, f"Leaky needs size ≥ 1; got {self.size}.")
        require(self.longest >= 1, f"Leaky needs longest ≥ 1 step; got {self.longest}.")

    @property
    def features(self) -> int:
        return self.size

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.size,),)

    def feature_bound(self, start: float) -> float:
        """What no |hᵢ| exceeds, where no number of the first memory exceeds `start`: h' is a mean of h and a tanh."""
        return max(1.0, start)

    def build(self, inputs: int) -> None:
        self.read = nn.Linear(inputs, self.size)
        self.recur = nn.Linear(self.size, self.size, bias=False)
        share = 1 / self.longest ** torch.linspace(0, 1, self.size)
        # a = σ(rate); a time constant of 1 is a = 0, which has no logit.
        self.rate = nn.Parameter(torch.logit((1 - share).clamp(min=0.05)))

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        (hidden,), features = memory, []
        for moment in self.read(inputs).unbind(1):
            hidden = self._next(moment, hidden)
            features.append(hidden)
        return torch.stack(features, 1), (hidden,)

    def step(self, inputs: Float[Tensor, "b i"], memory: Memory) -> tuple[Float[Tensor, "b h"], Memory]:
        """One step of the equation."""
        hidden = self._next(self.read(inputs), memory[0])
        return hidden, (hidden,)

    def _next(self, moment: Tensor, hidden: Tensor) -> Tensor:
        keep = torch.sigmoid(self.rate)
        return keep * hidden + (1 - keep) * torch.tanh(moment + self.recur(hidden))

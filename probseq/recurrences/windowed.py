"""Networks that see a bounded past and train in parallel over time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.part import Part, require
from probseq.structure import Links, windowed

Memory = tuple[Tensor, ...]


@dataclass(eq=False, repr=False)
class Memoryless(Part):
    """hₜ = f(yₜ₋₁, xₜ): output-to-hidden recurrence only, no state (Goodfellow et al., Deep Learning, 10.2.1).

    f is `layers` layers tanh(W · + b). Given the elements, no step waits for another: training is parallel over time.
    It is less powerful than a network with a state: all that it knows of the past is the last element.

    Args:
        size: the width of each layer.
        layers: how many there are.

    Shapes:
        inputs: (b, n, i). features: (b, n, size). The memory is empty.

    Raises:
        ValueError: size or layers below 1.
    """

    size: int
    layers: int = 1

    kind: ClassVar[str] = "recurrence"

    def __post_init__(self) -> None:
        require(
            self.size >= 1 and self.layers >= 1,
            f"Memoryless needs size ≥ 1 and layers ≥ 1; got {self.size}, {self.layers}.",
        )

    @property
    def features(self) -> int:
        return self.size

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ()

    def feature_bound(self, start: float) -> float:
        """What no |hᵢ| exceeds: they are tanh of something."""
        return 1.0

    def build(self, inputs: int) -> None:
        self.network = perceptron(inputs, self.size, self.layers)

    def links(self, steps: int) -> Links:
        """Each step reads its own input alone."""
        return windowed(steps, 1)

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        return self.network(inputs), memory


@dataclass(eq=False, repr=False)
class CausalConv(Part):
    """hₜ = f(the last `window` inputs): a 1-D convolution, parameters shared over a window only.

    An order-`window` Markov network (Goodfellow et al., Deep Learning, 10.2.3), to stand beside a network with a
    state; convolution over time is the time-delay network of Lang and Hinton (1988). f is tanh of the convolution,
    then `layers` − 1 layers tanh(W · + b). Before the start stand zeros.

    Args:
        size: the width of each layer.
        window: how many inputs it sees, the newest among them.
        layers: how many layers there are, the convolution one of them.

    Shapes:
        inputs: (b, n, i). features: (b, n, size). memory: the last window − 1 inputs, (b, window − 1, i).

    Raises:
        ValueError: size, window or layers below 1.
    """

    size: int
    window: int
    layers: int = 1

    kind: ClassVar[str] = "recurrence"

    def __post_init__(self) -> None:
        require(
            min(self.size, self.window, self.layers) >= 1,
            f"CausalConv needs size, window and layers ≥ 1; got {self.size}, {self.window}, {self.layers}.",
        )

    @property
    def features(self) -> int:
        return self.size

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.window - 1, self.inputs),)

    def feature_bound(self, start: float) -> float:
        """What no |hᵢ| exceeds: they are tanh of something."""
        return 1.0

    def build(self, inputs: int) -> None:
        self.inputs = inputs
        self.network = perceptron(self.window * inputs, self.size, self.layers)

    def links(self, steps: int) -> Links:
        """Each step reads the last `window` inputs."""
        return windowed(steps, self.window)

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        past = torch.cat([memory[0], inputs], 1)
        windows = past.unfold(1, self.window, 1).flatten(-2)
        return self.network(windows), (past[:, past.shape[1] - self.window + 1 :],)


def perceptron(inputs: int, size: int, layers: int) -> nn.Sequential:
    """`layers` layers tanh(W · + b)."""
    widths = [inputs] + [size] * layers
    return nn.Sequential(*(layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.Tanh())))

"""Recurrences whose gates do not read the state: given the elements, no step waits for another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from probseq.linear import gated_scan, gated_step, linear_scan
from probseq.numerics import at_least_float32
from probseq.part import require
from probseq.recurrences.layered import Layered

Memory = tuple[Tensor, ...]


@dataclass(eq=False, repr=False)
class _Parallel(Layered):
    """A stack of layers that are linear in their state.

    Args:
        size: the width of each layer.
        layers: how many are stacked.
        dropout: the share of each layer's outputs zeroed in training, between layers and after the last.

    Shapes:
        inputs: (b, n, i), n ≥ 1. features: (b, n, size). memory: one tensor (b, layers, size).

    Raises:
        ValueError: size or layers below 1, or dropout outside [0, 1).
    """

    def build(self, inputs: int) -> None:
        self.network = nn.ModuleList(self.layer(self.size if i else inputs) for i in range(self.layers))

    def layer(self, inputs: int) -> nn.Module:
        """A layer: `layer(inputs, first)` reads n inputs, `layer.step(inputs, before)` one."""
        raise NotImplementedError

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        return self._climb([layer.__call__ for layer in self.network], inputs, memory)

    def step(self, inputs: Float[Tensor, "b i"], memory: Memory) -> tuple[Float[Tensor, "b h"], Memory]:
        """One step of the equations."""
        return self._climb([layer.step for layer in self.network], inputs, memory)

    def _climb(self, reads: list, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        features, after = inputs, []
        for read, before in zip(reads, memory[0].unbind(1), strict=True):
            features, last = read(features, before)
            after.append(last)
            features = F.dropout(features, self.dropout, self.training)
        return features, (torch.stack(after, 1),)


class MinGRU(_Parallel):
    """h' = (1 − z) ∘ h + z ∘ g(W x + b) with z = σ(V x + c): a GRU whose gate sees the input alone.

    g(v) = v + ½ for v ≥ 0, else σ(v) (Feng et al., Were RNNs all we needed?, 2024). All steps of a sequence are taken
    at once, by a scan.
    """

    __doc__ = f"{__doc__}\n\n{_Parallel.__doc__}"

    def layer(self, inputs: int) -> nn.Module:
        return _Gated(inputs, 2 * self.size)


class MinLSTM(_Parallel):
    """h' = f / (f + i) ∘ h + i / (f + i) ∘ g(W x + b): an LSTM whose gates f, i = σ(V x + c) see the input alone.

    g is that of `MinGRU` (Feng et al., Were RNNs all we needed?, 2024). All steps of a sequence are taken at once.
    """

    __doc__ = f"{__doc__}\n\n{_Parallel.__doc__}"

    def layer(self, inputs: int) -> nn.Module:
        return _Normalised(inputs, 3 * self.size)


class _Gated(nn.Module):
    def __init__(self, inputs: int, gates: int) -> None:
        super().__init__()
        self.read = nn.Linear(inputs, gates)

    def gates(self, inputs: Tensor) -> Tensor:
        """The logits of z, and the candidates."""
        return self.read(inputs)

    def forward(self, inputs: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        # Under autocast the gates come in 16 bits; what is carried must not.
        hidden = gated_scan(self.gates(inputs), at_least_float32(first))
        return hidden, hidden[:, -1]

    def step(self, inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        hidden = gated_step(self.gates(inputs), at_least_float32(before))
        return hidden, hidden


class _Normalised(_Gated):
    def gates(self, inputs: Tensor) -> Tensor:
        # i / (f + i) = σ(log i − log f), also where both are 0 to rounding.
        forget, write, new = super().gates(inputs).chunk(3, -1)
        return torch.cat([F.logsigmoid(write) - F.logsigmoid(forget), new], -1)


@dataclass(eq=False, repr=False)
class LRU(_Parallel):
    """s' = λ ∘ s + γ ∘ B x, h' = gelu(Re(C s') + D x + d): complex states that rotate and fade, each at its own rate.

    λ = exp(−exp(ν) + i exp(θ)), which never leaves the unit disk (Orvieto et al., Resurrecting recurrent neural
    networks for long sequences, 2023). At the start λ is spread evenly over a ring and γ = √(1 − |λ|²), so that states
    are of the size of the inputs; ν, θ and log γ are learned. All steps of a sequence are taken at once.

    Args:
        size: the width of each layer: how many states it has, and features.
        layers: how many are stacked.
        dropout: the share of each layer's outputs zeroed in training, between layers and after the last.
        radii: the least and the largest |λ| at the start: a state fades in about 1 / (1 − |λ|) steps.

    Shapes:
        inputs: (b, n, i), n ≥ 1. features: (b, n, size). memory: one tensor (b, layers, size, 2), the real and the
        imaginary parts.

    Raises:
        ValueError: size or layers below 1, dropout outside [0, 1), or radii not in 0 < least < largest < 1.
    """

    radii: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.radii = least, largest = self.radii
        require(0 < least < largest < 1, f"LRU needs radii 0 < least < largest < 1; got {self.radii}.")

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.layers, self.size, 2),)

    def layer(self, inputs: int) -> nn.Module:
        return _Diagonal(inputs, self.size, *self.radii)


class _Diagonal(nn.Module):
    def __init__(self, inputs: int, size: int, least: float, largest: float) -> None:
        super().__init__()
        square = least**2 + (largest**2 - least**2) * torch.rand(size)
        self.log_rate = nn.Parameter(torch.log(-0.5 * square.log()))
        self.log_angle = nn.Parameter(torch.log(2 * math.pi * (1 - torch.rand(size))))
        self.log_gain = nn.Parameter(0.5 * torch.log1p(-square))
        self.read = nn.Linear(inputs, 2 * size, bias=False)
        self.show = nn.Linear(2 * size, size, bias=False)
        self.skip = nn.Linear(inputs, size)

    def forward(self, inputs: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        entering = self._enter(inputs)
        states = linear_scan(self._keep().expand_as(entering), entering, _complex(first).to(entering))
        return self._features(inputs, states), torch.view_as_real(states[:, -1])

    def step(self, inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        state = self._keep() * _complex(before) + self._enter(inputs)
        return self._features(inputs, state), torch.view_as_real(state)

    def _keep(self) -> Tensor:
        return torch.polar(torch.exp(-self.log_rate.exp()), self.log_angle.exp())

    def _enter(self, inputs: Tensor) -> Tensor:
        pairs = at_least_float32(self.read(inputs)).unflatten(-1, (-1, 2))
        return torch.view_as_complex(pairs * self.log_gain.exp().unsqueeze(-1))

    def _features(self, inputs: Tensor, states: Tensor) -> Tensor:
        return F.gelu(self.show(torch.view_as_real(states).flatten(-2)) + self.skip(inputs))


def _complex(pairs: Tensor) -> Tensor:
    return torch.view_as_complex(at_least_float32(pairs).contiguous())

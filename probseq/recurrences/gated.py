"""Elman, GRU and LSTM on fused kernels, each with its equations written out.

On an accelerator these are torch's (cuDNN). On a CPU torch has one for LSTM (oneDNN); Elman and GRU have `kernels`,
which like cuDNN give first derivatives only: `Unrolled(GRU(8))` is the same function with all of them.
Right-padded batches go in whole and nothing is packed: a causal network needs no mask, the loss has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from probseq.recurrences import kernels
from probseq.recurrences.layered import Layered

Memory = tuple[Tensor, ...]


@dataclass(eq=False, repr=False)
class _Fused(Layered):
    """A stack of layers in one fused call.

    Args:
        size: the width of each layer.
        layers: how many are stacked.
        dropout: the share of each layer's outputs zeroed in training, between layers and after the last.

    Shapes:
        inputs: (b, n, i), n ≥ 1. features: (b, n, size). Each tensor of the memory: (b, layers, size).

    Raises:
        ValueError: size or layers below 1, or dropout outside [0, 1).
    """

    family: ClassVar[Any]
    fused: ClassVar[Callable[..., tuple[Tensor, ...]]]
    one_step: ClassVar[Callable[..., Any]]

    def feature_bound(self, start: float) -> float:
        """What no |hᵢ| exceeds, where no number of the first memory exceeds `start`."""
        return 1.0

    def build(self, inputs: int) -> None:
        between = self.dropout if self.layers > 1 else 0.0
        self.network = self.family(inputs, self.size, self.layers, batch_first=True, dropout=between)

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        if _lacks_bfloat16(inputs):
            return self._without_autocast(inputs, memory)
        if inputs.shape[1] == 1 and inputs.device.type == "cpu":
            # For one step oneDNN prepares more than it is worth, the more so backwards.
            features, after = self._climb(self._cell_of_torch, inputs[:, 0], memory)
            return features.unsqueeze(1), after
        first = tuple(tensor.transpose(0, 1).contiguous() for tensor in memory)
        # cuDNN has a backward pass in training mode alone; what else that mode means is dropout.
        train = self.training or (inputs.is_cuda and torch.is_grad_enabled())
        between = self.network.dropout if self.training else 0.0
        weights = [weight for layer in range(self.layers) for weight in self.weights(layer)]
        features, *last = self.fused(
            inputs, first if self.states > 1 else first[0], weights, True, self.layers, between, train, False, True
        )
        features = F.dropout(features, self.dropout, self.training)
        return features, tuple(tensor.transpose(0, 1) for tensor in last)

    def _without_autocast(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """In the precision of the weights."""
        dtype = self.weights(0)[0].dtype
        with torch.autocast("cpu", enabled=False):
            return self.forward(inputs.to(dtype), tuple(tensor.to(dtype) for tensor in memory))

    def step(self, inputs: Float[Tensor, "b i"], memory: Memory) -> tuple[Float[Tensor, "b h"], Memory]:
        """One step of the equations: what the fused kernels are measured against."""
        return self._climb(self.cell, inputs, memory)

    def _climb(
        self, cell: Callable[[int, Tensor, Memory], Memory], inputs: Tensor, memory: Memory
    ) -> tuple[Tensor, Memory]:
        """One step, layer after layer."""
        hidden, after = inputs, []
        for layer in range(self.layers):
            before = tuple(tensor[:, layer] for tensor in memory)
            new = cell(layer, hidden, before)
            after.append(new)
            hidden = F.dropout(new[0], self.dropout, self.training)
        if self.layers == 1:
            return hidden, tuple(tensor.unsqueeze(1) for tensor in after[0])
        return hidden, tuple(torch.stack(tensors, 1) for tensors in zip(*after, strict=True))

    def _cell_of_torch(self, layer: int, inputs: Tensor, before: Memory) -> Memory:
        new = self.one_step(inputs, before if self.states > 1 else before[0], *self.weights(layer))
        return new if self.states > 1 else (new,)

    def gates(self, layer: int, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """W x + b and U h + c of a layer, all gates side by side."""
        weight_x, weight_h, bias_x, bias_h = self.weights(layer)
        return F.linear(inputs, weight_x, bias_x), F.linear(hidden, weight_h, bias_h)

    def weights(self, layer: int) -> tuple[Tensor, ...]:
        """W, U, b and c of a layer."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return tuple(getattr(self.network, f"{name}_l{layer}") for name in names)

    def cell(self, layer: int, inputs: Tensor, before: Memory) -> Memory:
        """The new state of one layer, its output first."""
        raise NotImplementedError


def _lacks_bfloat16(inputs: Tensor) -> bool:
    """Whether autocast would ask oneDNN for a kernel in bfloat16 that this processor does not have."""
    cast = inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return cast and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


@dataclass(eq=False, repr=False)
class _OwnKernel(_Fused):
    """One that oneDNN lacks."""

    kernel: ClassVar[Callable[..., tuple[Tensor, Tensor]]]

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        # torch.compile gets the gradients of updates in place wrong.
        if inputs.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(inputs, memory)
        if torch.is_autocast_enabled("cpu"):
            return self._without_autocast(inputs, memory)
        if inputs.shape[1] == 1:
            return super().forward(inputs, memory)
        hidden, after = inputs.transpose(0, 1), []
        for layer in range(self.layers):
            hidden, last = self.kernel(hidden, memory[0][:, layer], *self.weights(layer))
            after.append(last)
            hidden = F.dropout(hidden, self.dropout, self.training)
        return hidden.transpose(0, 1), (torch.stack(after, 1),)


class Elman(_OwnKernel):
    """h' = tanh(W x + U h + b): output at each step, hidden-to-hidden recurrence (Deep Learning, 10.2, eq. 10.8–9)."""

    __doc__ = f"{__doc__}\n\n{_Fused.__doc__}"
    family = nn.RNN
    fused = staticmethod(torch.rnn_tanh)
    kernel = staticmethod(kernels.elman)
    one_step = staticmethod(torch.rnn_tanh_cell)

    def cell(self, layer: int, inputs: Tensor, before: Memory) -> Memory:
        from_inputs, from_hidden = self.gates(layer, inputs, before[0])
        return (torch.tanh(from_inputs + from_hidden),)

    def jacobian(self, layer: int, inputs: Tensor, hidden: Float[Tensor, "*b h"]) -> Float[Tensor, "*b h h"]:
        """∂h'ᵢ / ∂hⱼ of `cell`."""
        (new,) = self.cell(layer, inputs, (hidden,))
        return (1 - new.square()).unsqueeze(-1) * self.weights(layer)[1]


class GRU(_OwnKernel):
    """h' = (1 − z) ∘ n + z ∘ h, the gated recurrent unit (Cho et al., 2014; reset after the product, as cuDNN)."""

    __doc__ = f"{__doc__}\n\n{_Fused.__doc__}"
    family = nn.GRU
    fused = staticmethod(torch.gru)
    kernel = staticmethod(kernels.gru)
    one_step = staticmethod(torch.gru_cell)

    def feature_bound(self, start: float) -> float:
        """h' lies between h and n, so that it stays within 1 where it started there."""
        return max(1.0, start)

    def cell(self, layer: int, inputs: Tensor, before: Memory) -> Memory:
        _, _, update, new = self._inside(layer, inputs, before[0])
        return ((1 - update) * new + update * before[0],)

    def jacobian(self, layer: int, inputs: Tensor, hidden: Float[Tensor, "*b h"]) -> Float[Tensor, "*b h h"]:
        """∂h'ᵢ / ∂hⱼ of `cell`: hⱼ enters unit i by its three gates, and hᵢ as what is kept."""
        recalled, reset, update, new = self._inside(layer, inputs, hidden)
        by_new = (1 - update) * (1 - new.square())
        by_gates = (by_new * recalled * reset * (1 - reset), (hidden - new) * update * (1 - update), by_new * reset)
        through = zip(by_gates, self.weights(layer)[1].chunk(3), strict=True)
        return sum((slope.unsqueeze(-1) * weight for slope, weight in through), torch.diag_embed(update))

    def _inside(self, layer: int, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """U h + c of the candidate, what it is reset by, the update, and the candidate n."""
        from_inputs, from_hidden = self.gates(layer, inputs, hidden)
        reset_x, update_x, new_x = from_inputs.chunk(3, -1)
        reset_h, update_h, new_h = from_hidden.chunk(3, -1)
        reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
        return new_h, reset, update, torch.tanh(new_x + reset * new_h)


class LSTM(_Fused):
    """c' = f ∘ c + i ∘ g, h' = o ∘ tanh c' (Hochreiter & Schmidhuber, 1997; forget gate of Gers et al., 2000)."""

    __doc__ = f"{__doc__}\n\n{_Fused.__doc__}"
    states = 2
    family = nn.LSTM
    fused = staticmethod(torch.lstm)
    one_step = staticmethod(torch.lstm_cell)

    def cell(self, layer: int, inputs: Tensor, before: Memory) -> Memory:
        hidden, carry = before
        from_inputs, from_hidden = self.gates(layer, inputs, hidden)
        write, forget, new, out = (from_inputs + from_hidden).chunk(4, -1)
        carry = torch.sigmoid(forget) * carry + torch.sigmoid(write) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(carry), carry

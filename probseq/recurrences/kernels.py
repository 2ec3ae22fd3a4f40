"""A layer of Elman or of GRU over a whole sequence on a CPU, with its gradient written out.

oneDNN has neither as torch defines them, and to record a step's dozen operations costs more than to do them. Here a
step is a product with U and what is done to it in place; backwards, all that does not depend on the gradient from the
future is computed for many steps at once, and so are the gradients of the weights. First derivatives only.

Args, of both:
    inputs, memory: what is read, and the state before it.
    weight_x, weight_h, bias_x, bias_h: W, U, b and c, as torch lays them out.

Shapes:
    inputs: (n, b, i), n ≥ 1. memory: (b, h). The features: (n, b, h). The last memory: (b, h).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

POSITIONS = 1024
"""How many positions are computed together: enough for a product of matrices, few enough for the cache."""

Back = Callable[[Tensor, Tensor, list[Tensor], Tensor], Tensor]


def elman(
    inputs: Tensor, memory: Tensor, weight_x: Tensor, weight_h: Tensor, bias_x: Tensor, bias_h: Tensor
) -> tuple[Tensor, Tensor]:
    """h' = tanh(W x + b + U h + c)."""
    return _Elman.apply(inputs, memory, weight_x, weight_h, bias_x, bias_h)  # type: ignore[return-value]


def gru(
    inputs: Tensor, memory: Tensor, weight_x: Tensor, weight_h: Tensor, bias_x: Tensor, bias_h: Tensor
) -> tuple[Tensor, Tensor]:
    """h' = (1 − z) ∘ n + z ∘ h, n = tanh(Wₙ x + bₙ + r ∘ (Uₙ h + cₙ)); r and z are sigmoids."""
    return _GRU.apply(inputs, memory, weight_x, weight_h, bias_x, bias_h)  # type: ignore[return-value]


class _Elman(Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, memory: Tensor, weight_x: Tensor, weight_h: Tensor, bias_x: Tensor, bias_h: Tensor
    ) -> tuple[Tensor, Tensor]:
        features = memory.new_empty(len(inputs), *memory.shape)
        torch.addmm(bias_x + bias_h, inputs.flatten(0, 1), weight_x.t(), out=features.flatten(0, 1))
        recur = weight_h.t()
        for before, after in pairwise((memory, *features.unbind(0))):
            after.addmm_(before, recur).tanh_()
        ctx.save_for_backward(inputs, memory, weight_x, weight_h, features)
        ctx.set_materialize_grads(False)
        return features, features[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, features: Tensor | None, last: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, _, _, _, after = ctx.saved_tensors
        return _backward(ctx, [after[steps] for steps in _slices(inputs)], features, last, _back_elman)


def _back_elman(after: Tensor, before: Tensor, gradients: list[Tensor], weight_h: Tensor) -> Tensor:
    """The gradient before each tanh."""
    slopes = torch.addcmul(after.new_ones(()), after, after, value=-1)
    for t in reversed(range(len(slopes))):
        torch.mul(gradients[t + 1], slopes[t], out=slopes[t])
        gradients[t].addmm_(slopes[t], weight_h)
    return slopes


class _GRU(Function):
    """The gates of a step lie side by side as n, r, z and Uₙ h + cₙ: the first three read x, the last three h."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, memory: Tensor, weight_x: Tensor, weight_h: Tensor, bias_x: Tensor, bias_h: Tensor
    ) -> tuple[Tensor, Tensor]:
        size = memory.shape[1]
        features = memory.new_empty(len(inputs), *memory.shape)
        weight_x = weight_x.roll(size, 0)
        bias = F.pad(bias_x.roll(size), (0, size)) + F.pad(bias_h, (size, 0))
        states, kept = (memory, *features.unbind(0)), []
        for steps in _slices(inputs):
            read = inputs[steps]
            gates = bias.expand(*read.shape[:2], -1).clone()
            gates.flatten(0, 1)[:, : 3 * size].addmm_(read.flatten(0, 1), weight_x.t())
            _run_gru(gates, states[steps.start : steps.stop + 1], weight_h.t())
            kept.append(gates)
        ctx.save_for_backward(inputs, memory, weight_x, weight_h, features, *kept)
        ctx.set_materialize_grads(False)
        return features, features[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, features: Tensor | None, last: Tensor | None) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors[5:]
        inputs, memory, weight_x, weight_h, bias_x, bias_h = _backward(ctx, kept, features, last, _back_gru)
        size = memory.shape[1]
        return inputs, memory, weight_x.roll(-size, 0), weight_h, bias_x.roll(-size), bias_h


def _run_gru(gates: Tensor, states: tuple[Tensor, ...], recur: Tensor) -> None:
    """Fill in all gates and all states but the first."""
    size = len(recur)
    from_hidden, sigmoids = gates[..., size:].unbind(0), gates[..., size : 3 * size].unbind(0)
    for t, (new, reset, update, recalled) in enumerate(zip(*(g.unbind(0) for g in gates.split(size, -1)), strict=True)):
        from_hidden[t].addmm_(states[t], recur)
        sigmoids[t].sigmoid_()
        new.addcmul_(reset, recalled).tanh_()
        torch.lerp(new, states[t], update, out=states[t + 1])


def _back_gru(gates: Tensor, before: Tensor, gradients: list[Tensor], weight_h: Tensor) -> Tensor:
    """The gradient before each gate's nonlinearity."""
    size = before.shape[2]
    slopes = _slopes_gru(gates, before)
    update, from_hidden = gates[..., 2 * size : 3 * size].unbind(0), slopes[..., size:].unbind(0)
    every = slopes.unflatten(-1, (4, size)).unbind(0)
    for t in reversed(range(len(every))):
        every[t].mul_(gradients[t + 1].unsqueeze(1))
        gradients[t].addcmul_(gradients[t + 1], update[t]).addmm_(from_hidden[t], weight_h)
    return slopes


def _slopes_gru(gates: Tensor, before: Tensor) -> Tensor:
    """The derivative of the new state in what stands before each gate's nonlinearity."""
    size = before.shape[2]
    new, reset, update, recalled = gates.split(size, -1)
    slopes = torch.empty_like(gates)
    in_new, in_reset, in_update, in_recalled = slopes.split(size, -1)
    torch.addcmul(new.new_ones(()), new, new, value=-1, out=in_new)
    in_new.addcmul_(in_new, update, value=-1)  # (1 − n²) (1 − z)
    torch.mul(in_new, reset, out=in_recalled)
    torch.addcmul(in_recalled, in_recalled, reset, value=-1, out=in_reset).mul_(recalled)
    torch.sub(before, new, out=in_update).mul_(update)
    in_update.addcmul_(in_update, update, value=-1)  # (h − n) z (1 − z)
    return slopes


def _slices(inputs: Tensor) -> Iterator[slice]:
    """The steps, as many at a time as `POSITIONS` holds."""
    n, b, _ = inputs.shape
    each = max(1, POSITIONS // max(1, b))
    return (slice(start, min(start + each, n)) for start in range(0, n, each))


def _backward(
    ctx: Any, kept: Sequence[Tensor], features: Tensor | None, last: Tensor | None, back: Back
) -> tuple[Any, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of what a layer was given.

    Args:
        kept: what `back` needs of each slice of the steps.
        features, last: the gradients of what the layer gave.
        back: gives the gradients (k, b, g) of what the products of a slice were added up to: those with W come first,
            those with U last. It is given the gradients of k + 1 states, and adds to all but the last.
    """
    inputs, first, weight_x, weight_h, states = ctx.saved_tensors[:5]
    on_inputs = inputs.new_empty(inputs.shape) if ctx.needs_input_grad[0] else None
    on_x, on_h, on_biases = torch.zeros_like(weight_x), torch.zeros_like(weight_h), []
    memory = torch.zeros_like(first) if last is None else last
    for steps, needed in reversed(list(zip(_slices(inputs), kept, strict=True))):
        before = torch.cat([states[steps.start - 1 : steps.start] if steps.start else first[None], states[steps][:-1]])
        gradients = memory.new_zeros(len(before) + 1, *memory.shape)
        if features is not None:
            gradients[1:] = features[steps]
        gradients[-1] += memory
        sums = back(needed, before, list(gradients.unbind(0)), weight_h).flatten(0, 1)
        memory = gradients[0]
        from_inputs, from_hidden = sums[:, : len(weight_x)], sums[:, -len(weight_h) :]
        on_x.addmm_(from_inputs.t(), inputs[steps].flatten(0, 1))
        on_h.addmm_(from_hidden.t(), before.flatten(0, 1))
        on_biases.append(sums.sum(0))
        if on_inputs is not None:
            torch.mm(from_inputs, weight_x, out=on_inputs[steps].flatten(0, 1))
    on_bias = torch.stack(on_biases).sum(0)
    return on_inputs, memory, on_x, on_h, on_bias[: len(weight_x)], on_bias[-len(weight_h) :]

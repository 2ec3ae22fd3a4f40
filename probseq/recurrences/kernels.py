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

Back = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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
        saved = inputs, _, _, _, after = ctx.saved_tensors
        kept = [after[steps] for steps in _slices(inputs)]
        return _backward(saved, kept, features, last, _back_elman, ctx.needs_input_grad[0])


def _back_elman(after: Tensor, before: Tensor, gradients: Tensor, weight_h: Tensor) -> Tensor:
    sums = torch.addcmul(after.new_ones(()), after, after, value=-1) * gradients.new_ones(())
    on_states, on_sums = gradients.unbind(0), sums.unbind(0)
    for t in reversed(range(len(on_sums))):
        on_states[t].addmm_(on_sums[t].mul_(on_states[t + 1]), weight_h)
    return sums


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
        # A checkpoint gives them once.
        whole = ctx.saved_tensors
        saved, kept = whole[:5], whole[5:]
        inputs, memory, weight_x, weight_h, bias_x, bias_h = _backward(
            saved, kept, features, last, _back_gru, ctx.needs_input_grad[0]
        )
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


def _back_gru(gates: Tensor, before: Tensor, gradients: Tensor, weight_h: Tensor) -> Tensor:
    size = before.shape[2]
    sums = _slopes_gru(gates, before) * gradients.new_ones(())
    on_states, updates = gradients.unbind(0), gates[..., 2 * size : 3 * size].unbind(0)
    on_sums, on_hidden = sums.view(*before.shape[:2], 4, size).unbind(0), sums[..., size:].unbind(0)
    for t in reversed(range(len(on_sums))):
        on_sums[t].mul_(on_states[t + 1].unsqueeze(1))
        on_states[t].addcmul_(on_states[t + 1], updates[t]).addmm_(on_hidden[t], weight_h)
    return sums


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
    saved: Sequence[Tensor],
    kept: Sequence[Tensor],
    features: Tensor | None,
    last: Tensor | None,
    back: Back,
    wanted: bool,
) -> tuple[Any, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of what a layer was given.

    Args:
        kept: what `back` needs of each slice of the steps.
        features, last: the gradients of what the layer gave.
        back: is given, for the k steps of a slice, the gradients (k + 1, b, h) of the states, and adds to all but the
            last of them what comes from the future. It gives the gradients (k, b, g) of the sums before the
            nonlinearities: first those with a product with W, last those with one with U.
    """
    inputs, first, weight_x, weight_h, states = saved
    nothing = torch.zeros_like(first)
    gradient = nothing if last is None else last
    features = torch.zeros_like(states) if features is None else features
    on_x, on_h, on_bias = torch.zeros_like(weight_x), torch.zeros_like(weight_h), weight_h.new_zeros(kept[0].shape[2])
    on_inputs, to_x, to_h = [], len(weight_x), len(weight_h)
    # With `is_grads_batched` the gradients are many at once: nothing else can be overwritten with what depends on them,
    # and they cannot be sliced as a whole by [:].
    for steps, needed in reversed(list(zip(_slices(inputs), kept, strict=True))):
        before = torch.cat([states[steps.start - 1 : steps.start] if steps.start else first[None], states[steps][:-1]])
        k, end = len(before) - 1, features.select(0, steps.stop - 1) + gradient
        gradients = torch.cat([nothing.unsqueeze(0), features.narrow(0, steps.start, k), end.unsqueeze(0)])
        sums = back(needed, before, gradients, weight_h).view(-1, needed.shape[2])
        gradient = gradients[0]
        from_inputs, from_hidden = sums.narrow(1, 0, to_x), sums.narrow(1, -to_h, to_h)
        on_x = torch.addmm(on_x, from_inputs.t(), inputs[steps].flatten(0, 1))
        on_h = torch.addmm(on_h, from_hidden.t(), before.flatten(0, 1))
        on_bias = on_bias + sums.sum(0)
        if wanted:
            on_inputs.append((from_inputs @ weight_x).view(inputs[steps].shape))
    reading = torch.cat(on_inputs[::-1]) if on_inputs else None
    return reading, gradient, on_x, on_h, on_bias.narrow(0, 0, to_x), on_bias.narrow(0, -to_h, to_h)

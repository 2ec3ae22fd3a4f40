"""Linear recurrences in Triton: one pass over memory forwards, one backwards. States are in float32, also where what
comes in is in 16 bits.

A program owns some channels of one sequence. It goes through time in tiles, scans each as a whole, and hands its last
state to the next.
"""

# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

STEPS, CHANNELS, WARPS = 128, 32, 8


def linear_forward(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """h of `linear_scan`."""
    return _forward(a, b, first, gated=False)


def linear_backward(a: Tensor, first: Tensor, hidden: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by a, b and first."""
    by_a, by_b = torch.empty_like(hidden), torch.empty_like(hidden)
    return by_a, by_b, _backward(a, a, first, hidden, grad, by_a, by_b, gated=False)


def gated_forward(gates: Tensor, first: Tensor) -> Tensor:
    """h of `gated_scan`."""
    logits, new = gates.chunk(2, -1)
    return _forward(logits, new, first, gated=True)


def gated_backward(gates: Tensor, first: Tensor, hidden: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients by the gates and first."""
    result = torch.empty(gates.shape, dtype=gates.dtype, device=gates.device)
    (logits, new), (by_logits, by_new) = gates.chunk(2, -1), result.chunk(2, -1)
    return result, _backward(logits, new, first, hidden, grad, by_logits, by_new, gated=True)


def _forward(x: Tensor, y: Tensor, first: Tensor, gated: bool) -> Tensor:
    x, y = _dense(x), _dense(y)
    hidden = torch.empty(y.shape, dtype=first.dtype, device=y.device)
    batch, steps, size = y.shape
    _forward_kernel[(batch, triton.cdiv(size, CHANNELS))](
        x, *x.stride()[:2], y, *y.stride()[:2], first.contiguous(), hidden,
        steps, size, gated, STEPS, CHANNELS, num_warps=WARPS,
    )  # fmt: skip
    return hidden


def _backward(
    x: Tensor, y: Tensor, first: Tensor, hidden: Tensor, grad: Tensor, by_x: Tensor, by_y: Tensor, gated: bool
) -> Tensor:
    x, y, grad = _dense(x), _dense(y), _dense(grad)
    by_first = torch.empty(first.shape, dtype=first.dtype, device=first.device)
    batch, steps, size = hidden.shape
    _backward_kernel[(batch, triton.cdiv(size, CHANNELS))](
        x, *x.stride()[:2], y, *y.stride()[:2], grad, *grad.stride()[:2], first.contiguous(), hidden,
        by_x, by_y, *by_x.stride()[:2], by_first,
        steps, size, gated, STEPS, CHANNELS, num_warps=WARPS,
    )  # fmt: skip
    return by_first


def _dense(x: Tensor) -> Tensor:
    """The same numbers with channels side by side; the other axes may stand anywhere."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


@triton.jit
@no_type_check
def _then(a, b, keep, new):
    return a * keep, b * keep + new


@triton.jit
@no_type_check
def _forward_kernel(
    x, x_batch, x_time, y, y_batch, y_time, first, hidden,
    steps, size, gated: tl.constexpr, tile: tl.constexpr, channels: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    # Places in large batches do not fit 32 bits.
    step, column = tl.arange(0, tile).to(tl.int64), tl.program_id(1) * channels + tl.arange(0, channels)
    inside = column < size
    before = tl.load(first + row * size + column, inside, 0.0).to(tl.float32)
    for start in range(0, steps, tile):
        time = start + step
        real = (time < steps)[:, None] & inside[None, :]
        a = tl.load(x + row * x_batch + time[:, None] * x_time + column[None, :], real, 0.0).to(tl.float32)
        b = tl.load(y + row * y_batch + time[:, None] * y_time + column[None, :], real, 0.0).to(tl.float32)
        if gated:
            write = tl.sigmoid(a)
            a, b = 1 - write, write * tl.where(b >= 0, b + 0.5, tl.sigmoid(b))
        b = tl.where(step[:, None] == 0, b + a * before[None, :], b)
        _, state = tl.associative_scan((a, b), 0, _then)
        tl.store(hidden + (row * steps + time[:, None]) * size + column[None, :], state, real)
        before = tl.sum(tl.where(step[:, None] == tile - 1, state, 0.0), 0)


@triton.jit
@no_type_check
def _backward_kernel(
    x, x_batch, x_time, y, y_batch, y_time, grad, grad_batch, grad_time, first, hidden,
    by_x, by_y, by_batch, by_time, by_first,
    steps, size, gated: tl.constexpr, tile: tl.constexpr, channels: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    step, column = tl.arange(0, tile).to(tl.int64), tl.program_id(1) * channels + tl.arange(0, channels)
    inside = column < size
    start_state = tl.load(first + row * size + column, inside, 0.0).to(tl.float32)
    later = tl.zeros((channels,), tl.float32)
    for back in range(tl.cdiv(steps, tile)):
        time = (tl.cdiv(steps, tile) - 1 - back) * tile + step
        real = (time < steps)[:, None] & inside[None, :]
        own = x + row * x_batch + time[:, None] * x_time + column[None, :]
        # Beyond the end nothing is kept, and there is no gradient.
        keep = tl.load(own + x_time, (time + 1 < steps)[:, None] & inside[None, :], 0.0).to(tl.float32)
        if gated:
            keep = 1 - tl.sigmoid(keep)
        adjoint = tl.load(grad + row * grad_batch + time[:, None] * grad_time + column[None, :], real, 0.0)
        adjoint = adjoint.to(tl.float32)
        adjoint = tl.where(step[:, None] == tile - 1, adjoint + keep * later[None, :], adjoint)
        _, adjoint = tl.associative_scan((keep, adjoint), 0, _then, reverse=True)
        later = tl.sum(tl.where(step[:, None] == 0, adjoint, 0.0), 0)
        past = hidden + (row * steps + time[:, None] - 1) * size + column[None, :]
        before = tl.load(past, real & (time > 0)[:, None], 0.0).to(tl.float32)
        before = tl.where(time[:, None] == 0, start_state[None, :], before)
        place = row * by_batch + time[:, None] * by_time + column[None, :]
        if gated:
            write = tl.sigmoid(tl.load(own, real, 0.0).to(tl.float32))
            new = tl.load(y + row * y_batch + time[:, None] * y_time + column[None, :], real, 0.0).to(tl.float32)
            soft = tl.sigmoid(new)
            adjoint = adjoint * write
            candidate = tl.where(new >= 0, new + 0.5, soft)
            tl.store(by_x + place, adjoint * (1 - write) * (candidate - before), real)
            tl.store(by_y + place, adjoint * tl.where(new >= 0, 1.0, soft * (1 - soft)), real)
        else:
            tl.store(by_x + place, adjoint * before, real)
            tl.store(by_y + place, adjoint, real)
    keep = tl.load(x + row * x_batch + column, inside, 0.0).to(tl.float32)
    if gated:
        keep = 1 - tl.sigmoid(keep)
    tl.store(by_first + row * size + column, keep * later, inside)

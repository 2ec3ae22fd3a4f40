"""Linear recurrences of first order, hₜ = aₜ ∘ hₜ₋₁ + bₜ, without waiting for one step after another.

Nothing is divided by and no logarithm is taken, so that a may be 0 and b of any sign. Where |a| ≤ 1 all that is
computed stays as small as h itself.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Inexact
from torch import Tensor
from torch.autograd.function import once_differentiable

NARROW = 2048
"""Numbers in one step, on a CPU, below which many steps are taken at once: a call costs more than its arithmetic."""

BLOCK = 2**17
"""Numbers that `gated_scan` works on at once on a CPU: they stay in its cache."""


def linear_scan(
    a: Inexact[Tensor, "b n h"], b: Inexact[Tensor, "b n h"], first: Inexact[Tensor, "b h"]
) -> Inexact[Tensor, "b n h"]:
    """hₜ = aₜ ∘ hₜ₋₁ + bₜ for t = 1 … n, from h₀ = `first`; real or complex.

    In float32 on a GPU it is one fused kernel, where triton is installed; else O(log n) operations on whole tensors, or
    on a CPU, where one step is work enough, n of them. Gradients of the first order are exact and take another scan.

    Shapes:
        a, b: (b, n, h), n ≥ 1, of one dtype; they may be expanded. first: (b, h).

    >>> linear_scan(torch.full((1, 3, 1), 0.5), torch.ones(1, 3, 1), torch.zeros(1, 1)).flatten().tolist()
    [1.0, 1.5, 1.75]
    """
    return _LinearScan.apply(a, b, first)  # type: ignore[reportReturnType]


def gated_scan(gates: Float[Tensor, "b n g"], first: Float[Tensor, "b h"]) -> Float[Tensor, "b n h"]:
    """hₜ = (1 − zₜ) ∘ hₜ₋₁ + zₜ ∘ g(cₜ) with zₜ = σ(kₜ), from h₀ = `first`.

    g(c) = c + ½ for c ≥ 0, else σ(c). Only the gates and h are kept for the gradient, which is of the first order.

    Shapes:
        gates: (b, n, g), n ≥ 1, g = 2h: k and then c, also in 16 bits. first: (b, h), in the precision of h.

    >>> gated_scan(torch.zeros(1, 3, 2), torch.ones(1, 1)).flatten().tolist()
    [0.75, 0.625, 0.5625]
    """
    return _GatedScan.apply(gates, first)  # type: ignore[reportReturnType]


def gated_step(gates: Float[Tensor, "b g"], before: Float[Tensor, "b h"]) -> Float[Tensor, "b h"]:
    """One step of `gated_scan`, written out."""
    logits, new = gates.to(before).chunk(2, -1)
    return torch.lerp(before, _candidate(new), logits.sigmoid())


def _candidate(new: Tensor) -> Tensor:
    """g: `where` is slower."""
    return new.clamp(min=0) + new.clamp(max=0).sigmoid()


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, first: Tensor) -> Tensor:
        if _fuses(b):
            hidden = _kernels().linear_forward(a, b, first)
        else:
            hidden = b.clone(memory_format=torch.contiguous_format)
            _scan(a, hidden, first)
        ctx.save_for_backward(a, first, hidden)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, first, hidden = ctx.saved_tensors
        if _fuses(hidden):
            return _kernels().linear_backward(a, first, hidden, grad)
        adjoint = grad.clone(memory_format=torch.contiguous_format)
        keep = a.conj()
        _scan(keep[:, 1:], adjoint[:, :-1], adjoint[:, -1], reverse=True)
        by_a = torch.empty_like(adjoint)
        torch.mul(adjoint[:, 0], first.conj(), out=by_a[:, 0])
        torch.mul(adjoint[:, 1:], hidden[:, :-1].conj(), out=by_a[:, 1:])
        return by_a, adjoint, keep[:, 0] * adjoint[:, 0]


class _GatedScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, first: Tensor) -> Tensor:
        hidden = _kernels().gated_forward(gates, first) if _fuses(first) else _gated_forward(gates, first)
        ctx.save_for_backward(gates, first, hidden)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gates, first, hidden = ctx.saved_tensors
        if _fuses(first):
            return _kernels().gated_backward(gates, first, hidden, grad)
        return _gated_backward(gates, first, hidden, grad)


def _gated_forward(gates: Tensor, first: Tensor) -> Tensor:
    logits, new = gates.chunk(2, -1)
    hidden, before = first.new_empty(logits.shape), first
    for part in _blocks(hidden):
        write = logits[:, part].to(first).sigmoid()
        torch.mul(write, _candidate(new[:, part].to(first)), out=hidden[:, part])
        _scan(1 - write, hidden[:, part], before)
        before = hidden[:, part.stop - 1]
    return hidden


def _gated_backward(gates: Tensor, first: Tensor, hidden: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients, from the last block to the first: `later` is that of the block's last state by what follows."""
    result, later = torch.empty_like(gates), torch.zeros_like(first)
    (logits, new), (by_logits, by_new) = gates.chunk(2, -1), result.chunk(2, -1)
    for part in reversed(_blocks(hidden)):
        write, fresh = logits[:, part].to(first).sigmoid(), new[:, part].to(first)
        soft = fresh.clamp(max=0).sigmoid()
        keep, adjoint = 1 - write, grad[:, part].clone()
        adjoint[:, -1] += later
        _scan(keep[:, 1:], adjoint[:, :-1], adjoint[:, -1], reverse=True)
        later = keep[:, 0] * adjoint[:, 0]
        before = first.unsqueeze(1) if part.start == 0 else hidden[:, part.start - 1 : part.start]
        before = torch.cat([before, hidden[:, part.start : part.stop - 1]], 1)
        adjoint.mul_(write)
        torch.mul(adjoint, torch.where(fresh >= 0, 1.0, soft * (1 - soft)), out=by_new[:, part])
        candidate = soft.add_(fresh.clamp(min=0))
        torch.mul(adjoint.mul_(keep), candidate.sub_(before), out=by_logits[:, part])
    return result, later


def _blocks(hidden: Tensor) -> list[slice]:
    """Stretches of time that are worked on at once: on an accelerator all of it."""
    batch, steps, size = hidden.shape
    length = max(1, BLOCK // max(1, batch * size)) if hidden.device.type == "cpu" else steps
    return [slice(start, min(start + length, steps)) for start in range(0, steps, length)]


def _scan(a: Tensor, b: Tensor, first: Tensor, reverse: bool = False) -> None:
    """Put hₜ in the place of bₜ; in `reverse` from the last step to the first."""
    if b.device.type == "cpu" and b[:, :1].numel() >= NARROW:
        steps = list(zip(a.unbind(1), b.unbind(1), strict=True))
        for keep, state in reversed(steps) if reverse else steps:
            first = state.addcmul_(keep, first)
    elif reverse:
        turned = b.flip(1)
        _scan(a.flip(1), turned, first)
        b.copy_(turned.flip(1))
    elif b.shape[1]:
        b[:, 0].addcmul_(a[:, 0], first)
        _reduce(a, b)


def _reduce(a: Tensor, b: Tensor) -> None:
    """`_scan` from 0: two steps are one of the same form, so a scan of half the length gives every second state."""
    half = b.shape[1] // 2
    if not half:
        return
    keep = a[:, 1::2] * a[:, 0 : 2 * half : 2]
    state = torch.addcmul(b[:, 1::2], a[:, 1::2], b[:, 0 : 2 * half : 2])
    _reduce(keep, state)
    b[:, 1::2] = state
    rest = b[:, 2::2]
    rest.addcmul_(a[:, 2::2], state[:, : rest.shape[1]])


def matrix_scan(a: Float[Tensor, "b n h h"], b: Float[Tensor, "b n h"]) -> Float[Tensor, "b n h"]:
    """hₜ = Aₜ hₜ₋₁ + bₜ from h₀ = 0, in O(log n) products of matrices; no gradient of its own.

    >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    >>> matrix_scan(turn, torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]))[0].tolist()
    [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    """
    half = b.shape[1] // 2
    if not half:
        return b
    second, result = a[:, 1::2], b.clone()
    state = b[:, 1::2] + _times(second, b[:, 0 : 2 * half : 2])
    result[:, 1::2] = state = matrix_scan(second @ a[:, 0 : 2 * half : 2], state)
    rest = a[:, 2::2]
    result[:, 2::2] += _times(rest, state[:, : rest.shape[1]])
    return result


def _times(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.unsqueeze(-1)).squeeze(-1)


def _fuses(like: Tensor) -> bool:
    return like.is_cuda and like.dtype == torch.float32 and find_spec("triton") is not None


def _kernels() -> Any:
    # Triton is not everywhere, and slow to import.
    from probseq import linear_triton

    return linear_triton

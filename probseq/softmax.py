"""Log-probabilities of symbols by a softmax over a large alphabet, without all the logits at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from probseq.numerics import at_least_float32

LARGE = 2**24
"""The number of logits from which they are made in chunks, and the least in a chunk."""

CHUNKS = {"cpu": 16}
"""How many chunks there are at most; 8 on an accelerator, whose products like them large."""


def is_large(features: Float[Tensor, "*n h"], weight: Float[Tensor, "v h"]) -> bool:
    """Whether the logits are too many to be kept. A softmax in float16 needs its gradient scaled before it is taken."""
    many = math.prod(features.shape[:-1]) * len(weight) > LARGE
    return many and _working(features) != torch.float16


def log_softmax_at(
    features: Float[Tensor, "n h"], weight: Float[Tensor, "v h"], bias: Float[Tensor, " v"], y: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """log softmax(W h + b)_y of each row.

    Many logits are made a chunk of rows at a time. Where a gradient is wanted, that of the sum over rows is taken along
    with the value, while a chunk is there: the arithmetic is then that of the plain way, in a fraction of the memory.
    Rows that turn out to be weighted differently cost as much again in the backward pass.
    """
    if not is_large(features, weight):
        return _at_once(features, weight, bias, y)
    operands = (features, weight, bias)
    wanted = tuple(torch.is_grad_enabled() and operand.requires_grad for operand in operands)
    return _InChunks.apply(*operands, y, wanted)  # type: ignore[no-any-return]


def _at_once(features: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Tensor:
    return -F.cross_entropy(at_least_float32(F.linear(features, weight, bias)), y, reduction="none")


def _working(features: Tensor) -> torch.dtype:
    """What the product is taken in, autocast heeded."""
    device = features.device.type
    autocast = torch.is_autocast_enabled(device) and features.dtype != torch.float64
    return torch.get_autocast_dtype(device) if autocast else features.dtype


class _InChunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, y: Tensor, wanted: tuple[bool, bool, bool]
    ) -> Tensor:
        ctx.dtype, ctx.wanted = _working(features), wanted
        ctx.save_for_backward(features, weight, bias, y)
        log_prob, ctx.found = _walk((features, weight, bias), y, ctx.dtype, wanted)
        return log_prob

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        *operands, y = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_again(operands, y, ctx.dtype, ctx.wanted, upstream), None, None
        # Handed over once, and scaled in place: a second pass over a graph that was kept computes them again.
        found, ctx.found = ctx.found, None
        # An accelerator is waited for here, which is little beside a product of this size.
        if found is None or not bool((upstream == upstream[:1]).all()):
            found = _walk(operands, y, ctx.dtype, ctx.wanted, upstream)[1]
        else:
            found = [None if each is None else each.mul_(upstream[0]) for each in found]
        return *found, None, None


def _walk(
    operands: Sequence[Tensor], y: Tensor, dtype: torch.dtype, wanted: Sequence[bool], upstream: Tensor | None = None
) -> tuple[Tensor, list[Tensor | None]]:
    """log P(y), and the gradients that are wanted of its sum, rows weighted by `upstream`."""
    features, size, fused = operands[0], len(operands[1]), _fuses(operands[0], dtype)
    weight, bias = operands[1].to(dtype), operands[2].to(dtype)
    if fused:
        # Tensor cores want rows of 16 bytes.
        weight, bias = F.pad(weight, (0, 0, 0, -size % 8)), F.pad(bias, (0, -size % 8))
    precise = torch.promote_types(dtype, torch.float32)
    rows = max(LARGE // len(weight), -(-len(features) // CHUNKS.get(features.device.type, 8)))
    logits = features.new_empty(min(rows, len(features)), len(weight), dtype=dtype)
    normalised = logits if fused else torch.empty_like(logits, dtype=precise)
    log_prob = features.new_empty(len(features), dtype=precise)
    d_features, d_weight, d_bias = (
        torch.zeros_like(each, dtype=precise) if want else None
        for each, want in zip((features, weight, bias), wanted, strict=True)
    )
    for begin in range(0, len(features), rows):
        part = slice(begin, begin + rows)
        h, at = features[part].to(dtype), y[part].unsqueeze(1)
        z = torch.addmm(bias, h, weight.T, out=logits[: len(h)])
        # The error is −∂ log P(y) / ∂z.
        error = z
        if fused:
            _kernels().log_softmax_error(z, size, y[part], log_prob[part], any(wanted))
        else:
            log_p = torch.log_softmax(z, -1, dtype=precise, out=normalised[: len(h)])
            own = log_p.gather(1, at)
            log_prob[part] = own.squeeze(1)
            if any(wanted):
                # p − 1 in full precision.
                torch.exp(log_p, out=z).scatter_(1, at, own.expm1().to(dtype))
        if upstream is not None:
            error.mul_(upstream[part].unsqueeze(1))
        if d_features is not None:
            _subtract_product(d_features[part], error, weight)
        if d_weight is not None:
            _subtract_product(d_weight, error.T, h)
        if d_bias is not None:
            d_bias -= error.sum(0, dtype=precise)
    gradients = zip((d_features, d_weight, d_bias), operands, strict=True)
    return log_prob, [None if each is None else each[: len(operand)].to(operand) for each, operand in gradients]


def _subtract_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total −= a b, the sum being kept in the precision of `total`."""
    if total.dtype == a.dtype:
        total.addmm_(a, b, alpha=-1)
    else:
        total -= a @ b


def _again(
    operands: Sequence[Tensor], y: Tensor, dtype: torch.dtype, wanted: Sequence[bool], upstream: Tensor
) -> list[Tensor | None]:
    """The gradients as functions that have gradients themselves."""
    features, weight, bias = (operand.to(dtype) for operand in operands)
    value = _at_once(features, weight, bias, y)
    inputs = [operand for operand, want in zip(operands, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(value, inputs, upstream.to(value), create_graph=True))
    return [next(found) if want else None for want in wanted]


def _fuses(features: Tensor, dtype: torch.dtype) -> bool:
    return features.is_cuda and dtype in (torch.float32, torch.bfloat16) and find_spec("triton") is not None


def _kernels() -> Any:
    # Triton is not everywhere, and slow to import.
    from probseq import softmax_triton

    return softmax_triton

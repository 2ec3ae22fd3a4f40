"""A softmax over a large alphabet in Triton: the logits are read from memory once, and their error written over them.

A program owns a row. It goes through the symbols twice, and finds them in the cache the second time.
"""

# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl
from torch import Tensor

TILE, WARPS = 4096, 8


def log_softmax_error(logits: Tensor, size: int, y: Tensor, log_prob: Tensor, wanted: bool) -> None:
    """Fill in log softmax(z)_y of each row; if that is `wanted`, put softmax(z) − 1_y in the place of z.

    Shapes:
        logits: (n, w), rows side by side, in 32 or 16 bits: z is the first `size` columns of them, and the error is 0
        in the others. y, log_prob: (n,), the latter in float32.
    """
    n, width = logits.shape
    _kernel[(n,)](logits, y, log_prob, size, width, wanted, TILE, num_warps=WARPS)


@triton.jit
@no_type_check
def _kernel(logits, y, log_prob, size, width, wanted: tl.constexpr, tile: tl.constexpr):
    row, lane = tl.program_id(0).to(tl.int64), tl.arange(0, tile)
    symbol = tl.load(y + row)
    logits += row * width
    own = tl.load(logits + symbol).to(tl.float32)
    greatest, total = tl.full((tile,), -1e30, tl.float32), tl.zeros((tile,), tl.float32)
    for start in range(0, size, tile):
        z = tl.load(logits + start + lane, start + lane < size, -float("inf")).to(tl.float32)
        new = tl.maximum(greatest, z)
        greatest, total = new, total * tl.exp(greatest - new) + tl.exp(z - new)
    top = tl.max(greatest, 0)
    log_total = top + tl.log(tl.sum(total * tl.exp(greatest - top), 0))
    tl.store(log_prob + row, own - log_total)
    if wanted:
        for start in range(0, width, tile):
            column = start + lane
            p = tl.exp(tl.load(logits + column, column < size, -float("inf")).to(tl.float32) - log_total)
            tl.store(logits + column, tl.where(column == symbol, p - 1, p), column < width)

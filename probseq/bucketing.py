"""Rows of similar lengths together, within a budget of padded slots."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor


def cut(lengths: Sequence[int], tokens: int | None, size: int | None) -> list[tuple[int, int]]:
    """Ranges of sequences whose lengths rise, greedily filled.

    Args:
        tokens: what count · (longest + 1) of a range may come to at most, if it has more than one sequence, or None.
        size: how many sequences it has at most, or None.

    >>> cut([1, 1, 2, 7], 9, None)
    [(0, 3), (3, 4)]
    """
    cuts, start = [], 0
    while start < len(lengths):
        most = len(lengths) if size is None else min(len(lengths), start + size)
        if tokens is not None:
            # The slots of a range rise with its end.
            count = bisect_right(range(1, most - start + 1), tokens, key=lambda n: n * (lengths[start + n - 1] + 1))
            most = start + max(1, count)
        cuts.append((start, most))
        start = most
    return cuts


def arrange(
    lengths: Int[Tensor, " n"], cuts: Sequence[tuple[int, int]], generator: torch.Generator | None, bucket: bool = True
) -> list[Int[Tensor, " m"]]:
    """The rows of each batch: those of similar lengths, or with no `bucket` any, in random order.

    Without a generator they stand in order of length.
    """
    if generator is None:
        order = lengths.argsort(stable=True)
        return [order[a:b] for a, b in cuts]
    shuffled = torch.randperm(len(lengths), generator=generator)
    order = shuffled[lengths[shuffled].argsort(stable=True)] if bucket else shuffled
    places = torch.randperm(len(cuts), generator=generator).tolist()
    return [order[a:b] for a, b in (cuts[i] for i in places)]

"""The edit distance."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from probseq.arguments import checked
from probseq.sequences import Sequences


@checked
def edit_distance(a: Sequences, b: Sequences) -> Int[Tensor, " n"]:
    """Levenshtein's distance of the i-th sequence of `a` to the i-th of `b`, ends not counted: (n,), int64.

    The fewest insertions, deletions and substitutions of single elements that make one of the other. All pairs at
    once, on any device, one row of the table a step: libraries for error rates take one pair of strings at a time.

    D(i, j) = min(D(i − 1, j) + 1, D(i − 1, j − 1) + [aᵢ ≠ bⱼ], D(i, j − 1) + 1), and the last of the three, which runs
    along the row, is a cumulative minimum of D(i, j) − j.

    Raises:
        ValueError: another number of sequences, or elements of another shape.

    >>> edit_distance(Sequences.of([[1, 2, 3], []]), Sequences.of([[2, 3, 3], [4, 4]])).tolist()
    [2, 2]
    """
    a, b = a.trim(), b.trim()
    if len(a) != len(b):
        raise ValueError(f"edit_distance() compares pair by pair; got {len(a)} and {len(b)} sequences.")
    empty = not (a.values.shape[1] and b.values.shape[1])
    if a.values.shape[2:] != b.values.shape[2:] and not empty:
        raise ValueError(
            f"the elements must have one shape; got {tuple(a.values.shape[2:])} and {tuple(b.values.shape[2:])}."
        )
    longer = torch.maximum(a.lengths, b.lengths).to(a.device)
    if empty or not len(a):
        return longer
    ends_a, ends_b = a.lengths.to(a.device), b.lengths.to(a.device)
    columns = torch.arange(b.values.shape[1] + 1, device=a.device)
    others = b.values.to(a.device)
    row, found = columns.expand(len(a), -1), ends_b
    for i in range(a.values.shape[1]):
        differs = a.values[:, i : i + 1] != others
        differs = differs.flatten(2).any(-1) if differs.ndim > 2 else differs
        inner = torch.minimum(row[:, 1:] + 1, row[:, :-1] + differs)
        row = torch.cat([row[:, :1] + 1, inner], 1)
        row = (row - columns).cummin(1).values + columns
        last = row.gather(1, ends_b.unsqueeze(1)).squeeze(1)
        found = torch.where(ends_a == i + 1, last, found)
    return found

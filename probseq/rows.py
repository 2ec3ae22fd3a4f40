"""What a batch is conditioned on, as a user gives it: a tensor, Sequences, a Context, None, or a tuple of these."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from probseq.arguments import as_numbers
from probseq.sequences import Sequences
from probseq.tree import select, tree_map


def count_rows(x: Any) -> int | None:
    """How many sequences x stands for: that of the first member of a tuple; None where x does not say."""
    if isinstance(x, tuple):
        return next((n for n in map(count_rows, x) if n is not None), None)
    return None if x is None else getattr(x, "batch", None) if hasattr(x, "batch") else len(x)


def select_rows(x: Any, index: Int[Tensor, " n"]) -> Any:
    """Rows `index` of x, sequences trimmed to the longest of them."""
    if isinstance(x, tuple):
        return tuple(select_rows(member, index) for member in x)
    if isinstance(x, Sequences):
        return x.select(index)
    if isinstance(x, Tensor):
        return x.index_select(0, index.to(x.device))
    return None if x is None else select(x, index.to(x.summary.device))


def place(x: Any, device: torch.device | str, dtype: torch.dtype | None = None) -> Any:
    """x on a device, its real numbers in `dtype`."""
    if isinstance(x, tuple):
        return tuple(place(member, device, dtype) for member in x)
    if isinstance(x, Sequences):
        return x.to(device, dtype if x.values.is_floating_point() else None)
    return tree_map(lambda leaf: leaf.to(device, dtype if leaf.is_floating_point() else None), x)


def from_list(x: Any) -> Any:
    """A list of numbers as a tensor; one that holds tensors or Sequences as the tuple of several contexts."""
    if not isinstance(x, list):
        return x
    several = any(isinstance(member, Sequences) or (isinstance(member, Tensor) and member.ndim) for member in x)
    return tuple(x) if several else as_numbers("the context", x)

"""In how many ways a sequence fits a pattern with gaps of unknown length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.inference.infilling.pattern import Gap, Pattern
from probseq.sequences import Sequences


def log_share(pattern: Pattern, rows: Tensor, y: Sequences) -> Float[Tensor, " m"]:
    """The log of what each completion counts for, so that each sequence counts once however many lengths fit it.

    1 / (ways it fits) where it ended. Where it may go on, a sequence fits as soon as its beginning does: a completion
    of which a shorter beginning fits too counts 0.

    Args:
        rows: (m,), the pattern that each of the m completions is of.
    """
    found = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for row, (items, ended) in enumerate(zip(pattern.items, pattern.ended, strict=True)):
        gaps = sum(isinstance(item, Gap) for item in items)
        index = (rows == row).nonzero().squeeze(-1)
        if not len(index) or not gaps or (ended and gaps == 1):
            continue
        own = y.select(index.cpu())
        ways = _ways(items, own)
        at = own.lengths.to(ways.device).unsqueeze(1)
        share = -ways.gather(1, at).squeeze(1).log()
        if not ended:
            before = torch.arange(ways.shape[1], device=ways.device) < at
            share = share.masked_fill(((ways > 0) & before).any(1), -torch.inf)
        found[index] = share.to(found)
    return found


def _ways(items: Sequence[Any], y: Sequences) -> Float[Tensor, "m t1"]:
    """How many choices of the gaps' lengths let the pattern fit the first t elements, for each t."""
    values, time = y.values, y.values.shape[1]
    ways = torch.zeros(len(y), time + 1, dtype=torch.float64, device=values.device)
    ways[:, 0] = 1
    for item in items:
        if isinstance(item, Gap):
            high = time if item.high is None else min(item.high, time)
            ways = sum(
                (torch.nn.functional.pad(ways, (size, 0))[:, : time + 1] for size in range(item.low, high + 1)),
                torch.zeros_like(ways),
            )
            continue
        fits = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        if item is not None:
            fits = (
                (values == torch.as_tensor(item).to(values)).flatten(2).all(-1) if values.ndim > 2 else values == item
            )
        ways = torch.nn.functional.pad(ways[:, :-1] * fits, (1, 0))
    return ways

"""Whether a recurrence sees the future."""

from __future__ import annotations

from typing import Any

import torch

from probseq.context import Context
from probseq.part import advance, first_memory


def find_leak(recurrence: Any, inputs: int, source: int = 0, steps: int = 8) -> tuple[int, int] | None:
    """Steps t < s where the features at t depend on the input at s, by gradient, or None where there are none.

    Args:
        recurrence: a built recurrence part that reads `inputs` numbers a step.
        source: the width of what it attends to, 0 where there is nothing.
        steps: how many are looked at; a leak from further away is not found.
    """
    longest = getattr(recurrence, "max_length", None)
    steps = steps if longest is None else min(steps, longest + 1)
    like = next(iter(recurrence.parameters()), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(1, steps, inputs, generator=generator).to(like).requires_grad_()
    context = Context(
        read.new_empty(1, 0),
        source=torch.randn(1, steps, source, generator=generator).to(like),
        source_lengths=torch.full((1,), steps, device=like.device),
        source_symbols=torch.zeros(1, steps, dtype=torch.int64, device=like.device),
    )
    # cuDNN takes no gradient in evaluation mode, where models stand.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        features = advance(recurrence, read, first_memory(recurrence, read), context)[0]
        for t in range(steps - 1):
            if not features.requires_grad:
                return None
            (slope,) = torch.autograd.grad(features[:, t].sum(), read, retain_graph=True, allow_unused=True)
            later = [] if slope is None else (slope[0, t + 1 :].abs() > 0).any(-1).nonzero().flatten().tolist()
            if later:
                return t, t + 1 + later[0]
    return None

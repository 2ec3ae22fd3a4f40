"""Whether a recurrence sees the future."""

from __future__ import annotations

from typing import Any

import torch

from probseq.part import first_memory


def find_leak(recurrence: Any, inputs: int, steps: int = 8) -> tuple[int, int] | None:
    """Steps t < s where the features at t depend on the input at s, by gradient, or None where there are none.

    Args:
        recurrence: a built recurrence part that reads `inputs` numbers a step.
        steps: how many are looked at; a leak from further away is not found.
    """
    longest = getattr(recurrence, "max_length", None)
    steps = steps if longest is None else min(steps, longest + 1)
    like = next(iter(recurrence.parameters()), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(1, steps, inputs, generator=generator).to(like).requires_grad_()
    # cuDNN takes no gradient in evaluation mode, where models stand.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        features = recurrence(read, first_memory(recurrence, read))[0]
        for t in range(steps - 1):
            if not features.requires_grad:
                return None
            (slope,) = torch.autograd.grad(features[:, t].sum(), read, retain_graph=True, allow_unused=True)
            later = [] if slope is None else (slope[0, t + 1 :].abs() > 0).any(-1).nonzero().flatten().tolist()
            if later:
                return t, t + 1 + later[0]
    return None

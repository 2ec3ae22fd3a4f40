"""Precision."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Under autocast a projection comes in 16 bits; what log-probabilities are made of must not."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

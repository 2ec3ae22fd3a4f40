"""Precision."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Under autocast a projection comes in 16 bits; what log-probabilities are made of must not."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def promoted(values: Tensor, like: Tensor) -> Tensor:
    """Real numbers in the precision of `like` at least: some laws score in that of the value."""
    return values.to(torch.promote_types(values.dtype, like.dtype)) if values.is_floating_point() else values

"""Precision, and sums of probabilities that may all be 0."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Under autocast a projection comes in 16 bits; what log-probabilities are made of must not."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def promoted(values: Tensor, like: Tensor) -> Tensor:
    """Real numbers in the precision of `like` at least: some laws score in that of the value."""
    return values.to(torch.promote_types(values.dtype, like.dtype)) if values.is_floating_point() else values


def log_sum(logs: Tensor) -> Tensor:
    """log Σ exp over the last axis: −∞, with no gradient, where all are −∞."""
    some = (logs > -torch.inf).any(-1)
    safe = torch.where(some.unsqueeze(-1), logs, 0.0)
    return torch.where(some, safe.logsumexp(-1), -torch.inf)


def moments(values: Tensor, known: Tensor, centre: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the second axis of (b, n, e), where `known`; else 0 and the mean of |value|."""
    values, count = torch.where(known, values, 0.0).double(), known.sum(1)
    if not centre:
        scale = values.abs().sum(1) / count
        return torch.zeros_like(scale), scale
    loc = values.sum(1) / count
    off = torch.where(known, values - loc.unsqueeze(1), 0.0)
    return loc, (off.square().sum(1) / count).sqrt()

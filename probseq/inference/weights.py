"""Weights of particles, N for each row: what they are worth, and what they say of their own error."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.numerics import log_sum


def log_mean(log_weight: Float[Tensor, "n N"]) -> Float[Tensor, " n"]:
    """log (1/N) Σ w: log Ẑ; −∞ where all weights are 0."""
    return log_sum(log_weight) - math.log(log_weight.shape[1])


def normalise(log_weight: Float[Tensor, "n N"]) -> Float[Tensor, "n N"]:
    """Log-weights whose exp sums to 1 in each row; uniform ones where all are −∞."""
    total = log_sum(log_weight).unsqueeze(1)
    return torch.where(total > -torch.inf, log_weight - total, -math.log(log_weight.shape[1]))


def effective_size(log_weight: Float[Tensor, "n N"]) -> Float[Tensor, " n"]:
    """(Σ w)² / Σ w²; 0 where all weights are 0."""
    some = (log_weight > -torch.inf).any(1)
    return torch.where(some, (2 * log_sum(log_weight) - log_sum(2 * log_weight)).exp(), 0.0)


def relative_variance(
    log_weight: Float[Tensor, "n N"], origin: Int[Tensor, "n N"], resampled: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """An estimate of Var(Ẑ) / Z² from the genealogy of the particles; ∞ for a single one.

    1 − (N / (N − 1))^(r + 1) Σ wᵢ wⱼ over pairs that descend from different particles, for normalised w.

    Args:
        origin: the particle of the beginning that each descends from.
        resampled: r, how often the particles were drawn anew, each independently of the others.

    Source: Lee & Whiteley, Variance estimation in the particle filter, 2018, equation 11.
    """
    n, particles = log_weight.shape
    if particles == 1:
        return log_weight.new_full((n,), torch.inf)
    share = normalise(log_weight).exp()
    families = torch.zeros_like(share).scatter_add(1, origin, share).square().sum(1)
    factor = (particles / (particles - 1)) ** (resampled + 1).to(share.dtype)
    return (1 - factor * (1 - families)).clamp(min=0)

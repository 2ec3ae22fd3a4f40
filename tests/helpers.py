"""What several tests need: data, and what counts as equal."""

from __future__ import annotations

import math

import numpy as np
import torch

import probseq as ps


def corpus(symbols: int = 3, size: int = 60, longest: int = 6, seed: int = 0) -> ps.Sequences:
    """Skewed random sequences, empty and open ones among them."""
    rng = np.random.default_rng(seed)
    law = 0.5 ** np.arange(1, symbols + 1)
    items = [rng.choice(symbols, rng.integers(0, longest + 1), p=law / law.sum()) for _ in range(size)]
    return ps.Sequences.of(items, rng.random(size) < 0.9)


def close(one, other, tolerance: float = 1e-12) -> bool:
    return torch.allclose(one, other, rtol=0, atol=tolerance)


def within_errors(draws: torch.Tensor, expected: float, errors: float = 4) -> bool:
    """Whether the mean of independent draws lies within so many standard errors."""
    return abs(float(draws.mean()) - expected) <= errors * float(draws.std()) / math.sqrt(len(draws))

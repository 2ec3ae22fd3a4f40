"""Do probabilities of symbols mean what they say?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """All probabilities that a model gave, of each symbol at each step, by how large they were.

    Shapes:
        count: (k,), how many lay in each of k bins of equal width.
        probability, frequency: (k,), their mean, and the share that came true; NaN where there are none.
        deviation: (k,), the standard deviation of the share if the model is right.

    Args:
        error: Σ count |frequency − probability| / Σ count, the expected calibration error (Naeini et al., 2015).
        chance: what chance alone would make of it.
    """

    count: Int[Tensor, " k"]
    probability: Float[Tensor, " k"]
    frequency: Float[Tensor, " k"]
    deviation: Float[Tensor, " k"]
    error: float
    chance: float


def reliability(probability: Float[Tensor, " n"], came: Float[Tensor, " n"], bins: int = BINS) -> Reliability:
    """Compare probabilities with what came.

    >>> found = reliability(torch.tensor([0.25, 0.25, 0.75, 0.75]), torch.tensor([0.0, 1.0, 1.0, 1.0]), bins=2)
    >>> found.frequency.tolist(), found.error
    ([0.5, 1.0], 0.25)
    """
    probability, came = probability.double(), came.double()
    at = (probability * bins).long().clamp(max=bins - 1)

    def total(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add(0, at, values)

    count = total(torch.ones_like(probability))
    mean, share = total(probability) / count, total(came) / count
    deviation = total(probability * (1 - probability)).sqrt() / count
    weight = count / count.sum().clamp(min=1)
    error = float((weight * (share - mean).abs().nan_to_num()).sum())
    chance = float((weight * deviation.nan_to_num()).sum()) * math.sqrt(2 / math.pi)
    return Reliability(count.long(), mean, share, deviation, error, chance)

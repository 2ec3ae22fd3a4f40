"""Features of the time of day, week or year, which are known beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked


@checked
def cycles(times: Any, periods: Sequence[float] = (24, 168)) -> Float[Tensor, "*t c"]:
    """cos and sin of 2π · time / period for each period: covariates for `Aligned(Reals(2 · periods))`.

    Args:
        times: numbers of any shape, such as the count of steps. For time stamps see `datasets.calendar`.
        periods: in the units of `times`: for hours 24 is a day, 168 a week, 8766 a year.

    Raises:
        ValueError: no periods, or one that is not positive.

    >>> cycles([0, 6, 12], [24]).round().abs().tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    if not periods or min(periods) <= 0:
        raise ValueError(f"cycles() needs periods above 0, as (24, 168) for hours; got {periods}.")
    angle = torch.as_tensor(times, dtype=torch.float64).unsqueeze(-1) * (
        2 * math.pi / torch.tensor(list(periods), dtype=torch.float64)
    )
    return torch.stack([angle.cos(), angle.sin()], -1).flatten(-2).to(torch.get_default_dtype())

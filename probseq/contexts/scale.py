"""The location and the scale of each series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import as_numbers
from probseq.context import Context
from probseq.contexts.base import ContextPart
from probseq.numerics import moments
from probseq.part import require
from probseq.sequences import Sequences


@dataclass(eq=False, repr=False)
class SeriesScale(ContextPart):
    """The location and the scale of each series, for a model with `scaling=PerSeries()`; nothing of it is read.

    Let what the network should know of the level enter too, as in `(SeriesScale(1), Vector(1))` with its logarithm.

    Args:
        dim: how many numbers an element has.

    Shapes:
        x: (b, 2, dim), the locations, then the scales. `SeriesScale.of(past)` makes it.

    Raises:
        ValueError: dim below 1; in use, a scale that is not positive.
    """

    dim: int = 1

    event_dims: ClassVar[int] = 2

    def __post_init__(self) -> None:
        require(self.dim >= 1, f"SeriesScale needs dim ≥ 1; got {self.dim}.")

    @staticmethod
    def of(past: Sequences, centre: bool = True, floor: float | None = None) -> Float[Tensor, "b 2 e"]:
        """Of the past of each series, NaN left out: the mean and the standard deviation, or 0 and the mean of |y|.

        Args:
            past: values that are known beforehand: never those that the model is to score with these scales, unless
                the scales are then given, as where a forecast is scored given the past that it was scaled by.
            centre: whether the mean is the location, or 0, which keeps ratios.
            floor: what stands in for a scale below it; None: a constant series is refused.

        Raises:
            ValueError: a series without a value, or, without a floor, with a scale of 0.

        >>> SeriesScale.of(Sequences.of([[[1.0], [3.0]], [[-5.0]]]), centre=False).tolist()
        [[[0.0], [2.0]], [[0.0], [5.0]]]
        """
        known = past.mask().unsqueeze(-1) & ~torch.isnan(past.values)
        empty = (~known.any(1).all(-1)).nonzero()
        if len(empty):
            raise ValueError(
                f"series {int(empty[0])} has no value to take a scale from. Give it a past, or leave it out."
            )
        loc, scale = moments(past.values, known, centre)
        flat = (scale <= 0).any(-1).nonzero()
        if len(flat) and floor is None:
            raise ValueError(
                f"series {int(flat[0])} is constant (scale 0) in its past of {int(past.lengths[int(flat[0])])} values. "
                "Leave it out, or pass floor=…, in the data's units."
            )
        return torch.stack([loc, scale if floor is None else scale.clamp(min=floor)], 1).to(past.values)

    @property
    def width(self) -> int:
        return 0

    @property
    def scale_width(self) -> int:  # type: ignore[override]
        return self.dim

    def conform(self, x: Any) -> Tensor:
        x = as_numbers("the context", x)
        require(
            x.ndim == 3 and x.shape[1:] == (2, self.dim) and x.is_floating_point(),
            f"the scales must be real numbers (batch, 2, {self.dim}), locations and then scales; got {tuple(x.shape)}, "
            f"{x.dtype}. Use SeriesScale.of(past).",
        )
        bad = (~(torch.isfinite(x).all(1) & (x[:, 1] > 0)).all(-1)).nonzero()
        if len(bad):
            row = int(bad[0])
            raise ValueError(
                f"series {row} has location {x[row, 0].tolist()} and scale {x[row, 1].tolist()}; expected finite "
                "numbers and scales above 0. A constant series has scale 0: leave it out, or give it a floor."
            )
        return x

    def encode(self, x: Tensor) -> Context:
        return Context(x.new_empty(len(x), 0), scale=x)

"""An encoder of grids that sees each pixel from every side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.part import Part, require
from probseq.scan import Flips, GridScan, scan_order
from probseq.structure import INPUT, OUTPUT, SUMMARY, Links, Place

CORNERS: tuple[Flips, ...] = ((False, False), (False, True), (True, False), (True, True))
"""Top left, top right, bottom left, bottom right."""


@dataclass(eq=False, repr=False)
class GridEncoder(Part):
    """Scans over a grid of inputs, one from each corner: every pixel is seen in the light of the whole grid.

    feature(i, j) = [h¹(i, j), …, hᵈ(i, j)], where hᵏ are the states of `GridScan` from the k-th corner: that from the
    top left has seen the rows up to i and the columns up to j, and so on. Graves & Schmidhuber, 2009; Goodfellow et
    al., Deep Learning, 10.3.

    Args:
        height, width: of the grid.
        size: the width of each scan's state.
        directions: 4, or 1, which scans from the top left only.

    Shapes:
        inputs: (b, height · width, i), in raster order. features: (b, height · width, directions · size).
        summary: (b, directions · size), the state of each scan at its last corner.

    Raises:
        ValueError: height, width or size below 1, or directions neither 1 nor 4; inputs of another length.
    """

    height: int
    width: int
    size: int
    directions: int = 4

    kind: ClassVar[str] = "encoder"

    def __post_init__(self) -> None:
        require(
            min(self.height, self.width, self.size) >= 1,
            f"GridEncoder needs height, width and size ≥ 1; got {self.height}, {self.width} and {self.size}.",
        )
        require(self.directions in (1, 4), f"directions must be 1 or 4; got {self.directions}.")

    @property
    def features(self) -> int:
        """The width of the features at each place."""
        return self.directions * self.size

    @property
    def summary(self) -> int:
        """The width of the summary."""
        return self.directions * self.size

    def build(self, inputs: int) -> None:
        self.scan = GridScan(inputs, self.size, CORNERS[: self.directions])

    def links(self, steps: int) -> Links:
        """The scans, numbered as their corners, as far as the first `steps` places go."""
        links: Links = []
        for k, flips in enumerate(CORNERS[: self.directions], 1):
            last = (0 if flips[0] else (self.height - 1) * self.width) + (0 if flips[1] else self.width - 1)
            for cell, before in scan_order(self.height, self.width, flips):
                state = Place("h", cell + 1, (k,))
                around = [Place("h", each + 1, (k,)) for each in before if each is not None and each < steps]
                links += [(source, state) for source in [*around, Place(INPUT, cell + 1)] if cell < steps]
                ends = [Place(OUTPUT, cell + 1)] + ([Place(SUMMARY)] if cell == last else [])
                links += [(state, end) for end in ends if cell < steps]
        return links

    def forward(
        self, inputs: Float[Tensor, "b t i"], lengths: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b t h"], Float[Tensor, "b c"]]:
        batch, time = inputs.shape[:2]
        places = self.height * self.width
        cure = "Correct the height and width, or resize the grids."
        require(time == places, f"a grid of {self.height} × {self.width} has {places} places; got {time}. {cure}")
        if lengths.device.type == "cpu":
            wrong = (lengths != places).nonzero()
            require(
                not len(wrong),
                f"a grid of {self.height} × {self.width} has {places} places; a sequence has "
                f"{int(lengths[wrong[0]]) if len(wrong) else 0}. {cure}",
            )
        grid = inputs.transpose(0, 1).unflatten(0, (self.height, self.width))
        border = inputs.new_zeros(self.directions, batch, self.size)
        hidden, _ = self.scan(grid, border, border)
        last = torch.tensor([places - 1, places - self.width, self.width - 1, 0], device=inputs.device)
        summary = hidden[torch.arange(self.directions, device=inputs.device), last[: self.directions]]
        return hidden.permute(2, 1, 0, 3).flatten(2), summary.transpose(0, 1).flatten(1)

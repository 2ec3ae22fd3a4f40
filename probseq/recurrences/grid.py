"""A recurrence over the pixels of an image: along the diagonals when they are known, else pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.part import Part, require
from probseq.scan import GridScan, scan_order
from probseq.structure import INPUT, OUTPUT, Links, Place


class GridMemory(NamedTuple):
    """What is carried from pixel to pixel.

    Shapes:
        hidden, carry: (b, 2, h), the state beyond the borders, of the scan from the left and of that from the right.
        left_hidden, left_carry: (b, width, h), the newest state in each column of the scan from the left.
        right_hidden, right_carry: (b, width, h), the last whole row of the scan from the right.
        recent: (b, window + 1, width, i), the inputs at the pixels of the row that is being read and of those above
            it, 0 where not read yet.
        count: (b,), int64, how many inputs were read; the first is no pixel.
    """

    hidden: Tensor
    carry: Tensor
    left_hidden: Tensor
    left_carry: Tensor
    right_hidden: Tensor
    right_carry: Tensor
    recent: Tensor
    count: Tensor


@dataclass(eq=False, repr=False)
class Grid(Part):
    """A causal recurrence over images in raster order: every pixel depends on all before it, in two dimensions.

    Two scans go down the image, A from the left and B from the right. With n(q) the inputs at the pixels before
    q = (i, j) in a window around it, and r(q) the input itself, which is what was read last,

        feature(q) = relu(V relu(W [hᴬ(i, j − 1), hᴮ(i − 1, j), n(q), r(q)] + u(i) + v(j)) + b),

    where hᴬ(i, j) and hᴮ(i, j) are the states of the cells of `GridScan`, which read n(i, j) and the input at (i, j).
    hᴬ(i, j − 1) has seen the rows up to i left of column j, hᴮ(i − 1, j) those above i from column j on: together,
    the whole past. u and v tell where in the image q is.

    When a grid is read at once, the cells of a diagonal are computed together, in height + width − 1 steps; else
    pixel by pixel, and B a row at a time. The law is the same. After van den Oord, Kalchbrenner & Kavukcuoglu, 2016
    (the Diagonal BiLSTM); Goodfellow et al., Deep Learning, 10.3.

    Args:
        height, width: of the image, in pixels.
        size: the width of each scan's state and of the features.
        window: how many rows above, and columns to either side, a pixel looks at directly.
        parallel: go along the diagonals where that is possible.

    Shapes:
        inputs: (b, n, i), n ≥ 1: one that is no pixel, then those of the pixels. features: (b, n, size).

    Raises:
        ValueError: height, width or size below 1, or window below 0; more inputs than height · width + 1; or rows
            of the memory that have read different numbers of inputs.
    """

    height: int
    width: int
    size: int
    window: int = 3
    parallel: bool = True

    kind: ClassVar[str] = "recurrence"

    def __post_init__(self) -> None:
        require(
            min(self.height, self.width, self.size) >= 1 and self.window >= 0,
            f"Grid needs height, width and size ≥ 1 and window ≥ 0; got {self.height}, {self.width}, {self.size} and "
            f"{self.window}.",
        )

    @property
    def features(self) -> int:
        return self.size

    @property
    def max_length(self) -> int:
        """The number of pixels."""
        return self.height * self.width

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The state beyond the borders of both scans: hidden, and carry."""
        return ((2, self.size),) * 2

    def build(self, inputs: int) -> None:
        self.inputs = inputs
        near = inputs * 2 * self.window * (self.window + 1)
        self.scan = GridScan(near + inputs, self.size, ((False, False), (False, True)))
        self.mix = nn.Linear(2 * self.size + near + inputs, 2 * self.size, bias=False)
        self.row = nn.Parameter(0.1 * torch.randn(self.height + 1, 2 * self.size))
        self.column = nn.Parameter(0.1 * torch.randn(self.width, 2 * self.size))
        self.out = nn.Linear(2 * self.size, self.size)

    def links(self, steps: int) -> Links:
        """The states a and b of the two scans stand at the time when their pixel is read, one step after its own."""
        links = [(source, Place("h", t)) for t in range(1, steps + 1) for source in self._sources(t)]
        links += [(Place("h", t), Place(OUTPUT, t)) for t in range(1, steps + 1)]
        for row, flips in (("a", (False, False)), ("b", (False, True))):
            for pixel, before in scan_order(self.height, self.width, flips):
                around = [Place("h", 0) if each is None else Place(row, each + 2) for each in before]
                read = [*self._window(pixel), Place(INPUT, pixel + 2)]
                links += [(source, Place(row, pixel + 2)) for source in around + read if pixel + 2 <= steps]
        return links

    def _sources(self, t: int) -> list[Place]:
        """What the feature at t is made of."""
        row, column = divmod(t - 1, self.width)
        left = Place("a", t) if column else Place("h", 0)
        above = Place("b", t + 1 - self.width) if row else Place("h", 0)
        return [left, above, *self._window(t - 1), Place(INPUT, t)]

    def _window(self, pixel: int) -> list[Place]:
        """The inputs in the window before a pixel, counted from 0."""
        row, column = divmod(pixel, self.width)
        rows = range(max(0, row - self.window), row + 1)
        columns = range(max(0, column - self.window), min(self.width, column + self.window + 1))
        return [Place(INPUT, i * self.width + j + 2) for i in rows for j in columns if i < row or j < column]

    def begin(self, memory: tuple[Tensor, ...], batch: int) -> GridMemory:
        """The memory of an image of which nothing was read, from tensors of `memory_shapes`."""
        hidden, carry = memory
        rows = (state[:, scan].unsqueeze(1).expand(-1, self.width, -1) for scan in (0, 1) for state in memory)
        recent = hidden.new_zeros(batch, self.window + 1, self.width, self.inputs)
        count = torch.zeros(batch, dtype=torch.int64, device=hidden.device)
        return GridMemory._make([hidden, carry, *rows, recent, count])

    def forward(
        self, inputs: Float[Tensor, "b n i"], memory: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "b n h"], tuple[Tensor, ...]]:
        memory, n = GridMemory(*memory), inputs.shape[1]
        first, last = (int(count) for count in memory.count.aminmax())
        require(
            first == last,
            f"Grid reads images in step; got rows that have read from {first} to {last} inputs. Extend them apart.",
        )
        require(
            first + n <= self.max_length + 1,
            f"a grid of {self.height} × {self.width} has {self.max_length} pixels; got {first + n - 1}. "
            f"Use FixedLength({self.max_length}), or a larger grid.",
        )
        if self.parallel and not first and n > 1:
            return self._whole(inputs, memory)
        found = []
        for count, read in enumerate(inputs.unbind(1), first):
            feature, memory = self._one(read, memory, count)
            found.append(feature)
        return torch.stack(found, 1), memory

    def _feature(self, known: Tensor, place: Tensor) -> Tensor:
        """The features (n, b, h) from what was seen (n, b, ·) of the past of each of the raster places (n)."""
        where = self.row[place // self.width] + self.column[place % self.width]
        return F.relu(self.out(F.relu(self.mix(known) + where.unsqueeze(1))))

    def _near(self, rows: Float[Tensor, "b rows columns i"]) -> Float[Tensor, "out_rows out_columns b k"]:
        """The inputs in the window, itself last, of each pixel that has `window` rows above and columns beside it."""
        w = self.window
        cut = rows.unfold(1, w + 1, 1).unfold(2, 2 * w + 1, 1).permute(1, 2, 0, 4, 5, 3)
        return torch.cat([cut[..., :w, :, :].flatten(3), cut[..., w, : w + 1, :].flatten(3)], -1)

    # Along the diagonals.

    def _whole(self, inputs: Tensor, memory: GridMemory) -> tuple[Tensor, GridMemory]:
        n, width, w = inputs.shape[1], self.width, self.window
        full, column = divmod(n - 1, width)
        grid = F.pad(inputs[:, 1:], (0, 0, 0, width - column)).unflatten(1, (full + 1, width))
        grid = F.pad(grid, (0, 0, w, w, w, 0))
        near = self._near(grid)
        hidden, carry = memory.hidden.transpose(0, 1), memory.carry.transpose(0, 1)
        rows = full + (column > 0)
        hiddens, carries = self.scan(near[:rows], hidden, carry)
        edge = hidden[0].expand(rows, 1, -1, -1)
        left = torch.cat([edge, hiddens[0].unflatten(0, (rows, width))[:, :-1]], 1).flatten(0, 1)
        seen = [
            torch.cat([left, hidden[:1]])[:n],
            torch.cat([hidden[1].expand(width, -1, -1), hiddens[1]])[:n],
            near.flatten(0, 1)[:n, :, : -inputs.shape[-1]],
            inputs.transpose(0, 1),
        ]
        place = torch.arange(n, device=inputs.device)
        features = self._feature(torch.cat(seen, -1), place).transpose(0, 1)
        column_of = torch.arange(width, device=inputs.device)
        above = (full - 1) * width + column_of
        newest = torch.where(column_of < column, above + width, above)
        states = [
            _pick(cells[scan], border[scan], where)
            for scan, where in enumerate((newest, above))
            for cells, border in ((hiddens, hidden), (carries, carry))
        ]
        recent = grid[:, full:, w : w + width]
        return features, GridMemory._make([memory.hidden, memory.carry, *states, recent, memory.count + n])

    # Pixel by pixel.

    def _one(self, read: Tensor, memory: GridMemory, count: int) -> tuple[Tensor, GridMemory]:
        """One more input, after `count` others."""
        memory = self._read(read, memory, (count - 1) % self.width) if count else memory
        column = count % self.width
        near = self._near(self._around(memory.recent, column, 1))[0, 0]
        left = memory.left_hidden[:, column - 1] if column else memory.hidden[:, 0]
        seen = [left, memory.right_hidden[:, column], near[:, : -read.shape[-1]], read]
        place = torch.full((1,), count, device=read.device)
        feature = self._feature(torch.cat(seen, -1).unsqueeze(0), place)[0]
        return feature, memory._replace(count=memory.count + 1)

    def _read(self, read: Tensor, memory: GridMemory, column: int) -> GridMemory:
        """The next pixel, which is in `column`, into the scan from the left; a whole row into that from the right."""
        recent = memory.recent.clone()
        recent[:, -1, column] = read
        left = memory.left_hidden, memory.left_carry
        along = (
            (left[0][:, column - 1], left[1][:, column - 1]) if column else (memory.hidden[:, 0], memory.carry[:, 0])
        )
        near = self._near(self._around(recent, column, 1))[0, 0]
        new = self.scan.step(0, near, along, (left[0][:, column], left[1][:, column]))
        at = torch.full((1,), column, device=read.device)
        left = [row.index_copy(1, at, state.unsqueeze(1)) for row, state in zip(left, new, strict=True)]
        memory = memory._replace(left_hidden=left[0], left_carry=left[1], recent=recent)
        return self._turn(memory) if column == self.width - 1 else memory

    def _turn(self, memory: GridMemory) -> GridMemory:
        """The row that was read last into the scan from the right, and on to the next row."""
        near = self._near(self._around(memory.recent, 0, self.width))[0]
        state, found = (memory.hidden[:, 1], memory.carry[:, 1]), []
        for column in range(self.width - 1, -1, -1):
            above = memory.right_hidden[:, column], memory.right_carry[:, column]
            state = self.scan.step(1, near[column], state, above)
            found.append(state)
        hidden, carry = (torch.stack(row[::-1], 1) for row in zip(*found, strict=True))
        recent = F.pad(memory.recent[:, 1:], (0, 0, 0, 0, 0, 1))
        return memory._replace(right_hidden=hidden, right_carry=carry, recent=recent)

    def _around(self, recent: Tensor, column: int, count: int) -> Tensor:
        """`count` columns with what the window reaches to their sides."""
        return F.pad(recent, (0, 0, self.window, self.window))[:, :, column : column + count + 2 * self.window]


def _pick(
    cells: Float[Tensor, "cells b h"], border: Float[Tensor, "b h"], place: Int[Tensor, " width"]
) -> Float[Tensor, "b width h"]:
    """The states at raster places, the border's where a place is negative."""
    return torch.cat([border.unsqueeze(0), cells]).index_select(0, (place + 1).clamp(min=0)).transpose(0, 1)

"""Recurrent scans over a grid, one from each corner that is asked for, along its diagonals."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Flips = tuple[bool, bool]
"""Whether a scan starts at the bottom, and whether at the right; (False, False) starts at the top left."""


def scan_order(height: int, width: int, flips: Flips) -> list[tuple[int, list[int | None]]]:
    """For each cell, in raster order and counted from 0, the two whose states it reads; None beyond the border."""
    down, across = (-1 if flip else 1 for flip in flips)

    def number(i: int, j: int) -> int | None:
        return i * width + j if 0 <= i < height and 0 <= j < width else None

    cells = [divmod(cell, width) for cell in range(height * width)]
    return [(i * width + j, [number(i, j - across), number(i - down, j)]) for i, j in cells]


class GridScan(nn.Module):
    """LSTMs in two dimensions, each with its own weights and direction; all take a step together.

    A cell reads x and its two neighbours that the scan comes from, along the row (h₁, c₁) and the column (h₂, c₂):

        c = σ(a) ∘ tanh(g) + (1 − σ(a)) ∘ [σ(s) ∘ c₁ + (1 − σ(s)) ∘ c₂],   h = σ(o) ∘ c,
        (a, s, o, g) = W [x, h₁, h₂] + b.

    The carry is a convex combination, so that it stays bounded however large the grid; the two forget gates of
    Graves, Fernández & Schmidhuber, 2007, may add up to more than 1.

    Args:
        inputs: the width k of x.
        size: the width h of the state.
        flips: the direction of each of the s scans.

    Shapes:
        weight: (s, k + 2h, 4h). A state is a pair (hidden, carry).
    """

    def __init__(self, inputs: int, size: int, flips: tuple[Flips, ...]) -> None:
        super().__init__()
        self.size, self.flips = size, flips
        bound = size**-0.5
        self.weight = nn.Parameter(torch.empty(len(flips), inputs + 2 * size, 4 * size).uniform_(-bound, bound))
        bias = torch.zeros(len(flips), 1, 4 * size)
        # A cell that mostly keeps what comes in sees several cells far from the start.
        bias[..., :size] = -1.0
        self.bias = nn.Parameter(bias)

    def forward(
        self, x: Float[Tensor, "height width b k"], hidden: Float[Tensor, "s b h"], carry: Float[Tensor, "s b h"]
    ) -> tuple[Float[Tensor, "s cells b h"], Float[Tensor, "s cells b h"]]:
        """Every cell's state in raster order, from the state (hidden, carry) beyond the borders.

        One step for each of the height + width − 1 diagonals.
        """
        height, width, batch, inputs = x.shape
        order, sizes = _diagonals(height, width, self.flips, x.device)
        cells = x.flatten(0, 1).index_select(0, order.flatten()).reshape(*order.shape, batch, inputs)
        border = (hidden.unsqueeze(1), carry.unsqueeze(1))
        state, found = (border[0][:, :0], border[1][:, :0]), []
        for d, diagonal in enumerate(cells.split(sizes, 1)):
            # The neighbour along the row stands in the same row of the grid, the one along the column in that above.
            top, left = d < width, d < height
            around = [
                torch.cat([edge] * top + [before] + [edge] * left, 1)
                for edge, before in zip(border, state, strict=True)
            ]
            read = torch.cat([diagonal, around[0][:, 1:], around[0][:, :-1]], -1)
            gates = torch.baddbmm(self.bias, read.flatten(1, 2), self.weight).unflatten(1, read.shape[1:3])
            state = self._update(gates, around[1][:, 1:], around[1][:, :-1])
            found.append(state)
        place = order.argsort(1)
        hiddens, carries = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return _reorder(hiddens, place), _reorder(carries, place)

    def step(
        self, scan: int, x: Float[Tensor, "b k"], along: tuple[Tensor, Tensor], across: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "b h"], Float[Tensor, "b h"]]:
        """One cell of one scan, from the states (b, h) of its neighbours along the row and along the column."""
        read = torch.cat([x, along[0], across[0]], -1)
        return self._update(torch.addmm(self.bias[scan], read, self.weight[scan]), along[1], across[1])

    def _update(self, gates: Tensor, along: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
        """The new state, from the gates before their nonlinearities and both neighbours' carries."""
        # Under autocast the product comes in a lower precision than the carries.
        soft, new = gates.to(across).split([3 * self.size, self.size], -1)
        write, side, out = soft.sigmoid().chunk(3, -1)
        carry = torch.lerp(torch.lerp(across, along, side), new.tanh(), write)
        return out * carry, carry


def _reorder(cells: Float[Tensor, "s cells b h"], order: Int[Tensor, "s cells"]) -> Float[Tensor, "s cells b h"]:
    """The cells of each scan in another order."""
    count = order.shape[1]
    start = torch.arange(len(order), device=order.device).unsqueeze(1) * count
    return cells.flatten(0, 1).index_select(0, (start + order).flatten()).view_as(cells)


def _diagonals(
    height: int, width: int, flips: tuple[Flips, ...], device: torch.device
) -> tuple[Int[Tensor, "s cells"], list[int]]:
    """The raster place of each cell in the order of each scan's diagonals, and how many cells each diagonal has."""
    row, column = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    by_diagonal = ((row + column) * height + row).argsort()
    row, column = row[by_diagonal], column[by_diagonal]
    places = []
    for bottom, right in flips:
        own_row = height - 1 - row if bottom else row
        own_column = width - 1 - column if right else column
        places.append(own_row * width + own_column)
    sizes = torch.bincount(row + column).tolist()
    return torch.stack(places).to(device, non_blocking=True), sizes

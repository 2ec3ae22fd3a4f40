"""Estimates from draws: of what a search left open, of all, and by plain simulation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.inference.queries.rollouts import roll
from probseq.inference.queries.tree import Nodes, Tree, mass

FEWEST = 32
"""Draws of the first round, where a tolerance says when to stop."""


@dataclass
class Tally:
    """A mean of m numbers for each of b rows, from rounds of draws that are weighted by their number.

    Shapes:
        total: (b, m), Σ over rounds of draws · mean. square: (b, m), Σ of draws² · variance of the mean.
        fourth: (b, m), Σ over strata of the squares of what they add to `square`. draws: (b,).
    """

    total: Float[Tensor, "b m"]
    square: Float[Tensor, "b m"]
    fourth: Float[Tensor, "b m"]
    draws: Int[Tensor, " b"]

    @staticmethod
    def empty(batch: int, numbers: int, device: torch.device) -> Tally:
        zero = torch.zeros(batch, numbers, dtype=torch.float64, device=device)
        return Tally(zero, zero, zero, torch.zeros(batch, dtype=torch.int64, device=device))

    def add(self, values: Float[Tensor, "n m"], owner: Int[Tensor, " n"]) -> None:
        """One more round: draws 2h and 2h + 1 come from one stratum, and strata of one row weigh the same."""
        pairs, row = values.view(-1, 2, values.shape[1]), owner[::2]
        self.total = self.total.index_add(0, owner, values)
        square = (pairs[:, 0] - pairs[:, 1]).square()
        self.square = self.square.index_add(0, row, square)
        self.fourth = self.fourth.index_add(0, row, square.square())
        self.draws = self.draws + torch.bincount(owner, minlength=len(self.draws))

    def plus(self, other: Tally) -> Tally:
        """Rows of this one and of another, each with draws in one of them at most."""
        names = ("total", "square", "fourth", "draws")
        return Tally(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def mean(self) -> Float[Tensor, "b m"]:
        return self.total / self.draws.clamp(min=1).unsqueeze(1)

    @property
    def error(self) -> Float[Tensor, "b m"]:
        """The standard error of the mean. Of a stratum's mean the variance is (a − b)² / 4, a and b its two draws."""
        return self.square.sqrt() / self.draws.clamp(min=1).unsqueeze(1)

    @property
    def degrees(self) -> Float[Tensor, "b m"]:
        """How many strata, all alike, would tell the error as well as these, a few of which may say all of it."""
        some = self.fourth > 0
        worth = 3 * self.square.square() / torch.where(some, self.fourth, 1.0) - 2
        return torch.where(some, worth.clamp(min=1.0), torch.inf)


def sample_open(tree: Tree, nodes: Nodes, budget: int, tolerance: float | None) -> Tally:
    """E[the numbers | the question is still open], each row's draws spread evenly over its open prefixes by mass.

    The budget of each row is what the walk left of it. Two draws from each stratum tell the error without bias.
    """
    question, batch = tree.question, tree.question.batch
    tally = Tally.empty(batch, tree.monitor.low.shape[1], nodes.row.device)
    nodes = nodes.select(_order(nodes, tree.monitor.steps))
    open_ = mass(nodes, batch)
    share = nodes.log_mass.exp() / open_[nodes.row]
    levels = (tree.monitor.steps - nodes.depth).to(torch.float64)
    price = torch.zeros_like(open_).index_add(0, nodes.row, share * levels).clamp(min=1.0)
    places = (share.cumsum(0) if batch == 1 else _within(share, nodes.row)) + nodes.row
    going, size = open_ > 0, FEWEST
    while bool(going.any()):
        pairs = ((budget - tree.spent) / price / 2).floor().to(torch.int64).clamp(min=0)
        pairs = torch.where(tally.draws == 0, pairs.clamp(min=1), pairs)
        pairs = torch.where(going, pairs if tolerance is None else pairs.clamp(max=size), 0)
        chosen = _strata(pairs, places, nodes.row)
        if not len(chosen):
            break
        unique, inverse = chosen.unique(return_inverse=True)
        state = tree.read(nodes.select(unique)).select(inverse)
        drawn = nodes.select(chosen)
        found, spent = roll(question, state, drawn.at, drawn.depth, drawn.row)
        tree.spent += spent
        tally.add(found @ tree.monitor.low, drawn.row)
        if tolerance is None:
            break
        size = 2 * size
        going = going & (2 * (tally.error * open_.unsqueeze(1)).amax(1) > tolerance)
    return tally


def sample_all(tree: Tree, budget: int, tolerance: float | None, going: Bool[Tensor, " b"]) -> Tally:
    """E[the numbers] of the rows that are `going`, from independent draws that begin with what is known."""
    question, batch, monitor = tree.question, tree.question.batch, tree.monitor
    tally, size = Tally.empty(batch, monitor.low.shape[1], tree.spent.device), FEWEST
    price = max(monitor.steps - 1, 1)
    while bool(going.any()):
        pairs = torch.div(budget - tree.spent, 2 * price, rounding_mode="floor").clamp(min=0)
        pairs = torch.where(tally.draws == 0, pairs.clamp(min=1), pairs)
        pairs = torch.where(going, pairs if tolerance is None else pairs.clamp(max=size), 0)
        rows = torch.arange(batch, device=pairs.device).repeat_interleave(2 * pairs)
        if not len(rows):
            break
        zero = torch.zeros_like(rows)
        found, spent = roll(question, question.state.select(rows), zero, zero, rows)
        tree.spent += spent
        tally.add(found @ monitor.low, rows)
        if tolerance is None:
            break
        size = 2 * size
        going = going & (2 * tally.error.amax(1) > tolerance)
    return tally


def _order(nodes: Nodes, steps: int) -> Int[Tensor, " n"]:
    """By row, then by what the automaton has seen, then by depth: like stands beside like, and strata are even."""
    order = (nodes.at * (steps + 1) + nodes.depth).argsort(stable=True)
    return order[nodes.row[order].argsort(stable=True)]


def _within(share: Float[Tensor, " n"], row: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Sums so far within each row; rows stand together, and the shares of each sum to 1."""
    total = share.cumsum(0)
    first = torch.searchsorted(row, row)
    return total - (total - share)[first]


def _strata(pairs: Int[Tensor, " b"], places: Float[Tensor, " n"], row: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Two draws from each of `pairs` equal parts of each row's mass: the nodes, by row and stratum."""
    rows = torch.arange(len(pairs), device=pairs.device).repeat_interleave(pairs)
    stratum = torch.arange(len(rows), device=pairs.device) - torch.searchsorted(rows, rows)
    low = stratum.to(torch.float64).repeat_interleave(2)
    rows = rows.repeat_interleave(2)
    target = rows + (low + torch.rand_like(low)) / pairs[rows]
    found = torch.searchsorted(places, target, right=True)
    # Rounding may carry a draw over the edge of its row.
    last = torch.searchsorted(row, rows, right=True) - 1
    return found.minimum(last).maximum(torch.searchsorted(row, rows))

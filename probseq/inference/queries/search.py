"""Which prefixes to look at, when not all can be: dives of a beam, as long as they pay."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.inference.queries.tree import Nodes, Tree, best, mass, merge
from probseq.tree import cat

FIRST, NEXT, MOST = 0.25, 0.125, 0.875
"""The shares of the budget for the first dive, for each later one, and for all of them."""


def explore(tree: Tree, budget: int, tolerance: float | None) -> Nodes:
    """Walk down from what is known until a question is decided or more of it no longer pays; what is left open.

    A dive takes the most probable open prefixes down to the last step, as a beam does, as wide as its share of the
    budget allows; what it drops stays open, and the next dive begins with the best of that. What is left, of mass D, is
    to be sampled by a budget C: its variance is of order D² / C, so a dive paid if −2 Δlog D > −Δlog C.
    """
    nodes, batch = tree.root(), tree.question.batch
    share, budgets = FIRST, torch.full((batch,), budget, device=tree.spent.device)
    going = torch.ones(batch, dtype=torch.bool, device=tree.spent.device)
    while len(nodes) and bool(going.any()):
        before, spent = mass(nodes, batch), tree.spent.clone()
        allowed = (share * budgets).to(torch.int64).minimum((MOST * budgets).to(torch.int64) - spent)
        nodes = dive(tree, nodes, torch.where(going, allowed, 0))
        after = mass(nodes, batch)
        going = going & _pays(before, after, (budgets - spent).double(), (budgets - tree.spent).double())
        going &= (tree.spent > spent) & (after > (0.0 if tolerance is None else tolerance))
        share = NEXT
    return nodes


def _pays(before: Tensor, after: Tensor, left_before: Tensor, left_after: Tensor) -> Bool[Tensor, " b"]:
    """Whether a dive lowered the variance of what follows by more than its price in draws raised it."""
    gain = 2 * (before / after.clamp(min=1e-300)).log()
    return gain > (left_before / left_after.clamp(min=1.0)).log()


def walk(tree: Tree) -> Nodes:
    """The whole tree, level by level."""
    nodes, everything = tree.root(), torch.full_like(tree.spent, torch.iinfo(torch.int64).max // 2)
    return dive(tree, nodes, everything)


def dive(tree: Tree, nodes: Nodes, allowed: Int[Tensor, " b"]) -> Nodes:
    """From the best open prefixes down, reading as many elements as are allowed for each row; what is left open."""
    open_, spent = [], tree.spent.clone()
    live = nodes
    while len(live):
        levels = _levels(tree, live)
        width = torch.div(allowed - (tree.spent - spent), levels, rounding_mode="floor").clamp(min=0)
        chosen = best(live, width)
        open_.append(live.select((~chosen).nonzero().squeeze(-1)))
        live = live.select(chosen.nonzero().squeeze(-1))
        if not len(live):
            break
        live = tree.expand(*merge(tree.read(live), live))
    return cat([*open_, live]) if open_ else live


def _levels(tree: Tree, live: Nodes) -> Int[Tensor, " b"]:
    """For each row, the elements from its shallowest live prefix to the last that need be read."""
    deepest = tree.monitor.steps
    shallow = torch.full_like(tree.spent, deepest - 1).scatter_reduce(0, live.row, live.depth, "amin")
    return (deepest - shallow).clamp(min=1)


def bounds(tree: Tree, nodes: Nodes) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
    """What is certain of each number: what is decided, and the least and the most that open prefixes can add.

    Wider than that by what the decided and the open masses miss of 1, and by a rounding of each step.
    """
    low, high = tree.monitor.spans
    decided = tree.decided
    masses = nodes.log_mass.exp().unsqueeze(1)
    zero = torch.zeros(len(decided), low.shape[-1], dtype=torch.float64, device=decided.device)
    lower = decided @ tree.monitor.low + zero.index_add(0, nodes.row, masses * low[nodes.depth, nodes.at])
    upper = decided @ tree.monitor.high + zero.index_add(0, nodes.row, masses * high[nodes.depth, nodes.at])
    total = decided.sum(1) + mass(nodes, len(decided))
    eps = torch.finfo(tree.question.state.features.dtype).eps
    slack = (1 - total).abs() + 8 * eps * (tree.monitor.steps + 1)
    least, most = tree.monitor.low.amin(0), tree.monitor.high.amax(0)
    slack = slack.unsqueeze(1) * torch.maximum(least.abs(), most.abs()).clamp(min=1.0)
    return (lower - slack).maximum(least), (upper + slack).minimum(most)

"""The tree of the prefixes that were visited, with what is known of the probability below each."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LARGEST = 1 << 23
"""Most outcomes that are kept: nodes times outcomes, 32 bytes each."""


class Trie:
    """Prefixes as nodes, one root for each row of a context; the outcomes of a node are the end (0) and the symbols.

    Of the probability of each outcome, `open` is the share that is not settled yet, `won` the share that was found to
    be accepted; the rest was found to be rejected. Shares are sums of what is left, never differences, so that no
    accuracy is lost however little is left, and what is exhausted is exactly 0.

    Shapes:
        root_open, root_won: (b,), of all sequences of a row.
        share: (nodes, 1 + v), P(outcome | node). open, won: (nodes, 1 + v), in [0, 1].
        child: (nodes, 1 + v), int64, the node after an outcome, −1 where there is none yet.
        parent, via: (nodes,), int64, the node before and the outcome that leads here; a root has −1 and its row.
        born: (nodes,), int64, the round in which a node was first visited; 0 before.
    """

    def __init__(self, rows: int, outcomes: int, device: torch.device) -> None:
        self.device, self.outcomes, self.size = device, outcomes, rows
        self.round = 0
        self.root_open = torch.ones(rows, dtype=torch.float64, device=device)
        self.root_won = torch.zeros_like(self.root_open)
        capacity = max(64, rows)
        self.share = torch.zeros(capacity, outcomes, dtype=torch.float64, device=device)
        self.open, self.won = torch.zeros_like(self.share), torch.zeros_like(self.share)
        self.child = torch.full((capacity, outcomes), -1, device=device)
        self.parent = torch.full((capacity,), -1, device=device)
        self.via = torch.arange(capacity, device=device)
        self.born = torch.zeros(capacity, dtype=torch.int64, device=device)

    @property
    def full(self) -> bool:
        """Whether no node is added any more."""
        return self.size * self.outcomes >= LARGEST

    def fresh(self, node: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Whether a node, −1 being none, was not visited before this round."""
        born = self.born[node.clamp(min=0)]
        return (node < 0) | (born == 0) | (born == self.round)

    def begin_round(self) -> None:
        """From here on, nodes are compared with what was visited until now."""
        self.round += 1

    def write(self, node: Int[Tensor, " n"], share: Float[Tensor, "n o"], open_: Float[Tensor, "n o"]) -> None:
        """What the model says after fresh nodes; −1 is none."""
        real = node >= 0
        self.share[node[real]], self.open[node[real]] = share[real], open_[real]
        self.born[node[real]] = self.round

    def follow(self, node: Int[Tensor, " n"], outcome: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The nodes after outcomes, made where there are none; −1 after −1, and where the tree is full."""
        code = torch.where(node >= 0, node * self.outcomes + outcome, -1)
        different, back = torch.unique(code, return_inverse=True)
        found = self.child.view(-1)[different.clamp(min=0)]
        missing = ((found < 0) & (different >= 0)).nonzero().squeeze(-1)
        room = max(LARGEST // self.outcomes - self.size, 0)
        missing = missing[:room]
        made = torch.arange(self.size, self.size + len(missing), device=self.device)
        self._grow(self.size + len(missing))
        self.child.view(-1)[different[missing]] = made
        self.parent[made] = torch.div(different[missing], self.outcomes, rounding_mode="floor")
        self.via[made] = different[missing].remainder(self.outcomes)
        self.size += len(missing)
        found = torch.where(different >= 0, self.child.view(-1)[different.clamp(min=0)], -1)
        return found[back]

    def _grow(self, size: int) -> None:
        while len(self.parent) < size:
            more = torch.zeros_like(self.share)
            self.share, self.open, self.won = (torch.cat([old, more]) for old in (self.share, self.open, self.won))
            self.child = torch.cat([self.child, torch.full_like(self.child, -1)])
            self.parent, self.via = (torch.cat([old, torch.full_like(old, -1)]) for old in (self.parent, self.via))
            self.born = torch.cat([self.born, torch.zeros_like(self.born)])

    def settle(self, node: Int[Tensor, " n"], outcome: Int[Tensor, " n"], won: Bool[Tensor, " n"]) -> None:
        """Whole sequences, by their last node and outcome, are known from now on; −1 is none."""
        real = node >= 0
        self.open[node[real], outcome[real]] = 0.0
        self.won[node[real], outcome[real]] = won[real].to(self.won)

    def back_up(self, levels: list[Int[Tensor, " _"]]) -> None:
        """Sum what is below the nodes, those of the last level first, and say so to their parents."""
        for level in reversed(levels):
            node = torch.unique(level[level >= 0])
            # Divided by what they sum to: with nothing settled the share is 1, not 1 up to rounding.
            share, total = self.share[node], self.share[node].sum(1)
            open_, won = (share * self.open[node]).sum(1) / total, (share * self.won[node]).sum(1) / total
            parent, via = self.parent[node], self.via[node]
            root = parent < 0
            self.root_open[via[root]], self.root_won[via[root]] = open_[root], won[root]
            below = ~root
            self.open[parent[below], via[below]] = open_[below]
            self.won[parent[below], via[below]] = won[below]

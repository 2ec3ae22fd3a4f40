"""What a search gives: sequences with their probabilities, and what was maximised, told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.arguments import as_rows, checked
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Hypotheses:
    """Sequences y for the rows of a context, with two or three numbers each that mean different things.

    Sorted by row; within a row best first: those that ended before the open ones, then by search score. (Draws stand
    in the order in which they were drawn.)

    Shapes:
        sequences: m sequences; `ended=False` where the longest length was reached before an end.
        log_prob: (m,), nats, the model's log P(y | x), whatever was maximised; of an open one log P(y begins so | x).
        search_score: (m,), what was maximised: equal to `log_prob` unless a penalty or a loss was asked for.
        rows: (m,), int64, the row of the context that each belongs to.
        proposal_log_prob: (m,), nats, the normalised log q(y | x) of the law that drew it, or None where nothing was
            drawn.
    """

    sequences: Sequences
    log_prob: Float[Tensor, " m"]
    search_score: Float[Tensor, " m"]
    rows: Int[Tensor, " m"]
    proposal_log_prob: Float[Tensor, " m"] | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    def select(self, index: Any) -> Hypotheses:
        """Those at `index`, a list or tensor of integers or a bool mask, as in `Sequences.select`."""
        index = as_rows(index, len(self)).to(self.log_prob.device)
        proposal = None if self.proposal_log_prob is None else self.proposal_log_prob[index]
        return Hypotheses(
            self.sequences.select(index), self.log_prob[index], self.search_score[index], self.rows[index], proposal
        )

    @checked
    def of(self, row: int) -> Hypotheses:
        """Those of one row of the context."""
        return self.select(self.rows == row)

    def best(self) -> Sequences:
        """One sequence for each row that has any, in the order of the rows: the best."""
        if not len(self):
            return self.sequences
        order = best_first(self.rows, self.sequences, self.search_score)
        rows = self.rows[order]
        first = torch.ones_like(rows, dtype=torch.bool)
        first[1:] = rows[1:] != rows[:-1]
        return self.sequences.select(order[first])


def best_first(rows: Int[Tensor, " m"], sequences: Sequences, search_score: Float[Tensor, " m"]) -> Int[Tensor, " m"]:
    """The order by row, then ended before open, then by search score."""
    order = search_score.argsort(descending=True, stable=True)
    ended = sequences.ended.to(order.device)
    order = order[ended[order].logical_not().to(torch.int8).argsort(stable=True)]
    return order[rows[order].argsort(stable=True)]


def first_of_equals(rows: Int[Tensor, " m"], sequences: Sequences) -> Int[Tensor, " m"]:
    """For each of m sequences, the place of the first one of its row that equals it, the end included."""
    sequences = sequences.trim().filled(0)
    device = rows.device
    ends = torch.stack([sequences.lengths, sequences.ended.to(torch.int64)], 1).to(device)
    values = sequences.values.flatten(1).to(device)
    key = torch.cat([rows.unsqueeze(1).to(torch.float64), ends.to(torch.float64), values.to(torch.float64)], 1)
    if not len(rows):
        return rows
    _, group = torch.unique(key, dim=0, return_inverse=True)
    places = torch.arange(len(rows), device=device)
    first = torch.full_like(places, len(rows)).scatter_reduce(0, group, places, "amin")
    return first[group]

"""The most probable sequence, with a proof, or with how far it may be from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.inference.outcomes import log_pmf
from probseq.inference.sample import certainly_over
from probseq.inference.search.alphabet import Alphabet, begin
from probseq.inference.search.beam import beam
from probseq.inference.search.hypotheses import Hypotheses
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences

CHUNK = 512
"""Most prefixes read in one call."""


@dataclass(frozen=True)
class Mode:
    """The best sequence that was found for each row, and what is known of all others.

    Shapes:
        hypotheses: one for each row. Where nothing ended within the budget, what a beam found, open.
        log_bound: (b,), nats: no sequence, of any length, is more probable than this.
        proven: (b,), bool: none is more probable than the one that was found.
        prefixes: (b,), int64, how many were looked at.
    """

    hypotheses: Hypotheses
    log_bound: Float[Tensor, " b"]
    proven: Bool[Tensor, " b"]
    prefixes: Int[Tensor, " b"]

    @property
    def gap(self) -> Float[Tensor, " b"]:
        """log_bound − log P of what was found, ∞ where nothing ended."""
        found = self.hypotheses.log_prob.masked_fill(
            ~self.hypotheses.sequences.ended.to(self.proven.device), -torch.inf
        )
        return torch.where(self.proven, 0.0, self.log_bound - found)


@torch.no_grad()
def mode(
    model: Autoregressive,
    context: Any = None,
    *,
    max_length: int | None = None,
    budget: int = 100_000,
    width: int = 5,
) -> Mode:
    """The most probable sequence by branch and bound, the empty one being a candidate like any other.

    A prefix is at least as probable as anything that begins so. So a prefix that is less probable than a whole sequence
    that was found need not be looked at, and when none is left the sequence is the most probable one. A beam gives the
    first; the likeliest prefixes are read first, many at once.

    The most probable sequence is often a bad one: for many models it is empty, or far shorter than their samples. It
    says what the model's law is like, where `beam` leaves open whether the model or the search was to blame.

    Args:
        context: what the model is conditioned on, or None.
        max_length: prefixes of so many elements are not continued; they count in `log_bound`. By default the longest
            that the stop law or an aligned x allows, else 256.
        budget: prefixes to look at for each row, after which it gives up.
        width: of the beam.

    Raises:
        ValueError: a continuous element, a model that is not causal, or sizes out of range.

    Source: Stahlberg & Byrne, On NMT search errors and model errors: cat got your tongue?, 2019.

    >>> from probseq.oracles import Automaton
    >>> model = Automaton("ab", [{"a": (0.6, 1), "b": (0.4, 2)}, {"a": (0.5, 2)}, {}])
    >>> found = mode(model)
    >>> found.hypotheses.best().values.tolist(), found.proven.tolist()
    ([[1]], [True])
    """
    if budget < 1:
        raise ValueError(f"budget must be 1 or more; got {budget}.")
    state, alphabet, limit = begin(model, context, max_length, "mode()")
    first = beam(model, state.context, width, 1, limit)
    return _Search(model, state.context, alphabet, limit, budget, first).run()


@dataclass(frozen=True)
class _Front:
    """Prefixes that may still lead to something better: rows (m,), log_prob (m,), numbers (m, t), lengths (m,)."""

    rows: Tensor
    log_prob: Tensor
    numbers: Tensor
    lengths: Tensor

    def select(self, index: Tensor) -> _Front:
        return _Front(self.rows[index], self.log_prob[index], self.numbers[index], self.lengths[index])

    @staticmethod
    def cat(one: _Front, other: _Front) -> _Front:
        width = max(one.numbers.shape[1], other.numbers.shape[1])
        numbers = [F.pad(each.numbers, (0, width - each.numbers.shape[1])) for each in (one, other)]
        return _Front(
            torch.cat([one.rows, other.rows]),
            torch.cat([one.log_prob, other.log_prob]),
            torch.cat(numbers),
            torch.cat([one.lengths, other.lengths]),
        )


class _Search:
    """Best first, for all rows at once."""

    def __init__(
        self, model: Autoregressive, context: Context, alphabet: Alphabet, longest: int, budget: int, first: Hypotheses
    ) -> None:
        self.model, self.context, self.alphabet, self.longest = model, context, alphabet, longest
        self.budget, self.first = budget, first
        self.over = certainly_over(model, context, longest).to(first.log_prob.device)
        self.ended = first.sequences.ended.to(first.log_prob.device)
        self.best = first.log_prob.masked_fill(~self.ended, -torch.inf)
        self.numbers = [alphabet.numbers(y.to(alphabet.symbols.device)) for y in first.sequences]
        self.left = torch.full_like(self.best, -torch.inf)
        self.prefixes = torch.zeros_like(first.rows)

    def run(self) -> Mode:
        rows = torch.arange(self.context.batch, device=self.best.device)
        front = _Front(rows, torch.zeros_like(self.best), rows.new_zeros(len(rows), 0), torch.zeros_like(rows))
        front = self._sift(front)
        while len(front.rows):
            # Where nothing has ended yet, the likeliest prefixes; else those that can win most.
            known = self.best[front.rows] > -torch.inf
            order = torch.where(known, front.log_prob - self.best[front.rows], front.log_prob)
            chosen = order.topk(min(CHUNK, len(order))).indices
            rest = torch.ones_like(known).index_fill(0, chosen, False)
            onward = self._expand(front.select(chosen))
            front = self._sift(_Front.cat(front.select(rest.nonzero().squeeze(-1)), onward))
        return self._close()

    def _expand(self, front: _Front) -> _Front:
        """One more symbol for each; what ends here is offered as the best."""
        self.prefixes = self.prefixes.index_add(0, front.rows, torch.ones_like(front.rows))
        context, width = self.context.select(front.rows), int(front.lengths.max())
        # Read from the beginning, so that no states need be kept; padding is read too, but after the prefix.
        features, _ = self.model.unroll(context, self.alphabet.symbols[front.numbers[:, :width]])
        places = torch.arange(len(front.rows), device=features.device)
        step = self.model.emit(features[places, front.lengths], front.lengths, context.without_steps())
        self._offer(front, front.log_prob + step.log_stop)
        log_symbols = log_pmf(step.element, self.alphabet.symbols).movedim(0, -1) + step.log_go.unsqueeze(1)
        log_prob = front.log_prob.unsqueeze(1) + log_symbols
        parent, number = (log_prob > self.best[front.rows].unsqueeze(1)).nonzero().unbind(1)
        numbers = F.pad(front.numbers[parent, :width], (0, 1))
        numbers[torch.arange(len(parent), device=parent.device), front.lengths[parent]] = number
        return _Front(front.rows[parent], log_prob[parent, number], numbers, front.lengths[parent] + 1)

    def _offer(self, front: _Front, log_prob: Float[Tensor, " m"]) -> None:
        """Whole sequences: the best of each row, if it is better than what was found."""
        best = self.best.scatter_reduce(0, front.rows, log_prob, "amax")
        for row in (best > self.best).nonzero().squeeze(-1).tolist():
            place = int(log_prob.masked_fill(front.rows != row, -torch.inf).argmax())
            self.numbers[row] = front.numbers[place, : int(front.lengths[place])]
            self.ended[row] = True
        self.best = best

    def _sift(self, front: _Front) -> _Front:
        """What can still win and may be read; of what may not, the most probable is remembered."""
        full = front.lengths >= self.longest
        closed = (full & self.over[front.rows]).nonzero().squeeze(-1)
        if len(closed):
            self._offer(front.select(closed), front.log_prob[closed])
        better = front.log_prob > self.best[front.rows]
        stuck = better & (full | (self.prefixes[front.rows] >= self.budget))
        self.left = self.left.scatter_reduce(0, front.rows[stuck], front.log_prob[stuck], "amax")
        return front.select((better & ~stuck).nonzero().squeeze(-1))

    def _close(self) -> Mode:
        lengths = torch.tensor([len(numbers) for numbers in self.numbers], dtype=torch.int64)
        padded = torch.zeros(len(lengths), int(lengths.max()) if len(lengths) else 0, dtype=torch.int64)
        for row, numbers in enumerate(self.numbers):
            padded[row, : len(numbers)] = numbers
        y = Sequences(self.alphabet.symbols[padded.to(self.best.device)], lengths, self.ended)
        log_prob = torch.where(self.ended, self.best, self.first.log_prob)
        bound = self.left.maximum(self.best)
        return Mode(Hypotheses(y, log_prob, log_prob, self.first.rows), bound, self.left <= self.best, self.prefixes)

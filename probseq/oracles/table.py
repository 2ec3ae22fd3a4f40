"""The table of all conditional probabilities, which a recurrent network stands in for."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.elements import Tokens
from probseq.nextstep import NextStep
from probseq.oracles.stepwise import Stepwise
from probseq.sequences import Sequences

LARGEST = 2**24
"""The most probabilities that a table may hold: 128 MiB in float64."""


class Table(Stepwise):
    """P(yₜ | y₍<t₎) with one law for every history and nothing shared: the full table over sequences of k symbols.

    There are Σ_{t < length} kᵗ histories, so the table has O(k^length) parameters, where a recurrent network that
    models the same dependencies has O(1) in the length. Fitted without pseudo-counts it is the empirical distribution.
    Before `length` elements the end is one outcome among the symbols; after them it is certain. The feature is the
    number of the history: 0 for the empty one, and k·i + y + 1 for history i followed by y.

    Args:
        symbols: k, the size of the alphabet, the end not among them.
        length: the longest sequence.
        fixed: every sequence has exactly `length` elements, and the end is no outcome before.

    Raises:
        ValueError: symbols below 1, a negative length, or a table of more than 2^24 probabilities.

    Source: Goodfellow et al., Deep Learning, section 10.2.3.

    >>> import probseq as ps
    >>> model = Table(symbols=2, length=3).fit(ps.Sequences.of([[0, 1], [0, 1], [0], [1, 1, 0]]))
    >>> [round(p, 9) for p in model.log_prob(ps.Sequences.of([[0, 1], [1, 1, 0], [1]])).exp().tolist()]
    [0.5, 0.25, 0.0]
    >>> model.parameters  # as many as there are sequences, but one
    14
    """

    def __init__(self, symbols: int, length: int, fixed: bool = False) -> None:
        if symbols < 1 or length < 0:
            raise ValueError(f"Table needs symbols ≥ 1 and length ≥ 0; got {symbols}, {length}.")
        outcomes = symbols if fixed else symbols + 1
        # One symbol has a history for each length; more than one outgrow any table after 64 steps.
        histories = length if symbols == 1 else (symbols ** min(length, 64) - 1) // (symbols - 1)
        if (histories + 1) * outcomes > LARGEST:
            raise ValueError(
                f"Table(symbols={symbols}, length={length}) would hold {float(histories):.3g} laws of {outcomes} "
                f"outcomes; expected {LARGEST} probabilities at most. Lower the length, or use NGram(order, symbols)."
            )
        self.symbols, self.length, self.fixed = symbols, length, fixed
        self.histories, self.outcomes = histories, outcomes
        self.element = Tokens(symbols)
        self.max_length = length
        self._set(torch.full((histories, outcomes), 1 / outcomes, dtype=torch.float64))

    @property
    def parameters(self) -> int:
        """How many of the probabilities are free: all but one of each law."""
        return self.histories * (self.outcomes - 1)

    def fit(self, sequences: Sequences, pseudo_count: float = 0.0) -> Table:
        """Count `sequences` in place of what was counted before; an open one lends no end. Returns the model.

        P(v | history) = (c(history, v) + pseudo_count) / Σ_w (c(history, w) + pseudo_count); uniform after a history
        that was not seen. With pseudo_count = 0 no table gives the sequences more probability.

        Raises:
            ValueError: values that are not tokens of the alphabet, sequences longer than `length`, ended ones that are
                shorter where the length is fixed, or a negative pseudo_count.
        """
        if pseudo_count < 0:
            raise ValueError(f"pseudo_count must be ≥ 0; got {pseudo_count}. For maximum likelihood pass 0.")
        y = self.element.conform(sequences).to("cpu").trim()
        self._refuse_lengths(y)
        history, seen = torch.zeros(len(y), dtype=torch.int64), [torch.zeros(0, dtype=torch.int64)]
        for t in range(self.length):
            ends, goes = y.ended & (y.lengths == t), y.lengths > t
            if not self.fixed:
                seen.append(history[ends] * self.outcomes + self.symbols)
            if not bool(goes.any()):
                break
            seen.append(history[goes] * self.outcomes + y.values[goes, t])
            history = history * self.symbols + y.values[:, t] + 1
        counts = torch.bincount(torch.cat(seen), minlength=self.histories * self.outcomes).to(torch.float64)
        counts = counts.reshape(self.histories, self.outcomes) + pseudo_count
        total = counts.sum(-1, keepdim=True)
        self._set(torch.where(total > 0, counts / total, 1 / self.outcomes))
        return self

    def _refuse_lengths(self, y: Sequences) -> None:
        short = y.ended & (y.lengths < self.length) if self.fixed else torch.zeros(len(y), dtype=torch.bool)
        bad = (short | (y.lengths > self.length)).nonzero()
        if len(bad):
            row = int(bad[0])
            expected = "exactly" if self.fixed else "at most"
            raise ValueError(
                f"sequence {row} has {int(y.lengths[row])} elements; the table takes {expected} {self.length}. "
                "Make the table with another length, or cut the sequence."
            )

    def _set(self, law: Float[Tensor, "r o"]) -> None:
        """Take the laws, and one more for whatever comes after `length` elements: a certain end."""
        symbols = law[:, : self.symbols]
        go = symbols.sum(-1)
        stop = torch.zeros_like(go) if self.fixed else law[:, -1]
        # Where the end is certain the law of the next element is never asked, but must be one.
        symbols = torch.where(go.unsqueeze(-1) > 0, symbols, 1.0)
        one = law.new_ones(1)
        self.log_symbols = torch.cat([symbols, law.new_ones(1, self.symbols)]).log()
        self.log_stop = torch.cat([stop, one]).log()
        self.log_go = torch.cat([torch.ones_like(go) if self.fixed else go, 0 * one]).log()

    def first(self) -> Float[Tensor, " h"]:
        return torch.zeros(1, dtype=torch.float64)

    def read(self, features: Float[Tensor, "b h"], y: Int[Tensor, " b"]) -> Float[Tensor, "b h"]:
        following = features * self.symbols + y.to(features).unsqueeze(-1) + 1
        return following.clamp(0, self.histories)

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        history = features.squeeze(-1).to(torch.int64)
        element = dist.Categorical(logits=self.log_symbols[history], validate_args=False)
        return NextStep(element, self.log_stop[history], self.log_go[history])

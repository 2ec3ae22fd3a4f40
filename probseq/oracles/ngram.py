"""Smoothed n-grams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.elements import Tokens
from probseq.inference.automata.chain import Chain, deterministic
from probseq.nextstep import NextStep
from probseq.oracles.stepwise import Stepwise
from probseq.sequences import Sequences
from probseq.shapes import Ragged

Counts = tuple[Tensor, Tensor]
"""The sorted numbers of g n-grams (g,), int64, and how often each occurs (g,), int64."""


class NGram(Stepwise):
    """P(yₜ | the last order − 1 symbols), counted and smoothed; the end is one outcome among the symbols.

    Each order adds what it counted to a share of the law of the next lower one, P(w | h) = gain(h, w) + rest(h)
    P(w | h′), where h′ is h without its oldest symbol; below the single symbols stands the uniform law over symbols
    and end. With c the counts and T(h) the number of different outcomes seen after h:
        Witten–Bell: gain = c(h, w) / (c(h) + T(h)), rest = T(h) / (c(h) + T(h)).
        Kneser–Ney, interpolated and modified: gain = (c(h, w) − D(c(h, w))) / c(h), rest = Σ_w D(c(h, w)) / c(h), with
        three discounts D for each order; below the highest order c(h, w) is the number of different symbols seen
        before h w, but the plain count where h begins at the start of the sequence.
    A sequence begins after order − 1 boundary symbols. The features are the last order − 1 symbols, the newest last.

    Args:
        order: n; 1 is a law without memory.
        symbols: the size of the alphabet, the end not among them.

    Raises:
        ValueError: order or symbols below 1, another smoothing, or too many n-grams to number in 64 bits.

    Source: Chen & Goodman, An empirical study of smoothing techniques for language modeling, 1998, sections 2.5, 2.7
    and 3.

    >>> import probseq as ps
    >>> model = NGram(order=1, symbols=1).fit(ps.Sequences.of([[0], []]))
    >>> round(float(model.log_prob(ps.Sequences.of([[]])).exp()), 9)  # (2 + 2·½) / (3 + 2)
    0.6
    """

    def __init__(
        self, order: int, symbols: int, smoothing: Literal["witten-bell", "kneser-ney"] = "witten-bell"
    ) -> None:
        if order < 1 or symbols < 1:
            raise ValueError(f"NGram needs order ≥ 1 and symbols ≥ 1; got {order}, {symbols}.")
        if smoothing not in ("witten-bell", "kneser-ney"):
            raise ValueError(f'smoothing must be "witten-bell" or "kneser-ney"; got {smoothing!r}.')
        if (symbols + 1) ** order >= 2**63:
            raise ValueError(
                f"{symbols} symbols and the end make {symbols + 1}^{order} n-grams; expected fewer than 2^63. "
                "Lower the order."
            )
        self.order, self.symbols, self.smoothing = order, symbols, smoothing
        self.element = Tokens(symbols)
        self.max_length = None
        self.levels: list[Level] = []

    def fit(self, sequences: Sequences) -> NGram:
        """Count `sequences` in place of what was counted before; an open one lends no end. Returns the model.

        Raises:
            ValueError: values that are not tokens of the alphabet.
        """
        outcomes = self.symbols + 1
        counts = _count(self.element.conform(sequences).to("cpu"), self.order, self.symbols)
        if self.smoothing == "kneser-ney":
            counts = _continuations(counts, outcomes)
        weigh = _kneser_ney if self.smoothing == "kneser-ney" else _witten_bell
        self.levels = [Level.weighed(keys, count, outcomes, weigh) for keys, count in counts]
        return self

    def first(self) -> Float[Tensor, " h"]:
        # Floats hold symbols exactly, and engines derive the dtype of log-probabilities from the features.
        return torch.full((self.order - 1,), self.symbols, dtype=torch.float64)

    def read(self, features: Float[Tensor, "b h"], y: Int[Tensor, " b"]) -> Float[Tensor, "b h"]:
        return torch.cat([features, y.to(features).unsqueeze(-1)], -1)[:, 1:]

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        log_joint = self.log_law(features.flatten(0, -2)).reshape(*features.shape[:-1], self.symbols + 1)
        log_symbols = log_joint[..., :-1]
        element = dist.Categorical(logits=log_symbols, validate_args=False)
        return NextStep(element, log_joint[..., -1], log_symbols.logsumexp(-1))

    def log_law(self, history: Float[Tensor, "n h"]) -> Float[Tensor, "n o"]:
        """log P of every symbol, and of the end last, after each history of order − 1 symbols, the newest last.

        Raises:
            ValueError: nothing was counted yet.
        """
        self._require_counts()
        outcomes = self.symbols + 1
        code = history.new_zeros(len(history), dtype=torch.int64)
        for column in history.to(torch.int64).unbind(-1):
            code = code * outcomes + column
        # Downwards, the different contexts of each order and which row asks for which; upwards, their laws.
        asked: list[tuple[Tensor, Tensor]] = []
        for level in range(self.order - 1, -1, -1):
            code, rows = torch.unique(code.remainder(outcomes**level), return_inverse=True)
            asked.append((code, rows))
        law = torch.full((1, outcomes), 1 / outcomes, dtype=torch.float64, device=history.device)
        below = torch.zeros_like(asked[-1][0])
        for level, (contexts, rows) in zip(self.levels, reversed(asked), strict=True):
            law = level.law(contexts, law[below])
            below = rows
        return law.log()[below]

    def chain(self) -> Chain:
        """The law as a finite weighted automaton, for exact constraints: a state for each history that was counted.

        After a history that was not counted the law is that of its longest end that was; so that end is the state.

        Raises:
            ValueError: nothing was counted yet.
        """
        self._require_counts()
        outcomes = self.symbols + 1
        sizes = [len(level.contexts) for level in self.levels]
        if not all(sizes):
            raise ValueError("this NGram was fitted to no element and no end. Call fit(sequences) with some.")
        laws = [torch.full((1, outcomes), 1 / outcomes, dtype=torch.float64)]
        after = torch.zeros(0, self.symbols, dtype=torch.int64)
        symbols, targets = torch.arange(self.symbols), []
        for n, level in enumerate(self.levels):
            shorter = level.contexts.remainder(outcomes ** max(n - 1, 0))
            place = torch.searchsorted(self.levels[n - 1].contexts, shorter) if n else torch.zeros_like(shorter)
            laws.append(level.law(level.contexts, laws[-1][place]))
            # The next state: the longest counted end of this history with one more symbol.
            codes = level.contexts.unsqueeze(1) * outcomes + symbols
            after = torch.zeros_like(codes)
            for m in range(1, min(n + 1, self.order - 1) + 1):
                ends, contexts = codes.remainder(outcomes**m), self.levels[m].contexts
                found = torch.searchsorted(contexts, ends).clamp(max=len(contexts) - 1)
                after = torch.where(contexts[found] == ends, found + sum(sizes[:m]), after)
            targets.append(after)
        law = torch.cat(laws[1:]).log()
        first = int(torch.searchsorted(self.levels[-1].contexts, outcomes ** (self.order - 1) - 1)) + sum(sizes[:-1])
        return deterministic(law[:, :-1], law[:, -1], torch.cat(targets), first)

    def _require_counts(self) -> None:
        if not self.levels:
            raise ValueError("this NGram has counted nothing. Call fit(sequences) first.")


@dataclass(frozen=True)
class Level:
    """One order's part in the law: P(w | h) = gain(h, w) + rest(h) P(w | h′); an unseen h leaves it to h′.

    A context and an n-gram are numbered in base symbols + 1, the newest symbol last.

    Shapes:
        contexts, rest: (m,), the numbers sorted. grams, gain: (g,), the numbers sorted.
    """

    contexts: Int[Tensor, " m"]
    rest: Float[Tensor, " m"]
    grams: Int[Tensor, " g"]
    gain: Float[Tensor, " g"]

    @staticmethod
    def weighed(keys: Tensor, count: Tensor, outcomes: int, weigh: Weigh) -> Level:
        """From the counts of one order."""
        contexts, owner = torch.unique_consecutive(
            torch.div(keys, outcomes, rounding_mode="floor"), return_inverse=True
        )
        gain, rest = weigh(count.to(torch.float64), owner, len(contexts))
        return Level(contexts, rest, keys, gain)

    def law(self, contexts: Int[Tensor, " u"], lower: Float[Tensor, "u o"]) -> Float[Tensor, "u o"]:
        """The law after each context, from that of the next lower order."""
        outcomes = lower.shape[-1]
        grams = contexts.unsqueeze(-1) * outcomes + torch.arange(outcomes, device=contexts.device)
        rest = _look_up(contexts, self.contexts, self.rest, 1.0)
        return _look_up(grams, self.grams, self.gain, 0.0) + rest.unsqueeze(-1) * lower


Weigh = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Counts (g,), the context of each (g,), the number of contexts m → gain (g,), rest (m,)."""


def _look_up(asked: Tensor, keys: Tensor, values: Tensor, missing: float) -> Tensor:
    """The value of each asked key, where `keys` are sorted."""
    if not len(keys):
        return torch.full(asked.shape, missing, dtype=values.dtype, device=asked.device)
    place = torch.searchsorted(keys, asked).clamp_(max=len(keys) - 1)
    return torch.where(keys[place] == asked, values[place], missing)


def _count(y: Sequences, order: int, symbols: int) -> list[Counts]:
    """The n-grams of every order from 1 to `order`; the end is an outcome, the boundary stands in contexts alone."""
    y = y.trim()
    # The end and the boundary share a number: the one is never in a context, the other never an outcome.
    outcomes = torch.cat([y.values, y.values.new_full((len(y), 1), symbols)], 1)
    ended = y.ended.nonzero().squeeze(-1)
    outcomes[ended, y.lengths[ended]] = symbols
    padded = torch.cat([y.values.new_full((len(y), order - 1), symbols), outcomes], 1)
    slots = Ragged(y.decisions, outcomes.shape[1], y.device)
    keys, counts = slots.gather(torch.zeros_like(outcomes)), []
    for back in range(order):
        past = padded[:, order - 1 - back : padded.shape[1] - back]
        keys = keys + slots.gather(past) * (symbols + 1) ** back
        counts.append(torch.unique(keys, return_counts=True))
    return counts


def _continuations(counts: list[Counts], outcomes: int) -> list[Counts]:
    """Below the highest order, how many different symbols were seen before each n-gram."""
    adjusted = []
    for level, ((keys, count), (longer, _)) in enumerate(pairwise(counts)):
        before = torch.unique(longer.remainder(outcomes ** (level + 1)), return_counts=True)[1]
        if level:
            # Nothing but the boundary comes before the boundary.
            starts = torch.div(keys, outcomes**level, rounding_mode="floor") == outcomes - 1
            before = torch.where(starts, count, before)
        adjusted.append((keys, before))
    return [*adjusted, counts[-1]]


def _witten_bell(count: Tensor, owner: Tensor, contexts: int) -> tuple[Tensor, Tensor]:
    total = count.new_zeros(contexts).index_add(0, owner, count)
    kinds = torch.bincount(owner, minlength=contexts)
    return count / (total + kinds)[owner], kinds / (total + kinds)


def _kneser_ney(count: Tensor, owner: Tensor, contexts: int) -> tuple[Tensor, Tensor]:
    total = count.new_zeros(contexts).index_add(0, owner, count)
    discount = _discounts(count)[count.long().clamp(max=3) - 1]
    rest = count.new_zeros(contexts).index_add(0, owner, discount)
    return (count - discount) / total[owner], rest / total


def _discounts(count: Tensor) -> Tensor:
    """D(1), D(2) and D(3 or more), from how many n-grams occur once, twice, three and four times.

    D(k) = k − (k + 1) Y nₖ₊₁ / nₖ, Y = n₁ / (n₁ + 2 n₂); ½, 1 and 1½ where the counts are too few to tell.
    """
    n = [int((count == k).sum()) for k in (1, 2, 3, 4)]
    if min(n):
        share = n[0] / (n[0] + 2 * n[1])
        discounts = [k - (k + 1) * share * n[k] / n[k - 1] for k in (1, 2, 3)]
        if all(0 < discount <= k for k, discount in enumerate(discounts, 1)):
            return count.new_tensor(discounts)
    return count.new_tensor([0.5, 1.0, 1.5])

"""Finite weighted automata: what a model with finitely many states known beforehand is, and its exact constraint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.inference.automata.dfa import DFA

LARGEST = 1 << 25
"""Most arrows of a product."""

STORED = 1 << 26
"""Most numbers that the backward pass keeps: half a GiB."""

CHUNK = 1 << 22
"""Arrows looked at in one call."""

SETTLED = 1e-14
"""A change in nats that is rounding."""


@dataclass(frozen=True)
class Chain:
    """A law over sequences with k states: begin in one; in each, stop, or take one of m arrows, which gives a symbol.

    Shapes:
        log_initial: (k,), nats. log_stop: (k,), nats. log_prob: (k, m), of each arrow; −∞ where there is none.
        symbol, target: (k, m), int64, the symbol that an arrow gives and the state it leads to.
        length: every sequence has exactly this many elements, and `log_stop` counts there alone; or None.
    """

    log_initial: Float[Tensor, " k"]
    log_stop: Float[Tensor, " k"]
    log_prob: Float[Tensor, "k m"]
    symbol: Int[Tensor, "k m"]
    target: Int[Tensor, "k m"]
    length: int | None = None

    def within(self, dfa: DFA) -> Chain:
        """The same weights for the sequences that the automaton accepts, and none for the others: a product.

        Its states are the pairs that can be reached and that can be left by an accepted sequence.

        Raises:
            ValueError: a product of more than 2²⁵ arrows.
        """
        first = (self.log_initial > -torch.inf).nonzero().squeeze(-1) * len(dfa)
        codes = self._pairs(first if bool(dfa.alive[0]) else first[:0], dfa)
        place = codes.new_full((len(self.log_stop) * len(dfa),), 0)
        place[codes] = torch.arange(len(codes))
        state, where = codes // len(dfa), codes % len(dfa)
        after = dfa.next[where.unsqueeze(1), self.symbol[state]]
        target = place[self.target[state] * len(dfa) + after]
        begins = codes % len(dfa) == 0
        return Chain(
            self.log_initial[state].masked_fill(~begins, -torch.inf),
            self.log_stop[state].masked_fill(~dfa.accepts[where], -torch.inf),
            self.log_prob[state].masked_fill(~dfa.alive[after], -torch.inf),
            self.symbol[state],
            target,
            self.length,
        )

    def _pairs(self, front: Tensor, dfa: DFA) -> Int[Tensor, " p"]:
        """The numbers state · |dfa| + state of the automaton of all pairs that can be reached and are alive."""
        arrows, alive = self.log_prob.shape[1], dfa.alive
        seen = torch.zeros(len(self.log_stop) * len(dfa), dtype=torch.bool)
        count = 0
        while len(front):
            count += len(front)
            if count * max(arrows, 1) > LARGEST:
                raise ValueError(
                    f"the product of the model's {len(self.log_stop):,} states and the constraint's {len(dfa):,} has "
                    f"more than {LARGEST:,} arrows. Use method='rejection', or a simpler constraint."
                )
            seen[front] = True
            found = []
            for codes in front.split(max(CHUNK // max(arrows, 1), 1)):
                state, where = codes // len(dfa), codes % len(dfa)
                after = dfa.next[where.unsqueeze(1), self.symbol[state]]
                kept = (self.log_prob[state] > -torch.inf) & alive[after]
                found.append(torch.unique((self.target[state] * len(dfa) + after)[kept]))
            front = torch.unique(torch.cat(found))
            front = front[~seen[front]]
        return seen.nonzero().squeeze(-1)

    def backward(self, horizon: int) -> Backward:
        """log of the weight of all that can still come, by how many elements may: the backward recursion.

        With a fixed length, of all that comes in exactly so many elements.

        Raises:
            ValueError: more than 2²⁶ numbers to keep.
        """
        rest = [self.log_stop]
        for _ in range(horizon if self.length is None else self.length):
            if (len(rest) + 1) * len(self.log_stop) > STORED:
                raise ValueError(
                    f"{horizon} elements of {len(self.log_stop):,} states are more than {STORED:,} numbers to keep. "
                    "Lower max_length, or use method='rejection'."
                )
            onward = self._onward(rest[-1])
            rest.append(onward if self.length is not None else torch.logaddexp(self.log_stop, onward))
            if self.length is None and torch.allclose(rest[-1], rest[-2], rtol=0, atol=SETTLED):
                break
        return Backward(self, rest, horizon)

    def _onward(self, rest: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        size = max(CHUNK // max(self.log_prob.shape[1], 1), 1)
        pieces = zip(self.log_prob.split(size), self.target.split(size), strict=True)
        return torch.cat([(log_prob + rest[target]).logsumexp(1) for log_prob, target in pieces])


@dataclass(frozen=True)
class Backward:
    """A chain and, for every number r of elements that may still come, the log of the weight of all that can come.

    Past the last of `rest` nothing changes any more.
    """

    chain: Chain
    rest: list[Tensor]
    horizon: int

    def at(self, left: int) -> Float[Tensor, " k"]:
        """(k,), with `left` elements that may still come."""
        return self.rest[min(left, len(self.rest) - 1)]

    @property
    def log_mass(self) -> Float[Tensor, ""]:
        """The log of the weight of all sequences."""
        if self.chain.length is not None and self.chain.length > self.horizon:
            return self.chain.log_stop.new_full((), -torch.inf)
        return (self.chain.log_initial + self.at(self.steps)).logsumexp(0)

    @property
    def steps(self) -> int:
        """The most elements a sequence can have."""
        return self.horizon if self.chain.length is None else self.chain.length

    def draw(self, num_samples: int) -> tuple[Int[Tensor, "n t"], Int[Tensor, " n"]]:
        """Exact draws, forward: symbols and lengths. The mass must not be 0."""
        chain, rows = self.chain, torch.arange(num_samples)
        state = _choose((chain.log_initial + self.at(self.steps)).expand(num_samples, -1))
        numbers = torch.zeros(num_samples, self.steps, dtype=torch.int64)
        lengths = torch.full((num_samples,), self.steps)
        for t in range(self.steps):
            left = self.steps - t
            onward = chain.log_prob[state] + self.at(left - 1)[chain.target[state]]
            stop = chain.log_stop[state] if chain.length is None else torch.full_like(chain.log_stop[state], -torch.inf)
            chosen = _choose(torch.cat([stop.unsqueeze(1), onward], 1))
            lengths[rows[chosen == 0]] = t
            go = (chosen > 0).nonzero().squeeze(-1)
            rows, state, arrow = rows[go], state[go], chosen[go] - 1
            if not len(rows):
                break
            numbers[rows, t] = chain.symbol[state, arrow]
            state = chain.target[state, arrow]
        return numbers, lengths


def _choose(log_weight: Float[Tensor, "n m"]) -> Int[Tensor, " n"]:
    return log_weight.softmax(1).multinomial(1).squeeze(1)


def deterministic(log_symbols: Tensor, log_stop: Tensor, after: Int[Tensor, "k v"], first: int) -> Chain:
    """The chain whose states and symbols know the next state: log P(symbol) (k, v), log P(stop) (k,), from `first`."""
    symbol = torch.arange(after.shape[1]).expand_as(after)
    log_initial = torch.full_like(log_stop, -torch.inf)
    log_initial[first] = 0.0
    return Chain(log_initial, log_stop, log_symbols, symbol, after)

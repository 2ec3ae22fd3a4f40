"""Draws that walk down a trie: from what is left of a model's law, and what was found on the way put down there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import State
from probseq.inference.automata.dfa import DFA
from probseq.inference.automata.trie import Trie
from probseq.inference.sample import certainly_over
from probseq.inference.search.alphabet import Alphabet, begin
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Space:
    """The sequences of a model that an automaton accepts and that have ended within `longest` elements."""

    model: Autoregressive
    state: State
    alphabet: Alphabet
    longest: int
    dfa: DFA
    need: Int[Tensor, "s o"]
    """How many elements it takes at least to be accepted: if it ends in a state, and after each symbol."""

    @staticmethod
    def of(model: Autoregressive, context: Any, longest: int | None, dfa: DFA | None, name: str) -> Space:
        """Checked as for a search; without an automaton, everything is accepted.

        Raises:
            ValueError: see `begin`; an automaton of another alphabet.
        """
        state, alphabet, limit = begin(model, context, longest, name)
        limit = limit if model.max_length is None else min(limit, model.max_length)
        dfa = DFA.anything(len(alphabet)) if dfa is None else dfa
        if dfa.symbols != len(alphabet):
            raise ValueError(
                f"{name}: the automaton has {dfa.symbols} symbols, the model {len(alphabet)}. Make it over the model's."
            )
        device = state.features.device
        dfa = DFA(dfa.next.to(device), dfa.accepts.to(device))
        far = dfa.distance
        need = torch.cat([torch.where(dfa.accepts, 0, far.max() + 2 + limit).unsqueeze(1), 1 + far[dfa.next]], 1)
        return Space(model, state, alphabet, limit, dfa, need)

    def law(self, state: State) -> Float[Tensor, "n o"]:
        """log P of the end and of each symbol, as the model gives it."""
        log_symbols, log_stop = self.alphabet.law(self.model, state)
        return torch.cat([log_stop.unsqueeze(1), log_symbols], 1)

    def allowed(self, where: Int[Tensor, " n"], position: int) -> Bool[Tensor, "n o"]:
        """What may come after `position` elements so that the sequence can still be accepted in time."""
        return self.need[where] + position <= self.longest

    def sequences(self, numbers: Int[Tensor, "n t"], lengths: Int[Tensor, " n"], ended: Any = True) -> Sequences:
        """Of the symbols' numbers."""
        return Sequences(self.alphabet.symbols[numbers], lengths, ended).trim()


@dataclass(frozen=True)
class Descent:
    """Where n walkers came to.

    Shapes:
        rows: (n,), the row of the context. log_prob: (n,), nats, the model's, of what was drawn.
        log_kept: (n,), log of the product of the allowed shares at the nodes that were new; −∞ if it came to nothing.
        node, outcome: (n,), the last step, −1 where there is none to settle.
        numbers, lengths: (n, t) and (n,), what was drawn. ended: (n,), whether by an end.
    """

    rows: Int[Tensor, " n"]
    log_prob: Float[Tensor, " n"]
    log_kept: Float[Tensor, " n"]
    node: Int[Tensor, " n"]
    outcome: Int[Tensor, " n"]
    numbers: Int[Tensor, "n t"]
    lengths: Int[Tensor, " n"]
    ended: Bool[Tensor, " n"]
    levels: list[Tensor]


def descend(
    space: Space,
    trie: Trie,
    rows: Int[Tensor, " n"],
    won: bool,
    log_least: Float[Tensor, " n"] | None = None,
    cut: bool = False,
) -> Descent:
    """One walker for each of `rows`. Each is drawn as if alone, from the trie as it was when the round began.

    At a node that was there, it draws from what is left there; at a new one from what the model and the automaton
    allow, and `log_kept` tells how much of the law that is. So it reaches a sequence y with P(y) / (what is left of
    the row · kept), and P(y) · 1[y left] = (what is left) · kept · (the chance to be here).

    Args:
        won: draw from what is not rejected, and not only from what is not settled.
        log_least: a walker leaves when its `log_kept` falls below.
        cut: sequences stop at the longest length without an end, as in `sample`; else only ends are reached.
    """
    trie.begin_round()
    n, device = len(rows), rows.device
    walker, node, where = torch.arange(n, device=device), rows.clone(), torch.zeros_like(rows)
    state = space.state.select(rows)
    found = _Found(n, device)
    levels = []
    for position in range(space.longest + (not cut) if n else 0):
        outcomes = space.law(state)
        chances = _chances(space, trie, node, outcomes, space.allowed(where, position), won)
        levels.append(node)
        left = found.keep(walker, chances.sum(1), trie.fresh(node), log_least)
        if not len(left):
            break
        walker, node, where = walker[left], node[left], where[left]
        outcome = (chances[left] / chances[left].sum(1, keepdim=True)).multinomial(1).squeeze(1)
        found.add(walker, node, outcome, outcomes[left, outcome])
        go = (outcome > 0).nonzero().squeeze(-1)
        if not len(go) or (cut and position + 1 == space.longest):
            break
        walker, number = walker[go], outcome[go] - 1
        node, where = trie.follow(node[go], outcome[go]), space.dfa.next[where[go], number]
        state = state.select(left[go])
        state = space.model.extend(state, space.alphabet.symbols[number].unsqueeze(1))[1]
    over = certainly_over(space.model, space.state.context, space.longest).to(device)[rows]
    return found.close(rows, levels, over, cut, space.longest)


def _chances(space: Space, trie: Trie, node: Tensor, outcomes: Tensor, allowed: Tensor, won: bool) -> Tensor:
    """(n, 1 + v), what is left of each outcome."""
    fresh = trie.fresh(node)
    share = outcomes.to(torch.float64).softmax(1)
    trie.write(node.masked_fill(~fresh, -1), share, allowed.to(share))
    at = node.clamp(min=0)
    left = trie.open[at] + trie.won[at] if won else trie.open[at]
    return torch.where(fresh.unsqueeze(1), share * allowed, trie.share[at] * left)


class _Found:
    """What walkers have drawn so far."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.log_prob = torch.zeros(n, dtype=torch.float64, device=device)
        self.log_kept = torch.zeros_like(self.log_prob)
        self.lengths = torch.zeros(n, dtype=torch.int64, device=device)
        self.node, self.outcome = self.lengths - 1, self.lengths - 1
        self.columns: list[Tensor] = []

    def keep(self, walker: Tensor, total: Tensor, fresh: Tensor, log_least: Tensor | None) -> Tensor:
        """Which of the walkers go on, from what each may do is left of a law."""
        self.log_kept = self.log_kept.index_add(0, walker, torch.where(fresh, total.log(), 0.0))
        alive = total > 0
        if log_least is not None:
            alive = alive & (self.log_kept[walker] >= log_least[walker])
        return alive.nonzero().squeeze(-1)

    def add(self, walker: Tensor, node: Tensor, outcome: Tensor, log_prob: Tensor) -> None:
        """One more outcome for each of the walkers."""
        self.log_prob = self.log_prob.index_add(0, walker, log_prob.to(self.log_prob))
        self.node = self.node.index_copy(0, walker, node)
        self.outcome = self.outcome.index_copy(0, walker, outcome)
        self.lengths = self.lengths.index_add(0, walker, (outcome > 0).to(torch.int64))
        self.columns.append(torch.zeros_like(self.lengths).index_copy(0, walker, (outcome - 1).clamp(min=0)))

    def close(self, rows: Tensor, levels: list[Tensor], over: Tensor, cut: bool, longest: int) -> Descent:
        """A walker that left on the way has no end: its `log_kept` is −∞."""
        ended = self.outcome == 0
        done = ended | ((self.lengths == longest) & cut)
        node, outcome = self.node.masked_fill(~done, -1), self.outcome
        log_kept = self.log_kept.masked_fill(~done, -torch.inf)
        numbers = torch.stack(self.columns, 1) if self.columns else self.lengths.new_zeros(len(rows), 0)
        return Descent(
            rows, self.log_prob, log_kept, node, outcome, numbers, self.lengths, ended | (done & over), levels
        )

"""Deterministic finite automata over the symbols of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probseq.arguments import check_fields
from probseq.sequences import Sequences

FAR = 1 << 40
"""The distance to an accepting state from where there is none."""

LARGEST = 1 << 22
"""Most arrows of a product, before it is minimised."""


@dataclass(frozen=True)
class DFA:
    """A set of sequences: those that lead from state 0 to an accepting state.

    Automata are combined by `a & b` (both), `a | b` (either), `a - b` (the first and not the second) and `~a` (not).

    Shapes:
        next: (s, v), int64, the state after each state and symbol; every state has an arrow for every symbol.
        accepts: (s,), bool, whether a sequence may end there.

    Raises:
        ValueError: shapes that disagree, or arrows to states that do not exist.

    >>> import torch, probseq as ps
    >>> even = DFA(torch.tensor([[1, 0], [0, 1]]), torch.tensor([True, False]))  # an even number of zeros
    >>> even.matches(ps.Sequences.of([[0, 1, 0], [0], []])).tolist()
    [True, False, True]
    """

    next: Int[Tensor, "s v"]
    accepts: Bool[Tensor, " s"]

    def __post_init__(self) -> None:
        check_fields(self)
        states = len(self.accepts)
        if not states or len(self.next) != states:
            raise ValueError(f"a DFA needs one state or more, and a row of arrows for each; got {len(self.next)} rows.")
        if self.next.numel() and (int(self.next.min()) < 0 or int(self.next.max()) >= states):
            low, high = int(self.next.min()), int(self.next.max())
            raise ValueError(
                f"the arrows of a DFA lead to states 0…{states - 1}; got {low}…{high}. "
                "Add a state without a way out for what is forbidden."
            )

    def __len__(self) -> int:
        return len(self.accepts)

    @property
    def symbols(self) -> int:
        """The size v of the alphabet."""
        return self.next.shape[1]

    @staticmethod
    def anything(symbols: int) -> DFA:
        """All sequences over `symbols` symbols."""
        return DFA(torch.zeros(1, symbols, dtype=torch.int64), torch.ones(1, dtype=torch.bool))

    @cached_property
    def distance(self) -> Int[Tensor, " s"]:
        """The fewest symbols that lead from each state to an accepting one; 2⁴⁰ where none do."""
        found = torch.where(self.accepts, 0, FAR)
        for _ in range(len(self) if self.symbols else 0):
            nearer = found.minimum(found[self.next].amin(1) + 1).clamp(max=FAR)
            if torch.equal(nearer, found):
                break
            found = nearer
        return found

    @property
    def alive(self) -> Bool[Tensor, " s"]:
        """The states from which an accepting one can be reached."""
        return self.distance < FAR

    @property
    def empty(self) -> bool:
        """Whether it accepts no sequence."""
        return not bool(self.alive[0])

    def matches(self, y: Sequences) -> Bool[Tensor, " b"]:
        """Whether it accepts each sequence of symbols 0…v − 1; one that has not ended is not accepted."""
        return self.after(y.filled(0).values, y.lengths.to(y.device)) & y.ended.to(y.device)

    def after(self, numbers: Int[Tensor, "b t"], lengths: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Whether the first `lengths` symbols of each row lead to an accepting state."""
        arrows, state = self.next.to(numbers.device), torch.zeros_like(lengths)
        for t, column in enumerate(numbers.unbind(1)):
            state = torch.where(t < lengths, arrows[state, column], state)
        return self.accepts.to(numbers.device)[state]

    def minimise(self) -> DFA:
        """The smallest automaton of the same sequences."""
        reached = self._reached()
        place = reached.cumsum(0) - 1
        arrows, accepts = place[self.next[reached]], self.accepts[reached]
        group, count = accepts.to(torch.int64), 0
        # Moore: states stay together as long as every symbol takes them to states that are together.
        while True:
            rows, group = torch.unique(torch.cat([group.unsqueeze(1), group[arrows]], 1), dim=0, return_inverse=True)
            if len(rows) == count:
                break
            count = len(rows)
        order = torch.arange(count)
        first = torch.full((count,), len(arrows)).scatter_reduce(0, group, torch.arange(len(arrows)), "amin")
        order[first.argsort()] = torch.arange(count)
        first = first.sort().values
        return DFA(order[group[arrows[first]]], accepts[first])

    def _reached(self) -> Bool[Tensor, " s"]:
        reached = torch.zeros(len(self), dtype=torch.bool)
        front = torch.zeros(1, dtype=torch.int64)
        while len(front):
            reached[front] = True
            front = torch.unique(self.next[front])
            front = front[~reached[front]]
        return reached

    def __and__(self, other: DFA) -> DFA:
        return self._product(other, torch.logical_and)

    def __or__(self, other: DFA) -> DFA:
        return self._product(other, torch.logical_or)

    def __sub__(self, other: DFA) -> DFA:
        return self._product(other, lambda a, b: a & ~b)

    def __invert__(self) -> DFA:
        return DFA(self.next, ~self.accepts)

    def _product(self, other: DFA, join: Callable[[Tensor, Tensor], Tensor]) -> DFA:
        if self.symbols != other.symbols:
            raise ValueError(
                f"automata over one alphabet can be combined; got {self.symbols} and {other.symbols} symbols."
            )
        if len(self) * len(other) * self.symbols > LARGEST:
            raise ValueError(
                f"a product of {len(self)} by {len(other)} states has too many arrows; expected {LARGEST:,} at most. "
                "Use minimise() first, or a smaller pattern."
            )
        arrows = self.next.unsqueeze(1) * len(other) + other.next.unsqueeze(0)
        accepts = join(self.accepts.unsqueeze(1), other.accepts.unsqueeze(0))
        return DFA(arrows.flatten(0, 1), accepts.flatten()).minimise()

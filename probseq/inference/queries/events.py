"""Questions about a sequence that `query` answers. Steps are counted from 1 after what is already known.

Sets of symbols are given as a string, where the model's tokens stand for characters, as a list of elements, as a bool
mask (v,) over the alphabet, or as a predicate, a function from elements (n, *e) to bools (n,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from probseq.arguments import check_fields
from probseq.inference.queries.monitors import Monitor
from probseq.sequences import Sequences

Symbols = str | Sequence[Any] | Tensor | Callable[[Tensor], Tensor]

NO, YES, OPEN = 0, 1, 2
TRUTH = [[0.0], [1.0]]
"""What is asked of the outcomes no and yes: the probability of yes."""


@runtime_checkable
class Event(Protocol):
    """A question of your own: which sets of symbols it tells apart, and the automaton that reads them."""

    scalar: ClassVar[bool]
    """Whether the answer is one number, and has no axis for several."""

    @property
    def sets(self) -> tuple[Symbols, ...] | None:
        """An element's class is Σᵢ 2ⁱ [it is in set i]; None: each symbol is a class of its own, by number."""
        ...

    def monitor(self, classes: int, longest: int) -> Monitor:
        """The automaton over `classes` classes; `longest` is how many elements there can be, so far as is known."""
        ...


@dataclass(frozen=True)
class FirstAt:
    """P(the first element in `symbols` is at `step`)."""

    symbols: Symbols
    step: int

    scalar: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        _require_steps(self, self.step)

    @property
    def sets(self) -> tuple[Symbols, ...]:
        return (self.symbols,)

    def monitor(self, classes: int, longest: int) -> Monitor:
        """States: none yet; the first just now; the first before."""
        return Monitor.of([[0, 1], [2, 2], [2, 2]], [NO, NO, NO], [NO, YES, NO], self.step, TRUTH)


@dataclass(frozen=True)
class FirstTime:
    """The law of the step of the first element in `symbols`: P(at 1), …, P(at `steps`), P(not within them)."""

    symbols: Symbols
    steps: int

    scalar: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        _require_steps(self, self.steps)

    @property
    def sets(self) -> tuple[Symbols, ...]:
        return (self.symbols,)

    def monitor(self, classes: int, longest: int) -> Monitor:
        """States: t read and none yet, t = 0…steps; found at each step."""
        n = self.steps
        waiting = [[min(t + 1, n), n + 1 + min(t, n - 1)] for t in range(n + 1)]
        found = [[n + 1 + t, n + 1 + t] for t in range(n)]
        outcome = [n] * (n + 1) + list(range(n))
        return Monitor.of(waiting + found, outcome, outcome, n, torch.eye(n + 1))


@dataclass(frozen=True)
class Within:
    """P(some element in `symbols` is among the next `steps`)."""

    symbols: Symbols
    steps: int

    scalar: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        _require_steps(self, self.steps)

    @property
    def sets(self) -> tuple[Symbols, ...]:
        return (self.symbols,)

    def monitor(self, classes: int, longest: int) -> Monitor:
        """States: none yet; one."""
        return Monitor.of([[0, 1], [1, 1]], [NO, YES], [NO, YES], self.steps, TRUTH)


@dataclass(frozen=True)
class Before:
    """P(an element in `symbols` comes, and none in `others` before it or with it).

    Args:
        steps: it must come within so many; None sets no limit. The automaton then reads as many as the model can have,
            or 256, and what is open after them is between the bounds, and not in the estimate.
    """

    symbols: Symbols
    others: Symbols
    steps: int | None = None

    scalar: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        _require_steps(self, 1 if self.steps is None else self.steps)

    @property
    def sets(self) -> tuple[Symbols, ...]:
        return (self.symbols, self.others)

    def monitor(self, classes: int, longest: int) -> Monitor:
        """States: neither yet; the one; the other."""
        steps, rest = (longest, OPEN) if self.steps is None else (self.steps, NO)
        moves = [[0, 1, 2, 2], [1, 1, 1, 1], [2, 2, 2, 2]]
        return Monitor.of(moves, [NO, YES, NO], [rest, YES, NO], max(steps, 1), [*TRUTH, [0.0]], [*TRUTH, [1.0]])


@dataclass(frozen=True)
class At:
    """The law of the element at `step`: P(each symbol, by number), then P(the sequence has ended before)."""

    step: int

    scalar: ClassVar[bool] = False
    sets: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_fields(self)
        _require_steps(self, self.step)

    def monitor(self, classes: int, longest: int) -> Monitor:
        """States: nothing read; each symbol as the last one."""
        moves = torch.arange(1, classes + 1).expand(classes + 1, classes)
        end = torch.full((classes + 1,), classes)
        last = torch.cat([torch.tensor([classes]), torch.arange(classes)])
        return Monitor.of(moves, end, last, self.step, torch.eye(classes + 1))


@dataclass(frozen=True)
class Count:
    """The law of the number of elements in `symbols` among the next `steps`: P(0), …, P(steps)."""

    symbols: Symbols
    steps: int

    scalar: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        _require_steps(self, self.steps)

    @property
    def sets(self) -> tuple[Symbols, ...]:
        return (self.symbols,)

    def monitor(self, classes: int, longest: int) -> Monitor:
        """The state is the number so far."""
        n = self.steps
        number = list(range(n + 1))
        return Monitor.of([[c, min(c + 1, n)] for c in number], number, number, n, torch.eye(n + 1))


@dataclass(frozen=True)
class Length:
    """The law of the number of elements still to come: P(0), …, P(longest), P(more than longest)."""

    longest: int

    scalar: ClassVar[bool] = False
    sets: ClassVar[tuple[Symbols, ...]] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if self.longest < 0:
            raise ValueError(f"Length needs longest ≥ 0; got {self.longest}.")

    def monitor(self, classes: int, longest: int) -> Monitor:
        """The state is the number of elements read."""
        n = self.longest + 1
        read = list(range(n + 1))
        return Monitor.of([[min(t + 1, n)] for t in read], read, read, n, torch.eye(n + 1))


@dataclass(frozen=True)
class Expectation:
    """E[f(y)], y being the sequence, what was known of it included, up to `steps` further elements.

    Args:
        function: maps n Sequences to numbers (n,) or (n, m). One that goes on after `steps` has `ended=False`.
        steps: how many further elements are looked at.
    """

    function: Callable[[Sequences], Tensor]
    steps: int

    def __post_init__(self) -> None:
        check_fields(self)
        _require_steps(self, self.steps)


def _require_steps(event: Any, steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"{type(event).__name__} counts steps from 1; got {steps!r}. The next element is at step 1.")

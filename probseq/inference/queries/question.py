"""A question made ready: the model, its state after what is known, and the automaton over its elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context, State
from probseq.inference.outcomes import support
from probseq.inference.queries.events import Event, Symbols
from probseq.inference.queries.monitors import Monitor
from probseq.inference.queries.prefixes import beginnings, read_prefix
from probseq.inference.sample import longest, require_causal
from probseq.inference.search.alphabet import Alphabet
from probseq.inference.text import letters
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Question:
    """One question about b laws at once.

    Shapes:
        state: of batch b, after what is known.
        prefix: what is known, b open sequences.
        monitor: over the classes that occur.
        classes: (v,), int64, the class of each symbol, or None where symbols cannot be listed.
        classify: elements (n, *e) → classes (n,).
    """

    model: Autoregressive
    state: State
    prefix: Sequences
    monitor: Monitor
    alphabet: Alphabet | None
    classes: Int[Tensor, " v"] | None
    classify: Callable[[Tensor], Tensor]

    @property
    def batch(self) -> int:
        return self.state.batch

    @property
    def prefixes(self) -> float:
        """How many elements the model reads where the tree of open prefixes is walked whole; ∞ where it cannot be."""
        if self.classes is None:
            return float("inf")
        sizes = torch.bincount(self.classes, minlength=self.monitor.next.shape[1])
        return self.monitor.prefixes(sizes.to(torch.float64))

    @property
    def moves(self) -> Int[Tensor, "s v"]:
        """The state of the automaton after each state and symbol."""
        return self.monitor.next[:, self.classes]

    def select(self, rows: Int[Tensor, " n"]) -> Question:
        """Some of the b laws."""
        state = self.state.select(rows.to(self.state.features.device))
        return replace(self, state=state, prefix=self.prefix.select(rows))


def begin(model: Autoregressive, context: Any, prefix: Any, name: str) -> tuple[State, Sequences, Alphabet | None]:
    """The state after the prefix, the prefix, and the alphabet, None for continuous elements.

    Raises:
        ValueError: a model that is not causal, or a prefix that does not fit.
    """
    require_causal(model, name)
    known = None if prefix is None else beginnings(model, prefix, name)
    state = model.start(Context.none(1 if known is None else len(known)) if context is None else context)
    law = model.emit(state.features, state.position, state.context).element
    alphabet = None
    if model.element.discrete or law.support.is_discrete:
        alphabet = Alphabet(support(model.element, law, name, 'Ask with method="naive" and predicates.'))
    if known is None:
        dtype = torch.int64 if model.element.discrete else state.features.dtype
        known = Sequences(torch.zeros(state.batch, 0, *model.element.shape, dtype=dtype), [0] * state.batch, False)
    else:
        state = read_prefix(model, state, known)
    return state, known.to(state.features.device), alphabet


def ask(model: Autoregressive, event: Event, context: Any, prefix: Any) -> Question:
    """A question about an event.

    Raises:
        ValueError: see `begin`; sets of symbols that are not in the alphabet, or that a continuous model cannot tell.
    """
    state, known, alphabet = begin(model, context, prefix, "query()")
    reach = max(longest(model, state.context) - int(state.position.min() if state.batch else 0), 1)
    if alphabet is None:
        tests = [_predicate(given, model, event) for given in _sets(event, model)]
        monitor = event.monitor(2 ** len(tests), reach).to(state.features.device)
        return Question(model, state, known, monitor, None, None, lambda y: _number([test(y) for test in tests], y))
    size = len(alphabet)
    if event.sets is None:
        full, kinds = torch.arange(size, device=alphabet.symbols.device), size
    else:
        masks = [mask_of(model, alphabet, given, type(event).__name__) for given in event.sets]
        full, kinds = _number(masks, alphabet.symbols), 2 ** len(masks)
    occurring, classes = full.unique(return_inverse=True)
    monitor = event.monitor(kinds, reach).to(occurring.device).reading(occurring)
    return Question(model, state, known, monitor, alphabet, classes, lambda y: classes[alphabet.numbers(y)])


def mask_of(model: Autoregressive, alphabet: Alphabet, given: Symbols, name: str) -> Tensor:
    """A set of symbols as a mask (v,).

    Raises:
        ValueError: symbols outside the alphabet, or a mask of another size.
    """
    symbols, size = alphabet.symbols, len(alphabet)
    if isinstance(given, str):
        given = letters(model, name).encode([given]).values[0].tolist()
    if callable(given) and not isinstance(given, Tensor):
        given = torch.as_tensor(given(symbols), dtype=torch.bool)
    if isinstance(given, Tensor) and given.dtype == torch.bool:
        if given.shape != (size,):
            raise ValueError(f"{name}: a mask must have shape ({size},), the alphabet; got {tuple(given.shape)}.")
        return given.to(symbols.device)
    mask = torch.zeros(size, dtype=torch.bool, device=symbols.device)
    if len(given):
        try:
            elements = model.element.conform(Sequences.of([given])).values[0]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: expected symbols of the alphabet, got {given!r}: {error}") from error
        mask[alphabet.numbers(elements.to(symbols.device))] = True
    return mask


def _number(masks: list[Tensor], like: Tensor) -> Int[Tensor, " n"]:
    """Σᵢ 2ⁱ maskᵢ."""
    number = torch.zeros(len(like), dtype=torch.int64, device=like.device)
    for i, mask in enumerate(masks):
        number = number + (mask.to(torch.int64) << i)
    return number


def _sets(event: Event, model: Autoregressive) -> tuple[Symbols, ...]:
    if event.sets is None:
        raise ValueError(
            f"{type(event).__name__} tells each symbol apart, but {model.element!r} has infinitely many. Use "
            "Expectation(function, steps)."
        )
    return event.sets


def _predicate(given: Symbols, model: Autoregressive, event: Event) -> Callable[[Tensor], Tensor]:
    if not callable(given) or isinstance(given, Tensor):
        raise ValueError(
            f"{type(event).__name__}: {model.element!r} is continuous, so a set of its elements is a predicate, a "
            f"function from (n, {', '.join(map(str, model.element.shape))}) to bools (n,); got {given!r}."
        )
    return given


def expected(law: Float[Tensor, "*b o"], monitor: Monitor) -> Float[Tensor, "*b m"]:
    """Σ P(outcome) · its numbers, what is open counted low."""
    return law @ monitor.low

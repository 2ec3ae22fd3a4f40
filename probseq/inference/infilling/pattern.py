"""What is known of a sequence: some elements, some parts of elements, and where something is missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probseq.arguments import check_fields
from probseq.inference.missing import conform_observed
from probseq.inference.text import letters
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences

HOLE, GAP = "_", "*"
"""In a text: one missing element, and any number of them."""

MOST_LENGTHS = 4096
"""Ways to choose the lengths of a pattern's gaps."""


@dataclass(frozen=True)
class Gap:
    """Missing elements, `low` to `high` of them; None stands for as many as the longest sequence leaves room for.

    Raises:
        ValueError: low below 0, or high below low.
    """

    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.low < 0 or (self.high is not None and self.high < self.low):
            raise ValueError(f"Gap needs 0 ≤ low ≤ high; got {self.low} and {self.high}.")


@dataclass(frozen=True)
class Pattern:
    """What is known of b sequences.

    Args:
        items: for each sequence its elements in order: a number or a vector that was observed (NaN where a part of a
            vector is missing), None for one that is missing, or a `Gap`.
        ended: whether the sequence ends there; if not, it may go on in any way.

    >>> Pattern.of([[2, None, Gap(1, 3), 0]]).items
    ((2, None, Gap(low=1, high=3), 0),)
    """

    items: tuple[tuple[Any, ...], ...]
    ended: tuple[bool, ...]

    @staticmethod
    def of(rows: Sequence[Sequence[Any]], ended: Any = True) -> Pattern:
        """From lists of elements, None and gaps; `ended` is one bool, or one for each."""
        ended = [ended] * len(rows) if isinstance(ended, bool) else [bool(each) for each in ended]
        if len(ended) != len(rows):
            raise ValueError(f"ended must be one bool, or {len(rows)}, one for each sequence; got {len(ended)}.")
        return Pattern(tuple(map(tuple, rows)), tuple(ended))

    @staticmethod
    def read(model: Autoregressive, given: Any) -> Pattern | Sequences:
        """What a user gives: a text or texts, lists, a Pattern, or Sequences with −1 or NaN where something is missing.

        Raises:
            ValueError: characters that the model does not know, or a model that knows none.
            TypeError: anything else.
        """
        if isinstance(given, Pattern | Sequences):
            return given
        texts = [given] if isinstance(given, str) else given
        if isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts):
            return Pattern._of_texts(model, texts)
        if isinstance(given, list | tuple):
            several = all(isinstance(row, list | tuple) for row in given)
            return Pattern.of(given if several else [given])
        raise TypeError(
            f"expected a text, a list of elements and None, a Pattern, or Sequences; got {type(given).__name__}."
        )

    @staticmethod
    def _of_texts(model: Autoregressive, texts: Sequence[str]) -> Pattern:
        alphabet = letters(model, "infill()")
        clash = {HOLE, GAP} & set(alphabet.symbols)
        if clash & set("".join(texts)):
            raise ValueError(f"{clash} are symbols of the model, not holes. Use Pattern.of with None and Gap().")
        known = {HOLE: None, GAP: Gap()}
        number = {symbol: i for i, symbol in enumerate(alphabet.symbols)}
        alphabet.encode("".join(c for c in text if c not in known) for text in texts)
        return Pattern.of([[known[c] if c in known else number[c] for c in text] for text in texts])


@dataclass(frozen=True)
class Templates:
    """Patterns of known length, one or more for each pattern that was asked.

    Shapes:
        y: n sequences, with any legal value where something is missing.
        observed: (n, t, *e), False where something is missing, and in the padding.
        rows: (n,), int64, the pattern that each belongs to.
    """

    y: Sequences
    observed: Bool[Tensor, "n t *e"]
    rows: Int[Tensor, " n"]

    @staticmethod
    def of(model: Autoregressive, given: Pattern | Sequences, limit: int, example: Tensor | None = None) -> Templates:
        """Every choice of the lengths of the gaps.

        Args:
            limit: the most elements that a gap may lead to.
            example: an element, to stand where one is missing if no other is at hand, or None.

        Raises:
            ValueError: elements that do not fit the model, patterns beyond its longest sequence, or more than 4096
                choices.
        """
        if isinstance(given, Pattern):
            rows, marked = _expand(model, given, limit)
        else:
            rows, marked = torch.arange(len(given)), given.trim()
        if not marked.values.shape[1]:
            marked = Sequences(
                marked.values.new_zeros(len(marked), 0, *model.element.shape), marked.lengths, marked.ended
            )
        y, observed = conform_observed(model, marked, example)
        mask = y.mask().reshape(*observed.shape[:2], *[1] * (observed.ndim - 2))
        return Templates(y, observed & mask, rows)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def whole(self) -> Bool[Tensor, "n t"]:
        """Where an element was observed with all its parts."""
        return self.observed.flatten(2).all(-1) if self.observed.ndim > 2 else self.observed

    @property
    def holes(self) -> Bool[Tensor, "n t"]:
        """Where something of an element is missing."""
        return self.y.mask().to(self.observed.device) & ~self.whole

    def select(self, index: Tensor) -> Templates:
        """Those at `index`."""
        y = self.y.select(index)
        return Templates(y, self.observed[index, : y.values.shape[1]], self.rows[index])


def _expand(model: Autoregressive, pattern: Pattern, limit: int) -> tuple[Tensor, Sequences]:
    """Each pattern with each choice of the lengths of its gaps, −1 or NaN where something is missing."""
    shape, discrete = model.element.shape, model.element.discrete
    missing = torch.full(shape, -1 if discrete else torch.nan, dtype=torch.int64 if discrete else torch.float64)
    rows, made, ended = [], [], []
    for row, (items, end) in enumerate(zip(pattern.items, pattern.ended, strict=True)):
        gaps = [item for item in items if isinstance(item, Gap)]
        choices = _lengths(gaps, len(items) - len(gaps), limit)
        if len(choices) > MOST_LENGTHS:
            raise ValueError(
                f"pattern {row} has {len(choices):,} ways to choose the lengths of its gaps, {MOST_LENGTHS:,} at most. "
                "Bound them: Gap(low, high)."
            )
        elements = [None if item is None or isinstance(item, Gap) else _element(item, missing, row) for item in items]
        for chosen in choices:
            sizes = iter(chosen)
            parts: list[Tensor] = []
            for item, element in zip(items, elements, strict=True):
                count = next(sizes) if isinstance(item, Gap) else 1
                parts += [missing if element is None else element] * count
            made.append(torch.stack(parts) if parts else missing.new_zeros(0, *shape))
            rows.append(row)
            ended.append(end)
    dtype = torch.int64 if discrete else torch.get_default_dtype()
    return torch.tensor(rows, dtype=torch.int64), Sequences.of(made, torch.tensor(ended, dtype=torch.bool), dtype)


def _element(item: Any, like: Tensor, row: int) -> Tensor:
    try:
        value = torch.as_tensor(item)
    except (TypeError, ValueError, RuntimeError):
        value = None
    real = like.is_floating_point()
    fits = value is not None and value.shape == like.shape and value.dtype != torch.bool
    if value is None or not fits or (value.is_floating_point() and not real):
        what = f"a vector {tuple(like.shape)}" if like.ndim else "a number"
        raise ValueError(
            f"pattern {row}: expected {what} of {'reals' if real else 'integers'}, None or Gap(); got {item!r}. Texts "
            "stand alone, or in a list of texts."
        )
    return value.to(like.dtype)


def _lengths(gaps: Sequence[Gap], fixed: int, limit: int) -> list[tuple[int, ...]]:
    """Every choice of the gaps' lengths that keeps within `limit` in all."""
    if not gaps:
        return [()]
    least = fixed + sum(gap.low for gap in gaps)
    if least > limit:
        raise ValueError(
            f"the pattern has {least} elements at least, but the longest sequence {limit}. Shorten the pattern, or "
            "raise max_length."
        )
    room = limit - fixed
    spans = [range(gap.low, (room if gap.high is None else min(room, gap.high)) + 1) for gap in gaps]
    total = math.prod(len(span) for span in spans)
    if total > 64 * MOST_LENGTHS:
        raise ValueError(f"the gaps have {total:,} choices of lengths. Bound them: Gap(low, high).")
    return [chosen for chosen in itertools.product(*spans) if sum(chosen) <= room]

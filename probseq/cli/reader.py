"""From rows to sequences and back: what a run must know to read other data as it read its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from probseq.cli.rows import Bad, Row, RowError
from probseq.sequences import Sequences

UNKNOWN = "<unknown>"
Kind = Literal["characters", "words", "items", "reals"]


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of one column.

    Args:
        kind: a symbol is a character of a text, a word of it between blanks, or an item of a list.
        symbols: in the order of their numbers; with `UNKNOWN` last where rare ones are read as that.
    """

    kind: Kind
    symbols: tuple[Any, ...]

    @staticmethod
    def of(kind: Kind, cells: Iterable[Any], least: int = 1) -> Vocabulary:
        """The symbols that occur `least` times."""
        counts = Counter(symbol for cell in cells for symbol in _split(kind, cell))
        kept = sorted((each for each in counts if counts[each] >= least), key=lambda each: (str(type(each)), each))
        return Vocabulary(kind, (*kept, *([UNKNOWN] if len(kept) < len(counts) else [])))

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {symbol: i for i, symbol in enumerate(self.symbols)})

    def encode(self, cell: Any) -> list[int]:
        """The numbers of the symbols of a cell.

        Raises:
            ValueError: a symbol that is none of these, or a cell of another kind.
        """
        numbers: dict[Any, int] = self._numbers  # type: ignore[attr-defined]
        symbols = _split(self.kind, cell)
        other = numbers.get(UNKNOWN)
        found = [numbers.get(symbol, other) for symbol in symbols]
        if None in found:
            lacking = symbols[found.index(None)]
            raise ValueError(f"the symbol {lacking!r} is none of the {len(self.symbols)} known ones.")
        return found  # type: ignore[return-value]

    def symbols_of(self, numbers: Iterable[int]) -> list[Any]:
        """What numbers stand for."""
        return [self.symbols[number] for number in numbers]

    def decode(self, numbers: Iterable[int]) -> Any:
        """A cell with these symbols."""
        symbols = self.symbols_of(numbers)
        return symbols if self.kind == "items" else (" " if self.kind == "words" else "").join(symbols)


@dataclass(frozen=True)
class Reader:
    """How rows are read as y and x.

    Args:
        column, labels, source: of y, of a category beside it, of a text that y is a translation of.
        y: the symbols of y; None where it is of numbers.
        dim: how many numbers an element of y has.
        levels: the categories.
        x: the symbols of the source.
        open: whether sequences are cut where their rows end, as the series of a long table are.
    """

    column: str | None = None
    labels: str | None = None
    source: str | None = None
    y: Vocabulary | None = None
    dim: int | None = None
    levels: tuple[str, ...] = ()
    x: Vocabulary | None = None
    open: bool = False

    @staticmethod
    def of(
        rows: Sequence[Row],
        column: str | None,
        labels: str | None,
        source: str | None,
        words: bool,
        least: int,
        open: bool = False,
    ) -> Reader:
        """One that reads these rows.

        Raises:
            ValueError: there are none, or their first is of no kind that can be read.
        """
        if not rows:
            raise ValueError("the data have no rows: there is nothing to fit.")
        kind = _kind(rows[0], words)
        y = dim = None
        if kind == "reals":
            first = next((row.value[0] for row in rows if row.value), 0.0)
            dim = len(first) if isinstance(first, list) else 1
        else:
            y = Vocabulary.of(kind, (row.value for row in rows if _fits(kind, row.value)), least)
        levels = tuple(sorted({str(row.beside[labels]) for row in rows})) if labels else ()
        x = None
        if source:
            texts = [row.beside[source] for row in rows]
            x = Vocabulary.of("words" if words else "characters", (each for each in texts if isinstance(each, str)))
        return Reader(column, labels, source, y, dim, levels, x, open)

    @property
    def beside(self) -> tuple[str, ...]:
        """The columns that are read beside y."""
        return tuple(name for name in (self.labels, self.source) if name)

    def read(self, rows: Iterable[Row], bad: Bad) -> tuple[list[Row], Any]:
        """The rows that can be read, and what `fit` takes of them: y, or (y, x).

        Raises:
            RowError: one that cannot, unless `bad` skips it.
        """
        kept, values, given = [], [], []
        for row in rows:
            try:
                value, x = self._value(row.value), self._given(row)
            except ValueError as error:
                bad.take(row.error(str(error)))
                continue
            kept.append(row)
            values.append(value)
            given.append(x)
        y = self.sequences(values)
        if self.labels:
            return kept, (y, torch.tensor(given, dtype=torch.int64))
        if self.source:
            return kept, (y, Sequences.of(given, dtype=torch.int64) if given else Sequences.of([[0]]).select([]))
        return kept, y

    def sequences(self, values: list[Any]) -> Sequences:
        """Lists of numbers as sequences."""
        if self.dim is None:
            return Sequences.of(values, dtype=torch.int64) if values else Sequences.of([[0]]).select([])
        rows = [torch.tensor(value, dtype=torch.float32).reshape(-1, self.dim) for value in values]
        return Sequences.of(rows, ended=not self.open) if rows else Sequences.of([torch.zeros(1, self.dim)]).select([])

    def condition(self, given: str | None) -> Any:
        """x of one category, or of one source text.

        Raises:
            ValueError: none where one is needed, one where none is, or one that is not known.
        """
        if not self.beside:
            if given is not None:
                raise ValueError(f"the model depends on nothing; got --condition {given!r}.")
            return None
        if given is None:
            cure = f"one of {list(self.levels[:10])}" if self.labels else "a text"
            raise ValueError(f"the model depends on the column {self.beside[0]!r}: say --condition, {cure}.")
        if self.labels:
            return torch.tensor([self._level(given)])
        assert self.x is not None
        return Sequences.of([self.x.encode(given)], dtype=torch.int64)

    def decode(self, y: Sequences) -> list[Any]:
        """Sequences as they would stand in a row."""
        if self.y is None:
            return [row.squeeze(-1).tolist() if self.dim == 1 else row.tolist() for row in y]
        return [self.y.decode(row.tolist()) for row in y]

    def pieces(self, y: Any) -> list[str]:
        """The elements of one sequence (t,), each as a text."""
        if self.y is None:
            return [" ".join(f"{number:.3g}" for number in row) for row in y.tolist()]
        return [str(each) for each in self.y.symbols_of(y.tolist())]

    def source_pieces(self, x: Any) -> list[str]:
        """The symbols of one source (s,), each as a text."""
        return [] if self.x is None else [str(each) for each in self.x.symbols_of(x.tolist())]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @staticmethod
    def from_json(content: Any) -> Reader:
        """What `to_json` gave.

        Raises:
            ValueError: anything else.
        """
        try:
            found = {**content}
            for name in ("y", "x"):
                if found[name] is not None:
                    found[name] = Vocabulary(found[name]["kind"], tuple(found[name]["symbols"]))
            found["levels"] = tuple(found["levels"])
            return Reader(**found)
        except (TypeError, KeyError) as error:
            raise ValueError(f"this does not say how rows are read: {error!r}.") from error

    def _value(self, cell: Any) -> Any:
        if self.y is not None:
            return self.y.encode(cell)
        assert self.dim is not None
        return list(_numbers(cell, self.dim))

    def _given(self, row: Row) -> Any:
        if self.labels:
            return self._level(str(row.beside[self.labels]))
        return self.x.encode(row.beside[self.source]) if self.x is not None and self.source else None

    def _level(self, label: str) -> int:
        if label not in self.levels:
            raise ValueError(f"the category {label!r} is none of the {len(self.levels)} known ones.")
        return self.levels.index(label)


def _kind(row: Row, words: bool) -> Kind:
    """What a sequence is made of, by the first row."""
    if isinstance(row.value, str):
        return "words" if words else "characters"
    if isinstance(row.value, list):
        first = row.value[0] if row.value else 0
        return "reals" if isinstance(first, float | list) else "items"
    raise row.error(f"expected a text or a list; got {type(row.value).__name__}.")


def _fits(kind: Kind, cell: Any) -> bool:
    return isinstance(cell, list if kind == "items" else str) and (kind != "items" or all(map(_is_item, cell)))


def _is_item(value: Any) -> bool:
    return isinstance(value, str | int)


def _split(kind: Kind, cell: Any) -> list[Any]:
    """The symbols of a cell.

    Raises:
        ValueError: a cell of another kind.
    """
    if not _fits(kind, cell):
        raise ValueError(
            f"expected {'a list of texts or integers' if kind == 'items' else 'a text'}; got {_brief(cell)}."
        )
    return cell if kind == "items" else cell.split() if kind == "words" else list(cell)


def _brief(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 80 else text[:79] + "…"


def _numbers(cell: Any, dim: int) -> Iterator[list[float]]:
    """The elements of a series.

    Raises:
        ValueError: what is no list of numbers, of another width, or not finite.
    """
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of numbers; got {_brief(cell)}.")
    for at, element in enumerate(cell):
        vector = element if isinstance(element, list) else [element]
        if len(vector) != dim or not all(isinstance(each, int | float) for each in vector):
            raise ValueError(f"element {at}: expected {dim} numbers; got {_brief(element)}.")
        if not all(math.isfinite(each) for each in vector):
            raise ValueError(f"element {at}: expected finite numbers; got {_brief(element)}.")
        yield [float(each) for each in vector]


__all__ = ["Reader", "RowError", "Vocabulary"]

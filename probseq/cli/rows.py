"""The rows of files of many kinds, one by one, each with its place; a broken one says what is wrong with it."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

KINDS = {
    ".txt": "text", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
}  # fmt: skip
SHOWN = 10
"""Broken rows that are listed one by one."""


class RowError(ValueError):
    """A row that cannot be read: the file, the row, the reason."""


@dataclass(frozen=True)
class Row:
    """One row: where it stands, counted from 1, and what is in it.

    Args:
        value: a text, or a list.
        beside: the cells of other columns that were asked for, by column.
    """

    file: str
    number: int
    value: Any
    beside: dict[str, Any] = field(default_factory=dict)

    def error(self, reason: str) -> RowError:
        """What to raise where the row does not do."""
        return RowError(f"{self.file}, row {self.number}: {reason}")


@dataclass
class Bad:
    """What becomes of broken rows: the first one raises, or all are counted and listed on stderr."""

    skip: bool
    count: int = 0

    def take(self, error: RowError) -> None:
        """Raise, or note the error and go on."""
        if not self.skip:
            raise RowError(f"{error} Correct it, or leave such rows out by --skip-bad.") from None
        self.count += 1
        if self.count <= SHOWN:
            print(f"left out: {error}", file=sys.stderr)

    def close(self) -> None:
        """Say how many there were."""
        if self.count:
            more = f", {self.count - SHOWN} of them not listed" if self.count > SHOWN else ""
            print(f"{self.count} rows left out{more}", file=sys.stderr)


def read_rows(
    file: str, kind: str | None = None, column: str | None = None, beside: Iterable[str] = (), bad: Bad | None = None
) -> Iterator[Row]:
    """The rows of a file; "-" is stdin.

    A line of a text is a row, an empty line an empty sequence. Of a table `column` is read: by default its only
    column, or the one named text or sequence. A line of JSON is a text, a list, or an object with that key.

    Raises:
        ValueError: a file whose kind its name does not say; a column that is not there.
        RowError: a row that is broken, unless `bad` skips it.
    """
    bad = bad or Bad(skip=False)
    kind = kind or ("text" if file == "-" else KINDS.get(Path(file).suffix.lower()))
    if kind is None:
        raise ValueError(f"{file}: its name does not say what it is; expected {', '.join(KINDS)}. Name --data_format.")
    if kind == "parquet":
        if file == "-":
            raise ValueError("parquet cannot be read from stdin. Name the file.")
        yield from _parquet(file, column, tuple(beside), bad)
        return
    with _open(file) as stream:
        yield from _READERS[kind](stream, "stdin" if file == "-" else file, column, tuple(beside), bad)


def _open(file: str) -> TextIO:
    """The file as text; bytes that are no UTF-8 become surrogates, so that the row can be named."""
    if file == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="surrogateescape", newline="")
    return open(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _text(stream: Any, file: str, column: str | None, beside: tuple[str, ...], bad: Bad) -> Iterator[Row]:
    _refuse_columns("a text", column, beside)
    for number, line in enumerate(stream, 1):
        yield from _whole(Row(file, number, line.rstrip("\r\n")), bad)


def _whole(row: Row, bad: Bad) -> Iterator[Row]:
    """The row, unless its text is no UTF-8."""
    for cell in (row.value, *row.beside.values()):
        if isinstance(cell, str) and any("\ud800" <= character <= "\udfff" for character in cell):
            bad.take(row.error("it is no UTF-8."))
            return
    yield row


def _delimited(delimiter: str) -> Callable[..., Iterator[Row]]:
    def read(stream: Any, file: str, column: str | None, beside: tuple[str, ...], bad: Bad) -> Iterator[Row]:
        table = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            names = next(table, None)
        except csv.Error as error:
            raise ValueError(f"{file}: the first line, with the names of the columns, is broken: {error}.") from None
        if not names:
            raise ValueError(f"{file} is empty: expected a first line with the names of the columns.")
        main, others = _columns(file, names, column, beside)
        for number, cells in _numbered(table, file, bad):
            row = Row(file, number, None)
            if len(cells) != len(names):
                bad.take(row.error(f"it has {len(cells)} cells, the first line {len(names)}."))
                continue
            cell = dict(zip(names, cells, strict=True))
            yield from _whole(Row(file, number, cell[main], {name: cell[name] for name in others}), bad)

    return read


def _numbered(table: Any, file: str, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv reader that are well formed, by the line that each ends on."""
    while True:
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            bad.take(RowError(f"{file}, row {table.line_num}: {error}."))
            continue
        if cells:
            yield table.line_num, cells


def _json(stream: Any, file: str, column: str | None, beside: tuple[str, ...], bad: Bad) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        row = Row(file, number, None)
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            bad.take(row.error(f"it is no JSON: {error}."))
            continue
        if not isinstance(found, dict):
            found = {column or "sequence": found}
        try:
            main, others = _columns(file, list(found), column, beside)
        except ValueError as error:
            bad.take(row.error(str(error)))
            continue
        value = found[main]
        if not isinstance(value, str | list):
            bad.take(row.error(f"expected a text or a list; got {type(value).__name__}."))
            continue
        yield from _whole(Row(file, number, value, {name: found[name] for name in others}), bad)


def _parquet(file: str, column: str | None, beside: tuple[str, ...], bad: Bad) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(file) as table:
            main, others = _columns(file, table.schema_arrow.names, column, beside)
            number = 0
            for batch in table.iter_batches(1024, columns=[main, *others]):
                for cells in batch.to_pylist():
                    number += 1
                    row = Row(file, number, cells[main], {name: cells[name] for name in others})
                    if row.value is None:
                        bad.take(row.error("the sequence is missing."))
                        continue
                    yield row
    except ArrowException as error:
        raise ValueError(f"{file} is no parquet file, or damaged: {error}") from error


def _columns(file: str, names: list[str], column: str | None, beside: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The column of the sequences, and the others that were asked for."""
    if column is None:
        likely = [name for name in names if name in ("text", "sequence")] or [
            name for name in names if name not in beside
        ]
        if len(likely) != 1:
            raise ValueError(f"{file} has the columns {names}: which holds the sequences? Name it: --column.")
        column = likely[0]
    lacking = [name for name in (column, *beside) if name not in names]
    if lacking:
        raise ValueError(f"{file} has no column {lacking[0]!r}; it has {names}.")
    return column, beside


def _refuse_columns(what: str, column: str | None, beside: tuple[str, ...]) -> None:
    if column is not None or beside:
        raise ValueError(f"{what} has no columns; got {[column, *beside]}. Use a table: .csv, .tsv, .jsonl, .parquet.")


_READERS = {"text": _text, "csv": _delimited(","), "tsv": _delimited("\t"), "jsonl": _json}

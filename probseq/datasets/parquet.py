"""Sequences in parquet files, read piece by piece: data sets that no memory holds."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from probseq.datasets import columns
from probseq.datasets.alphabet import Alphabet
from probseq.sequences import Sequences

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Block:
    """A row group of a file: what is read at once.

    Args:
        group: its number in the file.
        first: the number of its first row in the file.
        start: the number of its first row among those of all files.
        rows: how many it has.
    """

    file: Path
    group: int
    first: int
    start: int
    rows: int


@dataclass(frozen=True)
class Parquet:
    """Sequences in parquet files, a row for each, of which `window` row groups are in memory at a time.

    A column of lists of numbers is a column of sequences, one of lists of lists of k numbers has vectors as elements,
    and one of strings is read by its alphabet. As context a column of integers is labels (n,), one of floats (n, 1),
    one of lists of a fixed size vectors (n, k); lists of any size and strings are sequences. A number that is missing
    is −1 among integers and NaN among floats, as `MissingValues` takes them.

    Args:
        files: a file, a folder with .parquet files, a pattern such as "data/part-*.parquet", or a list of these.
        sequence: the column of y.
        ended: the column that says whether y ended, or True or False for all.
        context: the column of x; several as a tuple.
        alphabets: of each column of strings.
        window: row groups that are mixed with each other, and held in memory, at a time.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        ValueError: no rows, no such column, or one of another type; window below 1.
        ModuleNotFoundError: pyarrow is not installed; it comes with `probseq[tables]`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "words.parquet")
    >>> write_parquet(path, Sequences.of([[0, 2], [1], []]), row_group_size=2)
    >>> data = Parquet(path)
    >>> len(data), len(data.blocks), [row.tolist() for row in data.read(data.blocks[:1]).decode()[0]]
    (3, 2, [[0, 2], [1]])
    """

    files: str | Path | Sequence[str | Path]
    sequence: str = "sequence"
    ended: str | bool = "ended"
    context: str | tuple[str, ...] | None = None
    alphabets: Mapping[str, Alphabet] = field(default_factory=dict)
    window: int = 8
    blocks: tuple[Block, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"Parquet needs window ≥ 1 row groups; got {self.window}.")
        given = [self.files] if isinstance(self.files, str | Path) else self.files
        blocks: list[Block] = []
        kinds: dict[str, pa.DataType] = {}
        for path in (path for name in given for path in _find(name)):
            blocks += self._blocks(path, blocks[-1].start + blocks[-1].rows if blocks else 0, kinds)
        if not blocks:
            raise ValueError(f"{self.files} has no rows: there is nothing to read. Write at least one sequence.")
        object.__setattr__(self, "blocks", tuple(blocks))

    def __len__(self) -> int:
        return self.blocks[-1].start + self.blocks[-1].rows

    def where(self, row: int) -> str:
        """The file, and the row there, of a row of all."""
        block = self.blocks[bisect_right(self.blocks, row, key=lambda block: block.start) - 1]
        return f"{block.file}, row {block.first + row - block.start}"

    @property
    def beside(self) -> tuple[str, ...]:
        """The columns of the context."""
        return (self.context,) if isinstance(self.context, str) else self.context or ()

    @property
    def names(self) -> list[str]:
        """All columns that are read."""
        return [self.sequence, *([self.ended] if isinstance(self.ended, str) else []), *self.beside]

    def read(self, blocks: Sequence[Block]) -> Window:
        """Some row groups, in memory."""
        return Window(self, blocks)

    def _blocks(self, path: Path, start: int, kinds: dict[str, pa.DataType]) -> Iterator[Block]:
        """The row groups of a file whose columns are right; `start` rows of `kinds` stand in the files before it."""
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            for name in self.names:
                if name not in schema.names:
                    cure = " Write it, or say ended=True or ended=False for all." if name == self.ended else ""
                    raise ValueError(f"{path} has no column {name!r}; it has {schema.names}.{cure}")
                use = "flag" if name == self.ended else "sequence" if name == self.sequence else "context"
                kind = schema.field(name).type
                wrong = columns.fault(kind, use, name in self.alphabets)
                if kinds.setdefault(name, kind) != kind:
                    wrong = f"it is {kind}, and {kinds[name]} in the files before. Write them alike."
                if wrong:
                    raise ValueError(f"{path}, column {name!r}: {wrong}")
            first = 0
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                if rows:
                    yield Block(path, group, first, start + first, rows)
                first += rows


class Window:
    """Some row groups in memory, as they were stored: ragged, and in the width that their numbers had."""

    def __init__(self, data: Parquet, blocks: Sequence[Block]) -> None:
        import pyarrow as pa

        self.data = data
        self.numbers = torch.cat([torch.arange(block.start, block.start + block.rows) for block in blocks])
        """Of each row, among those of all files."""
        # In one piece, since taking rows from several would join them each time.
        self.table = pa.concat_tables([_read(block, data.names) for block in blocks]).combine_chunks()

    def __len__(self) -> int:
        return self.table.num_rows

    def lengths(self, beside: bool = False) -> Int[Tensor, " n"]:
        """The length of each y, or of the longest of it and the sequences `beside` it."""
        found = columns.lengths(self.table.column(self.data.sequence))
        for name in self.data.beside if beside else ():
            column = self.table.column(name)
            if columns.is_sequence(column.type):
                found = found.maximum(columns.lengths(column))
        return found

    def ended(self) -> Tensor:
        """Whether each y ended, (n,)."""
        return self._ended(self.table)

    def decode(self, index: Any = None) -> tuple[Sequences, Any]:
        """Rows `index`, or all, as y and x.

        Raises:
            ValueError: a sequence that is missing, vectors of different sizes, or a character outside its alphabet.
        """
        table = self.table if index is None else self.table.take(index)
        alphabets, beside = self.data.alphabets, self.data.beside
        y = columns.sequences(table.column(self.data.sequence), alphabets.get(self.data.sequence))
        y = Sequences(y.values, y.lengths, self._ended(table))
        x = tuple(columns.context(table.column(name), alphabets.get(name)) for name in beside)
        return y, x if isinstance(self.data.context, tuple) else x[0] if x else None

    def checked(self, index: Int[Tensor, " n"], conform: Callable[[Sequences, Any], Any]) -> Any:
        """What `conform` makes of y and x of some rows.

        Raises:
            ValueError: they do not fit; the message names the file and the first such row.
        """
        try:
            return conform(*self.decode(index.numpy()))
        except ValueError:
            for row in index.sort().values.tolist():
                try:
                    conform(*self.decode([row]))
                except ValueError as error:
                    raise ValueError(f"{self.data.where(int(self.numbers[row]))}: {error}") from error
            raise

    def _ended(self, table: pa.Table) -> Tensor:
        ended = self.data.ended
        return columns.flags(table.column(ended)) if isinstance(ended, str) else torch.full((len(table),), ended)


def write_parquet(path: str | Path, data: Any, row_group_size: int = 8192) -> None:
    """Write sequences to a file that `Parquet` reads, whole or not at all.

    The columns are `sequence`, `ended`, and `context`, or `context_0`, `context_1`, … for several.

    Args:
        data: Sequences, a pair (Sequences, context), or an iterator of these, of which one at a time is in memory. A
            context is a tensor (n,) or (n, k), Sequences, or a tuple of them.
        row_group_size: rows that are read at once later.

    Raises:
        ValueError: there are none; elements that are neither numbers nor vectors; row_group_size below 1.
        IsADirectoryError: the path is a folder.
    """
    from pyarrow import parquet

    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder. Name a file in it, as {Path(path) / 'data.parquet'}.")
    if row_group_size < 1:
        raise ValueError(f"row_group_size must be 1 or more; got {row_group_size}.")
    tables = _regroup(map(columns.table, [data] if isinstance(data, Sequences | tuple) else data), row_group_size)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        first = next(tables, None)
        if first is None:
            raise ValueError(f"there are no sequences to write to {path}. Pass at least one.")
        with parquet.ParquetWriter(temporary, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _regroup(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows`, but for the last."""
    import pyarrow as pa

    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(map(len, held)) >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows)
            held = [joined.slice(rows)] if len(joined) > rows else []
    if sum(map(len, held)):
        yield pa.concat_tables(held)


def _read(block: Block, names: list[str]) -> pa.Table:
    from pyarrow import parquet

    with parquet.ParquetFile(block.file) as file:
        return file.read_row_group(block.group, columns=names).select(names)


def _find(name: str | Path) -> list[Path]:
    """The files that a name, a folder or a pattern stands for, in order."""
    path = Path(name)
    found = sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not found and has_magic(str(name)):
        found = sorted(map(Path, glob(str(name), recursive=True)))
    if not found:
        raise FileNotFoundError(f"{name} is no file, no folder with .parquet files, and no pattern that fits any.")
    return found

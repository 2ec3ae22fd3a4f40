"""Rows of answers, as a table for the eye or in a form for other programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENDINGS = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".txt": "table"}
Answer = dict[str, Any]


def show(rows: Iterable[Answer], form: str | None = None, output: str | None = None) -> None:
    """Write rows, as they come where the form allows it.

    Args:
        form: "table", "jsonl", "csv" or "parquet"; None: by the file's ending, else a table on a terminal, else jsonl.
        output: a file, which is replaced; None: stdout.

    Raises:
        ValueError: parquet to stdout, or a file whose ending says nothing.
    """
    if form is None and output is not None:
        form = ENDINGS.get(Path(output).suffix.lower())
        if form is None:
            raise ValueError(f"{output}: expected a name that ends in {', '.join(ENDINGS)}, or --format.")
    form = form or ("table" if sys.stdout.isatty() else "jsonl")
    if form == "parquet":
        if output is None:
            raise ValueError("parquet goes to a file: name one by --output.")
        _parquet(rows, output)
        return
    with _opened(output) as stream:
        {"table": _table, "jsonl": _jsonl, "csv": _csv}[form](rows, stream)


@contextmanager
def _opened(output: str | None) -> Iterator[Any]:
    """stdout, or a file beside its place that is moved there when all is written."""
    if output is None:
        yield sys.stdout
        return
    path = Path(output)
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _jsonl(rows: Iterable[Answer], stream: Any) -> None:
    for row in rows:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _csv(rows: Iterable[Answer], stream: Any) -> None:
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in row.items()})


def _table(rows: Iterable[Answer], stream: Any) -> None:
    cells = [{name: _shown(cell) for name, cell in row.items()} for row in rows]
    if not cells:
        return
    names = list(cells[0])
    width = {name: max(len(name), *(len(row[name]) for row in cells)) for name in names}
    right = {name for name in names if all(_is_number(row[name]) for row in cells)}
    for row in [dict(zip(names, names, strict=True)), *cells]:
        line = [row[name].rjust(width[name]) if name in right else row[name].ljust(width[name]) for name in names]
        stream.write("  ".join(line).rstrip() + "\n")


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1e-3 or abs(cell) >= 1e5 else f"{cell:.4f}"
    if cell is None:
        return ""
    if isinstance(cell, list):
        text = " ".join(map(str, cell)) if all(isinstance(each, str | int) for each in cell) else json.dumps(cell)
        return text if len(text) <= 60 else text[:59] + "…"
    return str(cell)


def _is_number(text: str) -> bool:
    return text == "" or text.lstrip("-").replace(".", "", 1).replace("e-", "", 1).replace("e+", "", 1).isdigit()


def _parquet(rows: Iterable[Answer], output: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = Path(output)
    beside = path.with_name(f".{path.name}.part")
    try:
        parquet.write_table(pa.Table.from_pylist(list(rows)), beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)

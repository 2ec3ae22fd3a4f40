"""Data files with whatever bytes, and whether reading one may do what it does."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import probseq as ps
from probseq import datasets
from probseq.cli.reader import Reader
from probseq.cli.rows import Bad
from probseq.cli.sources import Asked

REFUSED = (ValueError, TypeError, OSError)
"""What a reader raises, by its documentation; a `RowError` is a ValueError."""

CELLS = (
    "", "nan", "inf", "-1", "0.5", "1e400", "9" * 30, "null", "true", '"', "[]", "[[1],[2]]", '{"a":1}', "2000-13-40",
    "2000-01-01", "\0", "é", ",", "\t", "\n", "\ud800",
)  # fmt: skip
"""What stands in the place of a part of a text."""


@dataclass(frozen=True)
class File:
    """A spoiled file, and what was done to it."""

    path: Path
    how: str


@functools.cache
def whole() -> dict[str, bytes]:
    """Small files of every kind that is read, by name."""
    made = {}
    with tempfile.TemporaryDirectory() as place:
        tokens = ps.Sequences.of([[0, 2, 1], [], [1]] * 4, ended=[True, False, True] * 4)
        datasets.write_parquet(Path(place, "tokens.parquet"), (tokens, torch.arange(12) % 2), row_group_size=5)
        pairs = pd.DataFrame({"text": ["ab", "", "ba"], "label": ["x", "y", "x"]})
        pairs.to_parquet(Path(place, "texts.parquet"))
        roll = torch.rand(8, 88, generator=torch.Generator().manual_seed(0)) < 0.1
        datasets.write_midi(roll, Path(place, "song.mid"))
        hours = pd.date_range("2020-01-01", periods=6, freq="h")
        table = pd.DataFrame({"id": [0] * 3 + [1] * 3, "time": hours, "price": np.arange(6.0), "kind": list("aaabbb")})
        table.to_csv(Path(place, "long.csv"), index=False)
        table.to_parquet(Path(place, "long.parquet"))
        pairs.to_csv(Path(place, "wide.csv"), index=False)
        Path(place, "plain.txt").write_text("one\ntwo\n\nthree\n")
        lines = (
            {"sequence": [0.5, 1.5], "label": "x"},
            {"sequence": [], "label": "y"},
            {"sequence": [2.0], "label": "x"},
        )
        Path(place, "reals.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for path in Path(place).iterdir():
            made[path.name] = path.read_bytes()
    return made


def spoil(place: Path, seed: int) -> File:
    """One of the files with something changed."""
    dice = random.Random(seed)
    name = dice.choice(sorted(whole()))
    how = dice.choice((_flip, _cut, _double, _cells) if Path(name).suffix in (".csv", ".txt", ".jsonl") else _BINARY)
    path = place / name
    path.write_bytes(how(whole()[name], dice))
    return File(path, how.__name__)


def spoiled(file: File) -> str | None:
    """What was wrong with reading it, or None: it raised what nobody documented."""
    for read in READERS[file.path.name]:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                read(file.path)
        except REFUSED as error:
            if type(error) is TypeError and not {"needs", "expected"} & set(str(error).split()):
                return f"{file.path.name}, {file.how}: {error!r}"
        except Exception as error:
            return f"{file.path.name}, {file.how}: {type(error).__name__}: {error}"
    return None


def _flip(data: bytes, dice: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(dice.choice((1, 1, 3, 20))):
        flipped[dice.randrange(len(flipped))] = dice.randrange(256)
    return bytes(flipped)


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _double(data: bytes, dice: random.Random) -> bytes:
    """A piece of it stands there twice."""
    begin, end = sorted(dice.randrange(len(data)) for _ in range(2))
    return data[:end] + data[begin:]


def _cells(data: bytes, dice: random.Random) -> bytes:
    """Parts of a text become others."""
    text = data.decode()
    for _ in range(dice.choice((1, 1, 3))):
        begin = dice.randrange(len(text) + 1)
        text = text[:begin] + dice.choice(CELLS) + text[begin + dice.randrange(12) :]
    return text.encode("utf-8", "surrogatepass")


_BINARY = (_flip, _cut, _double)


def _stream(path: Path) -> None:
    data = datasets.Parquet(path, context="context")
    window = data.read(data.blocks)
    window.decode()
    window.lengths()
    window.ended()


def _spelled(path: Path) -> None:
    data = datasets.Parquet(path, sequence="text", ended=True, alphabets={"text": datasets.Alphabet("ab")})
    data.read(data.blocks).decode()


def _rows(**columns: str) -> Callable[[Path], None]:
    """As the command line reads it, broken rows left out or not."""

    def read(path: Path, skip: bool) -> None:
        asked, bad = Asked(str(path), **columns), Bad(skip)  # type: ignore[arg-type]
        rows = list(asked.rows(bad))
        reader = Reader.of(rows, asked.column, asked.labels, asked.source, words=False, least=1)
        reader.read(rows, bad)

    def both(path: Path) -> None:
        read(path, True)
        read(path, False)

    return both


def _panel(path: Path) -> None:
    panel = datasets.from_table(path, datasets.Columns("id", "time", ("price",), categories=("kind",)))
    datasets.to_table(panel)


READERS: dict[str, tuple[Callable[[Path], object], ...]] = {
    "tokens.parquet": (_stream, _rows(column="sequence")), "texts.parquet": (_spelled, _rows(labels="label")),
    "song.mid": (datasets.read_midi,), "long.csv": (_panel,), "long.parquet": (_panel,),
    "wide.csv": (_rows(labels="label"), _rows(source="label")), "plain.txt": (_rows(),),
    "reals.jsonl": (_rows(labels="label"),),
}  # fmt: skip
"""Who reads a file."""

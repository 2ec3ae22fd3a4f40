"""Patterns and questions, from the words of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonargparse import Namespace

import probseq as ps
from probseq.cli.reader import Reader
from probseq.cli.rows import read_rows


def list_patterns(given: list[str]) -> Iterator[str]:
    """The patterns that are named, or the lines of stdin."""
    if given == ["-"]:
        yield from (row.value for row in read_rows("-"))
    else:
        yield from given


def parse_pattern(reader: Reader, pattern: str) -> Any:
    """Symbols, with None for `_` and a gap for `*`.

    Raises:
        ValueError: a model of numbers.
    """
    if reader.y is None:
        raise ValueError("infill reads patterns of symbols; this model is of numbers. Use probseq.infill from Python.")
    pieces = list(pattern) if reader.y.kind == "characters" else pattern.split()
    gaps = {"_": None, "*": ps.Gap(0, None)}
    return [gaps[piece] if piece in gaps else number_symbol(reader, piece) for piece in pieces]


def number_symbols(reader: Reader, text: str) -> list[int]:
    """The numbers of a text's symbols.

    Raises:
        ValueError: a model of numbers, or a symbol that is not known.
    """
    if reader.y is None:
        raise ValueError("query asks about symbols; this model is of numbers. Use probseq.query from Python.")
    return [number_symbol(reader, piece) for piece in (list(text) if reader.y.kind == "characters" else text.split())]


def number_symbol(reader: Reader, text: str) -> int:
    """The number of one symbol; of integers, as they are written."""
    assert reader.y is not None
    if reader.y.kind == "items" and text not in reader.y.symbols and text.lstrip("-").isdigit():
        return reader.y.encode([int(text)])[0]
    return reader.y.encode([text] if reader.y.kind == "items" else text)[0]


def parse_event(reader: Reader, options: Namespace) -> tuple[Any, list[Any]]:
    """What is asked, and the name of each number of the answer.

    Raises:
        ValueError: more than one question.
    """
    asked = [name for name in ("at", "within", "first", "before", "count", "length") if options[name] is not None]
    if len(asked) > 1:
        raise ValueError(f"one question at a time; got --{' and --'.join(asked)}.")
    kind = asked[0] if asked else "at"
    events = ps.events
    if kind == "at":
        if reader.y is None:
            raise ValueError("query asks about symbols; this model is of numbers. Use probseq.query from Python.")
        return events.At(options.at or 1), [*reader.y.symbols, "(ended)"]
    if kind == "length":
        return events.Length(options.length), [*range(options.length + 1), f"more than {options.length}"]
    *sets, steps = options[kind]
    if len(sets) != (2 if kind == "before" else 1) or not isinstance(steps, int):
        raise ValueError(f"--{kind} takes {'[A, B, N]' if kind == 'before' else '[A, N]'}; got {options[kind]}.")
    chosen = [number_symbols(reader, each if isinstance(each, str) else " ".join(map(str, each))) for each in sets]
    if kind == "within":
        return events.Within(chosen[0], steps), ["yes"]
    if kind == "before":
        return events.Before(chosen[0], chosen[1], steps), ["yes"]
    if kind == "count":
        return events.Count(chosen[0], steps), list(range(steps + 1))
    return events.FirstTime(chosen[0], steps), [*range(1, steps + 1), f"not within {steps}"]

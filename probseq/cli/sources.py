"""Where rows come from: files, long tables, published sets, each in one part or in three."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probseq import datasets
from probseq.cli.rows import Bad, Row, read_rows

PARTS = ("train", "validation", "test")
Parts = dict[str, list[Row]]


@dataclass(frozen=True)
class Named:
    """A published set.

    Args:
        what: a line about it.
        parts: its rows.
        words: whether its symbols are words.
        labels, source: the columns that its sequences depend on.
    """

    what: str
    parts: Callable[[], Parts]
    labels: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Asked:
    """What to read, and how: the options of that name.

    Args:
        data: a file, "-", or the name of a set.
    """

    data: str
    data_format: str | None = None
    column: str | None = None
    labels: str | None = None
    source: str | None = None
    id: str | None = None
    time: str | None = None
    values: tuple[str, ...] | None = None

    @property
    def long(self) -> bool:
        """Whether a row is one element of a series."""
        return self.id is not None

    def absolute(self) -> Asked:
        """The same from whatever folder it is asked."""
        own = self.data in SETS or self.data == "-"
        return self if own else replace(self, data=str(Path(self.data).resolve()))

    def rows(self, bad: Bad) -> Iterator[Row]:
        """All rows of a file, or those of the test part of a set."""
        if self.data in SETS:
            return iter(SETS[self.data].parts()["test"])
        if self.long:
            return iter(_series(self))
        beside = [name for name in (self.labels, self.source) if name]
        return read_rows(self.data, self.data_format, self.column, beside, bad)

    def parts(self, validation: str | None, test: str | None, bad: Bad) -> Parts:
        """Three parts: as published, as given, or by a hash of each row that keeps equal rows together.

        Raises:
            ValueError: as `read_rows`; a named set with files for its parts.
        """
        if self.data in SETS:
            if validation or test:
                raise ValueError(f"{self.data} comes in three parts; leave --validation and --test out.")
            return SETS[self.data].parts()
        given = {"validation": validation, "test": test}
        parts: Parts = {"train": [], "validation": [], "test": []}
        for row in self.rows(bad):
            part = _part(row)
            parts["train" if given.get(part) else part].append(row)
        for name, file in given.items():
            if file:
                parts[name] = list(replace(self, data=file, data_format=None).rows(bad))
        return parts


def _part(row: Row) -> str:
    """5 % to validate, 5 % to test, by what is in the row."""
    content = json.dumps([row.value, row.beside], sort_keys=True, ensure_ascii=False, default=str)
    number = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[0]
    return "test" if number < 13 else "validation" if number < 26 else "train"


def _series(asked: Asked) -> list[Row]:
    """The series of a long table, one a row."""
    if not asked.values:
        raise ValueError("a long table needs the columns of its numbers: --values '[price]'.")
    if not Path(asked.data).is_file():
        raise FileNotFoundError(f"{asked.data} does not exist.")
    labels = [asked.labels] if asked.labels else []
    columns = datasets.Columns(asked.id or "", asked.time, asked.values, categories=labels)
    panel = datasets.from_table(asked.data, columns)
    found = []
    for number, values in enumerate(panel.y):
        beside = {name: panel.levels[name][int(panel.categories[name][number])] for name in labels}
        found.append(Row(asked.data, number + 1, values.tolist(), beside))
    return found


def _texts(load: Callable[[], Any]) -> Callable[[], Parts]:
    def parts() -> Parts:
        data = load()
        return {part: _numbered(part, getattr(data, part)) for part in PARTS}

    return parts


def _spoken(load: Callable[[], Any]) -> Callable[[], Parts]:
    """Phonemes given letters."""

    def parts() -> Parts:
        data, found = load(), {}
        for part in PARTS:
            pairs = getattr(data, part)
            spoken, letters = data.spoken(pairs.y), data.letters.decode(pairs.x)
            found[part] = _numbered(part, map(list, spoken), ({"letters": word} for word in letters))
        return found

    return parts


def _vowels() -> Parts:
    data = datasets.vowels()
    speakers = [{"speaker": str(int(each))} for each in data.train_speakers]
    rows = _numbered("train", (y.tolist() for y in data.train), speakers)
    tested = [{"speaker": str(int(each))} for each in data.test_speakers]
    # The published test part is the test; validation is taken from the rest.
    kept: Parts = {"train": [], "validation": []}
    for row in rows:
        kept["validation" if _part(row) != "train" else "train"].append(row)
    return {**kept, "test": _numbered("test", (y.tolist() for y in data.test), tested)}


def _numbered(part: str, values: Iterable[Any], beside: Iterable[dict[str, Any]] | None = None) -> list[Row]:
    if beside is None:
        return [Row(part, number, value) for number, value in enumerate(values, 1)]
    return [Row(part, number, value, own) for number, (value, own) in enumerate(zip(values, beside, strict=True), 1)]


def _language(code: str) -> Named:
    load = _spoken(lambda: datasets.sigmorphon2020(code))
    return Named(f"SIGMORPHON 2020: words of {LANGUAGES[code]} and how they are spoken", load, source="letters")


LANGUAGES = {
    "arm": "Armenian", "bul": "Bulgarian", "dut": "Dutch", "fre": "French", "gre": "Greek", "hin": "Hindi",
    "ice": "Icelandic", "jpn": "Japanese", "kor": "Korean", "vie": "Vietnamese",
}  # fmt: skip
SETS: dict[str, Named] = {
    "names": Named("32,033 names of people (makemore)", _texts(datasets.names)),
    "words": Named("124,926 spellings of the CMU dictionary", _texts(datasets.words)),
    "pronunciations": Named("CMU dictionary: letters to phonemes", _spoken(datasets.pronunciations), source="letters"),
    "vowels": Named("JapaneseVowels: two vowels of nine speakers, 12 numbers a frame", _vowels, labels="speaker"),
    **{f"sigmorphon-{code}": _language(code) for code in LANGUAGES},
}
"""The published sets that have a name here."""

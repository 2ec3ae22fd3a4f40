"""Strings to tokens and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from probseq.sequences import Sequences


@dataclass(frozen=True)
class Alphabet:
    """The symbols of a language, numbered in order.

    Args:
        unknown: one of the symbols, which stands for every character outside the alphabet; without it, a text with
            such a character is refused.

    Raises:
        ValueError: a symbol occurs twice, `unknown` is none of them, or a text has a character outside the alphabet.

    >>> letters = Alphabet("abc")
    >>> letters.decode(letters.encode(["cab", "", "bb"]))
    ['cab', '', 'bb']
    >>> letters = Alphabet("abc?", unknown="?")
    >>> letters.decode(letters.encode(["café"]))
    ['ca??']
    """

    symbols: str
    unknown: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"an alphabet has each symbol once; got {self.symbols!r}.")
        if self.unknown is not None and (len(self.unknown) != 1 or self.unknown not in self.symbols):
            raise ValueError(
                f"unknown must be one of the symbols {self.symbols!r}; got {self.unknown!r}. Add it there."
            )

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, texts: Iterable[str]) -> Sequences:
        """Texts as sequences of tokens that ended."""
        number = {symbol: i for i, symbol in enumerate(self.symbols)}
        other = -1 if self.unknown is None else number[self.unknown]
        rows = []
        for text in texts:
            outside = set(text) - set(number)
            if outside and self.unknown is None:
                raise ValueError(
                    f"{text!r} has {sorted(outside)}, which the alphabet {self.symbols!r} lacks. Add them, or declare "
                    "one of its symbols `unknown`."
                )
            rows.append(torch.tensor([number.get(c, other) for c in text], dtype=torch.int64))
        return Sequences.of(rows)

    def decode(self, sequences: Sequences) -> list[str]:
        """Sequences of tokens as texts."""
        return ["".join(self.symbols[i] for i in row.tolist()) for row in sequences]

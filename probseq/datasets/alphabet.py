"""Strings to tokens and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from probseq.sequences import Sequences


@dataclass(frozen=True)
class Alphabet:
    """The symbols of a language, numbered in order.

    Raises:
        ValueError: a symbol occurs twice, or a text has a character outside the alphabet.

    >>> letters = Alphabet("abc")
    >>> letters.decode(letters.encode(["cab", "", "bb"]))
    ['cab', '', 'bb']
    """

    symbols: str

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"an alphabet has each symbol once; got {self.symbols!r}.")

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, texts: Iterable[str]) -> Sequences:
        """Texts as sequences of tokens that ended."""
        number = {symbol: i for i, symbol in enumerate(self.symbols)}
        rows = []
        for text in texts:
            unknown = set(text) - set(number)
            if unknown:
                raise ValueError(f"{text!r} has {sorted(unknown)}, which the alphabet {self.symbols!r} lacks.")
            rows.append(torch.tensor([number[c] for c in text], dtype=torch.int64))
        return Sequences.of(rows)

    def decode(self, sequences: Sequences) -> list[str]:
        """Sequences of tokens as texts."""
        return ["".join(self.symbols[i] for i in row.tolist()) for row in sequences]

"""Strings to tokens and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from probseq.arguments import checked
from probseq.sequences import Sequences
from probseq.shapes import slot_mask


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

    @checked
    def encode(self, texts: Iterable[str]) -> Sequences:
        """Texts as sequences of tokens that ended."""
        texts = list(texts)
        codes = _codes("".join(texts))
        symbols = _codes(self.symbols)
        order = symbols.argsort()
        # The last one, which no character has, keeps every place in range.
        known, number = np.append(symbols[order], 0x110000), np.append(order, -1)
        place = known.searchsorted(codes)
        outside = known[place] != codes
        if outside.any() and self.unknown is None:
            text = next(text for text in texts if set(text) - set(self.symbols))
            raise ValueError(
                f"{text!r} has {sorted(set(text) - set(self.symbols))}, which the alphabet {self.symbols!r} lacks. "
                "Add them, or declare one of its symbols `unknown`."
            )
        other = -1 if self.unknown is None else self.symbols.index(self.unknown)
        lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
        values = torch.zeros(len(texts), int(lengths.max()) if texts else 0, dtype=torch.int64)
        values[slot_mask(lengths, values.shape[1])] = torch.from_numpy(np.where(outside, other, number[place]))
        return Sequences(values, lengths)

    @checked
    def decode(self, sequences: Sequences) -> list[str]:
        """Sequences of tokens as texts.

        Raises:
            TypeError: the tokens are not integers.
            ValueError: a token that is no symbol's number.
        """
        values = sequences.values[sequences.mask()]
        if values.numel() and (values.is_floating_point() or values.ndim > 1):
            raise TypeError(f"tokens must be integers; got {sequences!r}.")
        outside = values[(values < 0) | (values >= len(self))]
        if len(outside):
            raise ValueError(f"the alphabet has the numbers 0…{len(self) - 1}; got the token {int(outside[0])}.")
        return ["".join(self.symbols[i] for i in row.tolist()) for row in sequences]


def _codes(text: str) -> np.ndarray:
    """The number of each character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)

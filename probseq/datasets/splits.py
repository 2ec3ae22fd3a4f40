"""Train, validation and test, by one seeded shuffle."""

from __future__ import annotations

import random
from dataclasses import dataclass

from probseq.datasets.alphabet import Alphabet
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Texts:
    """Texts in three parts, and their alphabet."""

    alphabet: Alphabet
    train: list[str]
    validation: list[str]
    test: list[str]

    @staticmethod
    def split(alphabet: Alphabet, texts: list[str], seed: int) -> Texts:
        """80, 10 and 10 % after `random.seed(seed); random.shuffle(texts)`."""
        shuffled = list(texts)
        random.Random(seed).shuffle(shuffled)
        first, second = int(0.8 * len(shuffled)), int(0.9 * len(shuffled))
        return Texts(alphabet, shuffled[:first], shuffled[first:second], shuffled[second:])

    def sequences(self) -> tuple[Sequences, Sequences, Sequences]:
        """The three parts as tokens."""
        parts = (self.train, self.validation, self.test)
        encoded = [self.alphabet.encode(part) for part in parts]
        return encoded[0], encoded[1], encoded[2]

"""Train, validation and test, by one seeded shuffle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from torch import Tensor

from probseq.datasets.alphabet import Alphabet
from probseq.sequences import Sequences

T = TypeVar("T")


def split(items: Sequence[T], seed: int) -> tuple[list[T], list[T], list[T]]:
    """80, 10 and 10 % after `random.seed(seed); random.shuffle(items)`."""
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    first, second = int(0.8 * len(shuffled)), int(0.9 * len(shuffled))
    return shuffled[:first], shuffled[first:second], shuffled[second:]


class Pairs(NamedTuple):
    """n sequences y and what each is conditioned on, in the order in which `fit` takes them.

    Shapes:
        y: n sequences. x: n sequences, or a tensor (n, …).
    """

    y: Sequences
    x: Sequences | Tensor


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
        return Texts(alphabet, *split(texts, seed))

    def sequences(self) -> tuple[Sequences, Sequences, Sequences]:
        """The three parts as tokens."""
        parts = (self.train, self.validation, self.test)
        encoded = [self.alphabet.encode(part) for part in parts]
        return encoded[0], encoded[1], encoded[2]

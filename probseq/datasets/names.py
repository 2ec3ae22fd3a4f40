"""Names of people."""

from __future__ import annotations

import string

from probseq.datasets.alphabet import Alphabet
from probseq.datasets.files import locate
from probseq.datasets.splits import Texts

URL = "https://raw.githubusercontent.com/karpathy/makemore/988aa59/names.txt"
SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"


def names() -> Texts:
    """32,033 names of 2 to 15 letters (makemore, MIT licence), in the split of its lectures.

    `random.seed(42); random.shuffle(names)`, then 80, 10 and 10 %.

    Raises:
        FileNotFoundError: PROBSEQ_DATA names a folder without makemore_names/names.txt.
        ModuleNotFoundError: the file must be downloaded, and `pooch` is not installed.
    """
    path = locate("makemore_names/names.txt", URL, SHA256)
    return Texts.split(Alphabet(string.ascii_lowercase), path.read_text().split(), seed=42)

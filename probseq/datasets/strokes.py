"""Chinese characters, drawn with a pen."""

from __future__ import annotations

from typing import Any, NamedTuple

from probseq.datasets.files import locate
from probseq.sequences import Sequences

URL = "https://raw.githubusercontent.com/hardmaru/sketch-rnn-datasets/7c854de/kanji/short_kanji.npz"
SHA256 = "f6855ba03d58f44830499dd98e7cb99f46c970651f4f16f2d886398f34709914"


class Drawings(NamedTuple):
    """Pen drawings in three parts.

    Shapes:
        train, validation, test: sequences of moves (t, 3), float32: right, down, and 1 where the pen is lifted
            behind the move, else 0.
    """

    train: Sequences
    validation: Sequences
    test: Sequences


def kanji() -> Drawings:
    """11,100 kanji of few strokes, moves of a pen on a canvas of about 1,000 units, in the published split.

    10,000, 600 and 500 drawings of 2 to 88 moves. From the vector drawings of KanjiVG by Ulrich Apel, as prepared by
    David Ha for sketch-rnn; licence CC BY-SA 3.0. The file holds pickled arrays, and unpickling can run any code: it
    is read only after its checksum was found to be the published one.

    Raises:
        FileNotFoundError: PROBSEQ_DATA names a folder without sketch/short_kanji.npz.
        ValueError: the file there is not the published one.
        ModuleNotFoundError: the file must be downloaded, and `pooch` is not installed.

    Source: Ha & Eck, A neural representation of sketch drawings, 2017; https://kanjivg.tagaini.net.
    """
    import numpy as np

    path = locate("sketch/short_kanji.npz", URL, SHA256)

    def read(drawings: Any) -> Sequences:
        return Sequences.of([drawing.astype(np.float32) for drawing in drawings])

    with np.load(path, allow_pickle=True, encoding="latin1") as parts:
        return Drawings(*(read(parts[name]) for name in ("train", "valid", "test")))

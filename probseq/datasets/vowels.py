"""Two vowels from nine speakers."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from probseq.datasets.files import locate
from probseq.sequences import Sequences

FOLDER = "japanese_vowels"
TRAIN = "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"
TEST = "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"


class Utterances(NamedTuple):
    """Recordings in two parts, each with the number of who speaks.

    Shapes:
        train, test: n sequences of frames (t, 12), float32. train_speakers, test_speakers: (n,), int64, 0 to 8.
    """

    train: Sequences
    test: Sequences
    train_speakers: Int[Tensor, " b"]
    test_speakers: Int[Tensor, " n"]


def vowels() -> Utterances:
    """JapaneseVowels: nine men say /ae/, 270 utterances to train and 370 to test, of 7 to 29 frames.

    A frame holds 12 LPC cepstrum coefficients. The split is the published one: in training 30 utterances from each
    speaker, in the test 24 to 88. From the UCI archive, in the .ts files of the package aeon 1.6.0 (BSD licence).

    Raises:
        FileNotFoundError: PROBSEQ_DATA names no folder with japanese_vowels/JapaneseVowels_TRAIN.ts and …_TEST.ts.
        ValueError: a file there is not the published one.

    Source: Kudo, Toyama & Shimbo, Multidimensional curve classification using passing-through regions, 1999.
    """
    if not os.environ.get("PROBSEQ_DATA"):
        raise FileNotFoundError(
            f"JapaneseVowels is not fetched. Set PROBSEQ_DATA to a folder that has {FOLDER}/JapaneseVowels_TRAIN.ts "
            f"and {FOLDER}/JapaneseVowels_TEST.ts, as in the package aeon 1.6.0."
        )
    train, train_speakers = _read("TRAIN", TRAIN)
    test, test_speakers = _read("TEST", TEST)
    return Utterances(train, test, train_speakers, test_speakers)


def _read(part: str, sha256: str) -> tuple[Sequences, Tensor]:
    """After the header: a line an utterance, its coefficients divided by colons, each over time; then the speaker."""
    text = locate(f"{FOLDER}/JapaneseVowels_{part}.ts", "", sha256).read_text("utf-8")
    rows, speakers = [], []
    for line in text.split("@data\n", 1)[1].splitlines():
        *coefficients, speaker = line.split(":")
        rows.append(torch.tensor([[float(value) for value in one.split(",")] for one in coefficients]).T)
        speakers.append(int(speaker) - 1)
    return Sequences.of(rows), torch.tensor(speakers)

"""Four voices of Bach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from probseq.datasets.files import locate
from probseq.datasets.splits import Pairs
from probseq.sequences import Sequences

URL = "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/9a7f733/Jsb16thSeparated.npz"
SHA256 = "2adcdf0d57880c3763f104555072285fe7f9e3d6049fcc4b9830557b8d4a7820"
VOICES = ("soprano", "alto", "tenor", "bass")

PartName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Chorales:
    """Chorales of four voices, a frame for each sixteenth note, and tokens for their pitches.

    A frame holds the MIDI pitches of soprano, alto, tenor and bass, in this order; a pitch that is held sounds again
    in every frame, and 0 is a rest. A voice has the tokens 0 for a rest, then one for each semitone from its `lowest`
    to its `highest` pitch in the training part, whether or not it is sung there; no other part goes beyond them.

    Shapes:
        train, validation, test: sequences of frames (t, 4), int64.
        lowest, highest: four MIDI pitches.
    """

    train: Sequences
    validation: Sequences
    test: Sequences
    lowest: tuple[int, ...]
    highest: tuple[int, ...]

    @staticmethod
    def of(train: Sequences, validation: Sequences, test: Sequences) -> Chorales:
        """From frames of pitches; the ranges are those of the training part."""
        frames = train.values[train.mask()]
        lowest = torch.where(frames > 0, frames, frames.max()).amin(0)
        return Chorales(train, validation, test, tuple(lowest.tolist()), tuple(frames.amax(0).tolist()))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many tokens each voice has, the rest among them."""
        return tuple(high - low + 2 for low, high in zip(self.lowest, self.highest, strict=True))

    def voices(self, part: PartName, chosen: Iterable[int]) -> Sequences:
        """The tokens of some voices, frames (t, len(chosen)); voice v has tokens below sizes[v].

        Args:
            chosen: numbers of voices: 0 soprano, 1 alto, 2 tenor, 3 bass.

        Raises:
            ValueError: a voice outside 0…3, or a pitch outside the voice's range.
        """
        chosen = list(chosen)
        if not chosen or not set(chosen) <= set(range(len(VOICES))):
            raise ValueError(f"expected voices among 0…3, {', '.join(VOICES)}; got {chosen}. Choose one at least.")
        y: Sequences = getattr(self, part)
        pitch, real = y.values[..., chosen], y.mask().unsqueeze(-1)
        low, high = (pitch.new_tensor(ends)[chosen] for ends in (self.lowest, self.highest))
        bad = (real & (pitch > 0) & ((pitch < low) | (pitch > high))).nonzero()
        if len(bad):
            row, t, i = bad[0].tolist()
            raise ValueError(
                f"{part} {row}, frame {t}: the {VOICES[chosen[i]]} has pitch {int(pitch[row, t, i])}; expected 0 or "
                f"{int(low[i])}…{int(high[i])}, the range in the training part. Transpose the piece, or leave it out."
            )
        return Sequences(torch.where(real & (pitch > 0), pitch - low + 1, 0), y.lengths, y.ended)

    def voice(self, part: PartName, v: int) -> Sequences:
        """The tokens of voice v, one a frame; see `voices`."""
        y = self.voices(part, [v])
        return Sequences(y.values.squeeze(-1), y.lengths, y.ended)

    def harmony(self, part: PartName) -> Pairs:
        """y: alto, tenor and bass, tokens (t, 3); x: the soprano, one token a frame."""
        return Pairs(self.voices(part, [1, 2, 3]), self.voice(part, 0))


def chorales() -> Chorales:
    """The 382 chorales of J. S. Bach in four separate voices and sixteenth notes, in the split of the field.

    229, 76 and 77 pieces of 100 to 640 frames: those of Boulanger-Lewandowski et al. (2012), as prepared by C.-Z. A.
    Huang for Coconet. No licence is stated with them. The file holds pickled arrays, and unpickling can run any
    code: it is read only after its checksum was found to be the published one.

    Raises:
        FileNotFoundError: PROBSEQ_DATA names a folder without jsb_satb/Jsb16thSeparated.npz.
        ValueError: the file there is not the published one.
        ModuleNotFoundError: the file must be downloaded, and `pooch` is not installed.
    """
    import numpy as np

    path = locate("jsb_satb/Jsb16thSeparated.npz", URL, SHA256)

    def read(pieces: Any) -> Sequences:
        return Sequences.of([np.nan_to_num(piece.astype(np.float32)).astype(np.int64) for piece in pieces])

    with np.load(path, allow_pickle=True, encoding="latin1") as parts:
        return Chorales.of(*(read(parts[name]) for name in ("train", "valid", "test")))

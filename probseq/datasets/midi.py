"""Piano rolls as MIDI files, so that they can be heard."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

LOWEST, KEYS = 21, 88
"""The MIDI pitch of a piano's lowest key, A0, and how many keys it has."""

TICKS = 120
"""MIDI ticks a frame in the files that are written."""

LONGEST = 1_000_000
"""The frames of the longest file that is read, two days of sixteenths: a damaged one can say that it lasts for ever."""

DRUMS = 9
"""The channel whose notes are no pitches."""


def piano_roll(pitches: Int[Tensor, "t v"]) -> Bool[Tensor, "t 88"]:
    """Which keys sound where v voices have these MIDI pitches, as in `Chorales`; 0 is a rest.

    Raises:
        ValueError: a pitch that is neither 0 nor a piano key's, 21 to 108.

    >>> piano_roll(torch.tensor([[60, 64], [0, 62]])).nonzero().tolist()
    [[0, 39], [0, 43], [1, 41]]
    """
    key = pitches - LOWEST
    bad = ((pitches != 0) & ((key < 0) | (key >= KEYS))).nonzero()
    if len(bad):
        frame, voice = bad[0].tolist()
        raise ValueError(
            f"frame {frame}, voice {voice}: got pitch {int(pitches[frame, voice])}; expected 0 for a rest or a piano "
            f"key's, {LOWEST}…{LOWEST + KEYS - 1}. Transpose the piece."
        )
    # What a rest marks stands in a column of its own.
    marked = torch.zeros(len(pitches), KEYS + 1, dtype=torch.bool, device=pitches.device)
    return marked.scatter(1, torch.where(pitches == 0, KEYS, key), True)[:, :KEYS]


def write_midi(roll: Tensor, path: str | Path, frames_per_beat: int = 1, tempo: float = 90.0) -> None:
    """Write a piano roll as a MIDI file of one track; a key that sounds in frames on end is held.

    Args:
        roll: (t, 88), of bools or of zeros and ones, as a model of `Bits(88)` draws it.
        frames_per_beat: 1 where a frame is a quarter note, 4 where it is a sixteenth.
        tempo: beats a minute.

    Raises:
        ValueError: a roll of another shape or of other values, or frames_per_beat or tempo that is not positive.
        ModuleNotFoundError: `mido` is not installed; it comes with `probseq[midi]`.
    """
    if roll.ndim != 2 or roll.shape[1] != KEYS or bool(((roll != 0) & (roll != 1)).any()):
        raise ValueError(f"write_midi takes a roll (time, {KEYS}) of zeros and ones; got {tuple(roll.shape)}.")
    if frames_per_beat < 1 or not tempo > 0:
        raise ValueError(f"frames_per_beat must be ≥ 1 and tempo positive; got {frames_per_beat}, {tempo}.")
    import mido

    silence = torch.zeros(1, KEYS, dtype=torch.int64)
    turns = torch.cat([silence, roll.to("cpu", torch.int64), silence]).diff(dim=0)
    track, before = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo))]), 0
    for frame, key in turns.nonzero().tolist():
        kind = "note_on" if turns[frame, key] > 0 else "note_off"
        track.append(mido.Message(kind, note=LOWEST + key, velocity=64, time=TICKS * (frame - before)))
        before = frame
    track.append(mido.MetaMessage("end_of_track", time=TICKS * (len(roll) - before)))
    mido.MidiFile(type=0, ticks_per_beat=TICKS * frames_per_beat, tracks=[track]).save(path)


def read_midi(path: str | Path, frames_per_beat: int = 1) -> Bool[Tensor, "t 88"]:
    """The piano roll of a MIDI file: every track and channel but the drums', ends rounded to the nearest frame.

    Of a file of `write_midi` it is the roll that was written. A note sounds for one frame at least.

    Args:
        frames_per_beat: how many frames a quarter note lasts.

    Raises:
        OSError: it cannot be read.
        ValueError: no MIDI file, or a damaged one; a note that a piano lacks; more than `LONGEST` frames;
            frames_per_beat below 1.
        ModuleNotFoundError: `mido` is not installed; it comes with `probseq[midi]`.
    """
    if frames_per_beat < 1:
        raise ValueError(f"frames_per_beat must be ≥ 1; got {frames_per_beat}.")
    import mido

    data = Path(path).read_bytes()
    try:
        file = mido.MidiFile(file=io.BytesIO(data))
    except Exception as error:  # a damaged one can raise anything
        raise ValueError(f"{path} is no MIDI file, or damaged: {error!r}.") from error
    if file.ticks_per_beat < 1:
        raise ValueError(f"{path} counts time in frames of film, or not at all. Save it with ticks per beat.")
    ticks, spans, since = 0, [], {}
    for message in mido.merge_tracks(file.tracks):
        ticks += message.time
        if ticks * frames_per_beat > LONGEST * file.ticks_per_beat:
            raise ValueError(f"{path} lasts more than {LONGEST:,} frames. Lower frames_per_beat, or cut it.")
        if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
            continue
        if not LOWEST <= message.note < LOWEST + KEYS:
            raise ValueError(f"{path} has a note of pitch {message.note}; a piano's are {LOWEST}…{LOWEST + KEYS - 1}.")
        place, frame = (message.channel, message.note), round(ticks * frames_per_beat / file.ticks_per_beat)
        if place in since:
            spans.append((message.note - LOWEST, since.pop(place), frame))
        if message.type == "note_on" and message.velocity:
            since[place] = frame
    length = round(ticks * frames_per_beat / file.ticks_per_beat)
    spans += [(note - LOWEST, begin, length) for (_, note), begin in since.items()]
    roll = torch.zeros(max([length, *(begin + 1 for _, begin, _ in spans)]), KEYS, dtype=torch.bool)
    for key, begin, end in spans:
        roll[begin : max(end, begin + 1), key] = True
    return roll

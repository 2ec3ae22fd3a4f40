"""Polyphonic music: rolls, and files that can be heard."""

import os
from pathlib import Path

import pytest
import torch

import probseq as ps
from probseq.datasets import jsb_chorales, nottingham, piano_roll, read_midi, write_midi

mido = pytest.importorskip("mido")

needs_rolls = pytest.mark.skipif(
    not (Path(os.environ.get("PROBSEQ_DATA", "")) / "polymusic").is_dir(), reason="PROBSEQ_DATA has no polymusic"
)


@needs_rolls
@pytest.mark.parametrize(
    ("read", "pieces", "test_frames"), [(jsb_chorales, [229, 76, 77], 4_725), (nottingham, [694, 173, 170], 44_463)]
)
def test_the_rolls_are_those_of_the_published_split(read, pieces, test_frames):
    data = read()
    assert [len(part) for part in data] == pieces
    assert int(data.test.lengths.sum()) == test_frames
    assert all(part.values.dtype == torch.bool and part.values.shape[2:] == (88,) for part in data)
    assert ps.Bits(88).conform(data.test.select([0])).values.dtype == torch.float32


def test_a_file_of_another_checksum_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "polymusic").mkdir()
    (tmp_path / "polymusic" / "JSB_Chorales.mat").write_bytes(b"other")
    monkeypatch.setenv("PROBSEQ_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="checksum"):
        jsb_chorales()
    with pytest.raises(FileNotFoundError, match=r"has no polymusic/Nottingham\.mat"):
        nottingham()


def random_roll(seed, frames=40):
    return torch.rand(frames, 88, generator=torch.Generator().manual_seed(seed)) < 0.3


@pytest.mark.parametrize("frames_per_beat", [1, 4])
@pytest.mark.parametrize(
    "roll",
    [random_roll(0), random_roll(1).float(), torch.zeros(7, 88), torch.ones(3, 88), torch.zeros(0, 88)],
    ids=["random", "floats", "silence", "all keys", "no frame"],
)
def test_a_roll_comes_back_from_its_file(tmp_path, roll, frames_per_beat):
    write_midi(roll, tmp_path / "a.mid", frames_per_beat)
    assert torch.equal(read_midi(tmp_path / "a.mid", frames_per_beat), roll.bool())


def test_silence_at_the_end_is_kept(tmp_path):
    roll = random_roll(0)
    roll[-5:] = False
    write_midi(roll, tmp_path / "a.mid")
    assert torch.equal(read_midi(tmp_path / "a.mid"), roll)


def test_a_file_lasts_as_long_as_its_tempo_says(tmp_path):
    write_midi(torch.ones(30, 88), tmp_path / "a.mid", frames_per_beat=4, tempo=60)
    assert mido.MidiFile(tmp_path / "a.mid").length == pytest.approx(30 / 4)


def test_a_key_that_sounds_on_is_struck_once(tmp_path):
    roll = torch.zeros(6, 88)
    roll[1:5, 39] = 1
    write_midi(roll, tmp_path / "a.mid")
    notes = [message for message in mido.MidiFile(tmp_path / "a.mid").tracks[0] if not message.is_meta]
    assert [(message.type, message.note, message.time) for message in notes] == [
        ("note_on", 60, 120),
        ("note_off", 60, 480),
    ]


def test_a_file_of_others_is_read_by_its_sounds(tmp_path):
    """Two tracks, drums, a note off as velocity 0, a note struck again, one too short for a frame, one left open."""
    one = mido.MidiTrack(
        [
            mido.Message("note_on", note=60, velocity=80),
            mido.Message("note_on", note=60, velocity=0, time=100),
            mido.Message("note_on", note=62, velocity=80, time=0),
            mido.Message("note_on", note=62, velocity=80, time=100),
            mido.Message("note_off", note=62, time=100),
            mido.Message("note_on", note=64, velocity=80, time=0),
            mido.Message("note_off", note=64, time=10),
            mido.Message("note_on", channel=9, note=10, velocity=80, time=0),
        ]
    )
    two = mido.MidiTrack([mido.Message("note_on", channel=1, note=21, velocity=80, time=390)])
    two.append(mido.MetaMessage("end_of_track", time=110))
    mido.MidiFile(type=1, ticks_per_beat=100, tracks=[one, two]).save(tmp_path / "a.mid")
    roll = read_midi(tmp_path / "a.mid")
    sounding = [frame.nonzero().flatten().tolist() for frame in roll]
    assert sounding == [[39], [41], [41], [43], [0]]


def test_the_voices_of_a_chorale_are_a_roll():
    pitches = torch.tensor([[72, 67, 60, 48], [0, 67, 67, 0], [0, 0, 0, 0]])
    roll = piano_roll(pitches)
    assert [frame.nonzero().flatten().add(21).tolist() for frame in roll] == [[48, 60, 67, 72], [67], []]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: write_midi(torch.zeros(3, 87), folder / "a.mid"), r"takes a roll \(time, 88\).*got \(3, 87\)"),
        (lambda folder: write_midi(torch.full((3, 88), 0.5), folder / "a.mid"), "of zeros and ones"),
        (lambda folder: write_midi(torch.zeros(3, 88), folder / "a.mid", 0), "frames_per_beat must be ≥ 1"),
        (lambda folder: write_midi(torch.zeros(3, 88), folder / "a.mid", tempo=0.0), "tempo positive"),
        (lambda folder: read_midi(folder / "a.mid", 0), "frames_per_beat must be ≥ 1; got 0"),
        (lambda folder: piano_roll(torch.tensor([[60, 0], [60, 20]])), "frame 1, voice 1: got pitch 20"),
    ],
)
def test_what_no_piano_plays_is_refused(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path)


def test_a_file_with_a_note_that_a_piano_lacks_is_refused(tmp_path):
    track = mido.MidiTrack([mido.Message("note_on", note=120, velocity=64)])
    mido.MidiFile(type=0, tracks=[track]).save(tmp_path / "a.mid")
    with pytest.raises(ValueError, match="note of pitch 120; a piano's are 21…108"):
        read_midi(tmp_path / "a.mid")


def test_a_damaged_file_is_refused(tmp_path):
    write_midi(torch.ones(3, 88), tmp_path / "a.mid")
    data = (tmp_path / "a.mid").read_bytes()
    (tmp_path / "cut.mid").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="is no MIDI file, or damaged"):
        read_midi(tmp_path / "cut.mid")


def test_a_file_that_lasts_for_days_is_refused(tmp_path):
    track = mido.MidiTrack([mido.Message("note_on", note=60, velocity=64, time=2**27)])
    mido.MidiFile(type=0, ticks_per_beat=1, tracks=[track]).save(tmp_path / "a.mid")
    with pytest.raises(ValueError, match="lasts more than 1,000,000 frames"):
        read_midi(tmp_path / "a.mid")


def test_a_file_in_frames_of_film_is_refused(tmp_path):
    write_midi(torch.ones(1, 88), tmp_path / "a.mid")
    data = bytearray((tmp_path / "a.mid").read_bytes())
    data[12] = 0xE7
    (tmp_path / "a.mid").write_bytes(data)
    with pytest.raises(ValueError, match="frames of film, or not at all"):
        read_midi(tmp_path / "a.mid")

"""The recordings of `transcribe`, and what both sides of `peers` are given."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

import probseq as ps
from experiments.peers import joey
from experiments.peers.run import SMOKE, Ours, share
from experiments.transcribe import run as transcribe
from probseq.datasets import Alphabet, Pronunciations


def test_a_recording_is_its_utterances_one_after_the_other():
    generator = torch.Generator().manual_seed(0)
    data = transcribe.made_up(generator)
    utterances = list(data.train)
    (y, x), begins = transcribe.join(utterances, data.train_speakers, 50, generator)
    assert {*y.lengths.tolist()} == {2, 3, 4, 5, 6}
    for who, frames, starts in zip(y, x, begins, strict=True):
        ends = [*starts[1:], len(frames)]
        for k, start, end in zip(who.tolist(), starts, ends, strict=True):
            same = [i for i, each in enumerate(utterances) if torch.equal(each, frames[start:end])]
            assert [int(data.train_speakers[i]) for i in same] == [k]


def test_no_utterance_is_in_two_parts(monkeypatch):
    monkeypatch.delenv("PROBSEQ_DATA", raising=False)
    data = transcribe.load(transcribe.SMOKE, 0)
    frames = [
        {tuple(frame) for frame in part.x.values[part.x.mask()].tolist()}
        for part in (data.train, data.validation, data.test)
    ]
    assert all(not (one & other) for one, other in itertools.combinations(frames, 2))
    assert torch.equal(data.train.y.values, transcribe.load(transcribe.SMOKE, 0).train.y.values)


def test_the_nats_without_a_source_are_the_entropy_of_the_speakers():
    law = [(m, 1 / 5 / 9**m) for m in range(2, 7)]
    assert sum(9**m * p for m, p in law) == pytest.approx(1)
    assert transcribe.without_a_source() == pytest.approx(-sum(9**m * p * math.log(p) for m, p in law))


def words() -> Pronunciations:
    train = {letter * n: [(letter.upper(),) * n] for letter in "abc" for n in range(1, 30)}
    validation = {f"{a}{b}" * n: [(a.upper(), b.upper()) * n] for a in "abc" for b in "cab" for n in (1, 2) if a != b}
    return Pronunciations.of(Alphabet("abc"), train, validation, {})


def small(feed: bool) -> tuple[Ours, list[list[list[int]]]]:
    settings = replace(SMOKE, words=6)
    work = share(words(), settings)
    return Ours(words(), work, settings, feed), work.references


@pytest.mark.parametrize("feed", [False, True])
def test_our_side_trains_and_answers_every_word_in_order(feed):
    ours, references = small(feed)
    first, *_, last = [ours.train()["nats"] for _ in range(8)]
    assert last < first
    assert len(ours.decode()["answers"]) == len(references) == 6
    assert [len(x) for x in ours.words] == [6]


def test_their_symbols_are_ours_moved_behind_the_special_ones():
    assert joey.rectangle([[0, 2], [1]]).tolist() == [[4, 6], [5, joey.PAD]]
    assert joey.symbols([6, 4, joey.END, 5]) == [2, 0]
    assert joey.symbols([6, joey.UNKNOWN, joey.PAD]) == [2, -1]


def test_the_training_pairs_are_in_batches_and_the_words_have_the_longest_first():
    work = share(words(), replace(SMOKE, words=12))
    assert [len(batch) for batch in work.batches] == [16] * 4
    lengths = [len(word) for batch in work.words for word in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert all(ps.Sequences.of(batch).lengths.min() >= 1 for batch in work.words)

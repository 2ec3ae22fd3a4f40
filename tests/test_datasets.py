"""Data."""

import os

import pytest

from probseq.datasets import Alphabet, names, words


def test_the_words_are_those_of_the_dictionary():
    data = words()
    parts = (data.train, data.validation, data.test)
    every = {word for part in parts for word in part}
    assert len(every) == sum(map(len, parts)) > 100_000
    assert {"probability", "o'clock"} <= every
    train, validation, _ = data.sequences()
    assert data.alphabet.decode(validation) == data.validation
    assert train.lengths.max() > 20


@pytest.mark.skipif("PROBSEQ_DATA" not in os.environ, reason="PROBSEQ_DATA names no folder with the names")
def test_the_names_are_in_the_published_split():
    data = names()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [25626, 3203, 3204]
    assert data.train[:3] == ["yuheng", "diondre", "xavien"]


def test_a_data_folder_without_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBSEQ_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"which has no makemore_names/names.txt"):
        names()


def test_a_file_that_is_not_the_published_one(tmp_path, monkeypatch):
    (tmp_path / "makemore_names").mkdir()
    (tmp_path / "makemore_names" / "names.txt").write_text("emma\n")
    monkeypatch.setenv("PROBSEQ_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="checksum"):
        names()


def test_a_letter_outside_the_alphabet():
    with pytest.raises(ValueError, match=r"'café' has \['é'\]"):
        Alphabet("acf").encode(["café"])

"""The hourly series of M4."""

import os

import pytest
import torch

from probseq.datasets import m4_hourly

published = pytest.mark.skipif("PROBSEQ_DATA" not in os.environ, reason="PROBSEQ_DATA names no folder with the data")


@pytest.fixture(scope="module")
def data():
    return m4_hourly()


@published
def test_the_series_are_the_published_ones(data):
    assert data.ids == tuple(f"H{i}" for i in range(1, 415))
    assert data.train.lengths.bincount()[[700, 960]].tolist() == [169, 245]
    assert set(data.test.lengths.tolist()) == {48}
    assert data.train.values.shape == (414, 960, 1)
    assert data.train.values.dtype == data.test.values.dtype == torch.float64
    assert not data.train.ended.any()
    assert not data.test.ended.any()
    assert data.train[0].flatten()[:3].tolist() == [605, 586, 586]
    assert data.train[413].flatten()[-2:].tolist() == [26, 17]


@published
def test_the_test_goes_on_where_the_training_part_is_cut(data):
    # The seasonal naive forecast repeats the last day; its normalised deviation is the published one, GIFT-Eval's.
    last = torch.stack([series[-24:] for series in data.train]).repeat(1, 2, 1)
    deviation = (data.test.values - last).abs().sum() / data.test.values.abs().sum()
    assert float(deviation) == pytest.approx(0.0483092, abs=5e-8)


def test_a_folder_without_the_series(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBSEQ_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"which has no m4_hourly/Hourly-train.csv"):
        m4_hourly()

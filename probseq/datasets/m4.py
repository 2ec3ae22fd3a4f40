"""Hourly series of the M4 competition."""

from __future__ import annotations

import csv
from typing import NamedTuple

import torch

from probseq.datasets.files import locate
from probseq.sequences import Sequences

URL = "https://raw.githubusercontent.com/Mcompetitions/M4-methods/6c1067e/Dataset"
TRAIN = "ea59b7783573c49077a835ab6465c7d66f1474783360f310988a9a737fbca62f"
TEST = "71a57fccb15e534d973626ada4fb87febf789e9317715b7cc6dd3b5f90db6f42"


class Hourly(NamedTuple):
    """Series in two parts: row i of `test` goes on, without a gap, where row i of `train` is cut.

    Shapes:
        train, test: n open series of one number an hour (t, 1), float64, in the data's units. ids: n names.
    """

    train: Sequences
    test: Sequences
    ids: tuple[str, ...]


def m4_hourly() -> Hourly:
    """The 414 hourly series of the M4 competition: 700 hours of 169 of them and 960 of 245, then 48 hours to forecast.

    All values lie from 10 to 703,008, are known, and are of unnamed quantities: mostly demand for power, with a day
    and a week. The files hold no time stamps: which hour of the day a series starts at is not known and not the same
    for all, so that only the phase t mod 24, or t mod 168, counted from a series's own first value, can be told to a
    model. From the repository M4-methods of the organisers; no licence is stated there.

    Raises:
        FileNotFoundError: PROBSEQ_DATA names a folder without m4_hourly/Hourly-train.csv and …/Hourly-test.csv.
        ValueError: a file there is not the published one.
        ModuleNotFoundError: a file must be downloaded, and `pooch` is not installed.

    Source: Makridakis, Spiliotis & Assimakopoulos, The M4 competition: 100,000 time series, 2020.
    """
    ids, train = _read("Train/Hourly-train.csv", TRAIN)
    _, test = _read("Test/Hourly-test.csv", TEST)
    return Hourly(train, test, ids)


def _read(path: str, sha256: str) -> tuple[tuple[str, ...], Sequences]:
    """After the header: a line a series, its name and its values, then empty fields up to the longest series."""
    file = locate(f"m4_hourly/{path.split('/')[1]}", f"{URL}/{path}", sha256)
    with file.open(newline="") as lines:
        rows = [[field for field in row if field] for row in csv.reader(lines)][1:]
    values = [torch.tensor([[float(field)] for field in row[1:]], dtype=torch.float64) for row in rows]
    return tuple(row[0] for row in rows), Sequences.of(values, ended=False)

"""Long tables."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import csv, parquet

import probseq as ps
from probseq.datasets import Columns, calendar, from_table, to_table

HOURS = pd.date_range("2024-03-30 20:00", periods=12, freq="h")
COLUMNS = Columns("who", "when", ["load", "cars"], covariates=["warm"], categories=["town"])


def table(hours=HOURS):
    """Three series of different lengths, beginnings and types; the last is a single row."""
    draw = np.random.default_rng(0)
    parts = []
    for name, begin, length, town in (("b", 0, 6, "Köln"), ("a", 3, 9, "Bonn"), ("c", 5, 1, "Köln")):
        numbers = {"load": draw.normal(size=length) * 1e-7, "cars": draw.integers(100, size=length)}
        warm = draw.normal(size=length)
        parts.append(pd.DataFrame({"who": name, "when": hours[begin : begin + length], **numbers, "warm": warm}))
        parts[-1]["town"] = town
    return pd.concat(parts, ignore_index=True)


def test_the_packages_are_needed_only_when_a_table_is_read():
    code = "import sys, probseq.datasets; assert not {'pandas', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_table_is_read_series_by_series():
    data = table()
    panel = from_table(data, COLUMNS)
    assert panel.ids == ("b", "a", "c")
    assert panel.covariates is not None
    assert panel.y.lengths.tolist() == panel.covariates.lengths.tolist() == [6, 9, 1]
    assert not panel.y.ended.any()
    assert panel.y.values.dtype == panel.covariates.values.dtype == torch.float64
    for name, y, x, times in zip(panel.ids, panel.y, panel.covariates, panel.times, strict=True):
        own = data[data.who == name]
        assert np.array_equal(y.numpy(), own[["load", "cars"]].to_numpy(float))
        assert np.array_equal(x.numpy(), own[["warm"]].to_numpy(float))
        assert list(times) == list(own.when)
    assert panel.levels == {"town": ("Bonn", "Köln")}
    assert panel.categories["town"].tolist() == [1, 0, 1]
    assert panel.step == pd.Timedelta("1h")


@pytest.mark.parametrize("kind", ["pandas", "types", "zone", "pyarrow", "parquet", "csv"])
def test_the_round_trip_is_exact(kind, tmp_path):
    # Where the clock is put forward, in the night of the table, hours are still one hour apart.
    data = table(HOURS.tz_localize("UTC").tz_convert("Europe/Berlin") if kind == "zone" else HOURS)
    if kind == "types":
        data = data.astype({"warm": "float32", "cars": "Int16", "town": "category", "who": "category"})
        data.loc[2, "cars"] = None
    source = pa.Table.from_pandas(data, preserve_index=False)
    if kind == "parquet":
        parquet.write_table(source, tmp_path / "data.parquet")
    if kind == "csv":
        csv.write_csv(source, tmp_path / "data.csv")
    if kind in ("parquet", "csv"):
        source = tmp_path / f"data.{kind}"
    panel = from_table(source if kind in ("pyarrow", "parquet", "csv") else data, COLUMNS, missing=kind == "types")
    # A file of text knows neither the unit of its times nor the width of its numbers.
    pd.testing.assert_frame_equal(to_table(panel), data, check_exact=True, check_dtype=kind != "csv")
    again = from_table(to_table(panel), COLUMNS, missing=True)
    torch.testing.assert_close(again.y.values, panel.y.values, rtol=0, atol=0, equal_nan=True)


def test_series_that_stand_among_each_other_are_told_apart():
    data = table()
    other = from_table(data.sort_values(["when", "who"]), COLUMNS)
    assert other.ids == ("b", "a", "c")
    pd.testing.assert_frame_equal(to_table(other), data)


def test_symbols_become_tokens():
    words = pd.DataFrame({"word": [7, 7, 7, 3, 3], "sound": ["k", "æ", "t", "æ", None]})
    panel = from_table(words, Columns("word", symbols="sound"), ended=True, missing=True)
    assert panel.levels == {"sound": ("k", "t", "æ")}
    assert [row.tolist() for row in panel.y] == [[0, 2, 1], [2, -1]]
    assert panel.y.ended.all()
    pd.testing.assert_frame_equal(to_table(panel), words)
    other = from_table(words[1:3], Columns("word", symbols="sound"), levels=panel.levels)
    assert [row.tolist() for row in other.y] == [[2, 1]]


@pytest.mark.parametrize(
    ("begin", "step", "times"),
    [
        ("2024-01-31", "MS", ["2024-02-01", "2024-03-01", "2024-05-01"]),
        ("2024-01-01", None, ["2024-01-05", "2024-01-06", "2024-01-08"]),
        (5, None, [5, 7, 11]),
        (5, 2, [5, 7, 11]),
    ],
)
def test_steps_that_are_left_out_are_missing_if_asked(begin, step, times):
    when = pd.to_datetime(times) if isinstance(begin, str) else times
    data = pd.DataFrame({"id": "a", "when": when, "n": [1, 2, 4]})
    columns = Columns("id", "when", ["n"])
    with pytest.raises(ValueError, match=r"series 'a', row 2: the time .* is 2 steps of .* after the one before"):
        from_table(data, columns, step=step)
    panel = from_table(data, columns, step=step, gaps=True)
    assert panel.y.values.flatten().nan_to_num(-1).tolist() == [1, 2, -1, 4]
    pd.testing.assert_frame_equal(to_table(panel).dropna().astype(data.dtypes).reset_index(drop=True), data)
    following = panel.following(2)[0]
    assert len(following) == 2
    expected = panel.times[0][-2:] + (panel.times[0][-1] - panel.times[0][-2])
    assert step == "MS" or list(following) == [expected[1], expected[1] + panel.step]
    assert following[0] > when[-1]


def test_what_is_missing_is_scored_and_not_imputed():
    data = pd.DataFrame({"id": list("aaab"), "u": [1, np.nan, 3, np.nan], "v": [np.nan, np.nan, 5, 6]})
    columns = Columns("id", values=["u", "v"])
    panel = from_table(data, columns, missing=True)
    model = ps.SequenceModel(ps.Reals(2), ps.Memoryless(2), ps.Gaussian(scale=1.0), ps.FixedLength(3))
    model.double()
    torch.nn.init.zeros_(model.likelihood.project.weight)  # so that no element depends on those before it
    y = panel.y.select([0])
    state = model.start()
    loc = model.emit(state.features, state.position, state.context).element.mean[0]
    expected = -0.5 * ((1 - loc[0]) ** 2 + (3 - loc[0]) ** 2 + (5 - loc[1]) ** 2) - 1.5 * math.log(2 * math.pi)
    loss = ps.MissingValues(particles=1).loss(model, y, None, 0.0)
    torch.testing.assert_close(-loss, expected.reshape(1), rtol=0, atol=1e-12)
    pd.testing.assert_frame_equal(to_table(panel), data)


def test_a_forecast_is_written_with_its_times():
    panel = from_table(table(), COLUMNS)
    y = ps.Sequences(torch.randn(3, 2, 2), [2, 2, 2])
    future = dataclasses.replace(panel, y=y, times=panel.following(2), covariates=None)
    written = to_table(future)
    assert list(written) == ["who", "when", "load", "cars", "town"]
    assert list(written.when) == [time for last in (5, 11, 5) for time in HOURS[last] + pd.to_timedelta([1, 2], "h")]
    assert written.load.tolist() == y.values[..., 0].flatten().tolist()
    assert written.cars.tolist() == y.values[..., 1].flatten().tolist()
    with pytest.raises(ValueError, match=r"series 'b' has 2 elements and 6 times"):
        to_table(dataclasses.replace(panel, y=y))


def test_single_rows_do_not_tell_the_step():
    single = table()[15:]
    with pytest.raises(ValueError, match=r"no series has two times.*step="):
        from_table(single, COLUMNS)
    assert list(from_table(single, COLUMNS, step="h").following(1)[0]) == [HOURS[6]]


def test_panels_and_the_calendar_go_into_a_model():
    panel = from_table(table(), COLUMNS)
    clock = calendar(panel.times)
    x = (panel.covariates, clock, panel.categories["town"])
    context = (ps.Aligned(ps.Reals(1)), ps.Aligned(ps.Reals(4)), ps.Labels(2))
    model = ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.AlignedLength(), context)
    assert torch.isfinite(model.log_prob(panel.y, x)).all()


# The calendar


def test_each_cycle_is_where_the_calendar_says():
    times = pd.DatetimeIndex(["2024-01-01 00:00", "2024-07-01 06:00", "2024-12-31 18:00:00", "2023-01-08 12:30"])
    waves = calendar([times], ["hour", "weekday", "month", "yearday"])[0].double()
    turn = torch.atan2(waves[:, 0::2], waves[:, 1::2]) / (2 * math.pi) % 1
    shares = [[0, 0, 0, 0], [6 / 24, 0, 6 / 12, 182 / 366], [18 / 24, 1 / 7, 11 / 12, 365 / 366]]
    expected = torch.tensor([*shares, [12.5 / 24, 6 / 7, 0, 7 / 365]], dtype=torch.float64)
    distance = (turn - expected + 0.5) % 1 - 0.5
    assert float(distance.abs().max()) < 1e-6


def test_the_clock_is_the_one_of_the_zone():
    utc = pd.DatetimeIndex(["2024-07-01 00:00"], tz="UTC")
    there = utc.tz_convert("Asia/Tokyo")
    assert torch.equal(calendar([there], ["hour"]).values, calendar([there.tz_localize(None)], ["hour"]).values)
    assert not torch.equal(calendar([there], ["hour"]).values, calendar([utc], ["hour"]).values)


def test_cycles_and_times_that_are_none():
    with pytest.raises(ValueError, match=r"cycles among hour, .*; got \['minute'\]"):
        calendar([HOURS], ["minute"])
    with pytest.raises(TypeError, match=r"needs time stamps; series 1 has RangeIndex"):
        calendar([HOURS, pd.RangeIndex(3)])  # type: ignore[list-item]


# What does not fit


def changed(at, column, value):
    data = table().astype({column: object}) if isinstance(value, str) or value is None else table()
    data.loc[at, column] = value
    return data


DAY = pd.Timestamp("2024-03-31")

REFUSED = {
    "no column": (table().drop(columns="warm"), {}, r"no column 'warm'; it has .*reset_index"),
    "no rows": (table()[:0], {}, "no rows"),
    "no series": (changed(4, "who", None), {}, "row 4: no series in column 'who'"),
    "a time twice": (changed(8, "when", HOURS[4]), {}, r"series 'a', row 8: the time .*00:00 stands twice, in row 7"),
    "unsorted": (table()[::-1], {}, r"series 'a', row 2: the time .* stands after .*Sort the table"),
    "no time": (changed(3, "when", pd.NaT), {}, "series 'b', row 3: no time in column 'when'"),
    "a gap": (table().drop(index=3), {}, r"series 'b', row 3: the time .* is 2 steps of .* after .*gaps=True"),
    "between": (
        changed(14, "when", HOURS[11] + pd.Timedelta("5min")), {},
        "series 'a', row 14: .* is no whole number of steps",
    ),
    "mixed": (
        pd.concat([table()[:6], table()[6:15].assign(when=pd.date_range(DAY, periods=9, freq="3h"))]),
        {"gaps": True, "step": "h"},
        r"series 'a', row 7: the time .* is 3 steps of h after the one before; expected 1\. Read series of different",
    ),
    "unknown covariates": (
        table().drop(index=8), {"gaps": True},
        "series 'a', row 8: steps before it are left out, whose covariates are not known",
    ),
    "no covariate": (changed(9, "warm", np.nan), {"missing": True}, "series 'a', row 9: a covariate is missing"),
    "text": (changed(7, "load", "n/a"), {}, r"series 'a', row 7: column 'load' has 'n/a'; expected numbers"),
    "infinite": (changed(7, "load", -np.inf), {}, "series 'a', row 7: column 'load' has ±∞"),
    "missing": (changed(11, "load", np.nan), {}, "series 'a', row 11: a value is missing.*missing=True"),
    "category that changes": (
        changed(9, "town", "Ulm"), {}, r"series 'a', row 9: column 'town' has 'Ulm' after 'Bonn'.*covariate"
    ),
    "no category": (changed(15, "town", None), {}, "series 'c', row 15: no category in column 'town'"),
    "unseen": (
        table(), {"levels": {"town": ["Köln", "Ulm"]}},
        r"series 'a', row 6: column 'town' has 'Bonn'; expected one of \['Köln', 'Ulm'\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_its_series_and_row(name):
    data, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        from_table(data.reset_index(drop=True), COLUMNS, **options)


def test_a_series_of_missing_values_says_nothing():
    data = pd.DataFrame({"id": list("aab"), "n": [1, np.nan, np.nan]})
    with pytest.raises(ValueError, match=r"series 'b', row 2: this row and all others have no value"):
        from_table(data, Columns("id", values=["n"]), missing=True)


def test_columns_and_sources_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="either values or symbols"):
        Columns("id")
    with pytest.raises(ValueError, match="names each column once"):
        Columns("id", values=["n", "n"])
    with pytest.raises(TypeError, match=r"values is a list of columns; got 'n'"):
        Columns("id", values="n")
    with pytest.raises(TypeError, match=r"column 'when' holds .*; expected time stamps or integers.*to_datetime"):
        from_table(table().assign(when="noon"), COLUMNS)
    with pytest.raises(TypeError, match="a DataFrame, a pyarrow table or a path; got list"):
        from_table([], COLUMNS)
    with pytest.raises(ValueError, match=r"reads \.csv and \.parquet files; got .*data.xls"):
        from_table(tmp_path / "data.xls", COLUMNS)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing more PAR1")
    with pytest.raises(ValueError, match=r"a\.parquet is no \.parquet file, or damaged"):
        from_table(path, Columns("series", "when", ("price",)))
    with pytest.raises(FileNotFoundError):
        from_table(tmp_path / "none.parquet", Columns("series", "when", ("price",)))

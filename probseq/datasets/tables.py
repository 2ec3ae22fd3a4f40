"""Long tables, a row for each element of each series, as Sequences and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from probseq.datasets.checked import Rows
from probseq.datasets.timestamps import after, check_rising, check_steps, upto, usual_step
from probseq.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Columns:
    """Which columns of a long table hold what.

    Args:
        id: which series a row belongs to.
        time: when, as time stamps or integers; None: the rows of a series stand in order, one step apart.
        values: numbers, which become y.
        symbols: instead of values, one symbol in each row, of any type: y is then tokens.
        covariates: numbers that become x beside y.
        categories: what is the same in all rows of a series, of any type.

    Raises:
        ValueError: values and symbols, or neither; a column named twice.
        TypeError: one name where a list of them belongs.
    """

    id: str
    time: str | None = None
    values: Sequence[str] = ()
    symbols: str | None = None
    covariates: Sequence[str] = ()
    categories: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("values", "covariates", "categories"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} is a list of columns; got {getattr(self, name)!r}. Put it in a list.")
        if bool(self.values) == (self.symbols is not None):
            raise ValueError(f"Columns needs either values or symbols; got {list(self.values)} and {self.symbols!r}.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"Columns names each column once; got {list(self.names)}. Copy a column to use it twice.")

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in the order in which `to_table` writes them."""
        time = () if self.time is None else (self.time,)
        observed = self.values if self.symbols is None else (self.symbols,)
        return (self.id, *time, *observed, *self.covariates, *self.categories)


@dataclass(frozen=True)
class Panel:
    """The n series of a long table.

    Args:
        y: values (t, k), float64, NaN where missing; or tokens (t,), int64, −1 where missing.
        ids: in the order in which they first stand in the table.
        times: of each series, as an index of pandas.
        step: between two times: a time difference or an offset of pandas, or an integer.
        columns: where all of it stood, and `dtypes`, in which types.
        covariates: (t, c), float64; None where there are none.
        categories: by column, the number of each series' category, (n,), int64, as `Labels` takes it.
        levels: by column, what the numbers of categories and tokens stand for.
    """

    y: Sequences
    ids: tuple[Any, ...]
    times: tuple[Any, ...]
    step: Any
    columns: Columns
    covariates: Sequences | None
    categories: dict[str, Int[Tensor, " n"]]
    levels: dict[str, tuple[Any, ...]]
    dtypes: dict[str, Any]

    def following(self, steps: int) -> tuple[Any, ...]:
        """The `steps` times after the last one of each series: those of a forecast."""
        return tuple(after(times[-1], steps, self.step) for times in self.times)


def from_table(
    table: Any,
    columns: Columns,
    *,
    step: Any = None,
    gaps: bool = False,
    missing: bool = False,
    ended: bool = False,
    levels: Mapping[str, Sequence[Any]] | None = None,
) -> Panel:
    """The series of a long table, which has a row for each element, with its series and its time.

    The rows of a series stand in the order of time; those of others may stand between them.

    Args:
        table: a DataFrame of pandas, a table of pyarrow, or the path of a .csv or .parquet file.
        step: from one time to the next: an offset of pandas, as "h", "D" or "MS", or an integer; None: the difference
            that occurs most often, in all series.
        gaps: whether steps may be left out, where missing values then stand.
        missing: whether values and symbols may be missing, NaN, None or an empty field. They are marked as
            `MissingValues` and `infill` take them, and never imputed.
        ended: whether a series ended with its last row, as words do; else it was cut there, and goes on.
        levels: what the numbers of categories and symbols stand for, as in the panel of the training data; of a column
            that is not named there, the different values in the table, sorted.

    Raises:
        ValueError: a column that is not there; no rows; or a row that does not fit, counted from 0, with its series:
            times that are missing, unsorted or there twice, or not one step apart; values that are no numbers,
            infinite or missing; none but missing ones; covariates that are missing; a category that changes within
            its series, or is none of `levels`.
        TypeError: no table, or times of another type.
        ModuleNotFoundError: pandas or pyarrow is not installed; they come with `probseq[tables]`.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"shop": ["b", "b", "a"], "day": [1, 2, 7], "sold": [4, 5, 9], "town": ["X", "X", "Y"]})
    >>> panel = from_table(table, Columns("shop", "day", ["sold"], categories=["town"]))
    >>> panel.ids, [row.flatten().tolist() for row in panel.y], panel.categories["town"].tolist(), panel.levels
    (('b', 'a'), [[4.0, 5.0], [9.0]], [0, 1], {'town': ('X', 'Y')})
    >>> to_table(panel).equals(table)
    True
    """
    rows = Rows.of(_frame(table), columns.names, columns.id)
    coded = [*columns.categories, *([] if columns.symbols is None else [columns.symbols])]
    levels = {name: tuple((levels or {}).get(name) or rows.levels(name)) for name in coded}
    step, times, place = _times(rows, columns.time, step, gaps)
    grid = _Grid(rows.series, place, torch.tensor([len(each) for each in times]), ended)
    covariates = None
    if columns.covariates:
        covariates = grid.fill(_known(rows, columns.covariates, place))
    return Panel(
        grid.fill(_observed(rows, columns, levels, missing)), rows.ids, times, step, columns, covariates,
        {name: torch.from_numpy(rows.static(name, levels[name])) for name in columns.categories},
        levels, rows.frame.dtypes.to_dict(),
    )  # fmt: skip


def to_table(panel: Panel) -> pd.DataFrame:
    """A row for each element, series by series: the inverse of `from_table`.

    What was read is written to the bit and in its types; but rows of different series that stood among each other are
    now apart, and steps that were left out are there, with missing values. With `dataclasses.replace(panel, y=…,
    times=…, covariates=…)` it writes forecasts: covariates of None are left out, and integers become floats where there
    are fractions.

    Raises:
        ValueError: a series with more or fewer times than elements.
    """
    import pandas as pd

    columns, lengths = panel.columns, panel.y.lengths.tolist()
    for name, length, times in zip(panel.ids, lengths, panel.times, strict=True):
        if len(times) != length:
            raise ValueError(f"series {name!r} has {length} elements and {len(times)} times; expected one for each.")
    found: dict[str, Any] = {columns.id: pd.Index(panel.ids).repeat(lengths)}
    if columns.time is not None:
        found[columns.time] = panel.times[0].append(list(panel.times[1:]))
    if columns.symbols is None:
        found |= _side_by_side(columns.values, panel.y)
    else:
        found[columns.symbols] = _decoded(torch.cat(list(panel.y)), panel.levels[columns.symbols])
    if panel.covariates is not None:
        found |= _side_by_side(columns.covariates, panel.covariates)
    for name, numbers in panel.categories.items():
        found[name] = _decoded(numbers.repeat_interleave(panel.y.lengths), panel.levels[name])
    return pd.DataFrame({name: _typed(pd.Series(column), panel.dtypes[name]) for name, column in found.items()})


@dataclass(frozen=True)
class _Grid:
    """Where each row goes: its series, and its place there."""

    series: np.ndarray
    place: np.ndarray
    lengths: Tensor
    ended: bool

    def fill(self, rows: np.ndarray) -> Sequences:
        """Rows (m, *e) as sequences, with missing values in the places that no row goes to."""
        mark = np.nan if rows.dtype.kind == "f" else -1
        values = np.full((len(self.lengths), int(self.lengths.max()), *rows.shape[1:]), mark, rows.dtype)
        values[self.series, self.place] = rows
        return Sequences(torch.from_numpy(values), self.lengths, self.ended).filled(0)


def _typed(column: pd.Series, dtype: Any) -> pd.Series:
    """The column in another type, but for floats that it has no room for: fractions, and missing ones."""
    if column.dtype.kind == "f" and dtype.kind in "iub":
        plain = isinstance(dtype, np.dtype)
        if bool((column.isna() & plain | (column % 1 > 0)).any()):
            return column
    return column.astype(dtype)


def _frame(table: Any) -> pd.DataFrame:
    """The table as pandas has it."""
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, str | Path):
        from pyarrow import csv, parquet

        readers = {".csv": csv.read_csv, ".parquet": parquet.read_table}
        kind = Path(table).suffix
        if kind not in readers:
            raise ValueError(f"from_table() reads .csv and .parquet files; got {table}. Pass a DataFrame.")
        try:
            return readers[kind](table).to_pandas(date_as_object=False)
        except OSError:
            raise
        except Exception as error:  # a damaged one can raise anything
            raise ValueError(f"{table} is no {kind} file, or damaged: {error}") from error
    if not hasattr(table, "to_pandas"):
        raise TypeError(f"from_table() needs a DataFrame, a pyarrow table or a path; got {type(table).__name__}.")
    return table.to_pandas(date_as_object=False)


def _times(rows: Rows, name: str | None, step: Any, gaps: bool) -> tuple[Any, tuple[Any, ...], np.ndarray]:
    """The step, the times of each series without gaps, and the place of each row among those of its series."""
    import pandas as pd

    own = rows.split(rows.series)
    if name is None:
        given = [pd.RangeIndex(len(each)) for each in own]
        return 1, tuple(given), np.concatenate([np.asarray(each) for each in given])
    given = rows.split(rows.times(name))
    begins = np.cumsum([0, *map(len, given)]).tolist()
    for times, begin, row in zip(given, begins, rows.split(rows.row), strict=False):
        check_rising(times, lambda at, begin=begin: rows.where(begin + at), row)
    if step is None:
        step = usual_step(given)
    elif isinstance(given[0], pd.DatetimeIndex):
        step = pd.tseries.frequencies.to_offset(step)
    whole, place = [], []
    for times, begin in zip(given, begins, strict=False):
        full = upto(times[0], times[-1], step)
        check_steps(times, full, step, gaps, lambda at, begin=begin: rows.where(begin + at))
        whole.append(full)
        place.append(full.get_indexer(times))
    return step, tuple(whole), np.concatenate(place)


def _observed(rows: Rows, columns: Columns, levels: Mapping[str, Sequence[Any]], missing: bool) -> np.ndarray:
    """What becomes y, (m, k) or (m,)."""
    if columns.symbols is None:
        values = rows.numbers(columns.values)
        lacking, nothing = np.isnan(values).any(-1), np.isnan(values).all(-1)
    else:
        values = rows.numbered(columns.symbols, levels[columns.symbols])
        lacking = nothing = values < 0
    empty = np.asarray([own.all() for own in rows.split(nothing)])
    rows.refuse(empty[rows.series], "this row and all others have no value", "Leave the series out: it says nothing.")
    if not missing:
        rows.refuse(lacking, "a value is missing", "Take missing=True to mark it as missing, or leave the row out.")
    return values


def _known(rows: Rows, names: Sequence[str], place: np.ndarray) -> np.ndarray:
    """Covariates (m, c), which must be there at each step."""
    values = rows.numbers(names)
    rows.refuse(np.isnan(values).any(-1), "a covariate is missing", "Covariates are known: fill it, or leave it out.")
    jump = np.concatenate([np.diff(own, prepend=-1) for own in rows.split(place)])
    rows.refuse(
        jump > 1,
        "steps before it are left out, whose covariates are not known",
        "Add rows for them, without values, and take missing=True.",
    )
    return values


def _side_by_side(names: Sequence[str], y: Sequences) -> dict[str, np.ndarray]:
    """Columns of the elements of all sequences, one after another."""
    return dict(zip(names, torch.cat(list(y)).cpu().numpy().T, strict=True))


def _decoded(numbers: Tensor, levels: Sequence[Any]) -> np.ndarray:
    """What numbers stand for; None for −1."""
    every = np.empty(len(levels) + 1, dtype=object)
    every[:-1] = levels
    return every[numbers.numpy()]

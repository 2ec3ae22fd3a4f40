"""The rows of a long table, checked: every error names a series and a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rows:
    """The rows of a table of pandas, series by series.

    Args:
        ids: of the series, in the order in which they first stand in the table.
        series: the number of each row's series, which rises along the rows.
        row: where each row stood in the table.
    """

    frame: pd.DataFrame
    ids: tuple[Any, ...]
    series: np.ndarray
    row: np.ndarray

    @staticmethod
    def of(table: pd.DataFrame, names: Sequence[str], id: str) -> Rows:
        """Some columns of a table, grouped by the column `id`.

        Raises:
            ValueError: a column that is not there, no rows, or a row without an id.
        """
        lacking = [name for name in names if name not in table.columns]
        if lacking:
            raise ValueError(
                f"the table has no column {', '.join(map(repr, lacking))}; it has {list(table.columns)}. Correct "
                "Columns(…), or make columns of an index by reset_index()."
            )
        if not len(table):
            raise ValueError("the table has no rows; expected one at least.")
        unnamed = np.asarray(table[id].isna())
        if unnamed.any():
            raise ValueError(f"row {unnamed.argmax()}: no series in column {id!r}. Leave the row out.")
        series, ids = table[id].factorize()
        row = np.argsort(series, kind="stable")
        frame = table[list(names)].iloc[row].reset_index(drop=True)
        return Rows(frame, tuple(ids.tolist()), series[row], row)

    def split(self, items: Any) -> list[Any]:
        """What there is of each row, by series."""
        bounds = [0, *(np.flatnonzero(np.diff(self.series)) + 1), len(self.series)]
        return [items[begin:end] for begin, end in pairwise(bounds)]

    def where(self, at: int) -> str:
        """The series and the row, for a message."""
        return f"series {self.ids[self.series[at]]!r}, row {self.row[at]}"

    def refuse(self, bad: Any, got: Callable[[int], str] | str, cure: str) -> None:
        """Raise for the first of the rows that are bad.

        Raises:
            ValueError: there is one.
        """
        if np.any(bad):
            at = int(np.argmax(bad))
            raise ValueError(f"{self.where(at)}: {got if isinstance(got, str) else got(at)}. {cure}")

    def times(self, name: str) -> pd.Index:
        """A column of time stamps or integers.

        Raises:
            ValueError: a missing one. TypeError: anything else.
        """
        import pandas as pd

        column = self.frame[name]
        if not (pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_integer_dtype(column)):
            raise TypeError(
                f"column {name!r} holds {column.dtype}; expected time stamps or integers, none of them missing. Use "
                "pandas.to_datetime."
            )
        self.refuse(column.isna(), f"no time in column {name!r}", "Leave the row out, or give it one.")
        return pd.Index(column)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Some columns as (m, k), float64, NaN where a value is missing.

        Raises:
            ValueError: a value that is no number, or not finite.
        """
        import pandas as pd

        found = np.empty((len(self.frame), len(names)))
        for i, name in enumerate(names):
            column = self.frame[name]
            if not pd.api.types.is_numeric_dtype(column):
                given = np.asarray(column.notna())
                text = given & np.asarray(pd.isna(pd.to_numeric(column, errors="coerce")))
                self.refuse(
                    text if text.any() else given,
                    lambda at, name=name, column=column: f"column {name!r} has {column[at]!r}; expected numbers",
                    "Correct it, and make the column one of numbers by pandas.to_numeric.",
                )
            found[:, i] = column.to_numpy(np.float64, na_value=np.nan)
            self.refuse(np.isinf(found[:, i]), f"column {name!r} has ±∞; expected finite numbers", "Correct it.")
        return found

    def numbered(self, name: str, levels: Sequence[Any]) -> np.ndarray:
        """The numbers of a column's values among `levels`, −1 where one is missing.

        Raises:
            ValueError: a value that is not among them.
        """
        column = self.frame[name]
        number = {level: i for i, level in enumerate(levels)}
        found = np.asarray([number.get(value, -1) for value in column], np.int64)
        self.refuse(
            (found < 0) & np.asarray(column.notna()),
            lambda at: f"column {name!r} has {column[at]!r}; expected one of {_some(levels)}",
            "Leave such series out, or read the training data with levels that hold it.",
        )
        return found

    def levels(self, name: str) -> tuple[Any, ...]:
        """The different values of a column, sorted."""
        found = self.frame[name].dropna().unique().tolist()
        return tuple(sorted(found, key=lambda value: (type(value).__name__, value)))

    def static(self, name: str, levels: Sequence[Any]) -> np.ndarray:
        """For each series the number of what one column has in all of its rows, (n,).

        Raises:
            ValueError: a value that is missing, changes within a series, or is not among `levels`.
        """
        column, numbers = self.frame[name], self.numbered(name, levels)
        self.refuse(numbers < 0, f"no category in column {name!r}", "Name one, say 'unknown', for all of the series.")
        first = np.asarray([own[0] for own in self.split(numbers)])
        whole = first[self.series]
        self.refuse(
            numbers != whole,
            lambda at: (
                f"column {name!r} has {column[at]!r} after {levels[int(whole[at])]!r}; expected one for the series"
            ),
            "What changes is a covariate: make numbers of it.",
        )
        return first


def _some(levels: Sequence[Any]) -> str:
    """The levels, or the first of many."""
    return repr(list(levels)) if len(levels) <= 10 else f"{list(levels[:10])!r} and {len(levels) - 10} more"

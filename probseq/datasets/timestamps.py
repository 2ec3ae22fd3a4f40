"""Time stamps of series: that they rise by one step at a time, and what the calendar says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from probseq.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

CYCLES: dict[str, Callable[[Any], Any]] = {
    "hour": lambda t: (t.hour + t.minute / 60 + t.second / 3600) / 24,
    "weekday": lambda t: t.day_of_week / 7,
    "month": lambda t: (t.month - 1) / 12,
    "yearday": lambda t: (t.day_of_year - 1) / (365 + t.is_leap_year),
}
"""How far a time stamp is through a day, a week, the months, and the days of a year, in [0, 1)."""


def calendar(times: Sequence[pd.DatetimeIndex], cycles: Sequence[str] = ("hour", "weekday")) -> Sequences:
    """Where each time stamp stands in the cycles of the calendar: covariates that are known beforehand.

    For each cycle sin 2πφ and cos 2πφ, φ being the share of it that is over: of the day ("hour", to the second), the
    week ("weekday", in days from Monday), the year in months ("month") or in days ("yearday"). Time stamps with a
    zone are read by its clock.

    Args:
        times: the time stamps of each series, as `Panel.times` and `Panel.following` give them.
        cycles: which cycles.

    Shapes:
        returns: a sequence (t, 2k) for each series, for k cycles; torch's default dtype.

    Raises:
        ValueError: an unknown cycle, or none.
        TypeError: times that are no time stamps.

    >>> import pandas as pd
    >>> calendar([pd.date_range("2024-01-01", periods=3, freq="6h")], ["hour"])[0].round().tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]]
    """
    if not cycles or not set(cycles) <= set(CYCLES):
        raise ValueError(f"calendar() needs cycles among {', '.join(CYCLES)}; got {list(cycles)}.")
    rows = []
    for i, stamps in enumerate(times):
        if not hasattr(stamps, "day_of_week"):
            raise TypeError(
                f"calendar() needs time stamps; series {i} has {type(stamps).__name__}. Use a DatetimeIndex."
            )
        angle = 2 * math.pi * np.stack([np.asarray(CYCLES[cycle](stamps), dtype=float) for cycle in cycles], -1)
        waves = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(len(stamps), 2 * len(cycles))
        rows.append(torch.as_tensor(waves, dtype=torch.get_default_dtype()))
    return Sequences.of(rows, ended=False)


def usual_step(times: Sequence[pd.Index]) -> Any:
    """The difference between neighbouring times that occurs most often, the smallest of those. The times rise.

    Raises:
        ValueError: no series has two times.
    """
    import pandas as pd

    differences = [np.asarray(each[1:] - each[:-1]) for each in times if len(each) > 1]
    if not differences:
        raise ValueError("no series has two times, which would tell the step between them. Name it: step=….")
    found, counts = np.unique(np.concatenate(differences), return_counts=True)
    step = found[counts.argmax()]
    return pd.Timedelta(step) if found.dtype.kind == "m" else int(step)


def upto(first: Any, last: Any, step: Any) -> pd.Index:
    """The times that are whole numbers of steps after `first`, up to `last`."""
    import pandas as pd

    if isinstance(first, pd.Timestamp):
        return pd.date_range(first, last, freq=step)
    return pd.RangeIndex(int(first), int(last) + 1, step)


def after(last: Any, steps: int, step: Any) -> pd.Index:
    """The `steps` times after `last`."""
    import pandas as pd

    if isinstance(last, pd.Timestamp):
        return pd.date_range(last, periods=steps + 1, freq=step)[1:]
    return pd.RangeIndex(int(last) + step, int(last) + steps * step + 1, step)


def check_rising(times: pd.Index, where: Callable[[int], str], row: np.ndarray) -> None:
    """Refuse the times of one series if they do not rise.

    Args:
        where: the series and the row of one of them, for the message. row: where they stand in the table.

    Raises:
        ValueError: a time that is not after the one before.
    """
    fallen = np.asarray(times[1:] <= times[:-1])
    if not fallen.any():
        return
    at = int(fallen.argmax()) + 1
    now, before = times[at], times[at - 1]
    if now == before:
        problem, cure = "twice", "Leave one of them out, or take their mean."
    else:
        problem, cure = f"after {before}", "Sort the table by series and time."
    raise ValueError(
        f"{where(at)}: the time {now} stands {problem}, in row {row[at - 1]}; expected times that rise. {cure}"
    )


def check_steps(times: pd.Index, full: pd.Index, step: Any, gaps: bool, where: Callable[[int], str]) -> None:
    """Refuse the times of one series if they are not those of `full`, or where they may have gaps, not among them.

    Raises:
        ValueError: a time between two steps; steps left out that may not be; no two times one step apart.
    """
    place, shown = full.get_indexer(times), getattr(step, "freqstr", step)
    if (place < 0).any():
        at = int((place < 0).argmax())
        raise ValueError(
            f"{where(at)}: the time {times[at]} is no whole number of steps of {shown} after {times[0]}. Name the step "
            "(step=…), round the times, or read series of different steps by themselves."
        )
    jump = np.diff(place)
    if not (jump > 1).any() or (gaps and (jump == 1).any()):
        return
    at = int((jump > 1).argmax()) + 1
    cure = "" if gaps else "Take gaps=True to have missing values between. "
    raise ValueError(
        f"{where(at)}: the time {times[at]} is {jump[at - 1]} steps of {shown} after the one before; expected 1. {cure}"
        "Read series of different steps by themselves."
    )

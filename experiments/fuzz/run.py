"""Does anything but a documented error come of bad arguments, or of spoiled files? A night's run."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import jsonargparse
import torch
from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.fuzz import files, folders
from experiments.fuzz.face import arguments, call, targets
from experiments.report import destination, table, write

CALLS, FOLDERS, FILES = 5_000, 10_000, 10_000
"""What a night must come to at least."""
LIMIT = 30
"""Seconds after which a call hangs."""


class _HangError(BaseException):
    pass


def _ring(*_: Any) -> None:
    raise _HangError


@contextlib.contextmanager
def quickly() -> Any:
    """Raise what no library catches where something takes too long."""
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tried(task: tuple[str, int, int]) -> tuple[str, int, list[str]]:
    """Some calls of one public name: how many, and what was wrong."""
    name, examples, seed = task
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    function, wrong, count = targets()[name], set(), 0

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck),  # type: ignore[arg-type]
        phases=[Phase.generate],
    )  # fmt: skip
    @hypothesis.given(arguments(function))
    def once(given: Any) -> None:
        nonlocal count
        count += 1
        try:
            with quickly():
                found = call(function, given)
        except _HangError:
            found = "it hangs"
        if found is not None:
            wrong.add(f"{name}: {found}")

    once()
    return name, count, sorted(wrong)


def read(task: tuple[str, int, int]) -> tuple[int, list[str]]:
    """Some spoiled folders, or files: how many, and what was wrong."""
    kind, first, last = task
    own = {"folders": folders, "files": files}[kind]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wrong = set()
    for seed in range(first, last):
        with tempfile.TemporaryDirectory() as place:
            try:
                with quickly():
                    found = own.spoiled(own.spoil(Path(place), seed))
            except _HangError:
                found = "it hangs"
        if found is not None:
            wrong.add(f"{seed}: {found}")
    return last - first, sorted(wrong)


def main() -> None:
    """Try, read, count. A crash ends a process of the pool, and with it the run."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few of each, into a temporary folder")
    parser.add_argument("--examples", type=int, default=40, help="calls of each public name")
    parser.add_argument("--folders", type=int, default=11_500, help="spoiled folders")
    parser.add_argument("--files", type=int, default=10_000, help="spoiled data files")
    parser.add_argument("--seed", type=int, default=0, help="another night")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    begin, folder = time.perf_counter(), destination(__file__, options.smoke)
    examples, sizes = options.examples, {"folders": options.folders, "files": options.files}
    if options.smoke:
        examples, sizes = 1, dict.fromkeys(sizes, 40)
    nights = 1_000_000 * options.seed
    pieces = [
        (kind, nights + i, nights + min(i + 100, size)) for kind, size in sizes.items() for i in range(0, size, 100)
    ]
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        tasks = [(name, examples, options.seed) for name in targets()]
        calls = list(pool.map(tried, tasks, chunksize=4))
        reads = list(pool.map(read, pieces, chunksize=4))
    tried_of = {"calls": sum(count for _, count, _ in calls), **dict.fromkeys(sizes, 0)}
    wrong = {"calls": [each for *_, own in calls for each in own], **{kind: [] for kind in sizes}}
    for (kind, *_), (count, own) in zip(pieces, reads, strict=True):
        tried_of[kind] += count
        wrong[kind] += own
    least = {"calls": CALLS, "folders": FOLDERS, "files": FILES}
    met = not any(wrong.values()) and all(tried_of[kind] >= number for kind, number in least.items())
    content = {
        "question": __doc__, "targets": {**least, "wrong": 0}, "targets_met": met, "names": len(calls), **tried_of,
        "wrong": wrong, "seed": options.seed,
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder)
    rows = [[kind, count, len(wrong[kind])] for kind, count in tried_of.items()]
    print(table(["what", "tried", "wrong"], rows))
    print("\n".join(each[:300] for own in wrong.values() for each in own))
    print(f"targets met: {met}, {content['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

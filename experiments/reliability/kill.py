"""Runs that are killed at random moments, and gone on with."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import probseq as ps
from probseq.datasets import Parquet, write_parquet

KILLS = 3
"""A run is killed up to so many times before it may end."""


def network(seed: int) -> ps.SequenceModel:
    """A small model, with dropout, so that random numbers matter."""
    torch.manual_seed(seed)
    recurrence = ps.LSTM(16, layers=2, dropout=0.2)
    return ps.SequenceModel(ps.Tokens(6, 8), recurrence, ps.Categorical(), ps.EndSymbol())


def train(folder: Path, epochs: int) -> None:
    """Fit in `folder`, going on with what stands there."""
    torch.set_num_threads(1)
    data = network(7).sample(600, generator=1)
    resume = (folder / "last.ckpt").exists()
    model = network(0)
    ps.fit(
        model, data.select(range(500)), data.select(range(500, 600)), max_epochs=epochs, directory=folder,
        resume=resume, batch_size=25, batch_tokens=None, progress=False, accelerator="cpu",
    )  # fmt: skip
    ps.save(model, folder / "model")


def score(folder: Path, file: Path) -> None:
    """Score a file's rows into `folder`, going on with what stands there."""
    torch.set_num_threads(1)
    ps.score_files(network(0).eval(), Parquet(file), folder, batch_tokens=200)


def contents(folder: Path) -> dict[str, str]:
    """The checksum of every file that a reader would read."""
    kept = [*folder.glob("part-*.parquet"), *folder.glob("model/*")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(kept)}


def in_child(work: Callable[[], None], after: float | None = None) -> bool:
    """Whether some work ended by itself, in a process of its own that is killed after some seconds."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    begin = time.monotonic()
    while after is None or time.monotonic() - begin < after:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"the run failed by itself, with status {status}.")
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def trial(work: Callable[[Path], None], folder: Path, whole: float, moments: random.Random) -> dict[str, Any]:
    """One run, killed at random moments of the time that a whole one takes, until it ends; and what it left."""
    kills = 0
    while kills < KILLS and not in_child(lambda: work(folder), moments.uniform(0, whole)):
        kills += 1
    in_child(lambda: work(folder))
    return {"kills": kills, "contents": contents(folder)}


def study(place: Path, trials: int, epochs: int, rows: int) -> dict[str, Any]:
    """How many of the runs that were killed end with the bits of one that was not."""
    file = place / "y.parquet"
    write_parquet(file, network(7).sample(rows, generator=2), row_group_size=50)
    found = {}
    works: dict[str, Callable[[Path], None]] = {
        "fit": lambda folder: train(folder, epochs), "score": lambda folder: score(folder, file),
    }  # fmt: skip
    for name, work in works.items():
        begin = time.monotonic()
        in_child(lambda work=work, name=name: work(place / f"{name}-whole"))
        seconds, expected = time.monotonic() - begin, contents(place / f"{name}-whole")
        moments, equal, kills = random.Random(0), 0, 0
        killed = 0
        while killed < trials:
            folder = place / f"{name}-{killed}"
            run = trial(work, folder, seconds, moments)
            shutil.rmtree(folder)
            if not run["kills"]:
                continue
            killed, kills, equal = killed + 1, kills + run["kills"], equal + (run["contents"] == expected)
        found[name] = {"runs": killed, "kills": kills, "equal": equal, "seconds_of_a_whole_run": round(seconds, 2)}
        print(f"{name}: {equal} of {killed} killed runs end with equal bits, after {kills} kills", flush=True)
    return found

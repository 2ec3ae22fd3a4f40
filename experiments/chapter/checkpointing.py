"""Time and peak memory of one gradient against the length, with and without checkpointing.

Each is measured in a process of its own: `python -m experiments.chapter.checkpointing LENGTH MODE SIZE BATCH`, which
prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import probseq as ps
from experiments.report import table

ROOT = Path(__file__).resolve().parents[2]

MODES = {
    "plain": ps.TeacherForcing(),
    "checkpointed": ps.TeacherForcing(checkpoint=True),
    "truncated to 64": ps.TruncatedBPTT(64),
}

TARGET = 1 / 8
"""Peak memory with checkpointing, as a share of that without, at 4096 elements."""


def measure(length: int, mode: str, size: int, batch: int) -> dict[str, Any]:
    """One gradient of an LSTM over letters: seconds, and peak megabytes by two accounts."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ps.SequenceModel(ps.Tokens(27, dim=32), ps.LSTM(size), ps.Categorical(), ps.EndSymbol())
    objective = MODES[mode]

    def run(length: int) -> None:
        y = ps.Sequences(torch.randint(0, 27, (batch, length)), [length] * batch)
        objective.loss(model, y, None, 0.0).sum().backward()

    run(16)
    before = _peak_resident()
    run(length)
    resident = _peak_resident() - before
    seconds = min(_seconds(lambda: run(length)) for _ in range(2))
    tensors = _peak_tensors(lambda: run(length))
    return {"length": length, "mode": mode, "seconds": seconds, "tensors_mb": tensors, "resident_mb": resident}


def study(smoke: bool) -> dict[str, Any]:
    """All lengths and modes, and each mode's share of the plain one's figures at the longest."""
    lengths = (64,) if smoke else (256, 512, 1024, 2048, 4096)
    size, batch = (16, 2) if smoke else (128, 8)
    modes = list(MODES)[:2] if smoke else list(MODES)
    rows = [_apart(length, mode, size, batch) for length in lengths for mode in modes]
    longest = {row["mode"]: row for row in rows if row["length"] == lengths[-1]}
    figures = ("seconds", "tensors_mb", "resident_mb")
    shares = {mode: {f: _share(longest[mode][f], longest["plain"][f]) for f in figures} for mode in modes}
    print(f"\nOne gradient of LSTM({size}), {batch} sequences of letters\n")
    head = ("length", "gradient", "seconds", "peak of tensors, MB", "growth of the process, MB")
    print(table(head, [(row["length"], row["mode"], *(row[figure] for figure in figures)) for row in rows]))
    return {"size": size, "batch": batch, "rows": rows, "share_of_plain_at_longest": shares, "target": TARGET}


def _apart(length: int, mode: str, size: int, batch: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "experiments.chapter.checkpointing", *map(str, (length, mode, size, batch))]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.strip().splitlines()[-1])


def _share(a: float, b: float) -> float | None:
    return a / b if b else None


def _peak_resident() -> float:
    """Megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _peak_tensors(run: Callable[[], None]) -> float:
    """Megabytes of tensors held at once, by the allocator's own account."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    recorded: Any = found.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


if __name__ == "__main__":
    length, mode, size, batch = sys.argv[1:]
    print(json.dumps(measure(int(length), mode, int(size), int(batch))))

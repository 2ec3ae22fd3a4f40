"""Memory over many steps of everything."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import probseq as ps

ASKED: Any = ps.events.Length(4)
WARM = 0.3
"""The share of the time that is not looked at."""


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def turn(model: ps.SequenceModel, seed: int) -> None:
    """Fit, score, draw, infill, ask, evaluate: a little of each, at ever other lengths."""
    y = model.sample(100 + seed % 50, generator=seed)
    ps.fit(model, y, y, max_epochs=1, progress=False, accelerator="cpu", learning_rate=1e-6)
    model.log_prob(y)
    ps.beam(model, width=3)
    ps.infill(model, [0, None, 1, None], particles=50, generator=seed)
    ps.query(model, ASKED, budget=200, generator=seed)
    ps.evaluate(model, y, generator=seed)


def study(minutes: float) -> dict[str, Any]:
    """The growth of resident memory, MiB an hour, by the median of slopes (Theil & Sen), with its interval of 95 %."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = ps.SequenceModel(ps.Tokens(6), ps.GRU(16), ps.Categorical(), ps.EndSymbol())
    begin, seen = time.monotonic(), []
    turns = 0
    while time.monotonic() - begin < 60 * minutes:
        turn(model, turns)
        turns += 1
        gc.collect()
        seen.append((time.monotonic() - begin, resident()))
    times, memory = np.asarray([each for each in seen if each[0] > WARM * 60 * minutes]).T
    slope, _, low, high = np.asarray(stats.theilslopes(memory, times / 3600)).tolist()
    return {
        "minutes": minutes, "turns": turns, "resident_mib": [float(memory[0]), float(memory[-1])],
        "mib_per_hour": {"value": slope, "low": low, "high": high},
    }  # fmt: skip

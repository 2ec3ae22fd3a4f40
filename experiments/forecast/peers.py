"""How fast are training and sample paths beside GluonTS's DeepAR, and which forecasts better after equal time?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments.forecast.run import HORIZON, Forecaster, Series, Settings, m4
from experiments.report import destination, table, write

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-peers" / "bin" / "python"
ABSENT = f"GluonTS is not installed: no {PYTHON}. Nothing was measured; README.md says how to install it."
CONTEXT, WINDOWS = 168, 32
"""An update reads 32 windows of 168 + 48 values, on both sides."""


class Budget(Callback):
    """The processor time of each update, and the end when all of it is spent."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.times = seconds, []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.times.append(time.process_time())
        trainer.should_stop = self.times[-1] - self.times[0] > self.seconds


def train(one: Forecaster, size: int, seconds: float) -> Budget:
    """Maximum likelihood for so many seconds of processor time."""
    past, settings, budget = one.data.past, one.settings, Budget(seconds)
    ps.fit(
        one.model, (past, one.context(past)), max_epochs=100_000, batch_tokens=None, batch_size=size, bucket=False,
        learning_rate=settings.learning_rate, average=settings.average, seed=one.seed, accelerator="cpu",
        progress=False, callbacks=[budget],
    )  # fmt: skip
    return budget


def ours(data: Series, settings: Settings, seconds: float, paths: int, seed: int) -> tuple[dict[str, Any], ps.Forecast]:
    """Updates on windows of DeepAR's size, paths from histories of its length, then whole series for so long."""
    windows = train(Forecaster(recent(data, CONTEXT + HORIZON), settings, seed), WINDOWS, min(seconds, 20))
    begin = time.process_time()
    Forecaster(recent(data, CONTEXT + max(settings.lags)), settings, seed).forecast(paths)
    spent = time.process_time() - begin
    one = Forecaster(data, settings, seed)
    budget = train(one, settings.batch_size, seconds)
    row = {
        "update_seconds": float(np.median(np.diff(windows.times[5:]))), "updates": len(budget.times),
        "paths_seconds": spent, "parameters": sum(p.numel() for p in one.model.parameters()),
    }  # fmt: skip
    return row, one.forecast(paths)[0]


def recent(data: Series, length: int) -> Series:
    """The last `length` values of each history."""
    return Series(ps.Sequences.of([row[-length:] for row in data.past], ended=False), data.actual)


def theirs(
    data: Series, settings: Settings, seconds: float, paths: int, seed: int
) -> tuple[dict[str, Any], ps.Forecast]:
    """DeepAR in a process of its own, with the same series, sizes, lags and time."""
    task = {"series": [row[:, 0].tolist() for row in data.past], "horizon": HORIZON, "context": CONTEXT,
            "size": settings.size, "lags": settings.lags, "batch": WINDOWS, "paths": paths, "seconds": seconds,
            "seed": seed}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "task.json").write_text(json.dumps(task))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([str(PYTHON), str(HERE / "deepar.py"), folder], check=True, env=environment)
        answer = json.loads((Path(folder) / "answer.json").read_text())
        return answer, ps.Forecast(torch.as_tensor(np.load(Path(folder) / "paths.npy")).unsqueeze(-1))


def main() -> None:
    """Measure one after the other, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, into a temporary folder")
    parser.add_argument("--seconds", type=float, default=90, help="of processor time that each is trained for")
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not PYTHON.exists():
        print(ABSENT)
        return
    torch.set_num_threads(1)
    data, settings = m4("test"), Settings()
    rows: dict[str, dict[str, Any]] = {}
    for name, side in (("probseq", ours), ("GluonTS", theirs)):
        row, found = side(data, settings, 3 if options.smoke else options.seconds, options.paths, options.seed)
        rows[name] = {**row, "mean_quantile_loss": ps.forecast_scores(found, data.actual).mean_quantile_loss}
    ratios = {key: rows["GluonTS"][key] / rows["probseq"][key] for key in ("update_seconds", "paths_seconds")}
    folder = destination(__file__, options.smoke)
    write({"question": __doc__, "seconds": options.seconds, "rows": rows, "ratios": ratios}, folder, "peers.json")
    head = list(rows["probseq"])
    print(table(["", *head], [[name, *(row[key] for key in head)] for name, row in rows.items()]))
    print(f"\nGluonTS / probseq: {ratios}, in {folder}")


if __name__ == "__main__":
    main()

"""GluonTS's DeepAR in an environment of its own: trained for some seconds, then asked for paths. See peers.py."""

import json
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from gluonts.dataset.common import ListDataset  # type: ignore[reportMissingImports]
from gluonts.torch.model.deepar import DeepAREstimator  # type: ignore[reportMissingImports]
from lightning.pytorch.callbacks import Callback


class Budget(Callback):
    """The processor time of each update, and the end when all of it is spent."""

    def __init__(self, seconds):
        self.seconds, self.times = seconds, []

    def on_train_batch_end(self, trainer, *_):
        self.times.append(time.process_time())
        trainer.should_stop = self.times[-1] - self.times[0] > self.seconds


def main(folder):
    torch.set_num_threads(1)
    task = json.loads((folder / "task.json").read_text())
    pl.seed_everything(task["seed"])
    series = [{"target": np.array(row, dtype=np.float32), "start": "2000-01-01 00:00"} for row in task["series"]]
    data = ListDataset(series, freq="h")
    budget = Budget(task["seconds"])
    estimator = DeepAREstimator(
        freq="h", prediction_length=task["horizon"], context_length=task["context"], num_layers=1,
        hidden_size=task["size"], lags_seq=list(task["lags"]), batch_size=task["batch"],
        num_parallel_samples=task["paths"],
        trainer_kwargs={"max_epochs": 100_000, "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
                        "enable_model_summary": False, "default_root_dir": str(folder), "callbacks": [budget]},
    )  # fmt: skip
    predictor = estimator.train(data)
    begin = time.process_time()
    paths = np.stack([forecast.samples for forecast in predictor.predict(data)])
    seconds = time.process_time() - begin
    np.save(folder / "paths.npy", paths)
    updates = np.diff(budget.times[5:])
    answer = {"update_seconds": float(np.median(updates)), "updates": len(budget.times), "paths_seconds": seconds,
              "parameters": sum(p.numel() for p in predictor.prediction_net.parameters())}  # fmt: skip
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

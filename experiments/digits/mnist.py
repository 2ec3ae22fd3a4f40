"""The density of binarised MNIST, within a budget of time."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

import probseq as ps
from experiments.digits.pictures import sheet
from probseq.datasets import mnist
from probseq.grids import raster


@dataclass(frozen=True)
class Plan:
    """How MNIST is learned.

    Args:
        minutes: of training, all runs that were resumed together.
        held_out: how many of the validation images choose the best epoch.
        images: how many images of each part are used, or None for all.
    """

    size: int = 48
    batch: int = 32
    learning_rate: float = 3e-3
    minutes: float = 97.0
    held_out: int = 2_000
    images: int | None = None


class Annealing(Callback):
    """The learning rate falls with the time that is left, by half a cosine, and training ends with it.

    On a machine that others use, how many epochs a budget of time has is not known beforehand.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.path = plan, path
        self.used, self.begin = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Of training, those before a resume included."""
        return self.used + time.monotonic() - self.begin

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        done = min(1.0, self.seconds / (60 * self.plan.minutes))
        rise = min(1.0, (trainer.global_step + 1) / 200)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.plan.learning_rate * rise * max(0.5 * (1 + math.cos(math.pi * done)), 1e-3)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % 100 == 0:
            nats = 784 * (pl_module.running("train") or math.nan)
            self.write(f"epoch {trainer.current_epoch}, batch {batch_idx}: train {nats:.3f} nats/image so far")
        if self.seconds >= 60 * self.plan.minutes:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        nats = 784 * pl_module.history[-1]["validation_nats"]
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.write(f"epoch {trainer.current_epoch}: validation {nats:.3f} nats/image, learning rate {rate:.2e}")

    def write(self, line: str) -> None:
        """To the log and the screen."""
        line = f"{datetime.now():%H:%M:%S}  {self.seconds:6.0f} s  {line}"
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.used, self.begin = state_dict["seconds"], time.monotonic()


def build(plan: Plan) -> ps.SequenceModel:
    """A Grid over 28 × 28 bits."""
    return ps.SequenceModel(ps.Bits(1), ps.Grid(28, 28, plan.size), ps.Bernoulli(), ps.FixedLength(784))


def learn(plan: Plan, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Train, or go on where a run broke off, and test; `folder` keeps the checkpoints, the model and the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "mnist.json"
    if done.exists():
        return json.loads(done.read_text())
    data = mnist()
    train, test = raster(data.train[: plan.images]), raster(data.test[: plan.images])
    validation = raster(data.validation[: plan.held_out][: plan.images])
    torch.manual_seed(seed)
    model = build(plan)
    annealing = Annealing(plan, folder / "log.txt")
    outcome = ps.fit(
        model, train, validation, max_epochs=10_000, batch_size=plan.batch, batch_tokens=None, seed=seed,
        learning_rate=plan.learning_rate, directory=folder, resume=(folder / "last.ckpt").exists(),
        callbacks=[annealing], progress=False,
    )  # fmt: skip
    ps.save(model, folder / "model")
    with torch.no_grad():
        nats = -torch.cat([model.log_prob(test.select(rows)) for rows in torch.arange(len(test)).split(250)]).double()
    found = {
        "plan": vars(plan), "parameters": sum(p.numel() for p in model.parameters()), "epochs": len(outcome.history),
        "best_epoch": outcome.epoch, "validation_nats": 784 * outcome.nats, "nats": float(nats.mean()),
        "nats_error": float(nats.std() / len(nats) ** 0.5), "seconds": round(annealing.seconds),
        "history": [{k: v * (784 if k.endswith("nats") else 1) for k, v in e.items()} for e in outcome.history],
    }  # fmt: skip
    done.write_text(json.dumps(found, indent=2) + "\n")
    return found


def draw_mnist(folder: Path, path: Path, number: int = 64) -> None:
    """Held-out images beside samples of the model in `folder`."""
    drawn = ps.sample(ps.load(folder / "model"), number, generator=0)
    panels = {"held-out images": mnist().test[:number, ..., 0], "samples of Grid": ps.unraster(drawn, 28, 28)[..., 0]}
    sheet(panels, 8, path, inches=4.5)

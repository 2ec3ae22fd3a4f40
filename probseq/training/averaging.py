"""Training towards a running average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class Averaging(Callback):
    """The exponential moving average of the weights, w̄ₙ = Σᵢ dⁿ⁻ⁱ wᵢ / Σᵢ dⁿ⁻ⁱ over the optimiser steps i = 1…n.

    Divided by the sum of its factors it is an average from the first step on, and does not lean on where training
    began. It stands in for the weights while held-out data are scored, in the checkpoints, and at the end. Lightning's
    own keeps the average on the host, which every step of an accelerator then waits for, and a copy of the data.

    Args:
        decay: d.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.average: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only now do the weights stand where they are trained.
        current = [parameter.detach() for parameter in pl_module.parameters()]
        before = self.average or current
        self.average = [old.to(new, copy=True) for old, new in zip(before, current, strict=True)]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.steps:
            return
        self.steps = trainer.global_step
        current = [parameter.detach() for parameter in pl_module.parameters()]
        torch._foreach_lerp_(self.average, current, (1 - self.decay) / (1 - self.decay**self.steps))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        weights = _copied(checkpoint["state_dict"])
        self._swap(pl_module)
        checkpoint["state_dict"] = _copied(pl_module.state_dict())
        self._swap(pl_module)
        checkpoint["averaging"] = {"weights": weights, "steps": self.steps}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The module holds what the checkpoint calls its weights: the average.
        self.average = [parameter.detach().clone() for parameter in pl_module.parameters()]
        self.steps = checkpoint["averaging"]["steps"]
        pl_module.load_state_dict(checkpoint["averaging"]["weights"])

    def _swap(self, module: LightningModule) -> None:
        for average, parameter in zip(self.average, module.parameters(), strict=True):
            weights = parameter.detach().clone()
            parameter.detach().copy_(average)
            average.copy_(weights)


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}

"""The trainer and the batches in step, and Ctrl-C between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from probseq.training.batches import Loader


class _InterruptedError(Exception):
    """Ctrl-C, taken between two steps."""


class Rhythm(Callback):
    """Keeps the batches in step with the trainer, and takes Ctrl-C between two steps."""

    def __init__(self, every: list[Loader], seed: int, last: Path | None, anew: bool) -> None:
        self.every, self.seed, self.last, self.anew, self.interrupted = every, seed, last, anew, False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.last is not None and self.anew and trainer.is_global_zero:
            # A run that starts anew must not take an older one's checkpoints for its own.
            for old in (self.last, self.last.with_name("best.ckpt")):
                if old.exists():
                    old.replace(old.with_suffix(".previous.ckpt"))

        def reduce(x: Tensor, by: str) -> Tensor:
            return trainer.strategy.reduce(x.to(trainer.strategy.root_device), reduce_op=by).cpu()  # type: ignore[return-value]

        for batches in self.every:
            batches.join(trainer.global_rank, trainer.world_size, reduce)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.interrupted:
            raise _InterruptedError
        batches: Loader = pl_module.batches  # type: ignore[assignment]
        batches.epoch = trainer.current_epoch
        if not batches.resume_at:
            torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * batches.world + batches.rank)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.batches.taken = batch_idx + 1  # type: ignore[union-attr]
        # A gradient under way is brought to its step, and the last batch to the end of its epoch, which writes
        # last.ckpt by itself.
        done, all_ = batch_idx + 1, len(pl_module.batches)  # type: ignore[arg-type]
        if self.interrupted and done < all_ and done % trainer.accumulate_grad_batches == 0:
            if self.last is not None:
                trainer.save_checkpoint(self.last)
            raise _InterruptedError

    def state_dict(self) -> dict[str, Any]:
        return {"random": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["random"])

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Turn the first Ctrl-C into a stop after the step; a second one stops at once.

        Raises:
            KeyboardInterrupt: after a step that was the last; the message names the checkpoint.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def listen(*_: Any) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, listen)
        try:
            yield
            if self.interrupted:
                raise _InterruptedError
        except _InterruptedError:
            kept = self.last is not None and self.last.is_file()
            where = f" Resume with resume=True from {self.last}." if kept else " Nothing was kept on disk."
            raise KeyboardInterrupt(f"training was interrupted after a step.{where}") from None
        finally:
            signal.signal(signal.SIGINT, before)

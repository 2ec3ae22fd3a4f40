"""An objective, as Lightning runs it."""

from __future__ import annotations

import contextlib
import math
import time
from functools import cached_property
from typing import Any

import lightning as L
import torch
from torch import Tensor

from probseq.memory import Relief
from probseq.model import SequenceModel
from probseq.objectives import Objective, TeacherForcing
from probseq.training.batches import Batch, Data, Loader, slots

LOOK_EVERY = 50
"""On an accelerator, steps between two looks at whether the loss is finite: each look waits for the device."""


class NonFiniteLossError(ArithmeticError):
    """The loss was NaN or infinite. Training stopped before the step; the last checkpoint stands."""


class MaximumLikelihood(L.LightningModule):
    """Maximise Σ log P(y | x) over the data, or minimise another objective.

    Each sequence has the same weight in whatever batch it lands: the loss of a batch is its sum of −log P, over
    the mean number of decisions (elements and ends) for each optimiser step, a constant. So the gradient is that
    of the likelihood under any batching, gradient accumulation and number of processes.
    """

    def __init__(
        self,
        model: SequenceModel,
        batches: Loader,
        accumulate: int,
        learning_rate: float,
        weight_decay: float,
        schedule: str,
        schedule_epochs: int,
        warmup_steps: int,
        fused: bool,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        self.model, self.batches, self.accumulate = model, batches, accumulate
        self.learning_rate, self.weight_decay, self.fused = learning_rate, weight_decay, fused
        self.schedule, self.schedule_epochs, self.warmup_steps = schedule, schedule_epochs, warmup_steps
        self.objective = TeacherForcing() if objective is None else objective
        self.history: list[dict[str, float]] = []
        self._sums: dict[str, tuple[Tensor, float]] = {}
        self._bad_step: Tensor | None = None
        self._recent: list[Batch] = []
        self._clock = time.perf_counter()
        self._window: list[Batch] = []
        self._too_many, self._relief = math.inf, Relief()

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the name of every hook it calls, some fifty a step, and a module's own way to do so is slow.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps."""
        return math.ceil(len(self.batches) / self.accumulate)

    @cached_property
    def total_decisions(self) -> int:
        """What nats are counted over in an epoch of all processes, 1 at least."""
        elements, ended = self.batches.count()
        return max(1, elements if self.model.stop.certain else elements + ended)

    @property
    def is_likelihood(self) -> bool:
        """Whether what is minimised is −log P(y | x)."""
        return self.objective.is_likelihood

    @property
    def progress(self) -> float:
        """The share of the planned optimiser steps that is done."""
        return min(1.0, self.global_step / (self.schedule_epochs * self.steps_per_epoch))

    def configure_optimizers(self) -> Any:
        groups = [
            {"params": parameters, "lr": scale * self.learning_rate}
            for scale, parameters in _by_learning_rate(self.model).items()
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=self.weight_decay, fused=self.fused)
        if self.schedule == "constant" and not self.warmup_steps:
            return optimiser
        # A lambda, since a checkpoint tries to keep any other callable.
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: self._rate(step))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _rate(self, step: int) -> float:
        """The learning rate at a step, as a share of the highest."""
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return rise
        done = min(1.0, step / (self.schedule_epochs * self.steps_per_epoch))
        return rise * 0.5 * (1 + math.cos(math.pi * done))

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if self.fused and self.trainer.precision == "bf16-mixed" and gradient_clip_val:
            # Lightning refuses fused optimisers under AMP, for the sake of a scaler that bfloat16 does not have.
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        # What the optimiser's own does, without its preparations.
        for parameter in self.model.parameters():
            parameter.grad = None

    def on_train_epoch_start(self) -> None:
        self._clock = time.perf_counter()
        if not self.batches.resume_at:
            self._sums = {}

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if batch_index % self.accumulate == 0:
            self._window.clear()
        self._window.append(batch)
        if not self._window_is_large():
            with contextlib.suppress(torch.OutOfMemoryError):
                loss, nats = self._loss(batch)
                self._count(nats, batch)
                return loss
            self._split(batch)
        # The gradient is taken in pieces, in `backward`.
        return torch.zeros((), device=self.device, requires_grad=True)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What a batch adds to the loss of its step, and its nats."""
        losses = self.objective.loss(self.model, batch.data.sequences, batch.data.context, self.progress)
        nats = batch.weight * losses.sum()
        per_step = self.total_decisions / self.steps_per_epoch
        return nats * (self.accumulate * self.batches.world / per_step), nats.detach()

    def _count(self, nats: Tensor, batch: Batch) -> None:
        """Add a batch to the figures of the epoch."""
        self._watch(nats, batch)
        self._add("train", nats, batch)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        batch, seen = self._window[-1], not self._window_is_large()
        if seen:
            with contextlib.suppress(torch.OutOfMemoryError):
                loss.backward(*args, **kwargs)
                return
            # The trainer holds the loss, and with it what the backward pass had still to read.
            loss.detach_()
            self._split(batch)
            # What the batches before it in this step had added may be there in part.
            self.optimizer_zero_grad(0, 0, None)
            for earlier in self._window[:-1]:
                self._by_halves(earlier, seen=True)
        self._by_halves(batch, seen)

    def _by_halves(self, batch: Batch, seen: bool) -> None:
        """Add the gradient of a batch, a piece at a time; unless it was `seen`, add it to the figures too."""
        if slots(batch) < self._too_many or len(batch.index) == 1:
            with contextlib.suppress(torch.OutOfMemoryError):
                self._add_gradient(batch, seen)
                return
            self._split(batch)
        for half in batch.halves():
            self._by_halves(half, seen)

    def _add_gradient(self, batch: Batch, seen: bool) -> None:
        """All of it or nothing: `backward` would leave a part of it behind where the memory ends."""
        with self.trainer.precision_plugin.forward_context():
            loss, nats = self._loss(batch)
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        # Lightning divides what `training_step` returns.
        gradients = torch.autograd.grad(loss / self.accumulate, weights, allow_unused=True)
        if not seen:
            self._count(nats, batch)
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                weight.grad = gradient if weight.grad is None else weight.grad + gradient

    def _window_is_large(self) -> bool:
        """Whether the batch under way is known to be too large."""
        return slots(self._window[-1]) >= self._too_many and len(self._window[-1].index) > 1

    def _split(self, batch: Batch) -> None:
        """Take note that a batch was too large, or raise where it cannot be split.

        Raises:
            torch.OutOfMemoryError: a single sequence, several processes, which must stay in step, or a scaled loss.
        """
        if len(batch.index) == 1 or self.batches.world > 1 or self.trainer.precision == "16-mixed":
            where = "one sequence alone" if len(batch.index) == 1 else f"a batch of {len(batch.index)} sequences"
            raise torch.OutOfMemoryError(
                f"the device has too little memory for {where}. Lower batch_tokens or batch_size and raise accumulate, "
                "take checkpointed segments (TruncatedBPTT), or a smaller model."
            )
        self._too_many = min(self._too_many, slots(batch))
        self._relief.free()

    def _watch(self, nats: Tensor, batch: Batch) -> None:
        """Stop at a loss that is not finite, and name the batch."""
        if nats.device.type == "cpu":
            if not math.isfinite(nats):
                self._refuse(batch)
            return
        bad = ~torch.isfinite(nats)
        step = torch.full((), len(self._recent), device=nats.device)
        never = torch.full_like(step, -1)
        before = never if self._bad_step is None else self._bad_step
        self._bad_step = torch.where((before < 0) & bad, step, before)
        self._recent.append(batch)
        if len(self._recent) >= LOOK_EVERY:
            self._look()

    def _look(self) -> None:
        if self._bad_step is not None and int(self._bad_step) >= 0:
            self._refuse(self._recent[int(self._bad_step)])
        self._bad_step, self._recent = None, []

    def _refuse(self, batch: Batch) -> None:
        shown = ", ".join(map(self.batches.name, batch.index[:8].tolist())) + (" …" if len(batch.index) > 8 else "")
        raise NonFiniteLossError(
            f"the loss is not finite at epoch {self.current_epoch}, step {self.global_step}, in the batch of training "
            f"sequences {shown}. Training stopped and the last checkpoint stands. "
            "Look at these sequences, or lower learning_rate or gradient_clip."
        )

    def on_train_epoch_end(self) -> None:
        self._look()
        self._require_finite_weights()
        self._close("train")

    def _require_finite_weights(self) -> None:
        """Before a checkpoint is written, so that the last good one stays."""
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise NonFiniteLossError(
                    f"{name} is not finite at the end of epoch {self.current_epoch}. Training stopped and the last "
                    "checkpoint stands. Lower learning_rate, or set gradient_clip."
                )

    def on_validation_epoch_start(self) -> None:
        self._look()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        # What is reported is exact: no reduced precision here.
        own = getattr(self.objective, "held_out", None)
        y, context = batch.data.sequences, batch.data.context

        def score(index: Tensor) -> Tensor:
            part = Data(y, context) if len(index) == len(y) else batch.data.select(index)
            if own is not None:
                return own(self.model, part.sequences, part.context)
            return self.model.log_prob(part.sequences, part.context, validate=False)

        with torch.autocast(self.device.type, enabled=False):
            scored = self._relief.in_halves(score, torch.arange(len(y)))
        self._add("validation", -batch.weight * scored.sum(), batch)

    def on_validation_epoch_end(self) -> None:
        self._require_finite_weights()
        self._close("validation")

    def _add(self, name: str, nats: Tensor, batch: Batch) -> None:
        sequences = batch.data.sequences
        decisions = batch.weight * count_decisions(self.model, sequences.lengths, sequences.ended)
        before = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (nats.double() + before[0], decisions + before[1])

    def running(self, name: str) -> float | None:
        """Nats per decision so far in this epoch."""
        if name not in self._sums:
            return None
        nats, decisions = self._sums[name]
        return float(nats) / max(decisions, 1)

    def _close(self, name: str) -> None:
        """Log the epoch's nats per decision, over all processes."""
        sums = self._sums.pop(name, None)
        if sums is None:
            return
        both = torch.stack([sums[0], torch.full_like(sums[0], sums[1])])
        nats, decisions = self.trainer.strategy.reduce(both, reduce_op="sum").tolist()  # type: ignore[union-attr]
        value = nats / max(decisions, 1)
        figure = "train_objective" if name == "train" and not self.is_likelihood else f"{name}_nats"
        self.log(figure, value)
        # The validation of an epoch closes before its training does.
        if not self.history or self.history[-1]["epoch"] != self.current_epoch:
            self.history.append({"epoch": self.current_epoch})
        self.history[-1][figure] = value
        self.history[-1]["seconds"] = time.perf_counter() - self._clock

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["sums"] = self.history, self._sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self._sums = checkpoint["history"], checkpoint["sums"]


def _by_learning_rate(model: SequenceModel) -> dict[float, list[torch.nn.Parameter]]:
    """The parameters by the scale of their learning rate, which the part that holds them sets."""
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for module in model.modules():
        scale = getattr(module, "learning_rate_scale", 1.0)
        groups.setdefault(scale, []).extend(module.parameters(recurse=False))
    return {scale: parameters for scale, parameters in groups.items() if parameters}


def count_decisions(model: SequenceModel, lengths: Tensor, ended: Tensor) -> int:
    """What nats are counted over: the elements, and the ends that were not certain beforehand."""
    ends = 0 if model.stop.certain else int(ended.sum())
    return int(lengths.sum()) + ends

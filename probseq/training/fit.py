"""Maximum likelihood: the one call."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from probseq.arguments import checked
from probseq.datasets import Parquet
from probseq.model import SequenceModel
from probseq.objectives import Objective
from probseq.sequences import Sequences
from probseq.training.averaging import Averaging
from probseq.training.batches import Batches, Data, Loader
from probseq.training.module import MaximumLikelihood
from probseq.training.quiet import Unprofiled, quiet
from probseq.training.rhythm import Rhythm
from probseq.training.storage import Checkpoint, WholeFiles, require_writable
from probseq.training.stream import Stream


@dataclass(frozen=True)
class FitResult:
    """What training came to.

    Args:
        nats: per decision (element, or end that was not certain). With validation data, the exact figure on them of
            the weights the model was left with; else the mean over the last epoch of training, as it went.
            NaN where there was no time for an epoch, and without validation data where the objective is no likelihood.
        epoch: the epoch the weights are from, counted from 0; −1 where there was no time for one.
        history: a dictionary for each epoch: epoch, train_nats (or train_objective, where the objective is no
            likelihood), validation_nats, seconds.
        directory: where checkpoints and logs are, or None.
    """

    nats: float
    epoch: int
    history: list[dict[str, float]]
    directory: Path | None


class _Progress(TQDMProgressBar):
    """One line an epoch: nats per decision (or the objective's), the held-out figure, and the best one."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=20)

    def init_validation_tqdm(self) -> Any:
        return Tqdm(disable=True)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        module: Any = pl_module
        shown = {"nats" if module.is_likelihood else "objective": module.running("train")}
        past = [epoch["validation_nats"] for epoch in module.history if "validation_nats" in epoch]
        if past:
            shown |= {"held-out": past[-1], "best": min(past)}
        return {name: f"{value:.4f}" for name, value in shown.items() if value is not None}


@checked
def fit(
    model: SequenceModel,
    train: Any,
    validation: Any = None,
    *,
    objective: Objective | None = None,
    max_epochs: int = 20,
    directory: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    batch_tokens: int | None = 2048,
    batch_size: int | None = None,
    bucket: bool = True,
    accumulate: int = 1,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.0,
    gradient_clip: float | None = 1.0,
    schedule: Literal["constant", "cosine"] = "constant",
    schedule_epochs: int | None = None,
    warmup_steps: int = 0,
    patience: int | None = None,
    average: float | None = None,
    max_time: str | timedelta | dict[str, int] | None = None,
    accelerator: str = "auto",
    devices: Any = "auto",
    num_nodes: int = 1,
    strategy: Any = "auto",
    precision: Any = "32-true",
    callbacks: list[Callback] | None = None,
    progress: bool = True,
) -> FitResult:
    """Maximise Σ log P(y | x) over `train`, in place, or minimise another `objective`.

    Every sequence has the same weight under any batching, accumulation and number of processes. With validation
    data the model is left with its best weights, else with the last ones, and in evaluation mode.

    Args:
        train, validation: Sequences, or a pair (Sequences, context), or a `datasets.Parquet`, which is streamed.
        objective: what is minimised; None is TeacherForcing(), the likelihood. Validation scores exact log P always,
            but for `MissingValues`, which estimates that of what is observed.
        max_epochs: passes over the training data, those before a resume counted in.
        directory: where best.ckpt, last.ckpt and logs go; None keeps nothing on disk.
        resume: go on from last.ckpt in the directory. N + M epochs are then N + M at once, to the bit on CPU.
        seed: of the order of the batches and of dropout.
        batch_tokens, batch_size: a batch holds at most so many padded slots, of y and of a sequence x, and so many
            sequences; None: no bound.
        bucket: sequences of similar lengths stand in a batch together, which wastes no padding; without it, any do,
            `batch_size` of them, whose gradient is less of one kind: better where the length says much of the rest.
        accumulate: batches for one optimiser step.
        learning_rate, weight_decay: of fused AdamW; without weight decay it is Adam.
        gradient_clip: the greatest norm of the gradient, in nats per decision; None: no bound.
        schedule: of the learning rate: "constant", or "cosine" down to 0.
        schedule_epochs: the whole horizon of the cosine and of the objective's own schedule; None: `max_epochs`.
        warmup_steps: optimiser steps of linear rise.
        patience: epochs without a better validation score before training stops; None: never.
        average: the decay, say 0.999, of an exponential moving average of the weights over the optimiser steps, with
            which held-out data are scored and the model is left; None: the weights as they are.
        max_time: as Lightning's Trainer takes it, "00:00:10:00" for ten minutes.
        accelerator, devices, num_nodes, strategy, precision: as Lightning's Trainer takes them.
        callbacks: Lightning callbacks of your own.
        progress: show a bar with nats per decision and the held-out figure.

    Raises:
        ValueError: an empty data set, values outside the element's space, a context that does not fit, or an
            option outside its range, or that this machine has no device for.
        NonFiniteLossError: the loss turned NaN or infinite; the message names the sequences.
        KeyboardInterrupt: Ctrl-C, after last.ckpt was written.
        FileNotFoundError: `resume` without a last.ckpt in the directory.
        OSError: the directory cannot be written; a checkpoint that stands there still does.
        torch.OutOfMemoryError: a device has too little memory for one sequence; of batches it takes halves.
        RuntimeError: a device failed; the message names the checkpoint.
    """
    _check_schedule(schedule, schedule_epochs, warmup_steps)
    _require_at_least(1, {"max_epochs": max_epochs, "accumulate": accumulate})
    _require_at_least(0, {"patience": patience, "seed": seed})
    _require_positive({"learning_rate": learning_rate, "gradient_clip": gradient_clip})
    if average is not None and not 0 < average < 1:
        raise ValueError(f"average is the decay of a moving average, between 0 and 1; got {average}.")
    if patience is not None and validation is None:
        raise ValueError("patience needs validation data: pass validation=…, or leave patience out.")
    batches = _load("train", train, _Conform(model, objective), batch_tokens, batch_size, seed, bucket)
    evaluation = None
    if validation is not None:
        # No gradient is kept, so that larger batches fit.
        sizes = batch_tokens and 4 * batch_tokens, batch_size and 4 * batch_size
        evaluation = _load("validation", validation, _Conform(model, objective), *sizes, None)
    module = MaximumLikelihood(
        model, batches, accumulate, learning_rate, weight_decay, schedule, schedule_epochs or max_epochs, warmup_steps,
        # The scaler of 16-bit floats must see the gradients that a fused optimiser hides.
        fused=precision != "16-mixed", objective=objective,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        folder = Path(directory or stack.enter_context(tempfile.TemporaryDirectory()))
        last = folder / "last.ckpt"
        if directory:
            require_writable(folder)
        finished = resume and _check_resumable(last, max_epochs, average is not None, patience)
        every = [batches] if evaluation is None else [batches, evaluation]
        rhythm = Rhythm(every, seed, last if directory else None, anew=not resume)
        # Before the rhythm, which may write a checkpoint after a step that the average must have seen.
        averaging = [] if average is None else [Averaging(average)]
        stack.enter_context(quiet())
        try:
            trainer = L.Trainer(
                max_epochs=max_epochs, max_time=max_time, accelerator=accelerator, devices=devices, num_nodes=num_nodes,
                strategy=strategy, precision=precision, accumulate_grad_batches=accumulate,
                gradient_clip_val=gradient_clip,
                callbacks=[
                    *averaging, rhythm,
                    *_callbacks(folder, evaluation is not None, patience, progress), *(callbacks or []),
                ],
                logger=_loggers(folder) if directory else False,
                enable_progress_bar=progress, enable_model_summary=False, num_sanity_val_steps=0,
                plugins=[WholeFiles()], profiler=Unprofiled(), use_distributed_sampler=False, inference_mode=False,
                default_root_dir=folder,
            )  # fmt: skip
        except MisconfigurationException as error:
            raise ValueError(f"the trainer cannot be made so: {error}") from error
        if trainer.world_size > 1 and not directory:
            raise ValueError(f"{trainer.world_size} processes need a directory that all of them see: directory=….")
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(_training(model))
        with rhythm.listening(), _device_kept(last if directory else None):
            # A run that patience had ended is not begun again.
            if not finished:
                trainer.fit(module, batches, evaluation, ckpt_path=str(last) if resume else None, weights_only=True)
        if not last.is_file():
            return FitResult(float("nan"), -1, [], Path(directory) if directory else None)
        return _result(module, folder, evaluation is not None, Path(directory) if directory else None)


def _check_schedule(schedule: str, epochs: int | None, warmup_steps: int) -> None:
    if schedule not in ("constant", "cosine"):
        raise ValueError(f"schedule must be 'constant' or 'cosine'; got {schedule!r}.")
    _require_at_least(1, {"schedule_epochs": epochs})
    _require_at_least(0, {"warmup_steps": warmup_steps})


def _require_positive(options: dict[str, float | None]) -> None:
    for name, value in options.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive; got {value}.")


def _require_at_least(least: int, options: dict[str, int | None]) -> None:
    for name, value in options.items():
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(f"{name} must be {least} or more, an integer; got {value}.")


def _check_resumable(last: Path, max_epochs: int, averaged: bool, patience: int | None) -> bool:
    """Whether patience had ended the run.

    Raises:
        FileNotFoundError: no checkpoint. ValueError: it is damaged, of another kind, or of a later epoch.
    """
    if not last.is_file():
        raise FileNotFoundError(f"there is nothing to resume: {last} does not exist. Fit without resume first.")
    try:
        kept = torch.load(last, map_location="cpu", weights_only=True)
        done = kept["epoch"]
    except Exception as error:  # a damaged archive raises whatever its bytes lead to
        raise ValueError(f"{last} is damaged and cannot be resumed: {error!r}. Fit without resume.") from error
    if ("averaging" in kept) != averaged:
        with_, cure = ("without", "Pass one") if averaged else ("with", "Leave it out")
        raise ValueError(f"{last} was written {with_} an average of the weights. {cure} as before: average=….")
    if done >= max_epochs:
        raise ValueError(f"{last} is from epoch {done}, and max_epochs is {max_epochs}. Raise max_epochs.")
    waits = [state["wait_count"] for name, state in kept["callbacks"].items() if name.startswith("EarlyStopping")]
    return patience is not None and any(count >= patience for count in waits)


@contextlib.contextmanager
def _device_kept(last: Path | None) -> Iterator[None]:
    """Say what stands where a device fails.

    Raises:
        RuntimeError: it does.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        kept = last is not None and last.is_file()
        where = f"{last} stands: resume from it with resume=True, in a new process." if kept else "Nothing was kept."
        raise RuntimeError(f"the device failed: {str(error).splitlines()[0]} {where}") from error


@dataclass(frozen=True)
class _Conform:
    """y and x checked, so that no step has to: by the model, or by an objective that takes others."""

    model: SequenceModel
    objective: Objective | None

    def __call__(self, y: Sequences, context: Any) -> Data:
        own = getattr(self.objective, "conform", None)
        y, context = self.model.conform(y, context) if own is None else own(self.model, y, context)
        _require_possible(self.model, y)
        return Data(y, context)


def _load(
    name: str, data: Any, conform: _Conform, tokens: int | None, size: int | None, seed: int | None, bucket: bool = True
) -> Loader:
    """The batches of data in memory, which are checked now, or of files, which are checked as they are read."""
    if isinstance(data, Parquet):
        return Stream(data, conform, tokens, size, seed, bucket)
    data = Data.of(data)
    try:
        data = conform(data.sequences, data.context)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return Batches(data, tokens, size, seed, bucket)


def _require_possible(model: SequenceModel, y: Sequences) -> None:
    """Where the length is certain, one that ended at another has probability 0; `conform` has seen to that of x."""
    fixed = model.stop.certain and model.max_length is not None and not (model.context and model.context.aligned)
    wrong = (y.ended & (y.lengths != model.max_length)).nonzero() if fixed else []
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"sequence {row} ended after {int(y.lengths[row])} elements, but {model.stop.describe()} gives that "
            "probability 0. Correct the data, or choose another stop law."
        )


def _callbacks(folder: Path, validated: bool, patience: int | None, progress: bool) -> list[Callback]:
    found: list[Callback] = []
    if validated:
        found.append(Checkpoint(folder, filename="best", monitor="validation_nats", enable_version_counter=False))
    found.append(Checkpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False))
    if patience is not None:
        found.append(EarlyStopping("validation_nats", patience=patience, check_finite=False))
    return [*found, _Progress()] if progress else found


def _loggers(folder: Path) -> list[Any]:
    loggers: list[Any] = [CSVLogger(folder, name="logs")]
    with contextlib.suppress(ModuleNotFoundError):
        loggers.append(TensorBoardLogger(folder, name="tensorboard"))
    return loggers


@contextlib.contextmanager
def _training(model: SequenceModel) -> Iterator[None]:
    """Training mode inside, evaluation mode after."""
    model.train()
    try:
        yield
    finally:
        model.eval()


def _result(module: MaximumLikelihood, folder: Path, validated: bool, directory: Path | None) -> FitResult:
    history = torch.load(folder / "last.ckpt", map_location="cpu", weights_only=True)["history"]
    if not validated:
        return FitResult(history[-1].get("train_nats", float("nan")), int(history[-1]["epoch"]), history, directory)
    best = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    return FitResult(best["history"][-1]["validation_nats"], int(best["epoch"]), history, directory)

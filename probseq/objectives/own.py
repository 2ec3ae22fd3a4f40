"""Signals in which the model reads what it draws itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import check_fields
from probseq.inference.openloop import read_own
from probseq.inference.score import score_features
from probseq.model import SequenceModel
from probseq.objectives.likelihood import TeacherForcing, given
from probseq.part import require
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Schedule:
    """A probability that changes with the share p of training done: start + (end − start) · w(p), w from 0 to 1.

    w(p) = p ("linear"), (1 − e⁻⁵ᵖ) / (1 − e⁻⁵) ("exponential": fast first), or σ(12 p − 6), stretched to reach 0 and 1
    ("inverse sigmoid": slow, fast, slow). These are the shapes of Bengio et al. (2015), stated for the probability of
    reading a draw.

    Raises:
        ValueError: start or end outside [0, 1], or another shape.

    >>> Schedule(0.0, 0.5).at(0.5)
    0.25
    """

    start: float
    end: float
    shape: Literal["linear", "exponential", "inverse sigmoid"] = "linear"

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in (("start", self.start), ("end", self.end)):
            require(0 <= value <= 1, f"Schedule needs {name} in [0, 1], a probability; got {value}.")
        shapes = ("linear", "exponential", "inverse sigmoid")
        require(self.shape in shapes, f"shape must be one of {shapes}; got {self.shape!r}.")

    def at(self, progress: float) -> float:
        """The probability when the share `progress` of training is done."""
        done = progress
        if self.shape == "exponential":
            done = math.expm1(-5 * progress) / math.expm1(-5)
        elif self.shape == "inverse sigmoid":
            done = 0.5 * (1 + math.tanh(6 * progress - 3) / math.tanh(3))
        return self.start + (self.end - self.start) * done


@dataclass(frozen=True)
class ScheduledSampling:
    """−Σₜ log P(yₜ | z₍<t₎, x), where each z is the model's own draw with probability ε, else the true element.

    Bengio et al. (2015). A coin falls for each step and each sequence. It is not a likelihood, and no law of y is: its
    optimum is the truth only for ε = 0, and for ε = 1 the model learns to ignore what it reads (Huszár, 2015).

    Args:
        schedule: ε over training, or one number.

    Raises:
        ValueError: a number outside [0, 1]; in `loss`, a continuous likelihood without reparameterised samples.
    """

    schedule: Schedule | float

    is_likelihood: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        self._schedule()

    def _schedule(self) -> Schedule:
        return self.schedule if isinstance(self.schedule, Schedule) else Schedule(self.schedule, self.schedule)

    def loss(self, model: SequenceModel, y: Sequences, context: Any, progress: float) -> Float[Tensor, " b"]:
        share = self._schedule().at(progress)
        return _reading_own(model, y, context, share) if share else TeacherForcing().loss(model, y, context, progress)


@dataclass(frozen=True)
class FreeRunning:
    """(1 − share) · teacher forcing + share · open loop: in the second pass the model reads its own draws only.

    Deep Learning, 10.2.1: training with both inputs, so that the model meets in training what it will meet when it
    runs freely. Not a likelihood unless share = 0.

    Raises:
        ValueError: share outside [0, 1]; in `loss`, a continuous likelihood without reparameterised samples.
    """

    share: float

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 <= self.share <= 1, f"FreeRunning needs share in [0, 1]; got {self.share}.")

    @property
    def is_likelihood(self) -> bool:
        return self.share == 0

    def loss(self, model: SequenceModel, y: Sequences, context: Any, progress: float) -> Float[Tensor, " b"]:
        passes = []
        if self.share < 1:
            passes.append((1 - self.share) * TeacherForcing().loss(model, y, context, progress))
        if self.share > 0:
            passes.append(self.share * _reading_own(model, y, context, 1.0))
        return torch.stack(passes).sum(0)


def _reading_own(model: SequenceModel, y: Sequences, context: Any, share: float) -> Tensor:
    """−log-probability of the true y, where the model read its own draws with probability `share`."""
    encoded, log_given = given(model, y, context)
    state = model.start(encoded)
    y = y.to(state.features.device)
    features = read_own(model, state, y, share)
    return -log_given - score_features(model, features, state.context, y).log_prob

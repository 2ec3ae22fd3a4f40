"""Teacher forcing towards targets that are not quite certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import check_fields
from probseq.context import Context
from probseq.inference.outcomes import log_pmf, support
from probseq.model import SequenceModel
from probseq.numerics import at_least_float32, promoted
from probseq.objectives.likelihood import TeacherForcing, given
from probseq.part import require
from probseq.sequences import Sequences
from probseq.shapes import Ragged
from probseq.stops import EndSymbol


@dataclass(frozen=True)
class LabelSmoothing:
    """Σₜ (1 − ε) · (−log P(oₜ)) + ε · mean over outcomes o of −log P(o), at every decision t.

    The outcomes of a decision are the end and every value of the element, without those that the model excludes: where
    the length is certain, the end is none, and an end that is certain is no decision. So ε is the share of each target
    that is spread evenly, which keeps probabilities off 0 and 1 (Szegedy et al., Rethinking the Inception
    architecture, 2016). Not a likelihood unless ε = 0; held-out data are scored by the exact likelihood all the same.
    A length that is planned is not smoothed.

    Args:
        share: ε.

    Raises:
        ValueError: a share outside [0, 1); in `loss`, a continuous element, or one of more than 2¹⁶ values.
    """

    share: float

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 <= self.share < 1, f"LabelSmoothing needs share in [0, 1); got {self.share}.")

    @property
    def is_likelihood(self) -> bool:
        return self.share == 0

    def loss(self, model: SequenceModel, y: Sequences, context: Any, progress: float) -> Float[Tensor, " b"]:
        if not self.share:
            return TeacherForcing().loss(model, y, context, progress)
        encoded, log_given = given(model, y, context)
        features, state = model.unroll(encoded, y.values)
        y = y.to(features.device)
        slots = Ragged(y.decisions, y.values.shape[1] + 1, features.device)
        if not len(slots):
            return at_least_float32(features.flatten(1)[:, :0].sum(1)) - log_given
        joint = encoded.aligned_lengths is None and type(model.stop).emit is EndSymbol.emit
        losses = (
            self._joint(model, features, y, slots) if joint else self._each(model, features, state.context, y, slots)
        )
        return slots.scatter(losses).sum(-1) - log_given

    def _joint(self, model: SequenceModel, features: Tensor, y: Sequences, slots: Ragged) -> Tensor:
        """Where the end is one symbol of the alphabet: one softmax at each decision."""
        likelihood: Any = model.likelihood
        values = slots.gather(y.pad(slots.width).values)
        outcomes = torch.where(_goes(y, slots), values, likelihood.end)
        logits = likelihood.logits(slots.gather(features))
        return F.cross_entropy(logits, outcomes, reduction="none", label_smoothing=self.share)

    def _each(self, model: SequenceModel, features: Tensor, context: Context, y: Sequences, slots: Ragged) -> Tensor:
        """By the probability of every outcome of a decision."""
        step = model.emit(slots.gather(features), slots.columns, context.without_steps().select(slots.rows))
        symbols = support(model.element, step.element, "LabelSmoothing", "Use TeacherForcing().")
        values = promoted(slots.gather(y.pad(slots.width).values), features)
        goes = _goes(y, slots)
        first = symbols[:1].to(values).expand_as(values)
        element = step.element.log_prob(torch.where(goes.reshape(-1, *[1] * (values.ndim - 1)), values, first))
        log_prob = torch.where(goes, step.log_go + element, step.log_stop)
        every = torch.cat([step.log_stop.unsqueeze(0), step.log_go + log_pmf(step.element, symbols)])
        possible = every > -torch.inf
        mean = torch.where(possible, every, 0.0).sum(0) / possible.sum(0).clamp(min=1)
        return -(1 - self.share) * log_prob - self.share * mean


def _goes(y: Sequences, slots: Ragged) -> Tensor:
    """Whether each decision is one for an element, (n,)."""
    return slots.columns < y.lengths.to(y.device, non_blocking=True)[slots.rows]

"""What reading its own draws costs a model: the exposure-bias meter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context
from probseq.evaluation.steps import column_means
from probseq.inference.openloop import read_own
from probseq.inference.score import check, check_context, score_features
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Exposure:
    """Mean nats of the true element at each position, −log P(yₜ | past, x), given the true past, and given a drawn one.

    Shapes:
        teacher_forced, free_running: (t,), nats (of a density where the element is continuous).
        gap: (t,), the mean difference, free-running less teacher-forced, of the same elements; 0 at the first.
        teacher_forced_error, free_running_error, gap_error: (t,), standard errors; NaN where one sequence is so long.
        counts: (t,), sequences that have an element there.
    """

    teacher_forced: Float[Tensor, " t"]
    free_running: Float[Tensor, " t"]
    gap: Float[Tensor, " t"]
    teacher_forced_error: Float[Tensor, " t"]
    free_running_error: Float[Tensor, " t"]
    gap_error: Float[Tensor, " t"]
    counts: Int[Tensor, " t"]


@checked
@torch.no_grad()
def exposure(model: Autoregressive, y: Sequences, context: Any = None, generator: Seed = None) -> Exposure:
    """Score the true elements by position, with the true past read, and with a past that the model drew itself.

    The drawn past has no ends: at each position the model draws an element, as if it went on. −log P(yₜ | past) is
    that of going on and of the element; the ends of the sequences are left out. A gap is no fault in itself: a drawn
    past knows less of the true sequence, so any model whose elements depend on their past has one. What can be
    compared is the gap of two models on the same sequences.

    Args:
        y: b sequences.
        context: what the model is conditioned on, batch b, or None.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: y does not fit the model's element, is longer than the model's longest sequence or its x, or has
            another batch than the context.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> meter = ps.exposure(model, ps.Sequences.of([[0, 2, 1], [1], []]), generator=0)
    >>> meter.counts.tolist(), float(meter.gap[0])
    ([2, 1, 1], 0.0)
    """
    y = check(model, y)
    state = model.start(Context.none(len(y), y.device) if context is None else context)
    check_context(y, state.context)
    y = y.to(state.features.device)
    after = model.extend(state, y.values)[0]
    with seeded(generator, state.features.device):
        own = read_own(model, state, y, differentiable=False)
    forced, free = (
        _nats(model, features, state.context, y)
        for features in (torch.cat([state.features.unsqueeze(1), after], 1), own)
    )
    real = y.mask()
    # Where both are impossible, the difference of two infinities would be NaN.
    gap = torch.where(forced == free, 0.0, free - forced)
    (mean_forced, error_forced), (mean_free, error_free), (mean_gap, error_gap) = (
        column_means(values, real) for values in (forced, free, gap)
    )
    return Exposure(mean_forced, mean_free, mean_gap, error_forced, error_free, error_gap, real.sum(0))


def _nats(model: Autoregressive, features: Tensor, context: Context, y: Sequences) -> Float[Tensor, "b t"]:
    score = score_features(model, features, context, y)
    return -(score.element + score.stop[:, :-1])

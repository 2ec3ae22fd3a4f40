"""The chain rule walked forward over known sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context
from probseq.numerics import at_least_float32, promoted
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences
from probseq.shapes import Ragged


@dataclass(frozen=True)
class Score:
    """Every factor of log P(y | x), in nats; 0 where a sequence has no such factor.

    Shapes:
        element: (b, t), log P(yₜ | y₍<t₎, x, it goes on).
        stop: (b, t + 1), log P(go on) before each element, then log P(stop) where the sequence ended.
    """

    element: Float[Tensor, "b t"]
    stop: Float[Tensor, "b t1"]

    @property
    def log_prob(self) -> Float[Tensor, " b"]:
        """log P(y | x), or log P(y begins so | x) for a sequence that has not ended."""
        return self.element.sum(-1) + self.stop.sum(-1)


@checked
def score(model: Autoregressive, y: Sequences, context: Any = None) -> Score:
    """Score whole sequences under any model.

    log P(y | x) = Σₜ [log P(go | y₍<t₎) + log P(yₜ | y₍<t₎, go)] + log P(stop | y).

    Args:
        y: b sequences.
        context: what the model is conditioned on, batch b, or None.

    Raises:
        ValueError: y does not fit the model's element, is longer than the model's longest sequence, or has
            another batch than the context.

    >>> import torch, probseq as ps
    >>> _ = torch.manual_seed(0)
    >>> model = ps.SequenceModel(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.FixedLength(3))
    >>> s = ps.score(model, ps.Sequences.of([[0, 1, 1]]))
    >>> s.stop.tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """
    y = check(model, y)
    features, state = model.unroll(Context.none(len(y), y.device) if context is None else context, y.values)
    check_context(y, state.context)
    return score_features(model, features, state.context, y.to(features.device))


def check(model: Autoregressive, y: Sequences) -> Sequences:
    """`y` conformed to the model's element, its longest sequence within the model's."""
    y = model.element.conform(y).trim()
    longest = int(y.lengths.max()) if len(y) else 0
    if model.max_length is not None and longest > model.max_length:
        raise ValueError(
            f"sequence {int(y.lengths.argmax())} has {longest} elements, but the model's stop law gives lengths above "
            f"{model.max_length} no probability. Raise its max_length, or cut the sequence."
        )
    return y


def check_batch(y: Sequences, context: Context) -> None:
    """Raise ValueError unless there is a row of x for each sequence."""
    if context.batch != len(y):
        raise ValueError(f"the context has batch {context.batch}, the sequences {len(y)}. Pass one row for each.")


def check_context(y: Sequences, context: Context) -> None:
    """Raise ValueError unless there is a row of x for each sequence, and none is longer than x lets it be."""
    check_batch(y, context)
    if context.limit is not None:
        check_lengths(y, context.limit.to("cpu"), exactly=False)


def check_lengths(y: Sequences, limit: Int[Tensor, " b"], exactly: bool) -> None:
    """Raise ValueError where y is longer than x lets it be, or, with `exactly`, has ended at another length."""
    wrong = y.lengths > limit
    if exactly:
        wrong |= y.ended & (y.lengths != limit)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"sequence {row} has {int(y.lengths[row])} elements, but its x (or planned length) has "
            f"{int(limit[row])}. Pass x and y of one length, or cut y with ended=False."
        )


def score_features(model: Autoregressive, features: Tensor, context: Context, y: Sequences, offset: int = 0) -> Score:
    """Score from the features (b, t + 1, h) that `unroll` gave; nothing is computed in the padding.

    Args:
        offset: elements that were read before the first of y, where y is a piece of longer sequences.
    """
    # A copy of x for each slot would be of order t²; the features have seen x.
    context = context.without_steps()
    time = y.values.shape[1]
    slots = Ragged(y.lengths, time, features.device)
    # Distributions cannot be evaluated at no point at all; an empty sum still belongs to the graph.
    element = go = at_least_float32(features[:, :0].sum() + features.new_zeros(len(y), time))
    if len(slots):
        step = model.emit(slots.gather(features[:, :time]), slots.columns + offset, context.select(slots.rows))
        element = slots.scatter(step.element.log_prob(promoted(slots.gather(y.values), features)))
        go = slots.scatter(step.log_go)
    stop = torch.cat([go, element.new_zeros(len(y), 1)], 1)
    if bool(y.ended.any()):
        ended = y.ended.nonzero().squeeze(-1).to(features.device, non_blocking=True)
        last = y.lengths.to(features.device, non_blocking=True)[ended]
        end = model.emit(features[ended, last], last + offset, context.select(ended))
        stop = stop.index_put((ended, last), end.log_stop.to(stop))
    return Score(element, stop)

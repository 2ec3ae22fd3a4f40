"""The decisions of known sequences, and what models say at each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Categorical

from probseq.context import Context
from probseq.inference.outcomes import log_pmf, support
from probseq.nextstep import NextStep
from probseq.numerics import promoted
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences
from probseq.shapes import Ragged

SEQUENCES = 1 << 9
"""Sequences that are read in one call."""

SLOTS = 1 << 11
"""Decisions whose laws are made in one call: a law of many symbols is large."""

FEW = 1 << 8
"""So many values are summed over where there is a closed form too: sums of logarithms do not underflow."""


@dataclass(frozen=True)
class Decisions:
    """Some decisions of a batch of sequences: going on with an element, or ending.

    Shapes:
        rows, columns: (n,), of which sequence, after how many elements.
        goes: (n,), whether the sequence went on.
        values: (n, *e), the element that came then; anything where it ended.
        steps: what each model says there.
    """

    rows: Int[Tensor, " n"]
    columns: Int[Tensor, " n"]
    goes: Bool[Tensor, " n"]
    values: Tensor
    steps: list[NextStep]

    def log_prob(self, model: int = 0) -> Float[Tensor, " n"]:
        """log P of what was decided, under one of the models."""
        step = self.steps[model]
        element = torch.where(self.goes, step.element.log_prob(promoted(self.values, step.log_go)), 0.0)
        return torch.where(self.goes, step.log_go + element, step.log_stop)


def decisions(models: Sequence[Autoregressive], contexts: Sequence[Context], y: Sequences) -> Iterator[Decisions]:
    """Every decision of the sequences, with what each model says of it, a piece at a time.

    A model is asked up to its own longest length: what comes after is impossible.
    """
    limits = [model.max_length for model in models if model.max_length is not None]
    for rows in _pieces(len(y), SEQUENCES):
        some = y.select(rows)
        index = rows.to(y.device)
        read = some.cut(min([some.values.shape[1], *limits]))
        features, within = [], []
        for model, context in zip(models, contexts, strict=True):
            found, state = model.unroll(context.select(index), read.values)
            features.append(found)
            within.append(state.context.without_steps())
        width = read.values.shape[1] + 1
        slots = Ragged(some.decisions.clamp(max=width), width, y.device)
        flat = [slots.gather(found) for found in features]
        values = slots.gather(some.pad(width).values[:, :width])
        every = slots.rows, slots.columns
        lengths = some.lengths.to(y.device)
        for piece in _pieces(len(slots), SLOTS):
            piece = piece.to(y.device)
            row, column = (part[piece] for part in every)
            steps = [
                model.emit(found[piece], column, context.select(row))
                for model, found, context in zip(models, flat, within, strict=True)
            ]
            yield Decisions(index[row], column, column < lengths[row], values[piece], steps)


def _pieces(total: int, size: int) -> Iterator[Int[Tensor, " n"]]:
    """0 … total − 1 in pieces; none where there is nothing."""
    return (torch.arange(begin, min(begin + size, total)) for begin in range(0, total, size))


def few_symbols(model: Autoregressive, law: Any, limit: int | None = FEW) -> Tensor | None:
    """The values of an element (v, *e) where they can be listed and are `limit` at most, else None."""
    if not isinstance(law, Categorical) and not law.support.is_discrete:
        return None
    try:
        symbols = support(model.element, law, "", "")
    except ValueError:
        return None
    few = isinstance(law, Categorical) or limit is None or len(symbols) <= limit
    return symbols if few else None


def over_symbols(law: Any, symbols: Tensor) -> Float[Tensor, "*b v"]:
    """log P of each of the symbols."""
    return log_pmf(law, symbols).movedim(0, -1)


def pair(step: NextStep) -> Float[Tensor, "*b o"]:
    """log P of stopping and of going on."""
    return torch.stack([step.log_stop, step.log_go], -1)


def column_means(values: Float[Tensor, "b t"], real: Bool[Tensor, "b t"]) -> tuple[Tensor, Tensor]:
    """Mean and standard error of each column (t,), over what is real in it."""
    counts = real.sum(0)
    mean = torch.where(real, values, 0.0).sum(0) / counts
    spread = torch.where(real, (values - mean).square(), 0.0).sum(0) / (counts - 1)
    return mean, (spread / counts).sqrt()

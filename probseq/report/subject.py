"""What a page is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from probseq.evaluation import Evaluation, evaluate
from probseq.rows import select_rows
from probseq.sequences import Sequences

Decode = Callable[[Tensor], list[str]]


@dataclass(frozen=True)
class Subject:
    """A model, data that were held out, and how it came about.

    Args:
        history: an entry for each epoch, as of `FitResult`.
        decode: the elements of one sequence as texts; source: the same of what y is a translation of.
        baselines: other models, by name.
        seed: of all that is drawn.
        limit: sequences of which single ones are shown.
    """

    model: Any
    y: Sequences
    context: Any
    history: Sequence[Mapping[str, float]]
    decode: Decode
    source: Decode
    baselines: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    limit: int = 20

    @property
    def data(self) -> Any:
        """As `fit` takes it."""
        return self.y if self.context is None else (self.y, self.context)

    def first(self, count: int) -> tuple[Sequences, Any]:
        """The first sequences with what they are conditioned on."""
        return self.rows(torch.arange(min(count, len(self.y))))

    def rows(self, index: Tensor) -> tuple[Sequences, Any]:
        """Some sequences with what they are conditioned on."""
        x = None if self.context is None else select_rows(self.context, index)
        return self.y.select(index).trim(), x

    @cached_property
    def evaluation(self) -> Evaluation:
        """All that the held-out data say."""
        return evaluate(self.model, self.data, generator=self.seed)


def plain(model: Any) -> Decode:
    """Elements as they are: by the model's characters where it knows them, else as numbers."""
    symbols = getattr(model.element, "symbols", None)

    def decode(row: Tensor) -> list[str]:
        if symbols is not None:
            return [symbols[int(each)] for each in row]
        return [_brief(each) for each in row.tolist()]

    return decode


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return "(" + " ".join(map(_brief, value[:4])) + (" …" if len(value) > 4 else "") + ")"
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""What a conditioning encodes to, and the state that carries it along a sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.tree import select, tree_map


@dataclass(frozen=True)
class Context:
    """What x becomes before the first element is read.

    Shapes:
        summary: (b, c), the fixed-size part; c = 0 where there is none, so that b is always known.
        aligned: (b, t, a), features that go with each element, 0 beyond a row's length, or None.
        source, source_lengths: (b, s, f), features to attend to, 0 beyond a row's length, and (b,), int64, or None.
        source_symbols: (b, s), int64, the symbols that stand at the features' places, where there are such, or None.
        aligned_lengths: (b,), int64, where `aligned` ends: no sequence goes beyond it.
        planned: (b,), int64, the length that was drawn before the first element, or None.
        scale: (b, 2, e), the location and the scale of each series, for `PerSeries`, or None.
        attended: a tree of tensors (b, …), what the recurrence made of the source before its first step, or None.
    """

    summary: Float[Tensor, "b c"]
    aligned: Float[Tensor, "b t a"] | None = None
    source: Float[Tensor, "b s f"] | None = None
    source_lengths: Int[Tensor, " b"] | None = None
    aligned_lengths: Int[Tensor, " b"] | None = None
    planned: Int[Tensor, " b"] | None = None
    source_symbols: Int[Tensor, "b s"] | None = None
    scale: Float[Tensor, "b 2 e"] | None = None
    attended: Any = None

    @staticmethod
    def none(batch: int, device: torch.device | str | None = None) -> Context:
        """No conditioning, for `batch` sequences."""
        return Context(torch.empty(batch, 0, device=device))

    @property
    def batch(self) -> int:
        """How many sequences it conditions."""
        return self.summary.shape[0]

    @property
    def limit(self) -> Int[Tensor, " b"] | None:
        """How many elements each sequence has at most, where that is known beforehand."""
        return self.aligned_lengths if self.planned is None else self.planned

    def without_source(self) -> Context:
        """Without what is attended to, which a model that attends to nothing need not carry along."""
        return replace(self, source=None, source_lengths=None, source_symbols=None, attended=None)

    def without_steps(self) -> Context:
        """Without what goes with single elements of y or x: the features that `emit` takes have seen it.

        Enough for `emit`, and small enough to give each of many slots its row.
        """
        return replace(self.without_source(), aligned=None)

    def select(self, index: Int[Tensor, " n"]) -> Context:
        """Rows `index` of every part."""
        return select(self, index)

    def to(self, like: Tensor) -> Context:
        """On the device of `like`, its real numbers in the dtype of `like`."""
        return tree_map(lambda leaf: leaf.to(like if leaf.is_floating_point() else like.device), self)


@dataclass(frozen=True)
class State:
    """All that a model carries of the elements read so far: tensors only, batch axis first.

    Shapes:
        features: (b, h), from which `emit` makes the law of the next step.
        memory: a tree of tensors (b, …), the recurrence's own.
        position: (b,), int64, how many elements were read.
        context: what the sequences are conditioned on.
    """

    features: Tensor
    memory: Any
    position: Int[Tensor, " b"]
    context: Context

    @property
    def batch(self) -> int:
        """How many sequences it carries."""
        return self.features.shape[0]

    def select(self, index: Int[Tensor, " n"]) -> State:
        """Rows `index`, in that order, repeats allowed: what search, resampling and compaction need."""
        return select(self, index)

"""Dropout that is the same at every step of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.context import Context
from probseq.part import advance, begun, build_recurrence, feature_bound, require
from probseq.recurrences.wrapping import Wrapping
from probseq.structure import Links, recurrence_links


@dataclass(eq=False, repr=False)
class SharedDropout(Wrapping):
    """A recurrence whose inputs and features are dropped in training, the same ones at every step of a sequence.

    h = r(x ∘ m) ∘ m′, with masks m and m′ drawn once for each sequence, of entries 0 with the given probability and
    else 1 / (1 − p). One network is drawn for each sequence, in place of another one at each step ("variational"
    dropout: Gal & Ghahramani, A theoretically grounded application of dropout in recurrent neural networks, 2016; the
    links from state to state, which fused kernels keep to themselves, are not dropped). The masks are part of what is
    carried, so that segments of one sequence share them. In evaluation it is the recurrence and nothing else.

    Args:
        recurrence: a recurrence part.
        before: the share of its inputs zeroed in training.
        after: the share of its features zeroed in training.

    Shapes:
        inputs: (b, n, i). features: those of `recurrence`.

    Raises:
        ValueError: no recurrence, a share outside [0, 1), or features to drop among which are the weights to copy by.
    """

    before: float = 0.0
    after: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        inner = self.recurrence
        for name, share in (("before", self.before), ("after", self.after)):
            require(0 <= share < 1, f"SharedDropout needs {name} in [0, 1); got {share}.")
        require(
            not (self.after and getattr(inner, "copies", None)),
            f"SharedDropout would drop the weights that symbols are copied by; got {inner!r}. Put it inside: "
            "Attentive(SharedDropout(…), copies=…).",
        )

    @property
    def features(self) -> int:
        return self.recurrence.features

    @property
    def copies(self) -> int | None:
        return getattr(self.recurrence, "copies", None)

    def begin(self, memory: tuple[Tensor, ...], batch: int) -> tuple[Any, Tensor | None, Tensor | None]:
        """The memory of the recurrence, and in training the masks (b, i) and (b, h)."""
        own = begun(self.recurrence, memory, batch)
        return own, self._mask(batch, self.width, self.before), self._mask(batch, self.features, self.after)

    def feature_bound(self, start: float) -> float:
        """That of the recurrence, in evaluation."""
        return feature_bound(self.recurrence, start)

    def build(self, inputs: int, source: int = 0) -> None:
        self.width = inputs
        build_recurrence(self.recurrence, inputs, source)

    def links(self, steps: int) -> Links:
        """Those of the recurrence."""
        return recurrence_links(self.recurrence, steps)

    def forward(
        self,
        inputs: Float[Tensor, "b n i"],
        memory: tuple[Any, Tensor | None, Tensor | None],
        context: Context | None = None,
    ) -> tuple[Float[Tensor, "b n h"], tuple[Any, Tensor | None, Tensor | None]]:
        own, before, after = memory
        features, own = advance(self.recurrence, self._drop(inputs, before), own, context)
        return self._drop(features, after), (own, before, after)

    def _mask(self, batch: int, width: int, share: float) -> Tensor | None:
        if not self.training or not share:
            return None
        like = next(self.recurrence.parameters())
        kept = torch.rand(batch, width, device=like.device) >= share
        return kept.to(like.dtype) / (1 - share)

    def _drop(self, values: Tensor, mask: Tensor | None) -> Tensor:
        return values if mask is None or not self.training else values * mask.unsqueeze(1).to(values)

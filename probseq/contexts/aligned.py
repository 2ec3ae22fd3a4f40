"""An x-sequence that goes along with y, element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.contexts.base import ContextPart
from probseq.contexts.reading import check_reading, conform_sequences, encoded, encoding_links
from probseq.part import require
from probseq.sequences import Sequences
from probseq.shapes import slot_mask
from probseq.structure import ENCODED, ENTERS, Links, Place


@dataclass(eq=False, repr=False)
class Aligned(ContextPart):
    """x₁ … x_T beside y₁ … y_T: xₜ enters the step that predicts yₜ (Goodfellow et al., Deep Learning, 10.2.4).

    Without an encoder xₜ alone enters, so that yₜ depends on x₁ … xₜ through the recurrence; a `Bidirectional`
    encoder lets it depend on all of x. With `feedback=False` on the model's element the yₜ are independent given x.
    Sequences of y end where x does with `AlignedLength()`, and at the latest there with any other stop law.

    Args:
        reads: an element part that says what one xₜ is, as `Reals(3)` or `Tokens(26)`.
        encoder: an encoder part, as `Bidirectional(LSTM(32))`, or None.

    Shapes:
        x: Sequences of b sequences, or a tensor (b, t, *e), where all have t elements.

    Raises:
        ValueError: `reads` is no element part, or one without feedback; `encoder` is no encoder part.
    """

    reads: Any
    encoder: Any = None

    aligned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_reading(self)
        require(
            getattr(self.encoder, "stride", 1) == 1,
            f"Aligned needs features for each xₜ; {self.encoder!r} gives fewer. Use stride=1, or Source.",
        )

    @property
    def width(self) -> int:
        return 0

    @property
    def input_width(self) -> int:
        return self.aligned_width

    @property
    def state_width(self) -> int:
        return 0

    @property
    def aligned_width(self) -> int:  # type: ignore[override]
        return self.reads.width if self.encoder is None else self.encoder.features

    @property
    def event_dims(self) -> int:  # type: ignore[override]
        return 1 + len(self.reads.shape)

    def build(self) -> None:
        self.reads.build()
        if self.encoder is not None:
            self.encoder.build(self.reads.width)

    def links(self, steps: int) -> Links:
        """xₜ, or what the encoder makes of x at t, enters step t."""
        row = "x" if self.encoder is None else ENCODED
        links = [] if self.encoder is None else encoding_links(self, steps)
        return links + [(Place(row, t), Place(ENTERS, t)) for t in range(1, steps + 1)]

    def conform(self, x: Any) -> Sequences:
        return conform_sequences(self, x)

    def lengths(self, x: Sequences) -> Int[Tensor, " b"]:
        return x.lengths

    def encode(self, x: Sequences) -> Context:
        features, _, lengths = encoded(self, x)
        mask = slot_mask(lengths, features.shape[1]).unsqueeze(-1)
        features = torch.where(mask, features, 0.0)
        return Context(features.new_empty(len(x), 0), aligned=features, aligned_lengths=lengths)

    def at(self, context: Context, position: Int[Tensor, "b n"]) -> Float[Tensor, "b n i"]:
        """xₜ for the step after `position` = t − 1 elements, 0 beyond the end."""
        aligned: Any = context.aligned
        time = aligned.shape[1]
        if not time:
            return aligned.new_zeros(*position.shape, aligned.shape[2])
        index = position.clamp(max=time - 1).unsqueeze(-1)
        return torch.where(
            (position < time).unsqueeze(-1), aligned.gather(1, index.expand(-1, -1, aligned.shape[2])), 0.0
        )

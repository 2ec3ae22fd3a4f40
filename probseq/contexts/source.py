"""A sequence of another length, summed up in one vector, or attended to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from probseq.context import Context
from probseq.contexts.base import ContextPart, Enters, check_enters
from probseq.contexts.reading import check_reading, conform_sequences, encoded, encoding_links
from probseq.part import require
from probseq.sequences import Sequences
from probseq.shapes import slot_mask
from probseq.structure import ENCODED, SOURCE, Links, Place, entrances


@dataclass(eq=False, repr=False)
class Source(ContextPart):
    """A sequence x, read by an encoder into the fixed-size context C (Goodfellow et al., Deep Learning, 10.4).

    With `FixedLength(1)` it is the network of figure 10.5, which reads a sequence and gives one output at its end. The
    encoder's features stay at hand for a recurrence that attends to them (`Attentive`).

    Args:
        reads: an element part that says what one xₜ is, as `Reals(12)` or `Tokens(26)`.
        encoder: an encoder part, as `Unidirectional(GRU(32))`, whose summary is C.
        enters: where C enters: "input", "state" or "both", as in `Vector`; None, nowhere: all that is known of x is
            what is attended to.

    Shapes:
        x: Sequences of b sequences, empty ones included, or a tensor (b, t, *e), where all have t elements.

    Raises:
        ValueError: `reads` is no element part, `encoder` no encoder part, or another `enters`.
    """

    reads: Any
    encoder: Any
    enters: Enters | None = "both"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.enters is not None:
            check_enters(self.enters)
        require(self.encoder is not None, "Source needs an encoder, such as Unidirectional(GRU(32)); got None.")
        check_reading(self)

    @property
    def width(self) -> int:
        return self.encoder.summary if self.enters is not None else 0

    @property
    def source_width(self) -> int:  # type: ignore[override]
        return self.encoder.features

    @property
    def event_dims(self) -> int:  # type: ignore[override]
        return 1 + len(self.reads.shape)

    def build(self) -> None:
        self.reads.build()
        self.encoder.build(self.reads.width)

    def links(self, steps: int) -> Links:
        """All of a source of as many elements goes into the summary C, and C enters; e can be attended to."""
        links = encoding_links(self, steps) + [(Place("C"), end) for end in entrances(self, steps)]
        return links + [(Place(ENCODED, t), Place(SOURCE, t)) for t in range(1, steps + 1)]

    def conform(self, x: Any) -> Sequences:
        return conform_sequences(self, x)

    def encode(self, x: Sequences) -> Context:
        features, summary, lengths = encoded(self, x)
        symbols = x.values if self.reads.discrete and not self.reads.shape and not self.shortens else None
        features = torch.where(slot_mask(lengths, features.shape[1]).unsqueeze(-1), features, 0.0)
        known: Any = summary if self.enters is not None else features.new_empty(len(x), 0)
        return Context(known, source=features, source_lengths=lengths, source_symbols=symbols)

    @property
    def shortens(self) -> bool:
        """Whether the encoder gives fewer features than it reads elements."""
        return getattr(self.encoder, "stride", 1) > 1

"""A sequence of another length, summed up in one vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from probseq.context import Context
from probseq.contexts.base import ContextPart, Enters, check_enters
from probseq.contexts.reading import check_reading, conform_sequences, encoded, encoding_links
from probseq.part import require
from probseq.sequences import Sequences
from probseq.structure import Links, Place, entrances


@dataclass(eq=False, repr=False)
class Source(ContextPart):
    """A sequence x, read by an encoder into the fixed-size context C (Goodfellow et al., Deep Learning, 10.4).

    With `FixedLength(1)` it is the network of figure 10.5, which reads a sequence and gives one output at its end.

    Args:
        reads: an element part that says what one xₜ is, as `Reals(12)` or `Tokens(26)`.
        encoder: an encoder part, as `Unidirectional(GRU(32))`, whose summary is C.
        enters: "input", "state" or "both", as in `Vector`.

    Shapes:
        x: Sequences of b sequences, empty ones included, or a tensor (b, t, *e), where all have t elements.

    Raises:
        ValueError: `reads` is no element part, `encoder` no encoder part, or another `enters`.
    """

    reads: Any
    encoder: Any
    enters: Enters = "both"

    def __post_init__(self) -> None:
        check_enters(self.enters)
        require(self.encoder is not None, "Source needs an encoder, such as Unidirectional(GRU(32)); got None.")
        check_reading(self)

    @property
    def width(self) -> int:
        return self.encoder.summary

    @property
    def event_dims(self) -> int:  # type: ignore[override]
        return 1 + len(self.reads.shape)

    def build(self) -> None:
        self.reads.build()
        self.encoder.build(self.reads.width)

    def links(self, steps: int) -> Links:
        """All of a source of as many elements goes into the summary C, and C enters."""
        return encoding_links(self, steps) + [(Place("C"), end) for end in entrances(self, steps)]

    def conform(self, x: Any) -> Sequences:
        return conform_sequences(self, x)

    def encode(self, x: Sequences) -> Context:
        _, summary, _ = encoded(self, x)
        return Context(summary)  # type: ignore[arg-type]

"""How a context reads a sequence x: an element part says what one xₜ is, an encoder part what becomes of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from probseq.part import Part, require
from probseq.sequences import Sequences
from probseq.structure import ENCODED, INPUT, OUTPUT, READ, SUMMARY, Links, Place, encoder_links, renamed


def check_reading(context: Any) -> None:
    """Raise ValueError unless `context.reads` is an element part that reads, and `context.encoder` an encoder part."""
    name = type(context).__name__
    reads, encoder = context.reads, context.encoder
    require(
        isinstance(reads, Part) and reads.kind == "element",
        f"{name} needs an element part that says what one xₜ is, as {name}(Reals(3)) or {name}(Tokens(26)); "
        f"got {reads!r}.",
    )
    width: Any = reads.width
    require(width > 0, f"{name} reads x: {reads.describe()} reads nothing. Leave feedback=False to the model's y.")
    require(
        encoder is None or (isinstance(encoder, Part) and encoder.kind == "encoder"),
        f"{name} takes an encoder such as Bidirectional(LSTM(32)) or Unidirectional(GRU(32)); got {encoder!r}.",
    )


def conform_sequences(context: Any, x: Any) -> Sequences:
    """x checked, and harmless in its padding.

    Raises:
        ValueError: x is neither Sequences nor a tensor (b, t, *e), or holds values outside the space of `reads`.
    """
    if isinstance(x, Tensor) and x.ndim == 2 + len(context.reads.shape):
        x = Sequences(x, [x.shape[1]] * len(x))
    if not isinstance(x, Sequences):
        got = f"a tensor {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"{context.describe()} takes x as Sequences, or as a tensor (batch, time, *element) where all are of one "
            f"length; got {got}. Use Sequences.of(list)."
        )
    try:
        return context.reads.conform(x).trim()
    except ValueError as error:
        raise ValueError(f"x: {error}") from error


def encoded(context: Any, x: Sequences) -> tuple[Tensor, Tensor | None, Tensor]:
    """Of a checked x, the features (b, t, h), the summary (b, c) if there is an encoder, and the features' lengths."""
    inputs = context.reads.read(x.values)
    lengths = x.lengths.to(x.device, non_blocking=True)
    if context.encoder is None:
        return inputs, None, lengths
    features, summary = context.encoder(inputs, lengths)
    stride = getattr(context.encoder, "stride", 1)
    return features, summary, -(-lengths // stride)


def encoding_links(context: Any, steps: int) -> Links:
    """What depends on what in a context's encoder: its features are called e, its summary C."""
    links = [(Place("x", t), Place(READ, t)) for t in range(1, steps + 1)]
    inside = [(a, b) for a, b in encoder_links(context.encoder, steps) if a.time is None or a.time >= 1]
    return links + renamed(inside, {"h": "e", INPUT: READ, OUTPUT: ENCODED, SUMMARY: "C"})

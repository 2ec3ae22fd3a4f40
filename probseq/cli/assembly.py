"""The model that suits the data, or the one that the user spells out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probseq.cli.reader import UNKNOWN, Reader, Vocabulary
from probseq.contexts import Labels, Source
from probseq.elements import Reals, Tokens
from probseq.encoders import Bidirectional
from probseq.likelihoods import Categorical, Gaussian
from probseq.model import SequenceModel
from probseq.recurrences import LSTM, Attentive
from probseq.saving import decode_parts
from probseq.scalings import Affine
from probseq.sequences import Sequences
from probseq.stops import BernoulliStop, EndSymbol


def assemble(
    reader: Reader, y: Sequences, size: int, layers: int, dropout: float, parts: Mapping[str, Any] | None
) -> SequenceModel:
    """An LSTM over symbols that ends by a symbol, or over numbers with a normal law in their own units.

    Args:
        y: the training data, of whose numbers location and scale are taken.
        parts: what to use instead, part by part, in the form of a saved config.json: `{"recurrence": {"part": "GRU",
            "hidden": 64}}`.

    Raises:
        ValueError: sizes out of range, or parts that are not known or do not go together.
    """
    recurrence = LSTM(size, layers, dropout)
    context = _context(reader, size, dropout)
    if reader.source:
        recurrence = Attentive(recurrence, dropout=dropout)
    made: dict[str, Any] = {"recurrence": recurrence, "context": context}
    if reader.y is not None:
        made |= {"element": _tokens(reader.y, dropout), "likelihood": Categorical(), "stop": EndSymbol()}
    else:
        scaling = Affine.of(y)
        made |= {"element": Reals(reader.dim or 1), "likelihood": Gaussian(), "stop": BernoulliStop()}
        made |= {"scaling": scaling}
    return SequenceModel(**made | decode_parts(parts or {}))


def _context(reader: Reader, size: int, dropout: float) -> Any:
    if reader.labels:
        return Labels(len(reader.levels))
    if reader.x is None:
        return None
    return Source(_tokens(reader.x, dropout), Bidirectional(LSTM(max(1, size // 2), dropout=dropout)), enters="state")


def _tokens(vocabulary: Vocabulary, dropout: float) -> Tokens:
    """Characters are known by the model too, so that it can be asked in texts from Python."""
    texts = vocabulary.kind == "characters" and UNKNOWN not in vocabulary.symbols
    symbols = "".join(vocabulary.symbols) if texts else None
    return Tokens(len(vocabulary.symbols), dropout=dropout, symbols=symbols)

"""The characters that a model's tokens stand for, so that questions may be asked in letters."""

from __future__ import annotations

from probseq.datasets.alphabet import Alphabet
from probseq.protocols import Autoregressive

ENGLISH = "abcdefghijklmnopqrstuvwxyz'"
"""What 26 or 27 tokens without symbols of their own are read as."""


def letters(model: Autoregressive, name: str) -> Alphabet:
    """The characters of the model's tokens; of 26 or 27 that declare none, a to z and the apostrophe.

    Raises:
        ValueError: elements that stand for no characters; `name` is who asks.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3, symbols="xyz"), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> letters(model, "example()").symbols
    'xyz'
    """
    symbols, size = getattr(model.element, "symbols", None), getattr(model.element, "size", None)
    if symbols is None and size in (26, 27):
        symbols = ENGLISH[:size]
    if symbols is None:
        raise ValueError(
            f"{name} was asked in characters, but {model.element!r} declares none. Pass numbers, or declare "
            "Tokens(size, symbols='…')."
        )
    return Alphabet(symbols)

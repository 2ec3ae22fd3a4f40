"""What a model carries after beginnings of different lengths, and states joined."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from probseq.context import State
from probseq.inference.sample import certainly_over
from probseq.inference.score import check, check_context, score_features
from probseq.inference.text import letters
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences
from probseq.tree import cat, select

T = TypeVar("T")


def beginnings(model: Autoregressive, prefix: Any, name: str) -> Sequences:
    """A prefix as open Sequences: from Sequences, a text, or a list of texts.

    Raises:
        ValueError: values outside the element's space, or longer than the model allows.
    """
    texts = [prefix] if isinstance(prefix, str) else prefix
    try:
        if not isinstance(texts, Sequences):
            texts = letters(model, name).encode(texts)
        y = check(model, texts)
    except ValueError as error:
        raise ValueError(f"prefix: {error}") from error
    return Sequences(y.values, y.lengths, False)


def read_prefix(model: Autoregressive, start: State, prefix: Sequences) -> State:
    """The state after each of b beginnings, from that before anything was read.

    Raises:
        ValueError: a beginning of probability 0, or one that fills all that its x allows.
    """
    check_context(prefix, start.context)
    states, rows = [], []
    for length in prefix.lengths.unique().tolist():
        own = (prefix.lengths == length).nonzero().squeeze(-1)
        index = own.to(start.features.device)
        rows.append(index)
        if not length:
            states.append(start.select(index))
            continue
        y = prefix.select(own).to(start.features.device)
        features, state = model.unroll(start.context.select(index), y.values)
        log_prob = score_features(model, features, state.context, y).log_prob
        lost = (~(log_prob > -torch.inf)).nonzero()
        if len(lost):
            row = int(own[int(lost[0])])
            raise ValueError(f"prefix {row} has probability 0, so nothing can be asked given it. Give another.")
        states.append(state)
    return select(cat(states), torch.cat(rows).argsort())


def beyond(model: Autoregressive, state: State, length: int) -> Tensor:
    """On the host, (b,): whether `length` elements after each state are all that there can be."""
    over = torch.zeros(state.batch, dtype=torch.bool)
    for position in state.position.unique().tolist():
        own = (state.position == position).to("cpu")
        over[own] = certainly_over(model, state.context, position + length)[own]
    return over

"""The chain rule walked forward over known sequences, a segment of time at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from probseq.context import Context, State
from probseq.inference.score import Score, check_batch, score_features
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences
from probseq.tree import tree_map


def score_segments(
    model: Autoregressive,
    y: Sequences,
    context: Any = None,
    segment: int = 64,
    checkpoint: bool = False,
    detach: bool = False,
) -> Float[Tensor, " b"]:
    """log P(y | x) of each sequence in nats, read in segments of `segment` elements, the state carried between them.

    The value is that of `score` (up to rounding) under every option; the options concern its gradient.

    Args:
        y: b sequences that conform to the model's element.
        context: what the model is conditioned on, batch b, or None.
        segment: elements read at once.
        checkpoint: keep the states between segments only, and compute each segment again when its gradient is
            asked for. The gradient is the same, dropout included; with segment ≈ √T the memory is O(√T), for a
            second forward pass (Gruslys et al., 2016).
        detach: cut the gradient of the state between segments: truncated back-propagation through time. The
            gradient is then not that of the value. Gradients still reach the context from every segment.

    Raises:
        ValueError: segment below 1, or y of another batch than the context.

    >>> import torch, probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.EndSymbol()).double()
    >>> y = ps.Sequences.of([[0, 1, 1, 0, 1], [1], []])
    >>> torch.allclose(score_segments(model, y, segment=2), model.log_prob(y))
    True
    """
    pieces = walk_segments(model, y, context, segment, checkpoint, detach)
    total = next(pieces)
    for piece in pieces:
        total = total + piece
    return total


def walk_segments(
    model: Autoregressive, y: Sequences, context: Any, segment: int, checkpoint: bool = False, detach: bool = False
) -> Iterator[Float[Tensor, " b"]]:
    """What each segment adds to log P(y | x), in order of time; see `score_segments`."""
    if segment < 1:
        raise ValueError(f"segment must be 1 or more elements; got {segment}.")
    state = model.start(Context.none(len(y), y.device) if context is None else context)
    check_batch(y, state.context)
    y = y.to(state.features.device)
    for begin in range(0, max(y.values.shape[1], 1), segment):
        part = piece(y, begin, segment)
        if checkpoint:
            log_prob, state = recompute(score_piece, model, state, part, begin, use_reentrant=False)  # type: ignore[misc]
        else:
            log_prob, state = score_piece(model, state, part, begin)
        yield log_prob
        state = _cut(state) if detach else state


def piece(y: Sequences, begin: int, segment: int) -> Sequences:
    """The elements from `begin` on, `segment` at most; an end belongs to the piece that holds the last element."""
    values = y.values[:, begin : begin + segment]
    lengths = (y.lengths - begin).clamp(0, values.shape[1])
    here = (y.lengths <= begin + segment) & ((y.lengths > begin) | (begin == 0))
    return Sequences(values, lengths, y.ended & here)


def score_piece(model: Autoregressive, state: State, y: Sequences, begin: int) -> tuple[Float[Tensor, " b"], State]:
    """What a piece of sequences of which `begin` elements were read adds to log P(y | x), and the state after it."""
    score, after = read_piece(model, state, y, begin)
    return score.log_prob, after


def read_piece(model: Autoregressive, state: State, y: Sequences, begin: int) -> tuple[Score, State]:
    """The same, factor by factor."""
    features, after = model.extend(state, y.values)
    features = torch.cat([state.features.unsqueeze(1), features], 1)
    return score_features(model, features, state.context, y, begin), _compact(after)


def _compact(state: State) -> State:
    """Without views of larger tensors: the last of the features would keep those of the whole segment alive."""

    def own(leaf: Tensor) -> Tensor:
        return leaf.clone() if leaf.untyped_storage().nbytes() > leaf.numel() * leaf.element_size() else leaf

    return dataclasses.replace(state, features=own(state.features), memory=tree_map(own, state.memory))


def _cut(state: State) -> State:
    return dataclasses.replace(
        state, features=state.features.detach(), memory=tree_map(lambda leaf: leaf.detach(), state.memory)
    )

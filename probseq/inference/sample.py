"""The chain rule walked forward by drawing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probseq.context import Context, State
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

DEFAULT_MAX_LENGTH = 256
"""Where neither the caller nor the stop law bounds a sequence."""

COMPACT_EVERY = {"cpu": 1}
"""Steps between two looks at which sequences are left; 8 on an accelerator, which waits for the host at each look."""


@torch.no_grad()
def sample(
    model: Autoregressive,
    num_samples: int = 1,
    context: Any = None,
    max_length: int | None = None,
    generator: Seed = None,
) -> Sequences:
    """Draw sequences exactly from the model, one element at a time; finished ones leave the batch.

    Args:
        num_samples: how many sequences, or, given a context of batch b, how many for each of its rows.
        context: what the model is conditioned on, or None.
        max_length: where a sequence that has not ended is cut: it comes back with `ended=False`, never with a
            false end. By default the stop law's longest, else 256.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Returns:
        Sequences of batch b · num_samples, the draws for one row of the context side by side.

    Raises:
        ValueError: num_samples or max_length below 0.
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must be 0 or more; got {num_samples}.")
    if max_length is None:
        max_length = DEFAULT_MAX_LENGTH if model.max_length is None else model.max_length
    if max_length < 0:
        raise ValueError(f"max_length must be 0 or more; got {max_length}.")
    state = model.start(Context.none(1) if context is None else context)
    rows = torch.arange(state.batch, device=state.features.device)
    state = state.select(rows.repeat_interleave(num_samples))
    with seeded(generator, state.features.device):
        return _ancestral(model, state, max_length)


def _ancestral(model: Autoregressive, state: State, max_length: int) -> Sequences:
    batch, device = state.batch, state.features.device
    every = COMPACT_EVERY.get(device.type, 8)
    rows = torch.arange(batch, device=device)
    going = torch.ones(batch, dtype=torch.bool, device=device)
    lengths = torch.zeros(batch, dtype=torch.int64, device=device)
    columns: list[Tensor] = []
    for position in range(max_length):
        if not len(rows):
            break
        step = model.emit(state.features, state.position, state.context)
        going &= torch.rand_like(step.log_stop).log() >= step.log_stop
        y = step.element.sample()
        column = y.new_zeros(batch, *y.shape[1:])
        column[rows] = y
        columns.append(column)
        lengths[rows] += going
        if position % every == 0 and not bool(going.all()):
            left = going.nonzero().squeeze(-1)
            state, rows, y, going = state.select(left), rows[left], y[left], going[left]
        if len(rows) and position + 1 < max_length:
            state = model.extend(state, y.unsqueeze(1))[1]
    # Where the stop law allows no more elements either, the end is not a cut.
    certain = model.max_length is not None and max_length >= model.max_length
    ended = torch.ones(batch, dtype=torch.bool, device=device)
    ended[rows[going]] = certain
    if not columns:
        shape, discrete = model.element.shape, model.element.discrete
        empty = torch.zeros(batch, 0, *shape, dtype=torch.int64 if discrete else state.features.dtype, device=device)
        return Sequences(empty, lengths, ended)
    return Sequences(torch.stack(columns, 1), lengths, ended).trim()

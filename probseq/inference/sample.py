"""The chain rule walked forward by drawing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context, State
from probseq.inference.captured import captured
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, draw, seeded
from probseq.sequences import Sequences

DEFAULT_MAX_LENGTH = 256
"""Where neither the caller nor the stop law bounds a sequence."""

COMPACT_EVERY = {"cpu": 1}
"""Steps between two looks at which sequences are left; 8 on an accelerator, which waits for the host at each look."""

SHARED = 0.95
"""Sequences of one past share its state while there are at most so many pasts for each sequence."""


@checked
@torch.no_grad()
def sample(
    model: Autoregressive,
    num_samples: int = 1,
    context: Any = None,
    max_length: int | None = None,
    generator: Seed = None,
    capture: bool = False,
) -> Sequences:
    """Draw sequences exactly from the model, one element at a time; finished ones leave the batch.

    Args:
        num_samples: how many sequences, or, given a context of batch b, how many for each of its rows.
        context: what the model is conditioned on, or None.
        max_length: where a sequence that has not ended is cut: it comes back with `ended=False`, never with a
            false end. By default the longest that the stop law or an aligned x allows, else 256.
        generator: a torch.Generator or an integer seed; by default torch's global state.
        capture: on a GPU, launch each step as one CUDA graph. It pays for long sequences in small batches; the model
            must not wait for the host inside a step, as drawing from a Pyro distribution of another kind than
            Categorical may.

    Returns:
        Sequences of batch b · num_samples, the draws for one row of the context side by side.

    Raises:
        ValueError: num_samples or max_length below 0, or a model that is not causal.
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must be 0 or more; got {num_samples}.")
    require_causal(model, "sample()")
    state = model.start(Context.none(1) if context is None else context)
    max_length = longest(model, state.context) if max_length is None else max_length
    if max_length < 0:
        raise ValueError(f"max_length must be 0 or more; got {max_length}.")
    rows = torch.arange(state.batch, device=state.features.device).repeat_interleave(num_samples)
    over = certainly_over(model, state.context, max_length).repeat_interleave(num_samples)
    settle = getattr(model, "settle", None)
    with seeded(generator, state.features.device):
        if not capture and _can_share(model, state):
            return ancestral(model, state, max_length, over, rows)
        state = state.select(rows) if settle is None else settle(state, rows)
        return (captured if capture else ancestral)(model, state, max_length, over)


def require_causal(model: Autoregressive, name: str) -> None:
    """Raise ValueError where a model says that its features depend on elements that are not drawn yet."""
    leak = getattr(model, "leak", None)
    found = None if leak is None else leak()
    if found is not None:
        raise ValueError(
            f"{name} draws one element after the other and needs a causal recurrence, but here the features at step "
            f"{found[0]} depend on the input at step {found[1]}. What sees all of x belongs into a context: "
            "Aligned(…, encoder=…)."
        )


def longest(model: Autoregressive, context: Context) -> int:
    """The most elements a sequence can have, as the stop law or the context says, else DEFAULT_MAX_LENGTH."""
    if context.limit is None:
        return DEFAULT_MAX_LENGTH if model.max_length is None else model.max_length
    limit = int(context.limit.max()) if context.batch else 0
    return limit if model.max_length is None else min(limit, model.max_length)


def certainly_over(model: Autoregressive, context: Context, length: int) -> Bool[Tensor, " b"]:
    """On the host, whether `length` elements are all that a sequence can have, so that its end there is no cut."""
    over = torch.full((context.batch,), model.max_length is not None and length >= model.max_length)
    return over if context.limit is None else over | (length >= context.limit.to("cpu"))


def _can_share(model: Autoregressive, state: State) -> bool:
    """Whether equal pasts are easily found, and make equal states: not where a length is drawn beforehand for each."""
    if state.features.device.type != "cpu" or not model.element.discrete or model.element.shape:
        return False
    settle = getattr(model, "settle", None)
    none = torch.arange(0, device=state.features.device)
    return settle is None or (settle(state, none).context.planned is None) == (state.context.planned is None)


def ancestral(
    model: Autoregressive,
    state: State,
    max_length: int,
    over: Bool[Tensor, " b"],
    of: Int[Tensor, " b"] | None = None,
) -> Sequences:
    """One element at a time.

    Args:
        over: where an end at `max_length` is no cut.
        of: the row of `state` that each sequence begins with, shared with those of the same past as long as there are
            many; None: its own.
    """
    batch, device = len(over), state.features.device
    every = COMPACT_EVERY.get(device.type, 8)
    rows = torch.arange(batch, device=device)
    going = torch.ones(batch, dtype=torch.bool, device=device)
    lengths = torch.zeros(batch, dtype=torch.int64, device=device)
    columns: list[Tensor] = []
    for position in range(max_length):
        if not len(rows):
            break
        seen = state if of is None else replace(state, context=state.context.without_steps(), memory=()).select(of)
        step = model.emit(seen.features, seen.position, seen.context)
        going &= torch.rand_like(step.log_stop).log() >= step.log_stop
        y = draw(step.element)
        column = y.new_zeros(batch, *y.shape[1:])
        column[rows] = y
        columns.append(column)
        lengths[rows] += going
        if position % every == 0 and not bool(going.all()):
            left = going.nonzero().squeeze(-1)
            rows, y, going = rows[left], y[left], going[left]
            state, of = (state.select(left), None) if of is None else (state, of[left])
        if len(rows) and position + 1 < max_length:
            state, of = _read(model, state, y, of)
    ended = torch.ones(batch, dtype=torch.bool, device=device)
    ended[rows[going]] = over.to(device)[rows[going]]
    if not columns:
        shape, discrete = model.element.shape, model.element.discrete
        empty = torch.zeros(batch, 0, *shape, dtype=torch.int64 if discrete else state.features.dtype, device=device)
        return Sequences(empty, lengths, ended)
    return Sequences(torch.stack(columns, 1), lengths, ended).trim()


def _read(
    model: Autoregressive, state: State, y: Tensor, of: Int[Tensor, " n"] | None
) -> tuple[State, Int[Tensor, " n"] | None]:
    """The states after an element y (n, *e) of each sequence, and which of them each has; each past is read once."""
    if of is None:
        return model.extend(state, y.unsqueeze(1))[1], None
    symbols = int(y.max()) + 1
    pasts, own = (of * symbols + y).unique(return_inverse=True)
    if len(pasts) > SHARED * len(y):
        return model.extend(state.select(of), y.unsqueeze(1))[1], None
    before = state.select(torch.div(pasts, symbols, rounding_mode="floor"))
    return model.extend(before, pasts.remainder(symbols).unsqueeze(1))[1], own

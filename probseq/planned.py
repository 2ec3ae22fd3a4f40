"""A length that is drawn first, carried as the exact mixture over it.

P(y₁ … yₜ) = Σ_τ P(τ | x) P(y₁ … yₜ | τ, x). With K = longest + 1 lengths, a state holds the K states of the network
given each τ, and what has been read has made of log P(τ): the features of a step are those of the K networks side by
side, then the K log-weights, up to one constant for all.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from probseq.arguments import as_numbers
from probseq.context import Context, State
from probseq.inference.score import score_features
from probseq.nextstep import NextStep
from probseq.numerics import at_least_float32, log_sum, promoted
from probseq.sequences import Sequences
from probseq.tree import select, tree_map


def unroll(model: Any, context: Context, y: Tensor) -> tuple[Tensor, State]:
    """`model.unroll` with the length not known."""
    lengths = model.stop.max_length + 1
    features, state = model.unroll(_spread(context, lengths), y.repeat_interleave(lengths, 0))
    prior = model.stop.log_pmf(context).expand(context.batch, lengths)
    nothing = torch.zeros_like(state.position.view(-1, lengths)[:, 0])
    weights = _weights(model, prior, features[:, :-1], model.scaled(y, context), nothing)
    return _gathered(model, features, weights, state, context)


def extend(model: Any, state: State, y: Tensor) -> tuple[Tensor, State]:
    """`model.extend` with the length not known."""
    lengths = model.stop.max_length + 1
    before = state.features[:, -lengths:]
    given = State(
        _apart(state.features, lengths).flatten(0, 1),
        tree_map(lambda leaf: leaf.flatten(0, 1), state.memory),
        state.position.repeat_interleave(lengths, 0),
        _spread(state.context, lengths),
    )
    features, after = model.extend(given, y.repeat_interleave(lengths, 0))
    emitting = torch.cat([given.features.unsqueeze(1), features[:, :-1]], 1)
    weights = _weights(model, before, emitting, model.scaled(y, state.context), state.position)
    return _gathered(model, features, weights[:, 1:], after, state.context)


def emit(model: Any, features: Tensor, position: Tensor) -> NextStep:
    """`model.emit` with the length not known: the mixture over the lengths that are still possible."""
    lengths, shape = model.stop.max_length + 1, features.shape[:-1]
    weights = features[..., -lengths:]
    hidden = _apart(features, lengths)
    length = torch.arange(lengths, device=features.device)
    place = position.expand(shape).unsqueeze(-1)
    total, onward = _log_sum(weights, length >= place), _log_sum(weights, length > place)
    here = _log_sum(weights, length == place)
    # After a prefix of probability 0 the end is certain: some law must stand there.
    lost = total == -torch.inf
    total = torch.where(lost, 0.0, total)
    log_stop, log_go = torch.where(lost, 0.0, here - total), onward - total
    goes = (length > place) & (onward > -torch.inf).unsqueeze(-1)
    mixing = torch.where(goes.any(-1, keepdim=True), weights.masked_fill(~goes, -torch.inf), 0.0)
    return NextStep(model.likelihood.mix(hidden, mixing.log_softmax(-1)), log_stop, log_go)


def settle(model: Any, state: State, index: Tensor) -> State:
    """For each of the rows `index`, one of the K networks, its length drawn given what was read.

    Sampling needs no mixture, and many draws need no copy of it each.
    """
    lengths = model.stop.max_length + 1
    weights = state.features[:, -lengths:]
    # After a prefix of probability 0 no length is left: the longest stands there.
    lost = (weights == -torch.inf).all(-1, keepdim=True)
    last = torch.arange(lengths, device=weights.device) == lengths - 1
    weights = torch.where(lost & last, 0.0, weights)[index]
    drawn = torch.distributions.Categorical(logits=weights, validate_args=False).sample()
    hidden = _apart(state.features, lengths)[index, drawn]
    memory = tree_map(lambda leaf: leaf[index, drawn], state.memory)
    context = dataclasses.replace(state.context.select(index), planned=drawn)
    return State(hidden, memory, state.position[index], context)


def _apart(features: Tensor, lengths: int) -> Tensor:
    """The features of each of the K networks, (*b, K, h): without −1 as a size, which a batch of 0 does not tell."""
    return features[..., :-lengths].unflatten(-1, (lengths, features.shape[-1] // lengths - 1))


def log_prob(model: Any, y: Sequences, context: Context) -> Tensor:
    """log P(y | x), (b,): one pass where a sequence ended, whose length is known; a log-sum over τ where it is open."""
    ended, open_ = (mask.nonzero().squeeze(-1) for mask in (y.ended, ~y.ended))
    found = at_least_float32(context.summary.new_zeros(len(y)))
    for rows, known in ((ended, True), (open_, False)):
        if not len(rows):
            continue
        index = rows.to(found.device)
        some, own = y.select(rows), context.select(index)
        if known:
            own, prior = given(model, some, own)
            log_prob = _log_prob_given(model, some, own) + prior
        else:
            log_prob = _log_prob_open(model, some, own)
        found = found.index_copy(0, index, log_prob)
    return found


def _log_prob_given(model: Any, y: Sequences, context: Context) -> Tensor:
    """log P(y | τ, x), (b,), for a context that holds τ."""
    features, state = model.unroll(context, y.values)
    return score_features(model, features, state.context, y).log_prob


def _log_prob_open(model: Any, y: Sequences, context: Context) -> Tensor:
    """log Σ_τ P(τ | x) P(y begins so | τ, x), (b,), over the τ that are not behind."""
    lengths = model.stop.max_length + 1
    rows, planned = (torch.arange(lengths) >= y.lengths.unsqueeze(1)).nonzero().unbind(1)
    index, some = rows.to(y.device), y.select(rows)
    own = dataclasses.replace(context.select(index), planned=planned.to(y.device))
    weights = model.stop.log_pmf(context).expand(len(y), lengths)
    joint = weights[index, own.planned] + _log_prob_given(model, some, own)
    table = torch.full_like(weights, -torch.inf, dtype=joint.dtype).index_put((index, own.planned), joint)
    return _log_sum(table, torch.ones_like(table, dtype=torch.bool))


def given(model: Any, y: Sequences, context: Context) -> tuple[Context, Tensor]:
    """The context with τ = the length of y, and log P(τ | x), (b,).

    Raises:
        ValueError: a sequence that has not ended.
    """
    if not bool(y.ended.all()):
        raise ValueError(
            f"sequence {int((~y.ended).nonzero()[0])} has not ended, so its planned length is not known. Use "
            "log_prob(), which sums over it."
        )
    lengths = y.lengths.to(context.summary.device)
    log_pmf = model.stop.log_pmf(context).expand(len(y), -1)
    return dataclasses.replace(context, planned=lengths), log_pmf.gather(1, lengths.unsqueeze(1)).squeeze(1)


def check_lengths(model: Any, lengths: Any) -> Tensor:
    """Planned lengths as an int64 tensor (b,).

    Raises:
        ValueError: the model plans none, or one below 0 or above the longest.
    """
    if not model.stop.plans:
        raise ValueError(f"a planned length needs stop=PlannedLength(n); this model has {model.stop.describe()}.")
    lengths = as_numbers("lengths", lengths).reshape(-1)
    bad = ((lengths < 0) | (lengths > model.stop.max_length)).nonzero()
    if lengths.is_floating_point() or len(bad):
        got = lengths.dtype if lengths.is_floating_point() else int(lengths[int(bad[0])])
        raise ValueError(f"a planned length must be an integer in 0…{model.stop.max_length}; got {got}.")
    return lengths.to(torch.int64)


def _spread(context: Context, lengths: int) -> Context:
    """Each row of the context with each length."""
    rows = torch.arange(context.batch, device=context.summary.device)
    spread = select(context, rows.repeat_interleave(lengths))
    return dataclasses.replace(spread, planned=torch.arange(lengths, device=rows.device).repeat(context.batch))


def _weights(model: Any, before: Tensor, features: Tensor, y: Tensor, position: Tensor) -> Tensor:
    """log P(τ | …) (b, n + 1, K) before the first of n elements y, which are scaled, and after each; −∞ where τ is
    behind."""
    (batch, lengths), n = before.shape, y.shape[1]
    reached = position.unsqueeze(1) + torch.arange(n + 1, device=y.device)
    behind = torch.arange(lengths, device=y.device) < reached.unsqueeze(-1)
    weights = before.unsqueeze(1)
    if n and batch:
        flat = promoted(y, features).repeat_interleave(lengths, 0).flatten(0, 1)
        each = model.likelihood.log_prob(features.flatten(0, 1), flat).view(batch, lengths, n).transpose(1, 2)
        # What all lengths share says nothing of the length, and would swamp in float32 what does.
        best = each.detach().masked_fill(behind[:, 1:], -torch.inf).amax(-1, keepdim=True)
        each = torch.where(best > -torch.inf, each - best, 0.0)
        weights = torch.cat([weights, weights + each.cumsum(1)], 1)
    elif n:
        weights = weights.expand(batch, n + 1, lengths)
    return weights.masked_fill(behind, -torch.inf)


def _gathered(model: Any, features: Tensor, weights: Tensor, state: State, context: Context) -> tuple[Tensor, State]:
    """What the networks given each τ came to (b · K, …), as one row for each sequence."""
    batch, lengths = weights.shape[0], weights.shape[-1]
    for found in model.watched if batch else ():
        share = torch.where((weights == -torch.inf).all(-1, keepdim=True), 0.0, weights).softmax(-1)
        found[-1] = torch.einsum("bkns,bnk->bns", found[-1].unflatten(0, (batch, lengths)), share.to(found[-1]))
    hidden = features.view(batch, lengths, *features.shape[1:]).transpose(1, 2).flatten(2)
    joint = torch.cat([hidden, weights], -1)
    memory = tree_map(lambda leaf: leaf.view(batch, lengths, *leaf.shape[1:]), state.memory)
    return joint, State(joint[:, -1], memory, state.position.view(batch, lengths)[:, 0], context)


def _log_sum(weights: Tensor, among: Tensor) -> Tensor:
    """log Σ exp over the places that are `among`: −∞, with no gradient, where there are none or all are −∞."""
    return log_sum(weights.masked_fill(~among, -torch.inf))

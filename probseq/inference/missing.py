"""Missing values inside sequences of known length: log P of what is observed, by particles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import Context, State
from probseq.inference.partial import complete
from probseq.inference.sample import require_causal
from probseq.inference.score import Score, check, check_context, score_features
from probseq.numerics import log_sum, promoted
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

ROWS = 1 << 13
"""Particles of all sequences that are carried at once: bounds the memory."""


@dataclass(frozen=True)
class MarginalEstimate:
    """An estimate of log P(observed values | x) for each sequence.

    Shapes:
        log_prob: (b,), log Ẑ in nats, where E[Ẑ] = P; exact where nothing is missing, −∞ where no particle was left.
        standard_error: (b,), of Ẑ, relative to it: that of log Ẑ where it is small; 0 where `log_prob` is exact.
        ess: (b,), the smallest effective sample size on the way, (Σ w)² / Σ w².
        dead: (b,), int64, the position at which the last particle was lost, or −1.
    """

    log_prob: Float[Tensor, " b"]
    standard_error: Float[Tensor, " b"]
    ess: Float[Tensor, " b"]
    dead: Int[Tensor, " b"]


@torch.no_grad()
def marginal_log_prob(
    model: Autoregressive,
    y: Sequences,
    context: Any = None,
    particles: int = 64,
    threshold: float = 0.5,
    generator: Seed = None,
) -> MarginalEstimate:
    """Estimate log P(what is observed of y | x), where some values inside the sequences are missing.

    Each particle draws the missing values from the model's own predictive and is weighted by what the model then says
    of the observed ones, the length and the end included. Particles are resampled (systematically) where the
    effective sample size falls below a share of their number. Ẑ, the product of mean weights, is unbiased, so that
    E[log Ẑ] ≤ log P.

    Args:
        y: b sequences of known length. In their used slots a missing token is −1 and a missing real number NaN; a
            vector may be missing in part.
        context: what the model is conditioned on, batch b, or None.
        particles: for each sequence.
        threshold: the share of `particles` below which they are resampled; 0 never does.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: particles below 1, a threshold outside [0, 1], a model that is not causal, observed values that do
            not fit the model, or an element that is partly missing under a law that cannot be conditioned on a part.

    Source: Gordon et al., Novel approach to nonlinear/non-Gaussian Bayesian state estimation, 1993 (the particles);
    Chan & Lai, A general theory of particle filters, 2013 (the error, from the weights by common ancestor).

    >>> from probseq.oracles import Automaton
    >>> model = Automaton("ab", [{"a": (0.6, 1), "b": (0.4, 0)}, {}])
    >>> found = marginal_log_prob(model, Sequences.of([[-1, 0], [1, 0]]), generator=0)
    >>> [round(p, 1) for p in found.log_prob.exp().tolist()]  # P(b a) = 0.24 twice: the first symbol cannot be a
    [0.2, 0.2]
    """
    if particles < 1:
        raise ValueError(f"particles must be 1 or more; got {particles}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is a share of the particles, in [0, 1]; got {threshold}.")
    require_causal(model, "marginal_log_prob()")
    state = model.start(Context.none(len(y), y.device) if context is None else context)
    every, device = state.context, state.features.device
    with seeded(generator, device):
        y, observed = conform_observed(model, y, _example(model, state))
        check_context(y, every)
        y, observed = y.to(device), observed.to(device)
        incomplete = (~observed).flatten(1).any(1).to("cpu")
        whole, gaps = (~incomplete).nonzero().squeeze(-1), incomplete.nonzero().squeeze(-1)
        found = [_exact(model, y.select(whole), every.select(whole.to(device)), particles)]
        size = max(1, ROWS // particles)
        for rows in (gaps[begin : begin + size] for begin in range(0, len(gaps), size)):
            index, some = rows.to(device), y.select(rows)
            seen = observed.index_select(0, index)[:, : some.values.shape[1]]
            found.append(_Filter(model, some, seen, every.select(index), particles, threshold).run())
    back = torch.cat([whole, gaps]).argsort().to(device)
    parts = zip(*((e.log_prob, e.standard_error, e.ess, e.dead) for e in found), strict=True)
    return MarginalEstimate(*(torch.cat(part)[back] for part in parts))


def is_observed(y: Sequences) -> Bool[Tensor, "b t *e"]:
    """False where a used slot holds −1 (integers) or NaN (reals); True in the padding."""
    known = ~torch.isnan(y.values) if y.values.is_floating_point() else y.values != -1
    return known | ~y.mask().reshape(*y.values.shape[:2], *[1] * (y.values.ndim - 2))


def stand_in(y: Sequences, example: Tensor | None = None) -> tuple[Sequences, Bool[Tensor, "b t *e"]]:
    """y with other values of the data in place of what is missing, so that it can be checked and read; and the mask.

    A missing integer is 0; of a missing real vector each entry takes the first value that is observed of that entry,
    so that it lies in whatever support the data lie in. Where nothing is observed at all that is `example`, else 0.
    """
    observed = is_observed(y)
    if not y.values.is_floating_point():
        return Sequences(torch.where(observed, y.values, 0), y.lengths, y.ended), observed
    element = y.values.shape[2:]
    if not y.values.numel():
        return y, observed
    values = y.values.flatten(0, 1).flatten(1) if element else y.values.reshape(-1, 1)
    real = y.mask().reshape(-1, 1)
    known = (observed.flatten(0, 1).flatten(1) if element else observed.reshape(-1, 1)) & real
    first = values.gather(0, known.to(torch.uint8).argmax(0, keepdim=True)).squeeze(0)
    some = known.any(0)
    zero = torch.zeros_like(first) if example is None else example.to(first).flatten()
    other = torch.where(some.any(), first[some.to(torch.uint8).argmax()], zero)
    stand = torch.where(some, first, other).reshape(element)
    return Sequences(torch.where(observed, y.values, stand), y.lengths, y.ended), observed


def conform_observed(
    model: Autoregressive, y: Sequences, example: Tensor | None = None
) -> tuple[Sequences, Bool[Tensor, "b t *e"]]:
    """y checked as far as it is observed, other values standing in for the missing ones; and the mask.

    Raises:
        ValueError: observed values that do not fit the model's element, or y longer than its longest.
    """
    filled, observed = stand_in(y, example)
    checked = check(model, filled)
    width, dims = checked.values.shape[1], checked.values.ndim
    return checked, observed[:, :width] if observed.ndim == dims else torch.ones_like(checked.values, dtype=torch.bool)


def _example(model: Autoregressive, state: State) -> Tensor | None:
    """An element as the model draws it, (*e)."""
    if model.element.discrete or not state.batch:
        return None
    return model.emit(state.features, state.position, state.context).element.sample()[0]


def draw_missing(
    model: Autoregressive, context: Context, y: Sequences, observed: Bool[Tensor, "b t *e"]
) -> tuple[Sequences, Float[Tensor, " b"]]:
    """Draw what is missing of each sequence, step by step, each value given what stands before it.

    Returns:
        The sequences filled, and log q (b,), nats: the log-probability of all that was drawn.
    """
    first, last = _span(observed)
    features, state = model.unroll(context, y.values[:, :first])
    values = list(y.values.unbind(1))
    log_q = features.new_zeros(len(y))
    for t in range(first, last + 1):
        law = model.emit(state.features, state.position, state.context).element
        drawn, log_observed = complete(law, promoted(values[t], state.features), observed[:, t])
        missing = (~observed[:, t]).reshape(len(y), -1).any(1) & (log_observed > -torch.inf)
        log_q = log_q + torch.where(missing, law.log_prob(drawn) - log_observed, 0.0)
        values[t] = drawn
        state = model.extend(state, drawn.unsqueeze(1))[1] if t < last else state
    dtype = values[first].dtype
    return Sequences(torch.stack([value.to(dtype) for value in values], 1), y.lengths, y.ended), log_q


def _span(observed: Tensor) -> tuple[int, int]:
    """The first and the last column in which anything is missing."""
    columns = (~observed).flatten(2).any(2).any(0) if observed.ndim > 2 else (~observed).any(0)
    where = columns.nonzero()
    return int(where[0]), int(where[-1])


def _exact(model: Autoregressive, y: Sequences, context: Context, particles: int) -> MarginalEstimate:
    features, state = model.unroll(context, y.values)
    score = score_features(model, features, state.context, y)
    log_prob = score.log_prob
    every = torch.full_like(log_prob, particles)
    dead = _lost(torch.zeros_like(log_prob).unsqueeze(1), score, 0)
    return MarginalEstimate(log_prob, torch.zeros_like(log_prob), every, dead)


def _lost(before: Float[Tensor, "b k"], score: Score, offset: int) -> Int[Tensor, " b"]:
    """Where the last of k particles dies of the factors of `score` (b · k rows), or −1."""
    steps = score.stop.clone()
    steps[:, :-1] += score.element
    gone = before.reshape(-1, 1) + steps.cumsum(1) == -torch.inf
    gone = gone.reshape(*before.shape, steps.shape[1]).all(1)
    return torch.where(gone.any(1), gone.to(torch.uint8).argmax(1) + offset, -1)


class _Filter:
    """Particles for a batch of sequences in each of which something is missing.

    Shapes:
        log_weights: (b, k), since the last resampling. log_prob: (b,), what came before. ancestor: (b, k), whom of the
        first k each particle descends from.
    """

    def __init__(
        self, model: Autoregressive, y: Sequences, observed: Tensor, context: Context, count: int, threshold: float
    ) -> None:
        self.model, self.y, self.observed, self.context = model, y, observed, context
        self.count, self.threshold = count, threshold
        self.first, self.last = _span(observed)
        columns = torch.arange(observed.shape[1], device=y.device)
        missing = (~observed).flatten(2).any(2) if observed.ndim > 2 else ~observed
        self.until = torch.where(missing, columns, -1).amax(1)
        self.rows = torch.arange(len(y), device=y.device).repeat_interleave(count)

    def run(self) -> MarginalEstimate:
        state = self._begin()
        for t in range(self.first, self.last + 1):
            state = self._step(state, t)
        self._finish(state)
        share = self.log_weights - log_sum(self.log_weights).unsqueeze(1)
        share = torch.where(self.dead.unsqueeze(1) < 0, share, 0.0).exp()
        by_ancestor = torch.zeros_like(share).scatter_add(1, self.ancestor, share)
        spread = (self.count * by_ancestor.square().sum(1) - 1) / max(self.count - 1, 1)
        error = spread.clamp(min=0).sqrt() if self.count > 1 else torch.full_like(spread, torch.inf)
        self._watch()
        alive = self.dead < 0
        log_prob = torch.where(alive, self.log_prob + self._log_mean(), -torch.inf)
        error, ess = (torch.where(alive, part, 0.0) for part in (error, self.ess))
        return MarginalEstimate(log_prob, error, ess, self.dead)

    def _begin(self) -> State:
        """What comes before the first missing value is common to all particles."""
        features, state = self.model.unroll(self.context, self.y.values[:, : self.first])
        head = Sequences(self.y.values[:, : self.first], self.y.lengths.clamp(max=self.first), False)
        score = score_features(self.model, features, state.context, head)
        self.log_prob = score.log_prob
        self.dead = _lost(torch.zeros_like(self.log_prob).unsqueeze(1), score, 0)
        self.log_weights = self.log_prob.new_zeros(len(self.y), self.count)
        self.ess = torch.full_like(self.log_prob, self.count)
        own = torch.arange(self.count, device=self.rows.device)
        self.ancestor = own.expand(len(self.y), -1)
        self.lengths = self.y.lengths.to(self.rows.device)[self.rows]
        self.ended = self.y.ended.to(self.rows.device)[self.rows]
        return state.select(self.rows)

    def _step(self, state: State, t: int) -> State:
        step = self.model.emit(state.features, state.position, state.context)
        values = promoted(self.y.values[self.rows, t], state.features)
        filled, log_observed = complete(step.element, values, self.observed[self.rows, t])
        end = torch.where((self.lengths == t) & self.ended, step.log_stop, 0.0)
        factor = torch.where(self.lengths > t, step.log_go + log_observed, end)
        self.log_weights = self.log_weights + factor.reshape(self.log_weights.shape)
        gone = (self.log_weights == -torch.inf).all(1) & (self.dead < 0)
        self.dead = torch.where(gone, t, self.dead)
        few = (self._watch() < self.threshold * self.count) & (self.until > t) & (self.dead < 0)
        if bool(few.any()):
            index = self._resample(few)
            state, filled = state.select(index), filled[index]
        return self.model.extend(state, filled.unsqueeze(1))[1]

    def _finish(self, state: State) -> None:
        """What comes after the last missing value takes one call."""
        begin = self.last + 1
        tail = self.y.values[self.rows, begin:]
        after = self.model.extend(state, tail)[0]
        y = Sequences(tail, (self.lengths - begin).clamp(min=0), self.ended & (self.lengths >= begin))
        features = torch.cat([state.features.unsqueeze(1), after], 1)
        score = score_features(self.model, features, state.context, y, begin)
        lost = _lost(self.log_weights, score, begin)
        self.dead = torch.where(self.dead < 0, lost, self.dead)
        self.log_weights = self.log_weights + score.log_prob.reshape(self.log_weights.shape)

    def _log_mean(self) -> Float[Tensor, " b"]:
        return log_sum(self.log_weights) - math.log(self.count)

    def _watch(self) -> Float[Tensor, " b"]:
        """The effective sample size now; the smallest is kept."""
        safe = torch.where((self.log_weights > -torch.inf).any(1, keepdim=True), self.log_weights, 0.0)
        ess = 1 / safe.softmax(1).square().sum(1)
        self.ess = torch.minimum(self.ess, ess)
        return ess

    def _resample(self, which: Bool[Tensor, " b"]) -> Int[Tensor, " n"]:
        """Particles of the rows `which` anew, by one uniform number a row; the flat index of all."""
        safe = torch.where(which.unsqueeze(1), self.log_weights, 0.0)
        edges = safe.softmax(1).cumsum(1)
        points = torch.arange(self.count, device=edges.device) + torch.rand_like(edges[:, :1])
        # Rounding must not leave the last points beyond the last edge.
        chosen = torch.searchsorted(edges / edges[:, -1:], points / self.count, right=True).clamp(max=self.count - 1)
        own = torch.arange(self.count, device=edges.device)
        chosen = torch.where(which.unsqueeze(1), chosen, own)
        self.log_prob = self.log_prob + torch.where(which, self._log_mean(), 0.0)
        self.log_weights = torch.where(which.unsqueeze(1), 0.0, self.log_weights)
        self.ancestor = self.ancestor.gather(1, chosen)
        return (chosen + self.count * torch.arange(len(chosen), device=edges.device).unsqueeze(1)).flatten()

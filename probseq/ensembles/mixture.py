"""One of several models, it is not known which."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context, State
from probseq.ensembles.members import Ensemble
from probseq.mixed import Mixed
from probseq.nextstep import NextStep
from probseq.numerics import at_least_float32, log_sum, promoted
from probseq.sequences import Sequences


class Mixture(Ensemble):
    """P(y | x) = Σₘ wₘ Pₘ(y | x), exactly: a model that is one of several, and it is not known which.

    A step is the mixture by the posterior weights wₘ Pₘ(y₍<t₎ | x) / Σ, which the features carry: members that
    foretold what was read count for more. For every pair (x, y) its log-probability is at least the weighted mean of
    the members' (Jensen), so averaging never costs likelihood in the mean.

    Args:
        models: models of one element; they may differ in everything else.
        weights: wₘ, positive, normalised here; None: all equal.

    Raises:
        ValueError: no models, models of different elements, or weights that are not positive, one for each.

    >>> import probseq as ps
    >>> models = [ps.SequenceModel(ps.Tokens(3), ps.GRU(n), ps.Categorical(), ps.EndSymbol()) for n in (4, 5)]
    >>> y = ps.Sequences.of([[0, 2, 1]])
    >>> bool(ps.Mixture(models).log_prob(y) >= (models[0].log_prob(y) + models[1].log_prob(y)) / 2)
    True
    """

    def stop_bound(self) -> float | None:
        """The least of the members' bounds, or None where one has none: P(stop) is a mean of theirs."""
        known = [getattr(model, "stop_bound", None) for model in self.models]
        found = [0.0 if bound is None else bound() or 0.0 for bound in known]
        return min(found) or None

    def _bound(self, limits: list[Any]) -> Any:
        return None if any(limit is None for limit in limits) else torch.stack(limits).amax(0)

    def _carried(self, before: State | None, each: list[tuple[Tensor, State]], y: Tensor) -> Tensor:
        """The members' features side by side, and log P(m | x, what was read)."""
        weights = self._weights(before, each, y)
        return torch.cat([*(features for features, _ in each), weights], -1)

    def _weights(self, before: State | None, each: list[tuple[Tensor, State]], y: Tensor) -> Tensor:
        """The log posterior (b, n + 1, m), or (b, n, m) after a state; −∞ for all where what was read is impossible."""
        (batch, n), like = y.shape[:2], at_least_float32(each[0][0])
        count = len(self.models)
        if before is None:
            weights = self._prior(like).expand(batch, 1, count)
            emitting = [features[:, :-1] for features, _ in each]
            position, contexts = torch.zeros_like(each[0][1].position), [state.context for _, state in each]
        else:
            states = self._states(before)
            weights = before.features[:, -count:].unsqueeze(1)
            emitting = [
                torch.cat([state.features.unsqueeze(1), features[:, :-1]], 1)
                for state, (features, _) in zip(states, each, strict=True)
            ]
            position, contexts = before.position, [state.context for state in states]
        if n and batch:
            reached = position.unsqueeze(1) + torch.arange(n, device=position.device)
            steps = [
                _log_prob(model.emit(features, reached, context), y.to(features.device), features)
                for model, features, context in zip(self.models, emitting, contexts, strict=True)
            ]
            weights = _updated(weights, torch.stack(steps, -1))
        elif n:
            weights = weights.expand(batch, n + 1, count)
        return weights if before is None else weights[:, 1:]

    def _prior(self, like: Tensor) -> Tensor:
        return self.log_weights.to(like)  # type: ignore[operator]

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        """The law of the next step."""
        steps = self._steps(features, position, context)
        weights = features[..., -len(self.models) :]
        # After a prefix of probability 0 some law must stand there.
        lost = (weights == -torch.inf).all(-1, keepdim=True)
        weights = torch.where(lost, self._prior(weights), weights)
        log_stop = log_sum(weights + torch.stack([step.log_stop for step in steps], -1))
        goes = weights + torch.stack([step.log_go for step in steps], -1)
        log_go = log_sum(goes)
        some = (log_go > -torch.inf).unsqueeze(-1)
        mixing = torch.where(some, goes - torch.where(some, log_go.unsqueeze(-1), 0.0), weights)
        return NextStep(_mixed(mixing, [step.element for step in steps]), log_stop, log_go)

    def log_prob(self, y: Sequences, context: Any = None, validate: bool = True) -> Float[Tensor, " b"]:
        """log Σₘ wₘ Pₘ(y | x), from the members' own log-probabilities.

        Args:
            y: b sequences. context: x, one row for each, or None.
            validate: check the values. Without it, y and x must be what `conform` gave.

        Raises:
            ValueError: see `conform`.
        """
        if validate:
            y, context = self.conform(y, context)
        elif context is None:
            context = Context.none(len(y), y.device)
        each = [
            _member(model, y, own).unsqueeze(-1) for model, own in zip(self.models, self._own(context), strict=True)
        ]
        joint = torch.cat(each, -1)
        return log_sum(joint + self._prior(joint))


def _member(model: Any, y: Sequences, context: Any) -> Tensor:
    """log P of each sequence under one member: −∞ where it is longer than that one allows."""
    within = y.lengths <= (y.lengths.new_tensor(2**62) if model.max_length is None else model.max_length)
    if bool(within.all()):
        return model.log_prob(y, context, validate=False)
    rows = within.nonzero().squeeze(-1)
    index = rows.to(y.device)
    state = model.start(context)
    found = torch.full((len(y),), -torch.inf, dtype=state.features.dtype, device=state.features.device)
    if not len(rows):
        return found
    some = model.log_prob(y.select(rows), state.context.select(index.to(found.device)), validate=False)
    return found.to(some.dtype).index_copy(0, index.to(found.device), some)


def _log_prob(step: NextStep, y: Tensor, like: Tensor) -> Tensor:
    """log P of one more element, (b, n)."""
    return step.log_go + step.element.log_prob(promoted(y, like))


def _updated(weights: Tensor, steps: Tensor) -> Tensor:
    """log P(m | …) before the first of n elements and after each, from that before and log P of each (b, n, m)."""
    # What all members share says nothing of them, and would swamp in float32 what does.
    best = steps.detach().amax(-1, keepdim=True)
    steps = steps - torch.where(best > -torch.inf, best, 0.0)
    after = weights + steps.cumsum(1)
    total = log_sum(after).unsqueeze(-1)
    return torch.cat([weights, after - torch.where(total > -torch.inf, total, 0.0)], 1)


def _mixed(log_weights: Tensor, laws: list[Any]) -> Any:
    """The mixture of laws of one element; of laws over symbols it is one law over symbols."""
    if all(isinstance(law, torch.distributions.Categorical) for law in laws):
        joint = torch.stack([law.logits for law in laws], -1) + log_weights.unsqueeze(-2)
        return dist.Categorical(logits=log_sum(joint), validate_args=False)
    return Mixed(log_weights, laws)

"""How far one model is from another: the Kullback–Leibler divergence, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import kl_divergence

from probseq.arguments import checked
from probseq.context import Context
from probseq.evaluation.steps import Decisions, decisions, few_symbols, over_symbols, pair
from probseq.inference.sample import longest, require_causal, sample
from probseq.nextstep import NextStep
from probseq.numerics import promoted
from probseq.part import require
from probseq.protocols import Autoregressive
from probseq.randomness import Seed
from probseq.sequences import Sequences

Method = Literal["sum", "closed form", "log-ratio"]

ElementDivergence = Callable[[Decisions], Tensor]

ENOUGH = 20
"""Draws from which the control variates are fitted."""


@dataclass(frozen=True)
class Divergence:
    """KL(p ‖ q) in nats a sequence, estimated from draws of p; a mean over the rows of x.

    Args:
        estimate, standard_error: the mean of Σₜ KL(pₜ ‖ qₜ) along the draws, less control variates. An estimate of ∞
            is no error of sampling: p gives probability to something that q excludes. Its standard error is 0.
        plain, plain_error: the mean of log p(y) − log q(y) over the same draws.
        by_position: (t,), the mean of KL(pₜ ‖ qₜ) for the decision after each number of elements, 0 for sequences
            that are over by then. Their sum is the estimate without control variates.
        by_position_error: (t,), standard errors.
        rows: (b,), the estimate for each row of x.
        truncated: the share of the draws that `max_length` cut; what comes after is not compared.
        method: how each element's divergence was had: by a sum over its values, in closed form, or, where there is
            neither, as the log-ratio at the draw, which is then no better than `plain` but for the end.
    """

    estimate: float
    standard_error: float
    plain: float
    plain_error: float
    by_position: Float[Tensor, " t"]
    by_position_error: Float[Tensor, " t"]
    rows: Float[Tensor, " b"]
    truncated: float
    method: Method


@checked
@torch.no_grad()
def kl(
    p: Autoregressive,
    q: Autoregressive,
    num_samples: int = 1000,
    context: Any = None,
    *,
    q_context: Any = None,
    max_length: int | None = None,
    generator: Seed = None,
) -> Divergence:
    """Estimate KL(p ‖ q) = E_{y ~ p}[log p(y | x) − log q(y | x)], Rao–Blackwellised over each step's law.

    KL(p ‖ q) = E_{y ~ p} Σₜ KL(pₜ ‖ qₜ), pₜ and qₜ being the laws of the next decision given y₍<t₎, over all symbols
    and the end: only the past is sampled, what comes next is summed over exactly. What is left of the variance is
    mostly that of the length, so two control variates of mean 0 are taken off: how much longer the draws went on than
    was to be expected step by step, and what the plain estimate has beside this one. Unbiased, as the plain estimate
    is, and it varies far less. Where max_length cuts, it is the divergence of the laws of what comes before.

    Args:
        num_samples: draws of p, for each row of the context; 2 at least.
        context: what both models are conditioned on, or None.
        q_context: what q is conditioned on where that is something else; `Context.none(b)` for nothing.
        max_length: where draws are cut; by default as in `sample`.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: num_samples below 2, models of different elements, contexts of different batch, or a model that
            is not causal.

    Source: Casella & Robert, Rao–Blackwellisation of sampling schemes, 1996; Glasserman, Monte Carlo methods in
    financial engineering, 2003, section 4.1 (control variates).

    >>> from probseq.oracles import Automaton
    >>> fair = Automaton("ab", [{"a": (0.5, 1), "b": (0.5, 1)}, {}])
    >>> skew = Automaton("ab", [{"a": (0.9, 1), "b": (0.1, 1)}, {}])
    >>> found = kl(fair, skew, 10)
    >>> round(found.estimate, 4), found.standard_error  # log(0.5 / √(0.9 · 0.1)): no past to sample
    (0.5108, 0.0)
    """
    require(num_samples >= 2, f"num_samples must be 2 or more, for the standard error; got {num_samples}.")
    _check_elements(p, q)
    for model in (p, q):
        require_causal(model, "kl()")
    context = Context.none(1) if context is None else context
    states = [p.start(context), q.start(context if q_context is None else q_context)]
    batch = states[0].batch
    require(
        states[1].batch == batch,
        f"the context of p has batch {batch}, that of q {states[1].batch}. Pass one row for each.",
    )
    limit = longest(p, states[0].context) if max_length is None else max_length
    y = sample(p, num_samples, states[0].context, limit, generator).to(states[0].features.device)
    which = torch.arange(batch, device=y.device).repeat_interleave(num_samples)
    first = [m.emit(s.features, s.position, s.context) for m, s in zip((p, q), states, strict=True)]
    method, divergence = _choose(p, *first)
    table = _table(p, q, y, [state.context.select(which) for state in states], divergence)
    shape = batch, num_samples
    total, plain, ends = table.steps.sum(1).reshape(shape), table.plain.reshape(shape), table.ends.reshape(shape)
    total = _controlled(total, torch.stack([plain - total, ends], -1))
    (estimate, error), (naive, naive_error) = _mean(total), _mean(plain)
    positions = torch.tensor([_mean(column.reshape(shape)) for column in table.steps.unbind(1)], dtype=plain.dtype)
    truncated = float((~y.ended).double().mean()) if len(y) else 0.0
    by_position, by_position_error = positions.unbind(1)
    return Divergence(
        estimate, error, naive, naive_error, by_position, by_position_error, total.mean(1), truncated, method
    )


@dataclass(frozen=True)
class _Table:
    """What the draws say.

    Shapes:
        steps: (n, t), KL(pₜ ‖ qₜ). plain: (n,), log p(y) − log q(y). ends: (n,), Σₜ 1{it went on} − pₜ(go on), which
        has mean 0 and tells the draws that are longer than was to be expected.
    """

    steps: Float[Tensor, "n t"]
    plain: Float[Tensor, " n"]
    ends: Float[Tensor, " n"]


def _table(p: Any, q: Any, y: Sequences, contexts: list[Context], divergence: ElementDivergence) -> _Table:
    steps = torch.zeros(len(y), y.values.shape[1] + 1, dtype=torch.float64, device=y.device)
    plain, ends = torch.zeros_like(steps[:, 0]), torch.zeros_like(steps[:, 0])
    for piece in decisions((p, q), contexts, y):
        steps[piece.rows, piece.columns] = _step(piece, divergence).to(steps)
        plain.index_add_(0, piece.rows, (piece.log_prob(0) - piece.log_prob(1)).to(plain))
        ends.index_add_(0, piece.rows, piece.goes.to(plain) - piece.steps[0].log_go.exp().to(plain))
    return _Table(steps, plain, ends)


def _controlled(values: Float[Tensor, "b m"], controls: Float[Tensor, "b m k"]) -> Float[Tensor, "b m"]:
    """`values` less the best multiple of `controls`, whose mean is 0.

    The multiple that serves one half of the draws is found on the other half, so that nothing is biased.
    """
    if values.shape[1] < ENOUGH or not bool(torch.isfinite(values).all() & torch.isfinite(controls).all()):
        return values
    found = values.clone()
    for half in (0, 1):
        seen, other = controls[:, 1 - half :: 2], values[:, 1 - half :: 2]
        seen, other = (seen - seen.mean(1, keepdim=True)).flatten(0, 1), other - other.mean(1, keepdim=True)
        multiple = torch.linalg.pinv(seen.T @ seen, hermitian=True) @ (seen.T @ other.flatten())
        found[:, half::2] -= controls[:, half::2] @ multiple
    return found


def _check_elements(p: Autoregressive, q: Autoregressive) -> None:
    facts = [
        (tuple(model.element.shape), model.element.discrete, getattr(model.element, "cardinality", None))
        for model in (p, q)
    ]
    require(
        facts[0] == facts[1],
        f"kl() compares laws of the same elements; got {p.element!r} and {q.element!r}. Make both of one alphabet.",
    )


def _mean(values: Float[Tensor, "b m"]) -> tuple[float, float]:
    """The mean over rows of x and draws, and the standard error of its draws."""
    mean = float(values.mean())
    if not torch.isfinite(values).all():
        return mean, 0.0
    return mean, float((values.var(1).sum() / values.shape[1]).sqrt() / len(values))


def relative_entropy(log_p: Float[Tensor, "*b o"], log_q: Float[Tensor, "*b o"]) -> Float[Tensor, "*b"]:
    """Σ p (log p − log q) over the last axis: ∞ where p gives probability to what q excludes, never NaN."""
    possible = log_p > -torch.inf
    share = log_p.exp()
    # A share too small for the precision weighs nothing, but counts where q is 0.
    terms = torch.where(share > 0, share * torch.where(possible, log_p - log_q, 0.0), 0.0)
    excluded = (possible & (log_q == -torch.inf)).any(-1)
    return torch.where(excluded, torch.inf, torch.where(excluded.unsqueeze(-1), 0.0, terms).sum(-1))


def _choose(p: Autoregressive, first: NextStep, second: NextStep) -> tuple[Method, ElementDivergence]:
    """How the divergence of the laws of one element is had."""
    laws = first.element, second.element
    symbols = few_symbols(p, laws[0])
    if symbols is None:
        try:
            kl_divergence(*laws)  # type: ignore[arg-type]
            return "closed form", lambda piece: kl_divergence(*(step.element for step in piece.steps))  # type: ignore[arg-type]
        except NotImplementedError:
            symbols = few_symbols(p, laws[0], None)
    if symbols is None:
        return "log-ratio", _log_ratio
    return "sum", lambda piece: relative_entropy(*(over_symbols(step.element, symbols) for step in piece.steps))


def _log_ratio(piece: Decisions) -> Tensor:
    """The log-ratio at the element drawn; over P(go on), since only the draws that went on have one."""
    one, other = (step.element.log_prob(promoted(piece.values, step.log_go)) for step in piece.steps)
    return torch.where(piece.goes, one - other, 0.0)


def _step(piece: Decisions, divergence: ElementDivergence) -> Float[Tensor, " n"]:
    """KL(pₜ ‖ qₜ) of each decision: of stopping or going on, and of the element, for the share that goes on."""
    p, q = piece.steps
    ends = relative_entropy(pair(p), pair(q))
    share = torch.where(piece.goes, 1.0, 0.0) if divergence is _log_ratio else p.log_go.exp()
    element = torch.where(share > 0, share * torch.where(share > 0, divergence(piece), 0.0), 0.0)
    total = ends + element
    return total if divergence is _log_ratio else total.clamp(min=0)

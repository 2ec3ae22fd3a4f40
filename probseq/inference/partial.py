"""An element of which a part is known: the rest is drawn from the law given that part."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import (
    Categorical,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
)

from probseq.mixed import Concatenated, Listed, Mixed, beside
from probseq.numerics import log_sum


def complete(law: Any, values: Tensor, observed: Bool[Tensor, "*be"]) -> tuple[Tensor, Float[Tensor, "*b"]]:
    """Draw what is missing of elements given what is observed of them, and score what is observed.

    For an element y = (o, m): m ~ P(m | o), and log P(o), the density of the observed part with the missing one
    integrated out; 0 where nothing is observed. Exact for scalars, for dimensions and for columns that are independent,
    for multivariate normals, for listed laws, and for mixtures of all these; any other law takes elements that are
    observed as a whole or missing as a whole. The draws carry no gradient, the log-density does.

    Args:
        law: batch shape (*b), the element's event shape (*e).
        values: (*b, *e); what stands where `observed` is False does not matter, NaN included.
        observed: (*b, *e).

    Returns:
        The elements (*b, *e) with the missing part drawn, and log P(o), nats, (*b).

    Raises:
        ValueError: an element that is partly missing, under a law that cannot be conditioned on a part.

    >>> import torch, pyro.distributions as dist
    >>> law = dist.Normal(torch.zeros(1, 2), 1.0).to_event(1)
    >>> filled, log_prob = complete(law, torch.tensor([[0.0, torch.nan]]), torch.tensor([[True, False]]))
    >>> bool(torch.isfinite(filled).all()), round(float(log_prob), 4)
    (True, -0.9189)
    """
    if isinstance(law, Independent):
        return _independent(law, values, observed)
    if isinstance(law, MixtureSameFamily):
        return _mixture(law, values, observed)
    if isinstance(law, Mixed):
        each = [complete(member, values, observed) for member in law.laws]
        filled, log_prob = (torch.stack(part, len(law.batch_shape)) for part in zip(*each, strict=True))
        return _chosen(filled, log_prob + law.log_weights)
    if isinstance(law, Concatenated):
        return _columns(law, values, observed)
    if isinstance(law, MultivariateNormal | LowRankMultivariateNormal):
        return _normal(law, values, observed)
    if isinstance(law, Listed):
        return _listed(law, values, observed)
    return _whole(law, values, observed)


def _independent(law: Any, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Each dimension by itself."""
    base = law.base_dist
    if base.event_shape:
        filled, log_prob = complete(base, values, observed)
    else:
        # A support may move with the parameters, and outside of it the formula of the density says anything.
        inside = base.support.check(values) | ~observed
        filled, log_prob = complete(base, values, observed & inside)
        filled, log_prob = torch.where(observed, values, filled), torch.where(inside, log_prob, -torch.inf)
    dims = law.reinterpreted_batch_ndims
    return filled, log_prob.flatten(-dims).sum(-1) if dims else log_prob


def _columns(law: Concatenated, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Each law by itself."""
    found = []
    for own, part, seen in zip(law.laws, law.split(values), law.split(observed), strict=True):
        found.append(complete(own, part if own.event_shape else torch.where(seen, part, 0).long(), seen))
    filled, log_prob = zip(*found, strict=True)
    return beside(filled, law.laws).to(values), torch.stack(log_prob).sum(0)


def _mixture(law: Any, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """The components weighted by how well they foretell what is observed."""
    axis = len(law.batch_shape)
    log_weights = law.mixture_distribution.logits.log_softmax(-1)
    shape = (*law.batch_shape, log_weights.shape[-1], *law.event_shape)
    filled, log_prob = complete(
        law.component_distribution, values.unsqueeze(axis).expand(shape), observed.unsqueeze(axis).expand(shape)
    )
    return _chosen(filled, log_prob + log_weights)


def _chosen(filled: Tensor, joint: Float[Tensor, "*b k"]) -> tuple[Tensor, Tensor]:
    """Of k completions (*b, k, *e), one drawn by their log-weights, and the log of the weights' sum."""
    total = log_sum(joint)
    # Where all are impossible any will do.
    logits = torch.where(total.unsqueeze(-1) > -torch.inf, joint.detach(), 0.0)
    axis = joint.ndim - 1
    place = Categorical(logits=logits, validate_args=False).sample()
    place = place.reshape(*place.shape, *[1] * (filled.ndim - axis)).expand(*place.shape, 1, *filled.shape[axis + 1 :])
    return filled.gather(axis, place).squeeze(axis), total


def _normal(law: Any, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Normal given normal: a draw of all, moved by the regression of the missing on how far the observed are off.

    Any pattern in any row costs the same: the observed block is filled up to a whole matrix by the identity. All is in
    float64: a covariance has the square of the condition of its factor.
    """
    lower = law.scale_tril.double()
    covariance, loc = lower @ lower.mT, law.loc
    both = observed.unsqueeze(-1) & observed.unsqueeze(-2)
    factor = torch.linalg.cholesky(torch.where(both, covariance, torch.eye(loc.shape[-1]).to(covariance)))
    off = torch.where(observed, values, loc) - loc
    white = torch.linalg.solve_triangular(factor, off.unsqueeze(-1).to(factor), upper=False).squeeze(-1)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_prob = -0.5 * white.square().sum(-1) - log_det - 0.5 * math.log(2 * math.pi) * observed.sum(-1)
    with torch.no_grad():
        drawn = law.sample()
        off = torch.where(observed, values, drawn) - drawn
        moved = covariance @ torch.cholesky_solve(off.unsqueeze(-1).to(factor), factor)
        filled = torch.where(observed, values, drawn + moved.squeeze(-1).to(drawn))
    return filled, log_prob.to(drawn.dtype)


def _listed(law: Listed, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Of the values that are listed, those that agree with what is observed."""
    dims = len(law.event_shape)
    agree = ((values.unsqueeze(-1 - dims) == law.values) | ~observed.unsqueeze(-1 - dims)).flatten(-dims).all(-1)
    joint = law.logits.masked_fill(~agree, -torch.inf)
    chosen, total = _chosen(law.values.expand(*joint.shape, *law.event_shape), joint)
    return torch.where(observed, values, chosen), total


def _whole(law: Any, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Elements that are observed or missing as a whole."""
    dims = len(law.event_shape)
    known = observed.flatten(-dims).all(-1) if dims else observed
    if dims and bool((observed.flatten(-dims).any(-1) & ~known).any()):
        raise ValueError(
            f"an element is partly missing, and {type(law).__name__} cannot be conditioned on a part of it; expected "
            "elements that are observed or missing as a whole. Mark all of such an element as missing, or use a "
            "likelihood of independent dimensions or Gaussian(covariance='full')."
        )
    filled = torch.where(known.reshape(*known.shape, *[1] * dims), values, law.sample())
    return filled, torch.where(known, law.log_prob(filled), 0.0)

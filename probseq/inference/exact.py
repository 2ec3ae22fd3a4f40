"""Enumeration: what every other answer about a small discrete model is checked against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context, State
from probseq.inference.outcomes import support
from probseq.inference.sample import certainly_over
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences

CHUNK = 1 << 14
"""Prefixes extended in one call: bounds the memory of the walk."""

LIMIT = 1 << 23
"""Most sequences that are listed."""


@dataclass(frozen=True)
class Enumeration:
    """Every sequence that ended before `length`, and every one of that length, open unless the law ends there: Σ P = 1.

    Shapes:
        sequences: n sequences, by length, those that ended before the open ones.
        log_prob: (n,), nats, not all finite: an impossible sequence has −∞.
    """

    sequences: Sequences
    log_prob: Float[Tensor, " n"]

    @property
    def log_mass(self) -> Float[Tensor, ""]:
        """log Σ P over all that is listed: 0 for a normalised model."""
        return self.log_prob.logsumexp(0)

    def mode(self) -> tuple[Tensor, float]:
        """The most probable of the listed sequences that ended, and its log-probability.

        Raises:
            ValueError: none of them ended.
        """
        ended = self.sequences.ended.to(self.log_prob.device)
        if not bool(ended.any()):
            raise ValueError("no sequence ends before the enumerated length. Enumerate longer.")
        best = int(self.log_prob.masked_fill(~ended, -torch.inf).argmax())
        if self.log_prob[best] == -torch.inf:
            raise ValueError("no sequence can end before the enumerated length. Enumerate longer.")
        return self.sequences[best], float(self.log_prob[best])

    def expectation(self, function: Callable[[Sequences], Tensor]) -> Tensor:
        """E[f(y)]: `function` maps n sequences to (n, …); an impossible sequence adds nothing, whatever f is there."""
        possible = (self.log_prob > -torch.inf).nonzero().squeeze(-1)
        values = function(self.sequences)[possible].to(self.log_prob.dtype)
        return torch.tensordot(self.log_prob[possible].exp(), values, dims=1)


@checked
@torch.no_grad()
def exact(model: Autoregressive, length: int, context: Any = None) -> Enumeration:
    """List all sequences up to `length`, with their exact log-probabilities.

    Args:
        length: sequences that ended have fewer elements; those with this many are open, P(y begins so).
        context: one row of what the model is conditioned on (batch 1), or None.

    Raises:
        ValueError: length below 0, a context of another batch than 1, an element that cannot be enumerated,
            or more than 2²³ sequences.

    >>> import torch, probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(2), ps.Elman(3), ps.Categorical(), ps.EndSymbol()).double()
    >>> law = ps.exact(model, 3)
    >>> len(law.sequences), round(float(law.log_mass.exp()), 9)
    (15, 1.0)
    """
    if length < 0:
        raise ValueError(f"length must be 0 or more; got {length}.")
    state = model.start(Context.none(1) if context is None else context)
    if state.batch != 1:
        raise ValueError(f"exact() lists one law at a time; got a context of batch {state.batch}. Pass one row of it.")
    law = model.emit(state.features, state.position, state.context).element
    symbols = support(model.element, law, "exact()", "Use sample() and score().")
    total = sum(len(symbols) ** t for t in range(length + 1))
    if total > LIMIT:
        raise ValueError(
            f"{len(symbols)} symbols make {total:,} sequences up to length {length}; exact() lists {LIMIT:,} at most. "
            "Shorten the length, or use sample() and score()."
        )
    prefix = symbols.new_zeros(1, 0, *symbols.shape[1:])
    certain = torch.zeros(1, dtype=_dtype(model, state), device=state.features.device)
    root = _Prefixes(state, prefix, certain)
    leaves = list(_walk(model, root, symbols, length))
    leaves.sort(key=lambda leaf: (leaf[0].values.shape[1], not bool(leaf[0].ended[0])))
    return Enumeration(Sequences.cat([leaf[0] for leaf in leaves]), torch.cat([leaf[1] for leaf in leaves]))


def _dtype(model: Autoregressive, state: State) -> torch.dtype:
    return model.emit(state.features, state.position, state.context).log_stop.dtype


@dataclass(frozen=True)
class _Prefixes:
    """Sequences so far (n, t, *e), the states after them, and their log-probabilities (n,)."""

    state: State
    values: Tensor
    log_prob: Tensor


def _walk(model: Autoregressive, root: _Prefixes, symbols: Tensor, length: int) -> Iterator[tuple[Sequences, Tensor]]:
    """Every sequence that begins as `root` does, depth first, a chunk of prefixes at a time."""
    stack = [root]
    while stack:
        node = stack.pop()
        n, t = node.values.shape[:2]
        lengths = torch.full((n,), t)
        if t == length:
            yield Sequences(node.values, lengths, certainly_over(model, node.state.context, t)), node.log_prob
            continue
        step = model.emit(node.state.features, node.state.position, node.state.context)
        yield Sequences(node.values, lengths, True), node.log_prob + step.log_stop
        size = len(symbols)
        choices = symbols.unsqueeze(1).expand(size, n, *symbols.shape[1:])
        onward = (node.log_prob + step.log_go + step.element.log_prob(choices)).T.reshape(-1)
        below = []
        for rows in torch.arange(n * size, device=node.values.device).split(CHUNK):
            parents, chosen = torch.div(rows, size, rounding_mode="floor"), symbols[rows.remainder(size)].unsqueeze(1)
            after = node.state.select(parents)
            after = model.extend(after, chosen)[1] if t + 1 < length else after
            below.append(_Prefixes(after, torch.cat([node.values[parents], chosen], 1), onward[rows]))
        stack += reversed(below)

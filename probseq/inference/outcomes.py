"""The values that a discrete element can have, and the probability of each."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.mixed import Chained, Concatenated, Listed, Mixed, beside
from probseq.protocols import ElementSpace

LIMIT = 1 << 16
"""Most values that are listed."""


def support(element: ElementSpace, law: Any, asker: str, cure: str) -> Tensor:
    """Every value of one element under a law of it, (v, *e).

    Args:
        asker, cure: who needs it, and what to do where it cannot be given, for the message.

    Raises:
        ValueError: a continuous element, or more than 2¹⁶ values.
    """
    if not element.discrete and not law.support.is_discrete:
        raise ValueError(f"{asker} needs a discrete element; got {element!r}. {cure}")
    return _values(law, element, asker, cure)


def _values(law: Any, element: ElementSpace, asker: str, cure: str) -> Tensor:
    """Every value of one law, (v, *e)."""
    base, shape = _base(law), law.event_shape
    if isinstance(base, Listed):
        return base.values
    if isinstance(base, Concatenated):
        parts = [_values(member, element, asker, cure) for member in base.laws]
        chosen = _combinations([torch.arange(len(part)) for part in parts], element, asker, cure)
        return beside([part[index] for part, index in zip(parts, chosen.unbind(-1), strict=True)], base.laws)
    try:
        values = base.enumerate_support(expand=False)
    except NotImplementedError as error:
        raise ValueError(f"{asker} needs finitely many symbols; {base} cannot list them. {cure}") from error
    if not shape:
        return values.flatten()
    if base.event_shape:
        return values.reshape(-1, *shape)
    return _combinations([values.flatten()] * shape.numel(), element, asker, cure).reshape(-1, *shape)


def _combinations(parts: list[Tensor], element: ElementSpace, asker: str, cure: str) -> Tensor:
    """One of each part, in all ways, (v, number of parts)."""
    count = math.prod(map(len, parts))
    if count > LIMIT:
        raise ValueError(
            f"{asker} lists the values of one element, {LIMIT:,} at most; {element!r} has {count:,}. {cure}"
        )
    return torch.cartesian_prod(*parts).reshape(count, len(parts))


def _base(law: Any) -> Any:
    """The distribution that lists the values, below products over dimensions and mixtures."""
    if isinstance(law, torch.distributions.Independent):
        return _base(law.base_dist)
    if isinstance(law, torch.distributions.MixtureSameFamily):
        return _base(law.component_distribution)
    if isinstance(law, Chained):
        return law.given(law.example.expand(*law.batch_shape, -1))
    return _base(law.laws[0]) if isinstance(law, Mixed) else law


def log_pmf(law: Any, symbols: Tensor) -> Float[Tensor, " v *b"]:
    """log P of each of the symbols (v, *e) under a law of batch shape (*b)."""
    if isinstance(law, torch.distributions.Categorical):
        # Looked up one by one they would cost v² in the backward pass.
        return law.logits.movedim(-1, 0)
    choices = symbols.reshape(len(symbols), *[1] * len(law.batch_shape), *law.event_shape)
    return law.log_prob(choices.expand(len(symbols), *law.batch_shape, *law.event_shape))

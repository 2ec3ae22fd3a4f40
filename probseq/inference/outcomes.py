"""The values that a discrete element can have, and the probability of each."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.mixed import Listed, Mixed
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
    base = _base(law)
    if isinstance(base, Listed):
        return base.values
    try:
        values = base.enumerate_support(expand=False)
    except NotImplementedError as error:
        raise ValueError(f"{asker} needs finitely many symbols; {base} cannot list them. {cure}") from error
    if not element.shape:
        return values.flatten()
    if base.event_shape:
        return values.reshape(-1, *element.shape)
    values = values.flatten()
    size = int(torch.Size(element.shape).numel())
    count = len(values) ** size
    if count > LIMIT:
        raise ValueError(
            f"{asker} lists the values of one element, {LIMIT:,} at most; {element!r} has {count:,}. {cure}"
        )
    return torch.cartesian_prod(*[values] * size).reshape(-1, *element.shape)


def _base(law: Any) -> Any:
    """The distribution that lists the values, below products over dimensions and mixtures."""
    if isinstance(law, torch.distributions.Independent):
        return _base(law.base_dist)
    if isinstance(law, torch.distributions.MixtureSameFamily):
        return _base(law.component_distribution)
    return _base(law.laws[0]) if isinstance(law, Mixed) else law


def log_pmf(law: Any, symbols: Tensor) -> Float[Tensor, " v *b"]:
    """log P of each of the symbols (v, *e) under a law of batch shape (*b)."""
    if isinstance(law, torch.distributions.Categorical):
        # Looked up one by one they would cost v² in the backward pass.
        return law.logits.movedim(-1, 0)
    choices = symbols.reshape(len(symbols), *[1] * len(law.batch_shape), *law.event_shape)
    return law.log_prob(choices.expand(len(symbols), *law.batch_shape, *law.event_shape))

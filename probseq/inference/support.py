"""What one element can be, where that can be listed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probseq.context import State
from probseq.protocols import Autoregressive


def support(model: Autoregressive, state: State, name: str, cure: str) -> Tensor:
    """Every value of one element, (v, *e).

    Args:
        name, cure: who asks, and what to use instead, for the message.

    Raises:
        ValueError: an element that is continuous, or has infinitely many values.
    """
    law: Any = model.emit(state.features, state.position, state.context).element
    if not model.element.discrete and not law.support.is_discrete:
        raise ValueError(f"{name} needs a discrete element; got {model.element!r}. {cure}")
    base = law
    while isinstance(base, torch.distributions.Independent | torch.distributions.MixtureSameFamily):
        base = base.base_dist if isinstance(base, torch.distributions.Independent) else base.component_distribution
    try:
        values = base.enumerate_support(expand=False)
    except NotImplementedError as error:
        raise ValueError(f"{name} needs finitely many symbols; {base} cannot list them. Use sample().") from error
    if not model.element.shape:
        return values.flatten()
    if base.event_shape:
        return values.reshape(-1, *model.element.shape)
    values = values.flatten()
    size = int(torch.Size(model.element.shape).numel())
    return torch.cartesian_prod(*[values] * size).reshape(-1, *model.element.shape)

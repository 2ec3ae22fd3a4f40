"""The chain rule walked forward over known sequences, while the model reads its own draws in their place."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.context import State
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


def read_own(
    model: Autoregressive, state: State, y: Sequences, share: float = 1.0, differentiable: bool = True
) -> Float[Tensor, "b t1 h"]:
    """Features before each element of y and after the last, where some elements read were the model's own draws.

    At each step and for each sequence a coin of weight `share` decides whether the model reads what it has just
    drawn, or the true element. The draws come from torch's global generator.

    Args:
        state: after nothing of y was read.
        y: b sequences that conform to the model's element.
        share: the probability of reading its own draw; 1 is open loop.
        differentiable: draws of a continuous element carry gradients. Discrete draws never do.

    Raises:
        ValueError: differentiable, and the element is continuous without reparameterised samples.
    """
    features, real = [state.features], y.mask()
    for t in range(y.values.shape[1]):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not model.element.discrete):
            law = model.emit(state.features, state.position, state.context).element
            drawn = _draw(law, model.element.discrete, differentiable)
        true = y.values[:, t]
        # Padding is read as it stands, so that nothing goes wrong there.
        own = (torch.rand(len(y), device=true.device) < share) & real[:, t]
        read = torch.where(own.reshape(-1, *[1] * (true.ndim - 1)), drawn.to(true.dtype), true)
        state = model.extend(state, read.unsqueeze(1))[1]
        features.append(state.features)
    return torch.stack(features, 1)


def _draw(law: Any, discrete: bool, differentiable: bool) -> Tensor:
    if discrete or not differentiable:
        return law.sample()
    if law.has_rsample:
        return law.rsample()
    if law.support.is_discrete:
        return law.sample()
    raise ValueError(
        f"a free-running pass on a continuous likelihood without reparameterised samples: {law} has no rsample, so "
        "the draws would carry no gradient. Use a likelihood such as Gaussian(), or the objective TeacherForcing()."
    )

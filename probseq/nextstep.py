"""What the model says at one point of a sequence: stop, or go on, and with what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor


@dataclass(frozen=True)
class NextStep:
    """The law of the next step: one more element, or the end.

    P(stop | y₍<t₎) = exp(log_stop), P(yₜ | y₍<t₎) = exp(log_go) · element.prob(yₜ).
    A pair and not a logit, so that certainty (a fixed length) is exactly 0 and −∞.

    Shapes:
        element: a distribution with batch shape (*b) and the element's event shape, given that the sequence goes on.
        log_stop, log_go: (*b), nats; exp(log_stop) + exp(log_go) = 1.
    """

    element: TorchDistributionMixin
    log_stop: Float[Tensor, "*b"]
    log_go: Float[Tensor, "*b"]


def certain_end(over: Bool[Tensor, "*b"], like: Tensor) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """(log_stop, log_go) of an end that is known: 0 and −∞ where it is `over`, −∞ and 0 before."""
    certain, never = like.new_zeros(()), like.new_full((), -torch.inf)
    return torch.where(over, certain, never), torch.where(over, never, certain)

"""Laws of one element that are made of other laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probseq.numerics import log_sum


class Mixed(TorchDistribution):
    """Σₘ exp(log_weights)ₘ · lawₘ, for laws of any families over one space.

    Shapes:
        log_weights: (*b, m), normalised. laws: m of them, each of batch shape (*b) and one event shape.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(self, log_weights: Float[Tensor, "*b m"], laws: Sequence[Any]) -> None:
        self.log_weights, self.laws = log_weights, list(laws)
        super().__init__(log_weights.shape[:-1], laws[0].event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.laws[0].support

    def log_prob(self, value: Tensor) -> Tensor:
        return log_sum(torch.stack([law.log_prob(value) for law in self.laws], -1) + self.log_weights)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        chosen = torch.distributions.Categorical(logits=self.log_weights, validate_args=False).sample(shape)
        drawn = torch.stack([law.sample(shape) for law in self.laws])
        place = chosen.reshape(1, *chosen.shape, *[1] * len(self.event_shape)).expand(1, *drawn.shape[1:])
        return drawn.gather(0, place).squeeze(0)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Mixed:
        shape = torch.Size(batch_shape)
        return Mixed(
            self.log_weights.expand(*shape, self.log_weights.shape[-1]), [law.expand(shape) for law in self.laws]
        )


class Listed(TorchDistribution):
    """A law over values that are listed: P(valuesᵥ) = softmax(logits)ᵥ.

    Shapes:
        logits: (*b, v). values: (v, *e), different from each other.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(self, logits: Float[Tensor, "*b v"], values: Tensor) -> None:
        self.logits, self.values = logits.log_softmax(-1), values
        super().__init__(logits.shape[:-1], values.shape[1:], validate_args=False)

    @property
    def support(self) -> Any:
        every = constraints.integer_interval(self.values.min(), self.values.max())
        return constraints.independent(every, len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        dims = len(self.event_shape)
        same = (value.unsqueeze(-1 - dims) == self.values).flatten(-dims).all(-1)
        return log_sum(self.logits.masked_fill(~same, -torch.inf))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        law = torch.distributions.Categorical(logits=self.logits, validate_args=False)
        return self.values[law.sample(torch.Size(sample_shape))]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Listed:
        return Listed(self.logits.expand(*torch.Size(batch_shape), self.logits.shape[-1]), self.values)

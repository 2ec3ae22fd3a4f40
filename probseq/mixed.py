"""Laws of one element that are made of other laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Columns(constraints.Constraint):
    """Vectors whose parts lie each in a space of its own; one without axes has one column."""

    def __init__(self, members: Sequence[Any], widths: Sequence[int]) -> None:
        self.members, self.widths = list(members), list(widths)
        self.is_discrete = all(member.is_discrete for member in members)
        super().__init__()

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return 1

    def check(self, value: Tensor) -> Tensor:
        parts = zip(self.members, value.split(self.widths, -1), strict=True)
        each = [member.check(part if member.event_dim else part.squeeze(-1)) for member, part in parts]
        return torch.stack(each).all(0)


class Concatenated(TorchDistribution):
    """∏ₘ lawₘ(yₘ), for laws of the parts of one vector; one without axes has one column, which holds its integers.

    Shapes:
        laws: each of batch shape (*b) and event shape () or (w).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(self, laws: Sequence[Any]) -> None:
        self.laws = list(laws)
        self.widths = [law.event_shape.numel() for law in laws]
        super().__init__(laws[0].batch_shape, torch.Size((sum(self.widths),)), validate_args=False)

    @property
    def support(self) -> Any:
        return Columns([law.support for law in self.laws], self.widths)

    def split(self, value: Tensor) -> list[Tensor]:
        """The part of each law, in its event shape."""
        parts = zip(self.laws, value.split(self.widths, -1), strict=True)
        return [part if law.event_shape else part.squeeze(-1) for law, part in parts]

    def log_prob(self, value: Tensor) -> Tensor:
        parts = zip(self.laws, self.split(value), strict=True)
        return torch.stack([law.log_prob(part if law.event_shape else part.long()) for law, part in parts]).sum(0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return beside([law.sample(sample_shape) for law in self.laws], self.laws)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Concatenated:
        return Concatenated([law.expand(torch.Size(batch_shape)) for law in self.laws])


class Chained(TorchDistribution):
    """p(y₁) ∏ₘ p(yₘ | y₁ … yₘ₋₁), for the parts of one vector.

    Args:
        first: the law of the first part, of batch shape (*b).
        later: for each other part, what makes its law from the columns before it, (…, *b, w).
        example: one vector (e), on the device of the laws; it need not be likely.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(self, first: Any, later: Sequence[Callable[[Tensor], Any]], example: Float[Tensor, " e"]) -> None:
        self.first, self.later, self.example = first, list(later), example
        super().__init__(first.batch_shape, example.shape, validate_args=False)

    def given(self, value: Tensor) -> Concatenated:
        """The laws of the parts, each after what `value` holds before it."""
        laws = [self.first]
        for make in self.later:
            laws.append(make(value[..., : sum(law.event_shape.numel() for law in laws)]))
        return Concatenated(laws)

    @property
    def support(self) -> Any:
        return self.given(self.example.expand(*self.batch_shape, -1)).support

    def log_prob(self, value: Tensor) -> Tensor:
        return self.given(value).log_prob(value)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        laws, drawn = [self.first], [self.first.sample(sample_shape)]
        for make in self.later:
            laws.append(make(beside(drawn, laws)))
            drawn.append(laws[-1].sample())
        return beside(drawn, laws)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Chained:
        return Chained(self.first.expand(torch.Size(batch_shape)), self.later, self.example)


def beside(parts: Sequence[Tensor], laws: Sequence[Any]) -> Tensor:
    """Draws of laws as the columns of one vector of floats."""
    each = zip(parts, laws, strict=True)
    columns = torch.cat([part if law.event_shape else part.unsqueeze(-1) for part, law in each], -1)
    return columns if columns.is_floating_point() else columns.to(torch.get_default_dtype())

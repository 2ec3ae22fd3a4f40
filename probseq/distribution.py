"""A model as a Pyro distribution over whole sequences."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probseq.arguments import checked
from probseq.context import Context
from probseq.inference.sample import longest, sample
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences
from probseq.shapes import slot_mask


@runtime_checkable
class Scored(Autoregressive, Protocol):
    """A model that knows the log-probability of whole sequences."""

    def log_prob(self, y: Sequences, context: Any = None) -> Tensor: ...


class RightPadded(constraints.Constraint):
    """Dense sequences: used slots first, then −1 (integers) or NaN (reals)."""

    def __init__(self, element_dims: int, discrete: bool) -> None:
        self.event_dim, self.is_discrete = 1 + element_dims, discrete
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        used = ~torch.isnan(value) if value.is_floating_point() else value != -1
        every, some = used, used
        if self.event_dim > 1:
            every, some = used.flatten(1 - self.event_dim).all(-1), used.flatten(1 - self.event_dim).any(-1)
        right_padded = some == slot_mask(some.sum(-1), some.shape[-1])
        return (right_padded & (every == some)).all(-1)


class SequenceDistribution(TorchDistribution):
    """P(y | x) truncated to `max_length`, as one Pyro/torch distribution.

    A value is one plain tensor: its unused slots hold −1 (integers) or NaN (reals). A value that fills all
    `max_length` slots stands for every sequence that begins so; a shorter one ended where its slots end.
    So the probabilities of all values sum to 1, whatever `max_length` is.

    Shapes:
        batch_shape: that of the context. event_shape: (max_length, *element).

    Args:
        model: any autoregressive model.
        context: what it is conditioned on (batch b), or None.
        max_length: by default the stop law's longest sequence, else 256.
        batch_shape: how the b rows of the context are arranged; by default (b,), or () without a context.

    Raises:
        ValueError: `log_prob` of a value with an unused slot before a used one, of one longer than
            `max_length`, or of one outside the element's space.

    >>> import torch, probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> p = model(max_length=5)
    >>> p.event_shape, p.sample((7,)).shape
    (torch.Size([5]), torch.Size([7, 5]))
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}  # type: ignore[assignment]

    @checked
    def __init__(
        self,
        model: Scored,
        context: Any = None,
        max_length: int | None = None,
        batch_shape: tuple[int, ...] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if context is None:
            context, batch_shape = Context.none(1), batch_shape or ()
        elif not isinstance(context, Context):
            context = model.start(context).context
        if max_length is None:
            max_length = longest(model, context)
        if max_length < 0:
            raise ValueError(f"max_length must be 0 or more; got {max_length}.")
        self.model, self.context, self.max_length = model, context, max_length
        batch_shape = (context.batch,) if batch_shape is None else batch_shape
        super().__init__(torch.Size(batch_shape), torch.Size((max_length, *model.element.shape)), validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """Right-padded tensors."""
        return RightPadded(len(self.model.element.shape), self.model.element.discrete)

    @property
    def has_enumerate_support(self) -> bool:
        return False

    def expand(self, batch_shape: Any, _instance: Any = None) -> SequenceDistribution:
        """The same law at every place of a larger batch shape.

        Raises:
            ValueError: a shape that this one does not broadcast to.
        """
        batch_shape = torch.Size(batch_shape)
        try:
            rows = self._rows(batch_shape)
        except RuntimeError:
            shapes = f"{tuple(self.batch_shape)} does not expand to {tuple(batch_shape)}"
            raise ValueError(f"the batch shape {shapes}.") from None
        return SequenceDistribution(
            self.model, self.context.select(rows), self.max_length, tuple(batch_shape), self._validate_args
        )

    def _rows(self, shape: torch.Size) -> Tensor:
        """The row of the context for each place of `shape`, flat."""
        rows = torch.arange(self.context.batch, device=self.context.summary.device)
        return rows.reshape(self.batch_shape).expand(shape).reshape(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Exact draws, sample_shape + batch_shape + event_shape."""
        shape = self._extended_shape(torch.Size(sample_shape))
        count = torch.Size(sample_shape).numel()
        y = sample(self.model, count, self.context, self.max_length).dense(self.max_length)
        # Draws for one row stand side by side: (b, count, …) → (count, b, …).
        return y.reshape(self.context.batch, count, *self.event_shape).transpose(0, 1).reshape(shape)

    @checked
    def log_prob(self, value: Tensor | Sequences) -> Tensor:
        """log P in nats, shape = the value's broadcast with the batch shape.

        `Sequences` are taken too, unless they hold an open one below `max_length`, which no dense value stands for.
        """
        if isinstance(value, Sequences):
            value = self._dense(value)
        if self._validate_args:
            self._check(value)
        dims = len(self.model.element.shape)
        shape = torch.broadcast_shapes(value.shape[: value.ndim - 1 - dims], self.batch_shape)
        flat = value.expand(*shape, *value.shape[value.ndim - 1 - dims :]).reshape(
            shape.numel(), *value.shape[value.ndim - 1 - dims :]
        )
        y = Sequences.from_dense(flat, self.max_length, dims)
        return self.model.log_prob(y, self.context.select(self._rows(shape))).reshape(shape)

    def _dense(self, y: Sequences) -> Tensor:
        y = self.model.element.conform(y)
        if bool((~y.ended & (y.lengths < self.max_length)).any()):
            raise ValueError(
                f"an open sequence of fewer than max_length = {self.max_length} elements has no dense form, where it "
                "would count as ended. Use model.log_prob(y, context)."
            )
        return y.dense(self.max_length)

    def _check(self, value: Tensor) -> None:
        if value.is_floating_point() == self.model.element.discrete:
            kind = "integers, unused slots −1" if self.model.element.discrete else "floats, unused slots NaN"
            raise ValueError(f"expected values that are {kind}; got {value.dtype}. Convert the values.")
        element = tuple(self.model.element.shape)
        got = tuple(value.shape[value.ndim - len(element) :]) if element else ()
        longest = value.shape[value.ndim - 1 - len(element)] if value.ndim > len(element) else 0
        if value.ndim <= len(element) or got != element or longest > self.max_length:
            raise ValueError(
                f"expected values (…, time ≤ {self.max_length}{''.join(f', {n}' for n in element)}); "
                f"got {tuple(value.shape)}. Pass a larger max_length, or Sequences.dense(max_length)."
            )

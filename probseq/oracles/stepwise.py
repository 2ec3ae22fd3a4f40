"""What the oracles share: a memory that is one row of features, read one element at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context, State
from probseq.face import Face
from probseq.nextstep import NextStep, certain_end


class Stepwise(Face, ABC):
    """A model without conditioning, all of whose memory is its features: give it `first`, `read` and `emit`.

    `extend` and `unroll` are loops over `read`, so that the split law holds bit for bit.
    """

    element: Any
    """An `ElementSpace`."""

    max_length: int | None

    @abstractmethod
    def first(self) -> Float[Tensor, " h"]:
        """The features before anything is read."""

    @abstractmethod
    def read(self, features: Float[Tensor, "b h"], y: Tensor) -> Float[Tensor, "b h"]:
        """The features after one more element y (b, *e); after an impossible one, any that make a law."""

    @abstractmethod
    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        """The law of the next step."""

    def start(self, context: Context | None = None) -> State:
        """Nothing of y read yet, one row for each of the context (None: one).

        Raises:
            ValueError: a context that says something: there is nothing here to condition.
        """
        context = Context.none(1) if context is None else context
        if not isinstance(context, Context) or context.summary.shape[-1]:
            got = tuple(context.summary.shape) if isinstance(context, Context) else type(context).__name__
            raise ValueError(
                f"{type(self).__name__} has no context; expected None or Context.none(batch), got {got}. Pass none."
            )
        first = self.first()
        position = torch.zeros(context.batch, dtype=torch.int64, device=first.device)
        return State(first.expand(context.batch, -1), (), position, context)

    def extend(self, state: State, y: Tensor) -> tuple[Float[Tensor, "b n h"], State]:
        """Read n ≥ 0 elements y (b, n, *e), one after the other."""
        features, read = state.features, []
        for t in range(y.shape[1]):
            features = self.read(features, y[:, t].to(features.device))
            read.append(features)
        stacked = torch.stack(read, 1) if read else features.new_empty(state.batch, 0, features.shape[-1])
        return stacked, State(features, (), state.position + y.shape[1], state.context)

    def unroll(self, context: Context | None, y: Tensor) -> tuple[Float[Tensor, "b m h"], State]:
        """`start`, then `extend`.

        Raises:
            ValueError: y and the context differ in batch, or the context says something.
        """
        start = self.start(Context.none(y.shape[0]) if context is None else context)
        if start.batch != y.shape[0]:
            raise ValueError(f"the context has batch {start.batch}, the sequences {y.shape[0]}. Pass one row for each.")
        features, state = self.extend(start, y)
        return torch.cat([start.features.unsqueeze(1), features], 1), state


def fixed_end(length: int, position: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """(log_stop, log_go), in the shape of `like`, of exactly `length` elements."""
    return certain_end((position >= length).expand(like.shape), like)


def real(values: Tensor | Sequence, name: str, *shape: int | None) -> Tensor:
    """`values` as a floating tensor (float64 unless it is one already) of `shape`, where None fits any size.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    given = values if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64)
    tensor = given if given.is_floating_point() else given.to(torch.float64)
    fits = tensor.ndim == len(shape) and all(size in (None, got) for size, got in zip(shape, tensor.shape, strict=True))
    if not fits or not bool(torch.isfinite(tensor).all()):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        got = f"shape {tuple(tensor.shape)}" if not fits else "NaN or ±∞ among them"
        raise ValueError(f"{name} must be finite numbers of shape ({expected}); got {got}. Reshape or correct them.")
    return tensor


def log_law(probabilities: Tensor | Sequence, name: str, *shape: int | None) -> Tensor:
    """The logarithm of probabilities whose last axis sums to 1, normalised to rounding.

    Raises:
        ValueError: another shape, a negative entry, or a sum that is not 1 ± 1e-6.
    """
    tensor = real(probabilities, name, *shape)
    total = tensor.sum(-1, keepdim=True)
    if not bool((tensor >= 0).all()) or not bool(((total - 1).abs() <= 1e-6).all()):
        raise ValueError(
            f"{name} must hold probabilities whose last axis sums to 1; got a least entry of {float(tensor.min()):.6g} "
            f"and sums from {float(total.min()):.6g} to {float(total.max()):.6g}. Divide by the sums."
        )
    return (tensor / total).log()

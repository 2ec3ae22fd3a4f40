"""What an objective is, and the likelihood, with ways to take its gradient in less memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from probseq.arguments import check_fields
from probseq.context import Context
from probseq.inference.segments import score_segments, walk_segments
from probseq.model import SequenceModel
from probseq.part import require
from probseq.sequences import Sequences
from probseq.tree import leaves, tree_map


@runtime_checkable
class Objective(Protocol):
    """What `fit` minimises.

    Where it has them, two more facts are heeded: `conform(model, y, context)`, which checks data in place of
    `model.conform`, and `held_out(model, y, context)`, log-probabilities (b,) of held-out data in place of the exact
    ones.
    """

    @property
    def is_likelihood(self) -> bool:
        """Whether its value is −log P(y | x), so that its nats can be compared with held-out ones."""
        ...

    def loss(self, model: SequenceModel, y: Sequences, context: Any, progress: float) -> Float[Tensor, " b"]:
        """What is minimised, nats for each sequence, every sequence with the same weight.

        Args:
            y, context: b sequences and what each is conditioned on, both conformed.
            progress: the share of training that is done, in [0, 1].
        """
        ...


@dataclass(frozen=True)
class TeacherForcing:
    """−log P(y | x): maximum likelihood, the past being the true one (Deep Learning, 10.2.1).

    Args:
        checkpoint: keep the states at the borders of segments only, and compute the rest again for the gradient,
            which is the same. True takes segments of ⌈√T⌉ elements, memory O(√T); an integer names their length;
            False keeps everything, and is the fastest.

    Raises:
        ValueError: segments shorter than 1 element.
    """

    checkpoint: bool | int = False

    is_likelihood: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.checkpoint is False or self.checkpoint >= 1,
            f"TeacherForcing needs checkpoint to be True, False or a number of elements ≥ 1; got {self.checkpoint!r}.",
        )

    def loss(self, model: SequenceModel, y: Sequences, context: Any, progress: float) -> Float[Tensor, " b"]:
        if self.checkpoint is False:
            return -model.log_prob(y, context, validate=False)
        length = max(1, math.ceil(math.sqrt(y.values.shape[1]))) if self.checkpoint is True else self.checkpoint
        encoded, log_given = given(model, y, context)
        return -log_given - score_segments(model, y, encoded, length, checkpoint=True)


@dataclass(frozen=True)
class TruncatedBPTT:
    """−log P(y | x), whose gradient goes back through `steps` elements at most; the state itself is carried on.

    The value is the likelihood's, exactly. The gradient is not: it leaves out what an element owes to those of
    earlier segments, which biases it towards short dependencies (Williams & Peng, 1990). Gradients reach the context
    from every segment. The memory is O(steps), since each segment's gradient is taken before the next one is read.
    Under 16-bit floats (not bfloat16) these gradients are taken before the scaler's factor.

    Args:
        steps: elements in a segment.

    Raises:
        ValueError: steps below 1; in the backward pass, if the sequences' losses were weighted differently.
    """

    steps: int

    is_likelihood: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.steps >= 1, f"TruncatedBPTT needs steps ≥ 1; got {self.steps}.")

    def loss(self, model: SequenceModel, y: Sequences, context: Any, progress: float) -> Float[Tensor, " b"]:
        encoded, log_given = given(model, y, context)
        if not torch.is_grad_enabled():
            return -log_given - score_segments(model, y, encoded, self.steps)
        # The context's graph serves every segment, so it must not be freed with the first: its gradients are summed
        # at leaves in its place, and go on from there in the one backward pass.
        leaves = tree_map(lambda leaf: leaf.detach().requires_grad_(leaf.requires_grad), encoded)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        inner = parameters + _differentiable(leaves)
        total, gradients = y.values.new_zeros(()), [None] * len(inner)
        for piece in walk_segments(model, y, leaves, self.steps, detach=True):
            total = total - piece.detach()
            if piece.requires_grad:
                found = torch.autograd.grad(-piece.sum(), inner, allow_unused=True)
                gradients = [_add(a, b) for a, b in zip(gradients, found, strict=True)]
        return _Handed.apply(total, gradients, *parameters, *_differentiable(encoded)) - log_given  # type: ignore[no-any-return, operator]


class _Handed(torch.autograd.Function):
    """Losses whose summed gradient was taken before: it is handed to the backward pass when that comes."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if bool((weight != weight[:1]).any()):
            raise ValueError(
                "TruncatedBPTT takes the gradient of the sum over sequences beforehand; got a different weight for "
                "each. Weight the sequences alike, or use TeacherForcing(checkpoint=True)."
            )
        factor = weight[:1].sum()
        return None, None, *(None if each is None else each * factor.to(each) for each in ctx.gradients)


def given(model: SequenceModel, y: Sequences, context: Any) -> tuple[Context, Tensor]:
    """What the objectives condition the model on, and the log-probability (b,) of what that takes as known."""
    return model.given(y, model.encode(context, len(y), validate=False))


def _differentiable(context: Context) -> list[Tensor]:
    """The tensors of a context that gradients go to, in order."""
    return [leaf for leaf in leaves(context) if leaf.requires_grad]


def _add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b

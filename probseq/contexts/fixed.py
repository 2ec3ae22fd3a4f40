"""One vector or one label for each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from probseq.arguments import as_numbers
from probseq.context import Context
from probseq.contexts.base import ContextPart, Enters, check_enters
from probseq.part import require


@dataclass(eq=False, repr=False)
class Vector(ContextPart):
    """A vector x of `dim` real numbers for each sequence.

    Args:
        dim: the width of x.
        enters: "input" (x is concatenated to the input of every step), "state" (a learned map of x is the
            initial state), or "both". Goodfellow et al., Deep Learning, 10.2.4.

    Raises:
        ValueError: dim below 1, or another `enters`.
    """

    dim: int
    enters: Enters = "both"

    def __post_init__(self) -> None:
        require(self.dim >= 1, f"Vector needs dim ≥ 1; got {self.dim}.")
        check_enters(self.enters)

    @property
    def width(self) -> int:
        return self.dim

    def conform(self, x: Any) -> Tensor:
        x = as_numbers("the context", x)
        require(
            x.ndim == 2 and x.shape[1] == self.dim,
            f"the context must be a tensor (batch, {self.dim}), one row per sequence; got {tuple(x.shape)}.",
        )
        require(not x.is_complex(), f"the context must be real; got {x.dtype}.")
        finite = torch.isfinite(x).all(-1)
        if not bool(finite.all()):
            raise ValueError(f"the context of sequence {int((~finite).nonzero()[0])} is not finite. Clean it first.")
        return x

    def encode(self, x: Tensor) -> Context:
        return Context(x)


@dataclass(eq=False, repr=False)
class Labels(ContextPart):
    """One of `classes` labels for each sequence, through a learned embedding of width `dim`.

    Raises:
        ValueError: classes or dim below 1, or another `enters`.
    """

    classes: int
    dim: int = 16
    enters: Enters = "both"

    event_dims: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require(
            self.classes >= 1 and self.dim >= 1,
            f"Labels needs classes ≥ 1 and dim ≥ 1; got {self.classes}, {self.dim}.",
        )
        check_enters(self.enters)

    @property
    def width(self) -> int:
        return self.dim

    def build(self) -> None:
        self.embedding = nn.Embedding(self.classes, self.dim)

    def conform(self, x: Any) -> Tensor:
        x = as_numbers("the context", x)
        require(
            x.ndim == 1 and not x.is_floating_point() and not x.is_complex(),
            f"labels must be an integer tensor (batch,), one per sequence; got {tuple(x.shape)}, {x.dtype}.",
        )
        bad: Tensor = (x < 0) | (x >= self.classes)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise ValueError(f"the label of sequence {row} is {int(x[row])}; expected 0…{self.classes - 1}.")
        return x

    def encode(self, x: Tensor) -> Context:
        return Context(self.embedding(x.to(self.embedding.weight.device, torch.int64)))

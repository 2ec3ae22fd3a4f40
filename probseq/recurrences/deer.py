"""Nonlinear recurrences, all steps at once, by Newton's method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from probseq.linear import matrix_scan
from probseq.part import feature_bound, require
from probseq.recurrences.wrapping import Wrapping
from probseq.structure import Links, recurrence_links

Memory = tuple[Tensor, ...]


@dataclass(eq=False, repr=False)
class DEER(Wrapping):
    """A GRU or an Elman network that takes all steps of a sequence at once: the same function, by Newton's method.

    hₜ = f(hₜ₋₁, xₜ) for all t is one system of equations. Each iteration evaluates f and J = ∂f/∂h for all t together,
    and solves the linear recurrence δₜ = Jₜ δₜ₋₁ + f(hₜ₋₁, xₜ) − hₜ by a scan: h + δ is the next guess (Lim et al.,
    Parallelizing non-linear sequential models over the sequence length, 2024; Danieli et al., DeepPCR, 2023). Where it
    does not converge, or runs away, the recurrence is run step by step. The gradient is that of the solution, by one
    scan backwards; it cannot be differentiated again. One step alone, as in sampling, is an ordinary one.

    It pays on accelerators, for very long sequences and few units: the Jacobians take n h² numbers a sequence and
    layer, the scan n h³ products, and each iteration waits for the device. On an H100 it draws level with cuDNN's GRU
    at 16,000 steps of 16 units, and goes on where cuDNN refuses, at 65,000. On a CPU the recurrence alone is faster.

    Args:
        recurrence: a part with `cell` and its `jacobian`, and one tensor of memory: GRU or Elman.
        tolerance: iterations end when no number moves by more; the error left is of the order of its square. None
            stands for the root of the precision, 1.5e-8 in float64 and 3.5e-4 in float32.
        iterations: how many are tried.

    Shapes:
        inputs: (b, n, i), n ≥ 1. features, memory: those of `recurrence`.

    Raises:
        ValueError: no such recurrence, tolerance ≤ 0 or iterations below 1.
    """

    tolerance: float | None = None
    iterations: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        inner = self.recurrence
        require(
            hasattr(inner, "jacobian"),
            f"DEER needs a recurrence that knows its Jacobian, GRU or Elman; got {inner!r}.",
        )
        require(
            self.iterations >= 1 and (self.tolerance is None or self.tolerance > 0),
            f"DEER needs tolerance > 0 and iterations ≥ 1; got {self.tolerance}, {self.iterations}.",
        )

    @property
    def features(self) -> int:
        return self.recurrence.features

    def feature_bound(self, start: float) -> float:
        """That of the recurrence."""
        return feature_bound(self.recurrence, start)

    def build(self, inputs: int) -> None:
        self.recurrence.build(inputs)

    def links(self, steps: int) -> Links:
        """Those of the recurrence."""
        return recurrence_links(self.recurrence, steps)

    def forward(self, inputs: Float[Tensor, "b n i"], memory: Memory) -> tuple[Float[Tensor, "b n h"], Memory]:
        if inputs.shape[1] == 1:
            return self.recurrence(inputs, memory)
        # In 16 bits it would not converge.
        with torch.autocast(inputs.device.type, enabled=False):
            like = self.recurrence.weights(0)[0]
            found = self._climb(inputs.to(like), memory[0].to(like))
        return self.recurrence(inputs, memory) if found is None else found

    def _climb(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Memory] | None:
        """Layer after layer, or None where one does not converge."""
        features, after = inputs, []
        for layer, first in enumerate(memory.unbind(1)):
            hidden = self._solve(layer, features.detach(), first.detach())
            if hidden is None:
                return None
            hidden = self._attach(layer, features, first, hidden)
            after.append(hidden[:, -1])
            features = F.dropout(hidden, self.recurrence.dropout, self.training)
        return features, (torch.stack(after, 1),)

    @torch.no_grad()
    def _solve(self, layer: int, inputs: Tensor, first: Tensor) -> Tensor | None:
        """h₁ … hₙ of a layer, or None."""
        tolerance = torch.finfo(first.dtype).eps ** 0.5 if self.tolerance is None else self.tolerance
        hidden = first.unsqueeze(1).expand(-1, inputs.shape[1], -1)
        for _ in range(self.iterations):
            before = _shifted(first, hidden)
            (new,) = self.recurrence.cell(layer, inputs, (before,))
            move = matrix_scan(self.recurrence.jacobian(layer, inputs, before), new - hidden)
            hidden, largest = hidden + move, float(move.abs().max())
            # NaN and ∞ are no better later.
            if not largest < torch.inf:
                return None
            if largest <= tolerance:
                return hidden
        return None

    def _attach(self, layer: int, inputs: Tensor, first: Tensor, hidden: Tensor) -> Tensor:
        """The solution, once more through f, with its gradient."""
        before = _shifted(first, hidden)
        (new,) = self.recurrence.cell(layer, inputs, (before,))
        if not new.requires_grad:
            return new
        with torch.no_grad():
            slope = self.recurrence.jacobian(layer, inputs, before)
        return _Solution.apply(new, slope)  # type: ignore[reportReturnType]


def _shifted(first: Tensor, hidden: Tensor) -> Tensor:
    """h₀ … hₙ₋₁."""
    return torch.cat([first.unsqueeze(1), hidden[:, :-1]], 1)


class _Solution(torch.autograd.Function):
    """f(hₜ₋₁, xₜ), whose gradient also goes by hₜ₋₁ to all steps before: λₜ = gₜ + Jₜ₊₁ᵀ λₜ₊₁."""

    @staticmethod
    def forward(ctx: Any, new: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return new.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        # Backwards in time, the matrix of the last step, which nothing follows, multiplies h₀ = 0.
        back = slope.roll(-1, 1).transpose(-1, -2).flip(1)
        return matrix_scan(back, grad.flip(1)).flip(1), None

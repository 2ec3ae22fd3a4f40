"""Symbols that are chosen from an alphabet, or copied from a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart, least_last, mixed_symbols
from probseq.numerics import at_least_float32
from probseq.part import require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class Pointer(LikelihoodPart):
    """P(v) = (1 − g m) · softmax(V h + c)ᵥ + g · Σ_{s: xₛ = v} aₛ, symbols that the source holds being copied.

    The features come from `Attentive(…, copies=n)`: its own h, and the weights aₛ by symbol, of sum m, which is 1 but
    for source symbols that the target lacks, and for an empty source. The gate g = σ(w·h + c) is learned (Gu et al.,
    2016; See et al., 2017). Symbol v of the source is symbol v of the target; the end is never copied.
    """

    takes_symbols: ClassVar[bool] = True
    takes_copies: ClassVar[bool] = True

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        size = getattr(element, "size", None)
        require(
            element.discrete and element.shape == () and size is not None,
            f"Pointer() needs a Tokens element; got {element!r}.",
        )
        self.end = int(size)  # type: ignore[arg-type]
        self.own = features - self.end
        require(
            self.own > 0,
            f"Pointer() needs features that hold the weights of {self.end} symbols; got {features} features. Use "
            f"Attentive(…, copies={self.end}).",
        )
        self.project = nn.Linear(self.own, self.end + symbols)
        self.gate = nn.Linear(self.own, 1)

    def logits(self, features: Float[Tensor, "*b h"]) -> Float[Tensor, "*b v"]:
        """Normalised log-probabilities; the end, if it is a symbol, comes last."""
        hidden, copied = features.split([self.own, self.end], -1)
        gate, copied = at_least_float32(self.gate(hidden)), at_least_float32(copied)
        log_gate = F.logsigmoid(gate)
        # 1 − g m, by a sum that neither cancels where m = 1 nor underflows where the gate is all but shut.
        lost = (1 - copied.sum(-1, keepdim=True)).clamp(min=0)
        chosen = self.raw(hidden).log_softmax(-1) + torch.logaddexp(F.logsigmoid(-gate), _log(lost) + log_gate)
        log_copied = _log(copied) + log_gate
        ends = chosen.shape[-1] - self.end
        return torch.logaddexp(chosen, F.pad(log_copied, (0, ends), value=-torch.inf))

    def least_end(self, bound: float) -> float:
        """What P(the end, a symbol) is at least, whatever features there are with |hᵢ| ≤ bound: it is never copied."""
        opens = self.gate.bias.double() + bound * self.gate.weight.double().abs().sum()
        return least_last(self.project.weight, self.project.bias, bound) * float(torch.sigmoid(-opens))

    def forward(self, features: Float[Tensor, "*b h"]) -> dist.Categorical:
        return dist.Categorical(logits=self.logits(features), validate_args=False)

    def log_prob(self, features: Float[Tensor, "n h"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return self.logits(features).gather(-1, y.unsqueeze(-1)).squeeze(-1)

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> dist.Categorical:
        return mixed_symbols(self.logits(features), log_weights)


def _log(weights: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
    """The log of weights; no weight has −∞, through which no gradient may go."""
    some = weights > 0
    return torch.where(some, torch.where(some, weights, 1.0).log(), -torch.inf)

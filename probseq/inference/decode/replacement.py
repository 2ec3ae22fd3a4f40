"""Samples without replacement, with what an estimate needs to know of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.inference.search.hypotheses import Hypotheses
from probseq.sequences import Sequences


@dataclass(frozen=True)
class WithoutReplacement:
    """n different sequences for each row: the first, then one of the others in proportion to P, and so on.

    Equivalently the n largest of G(y) = log P(y | x) + Gumbel noise over all sequences, where noise is independent.
    Sequences that reach the longest length are among them, as in `sample`, and have `ended=False`.

    Shapes:
        hypotheses: m sequences, those of a row in the order of drawing, which is that of G, their `search_score`.
        log_threshold: (b,), κ, the next largest G of each row; −∞ where all sequences were drawn.
    """

    hypotheses: Hypotheses
    log_threshold: Float[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.hypotheses)

    @property
    def log_inclusion(self) -> Float[Tensor, " m"]:
        """log P(G(y) > κ) = log (1 − exp(−exp(log P(y) − κ))), the chance of y to be among them, given κ."""
        ratio = (self.hypotheses.log_prob - self.log_threshold[self.hypotheses.rows]).exp()
        return torch.where(ratio < 1e-8, ratio.log(), (-torch.expm1(-ratio)).log())

    @property
    def log_weights(self) -> Float[Tensor, " m"]:
        """log of P(y) / P(G(y) > κ), normalised in each row: Σ exp = 1."""
        raw = self.hypotheses.log_prob - self.log_inclusion
        rows = self.hypotheses.rows
        best = torch.full_like(self.log_threshold, -torch.inf).scatter_reduce(0, rows, raw, "amax")
        total = torch.zeros_like(best).index_add(0, rows, (raw - best[rows]).exp())
        return raw - best[rows] - total[rows].log()

    def expectation(self, function: Callable[[Sequences], Tensor]) -> Tensor:
        """E[f(y) | x] of each row by importance weights P(y) / P(G(y) > κ), normalised: consistent, and exact where all
        sequences were drawn.

        Without normalising, it would be unbiased, and usually worse than plain sampling. Needs two draws or more: with
        one, it is f of that draw.

        Args:
            function: of m sequences, (m, …).

        Source: Kool et al., Stochastic beams and where to find them, 2019, section 4.2.
        """
        values = function(self.hypotheses.sequences).to(self.log_threshold)
        weight = self.log_weights.exp().reshape(-1, *[1] * (values.ndim - 1))
        total = values.new_zeros(len(self.log_threshold), *values.shape[1:])
        return total.index_add(0, self.hypotheses.rows, weight * values)


def below(log_prob: Float[Tensor, "*b"], top: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """A Gumbel variable of location `log_prob`, given that it is at most `top`: −log (E exp(−log_prob) + exp(−top))."""
    drawn = torch.empty_like(log_prob).exponential_()
    return log_prob - (drawn + (log_prob - top).exp()).log()


def below_best(log_prob: Float[Tensor, "n o"], parent: Float[Tensor, " n"]) -> Float[Tensor, "n o"]:
    """Gumbel variables of locations `log_prob`, given that the largest of each row is `parent`; −∞ stays.

    Source: Kool et al., 2019, appendix B.3.
    """
    noise = -torch.empty_like(log_prob).exponential_().log()
    free = log_prob + noise
    largest = free.amax(1, keepdim=True)
    parent = parent.unsqueeze(1)
    possible = (log_prob > -torch.inf) & (parent > -torch.inf)
    # In the place of impossible ones stand numbers, so that nothing is ∞ − ∞.
    apart = torch.where(possible, free - largest, -1.0)
    shift = torch.where(possible, parent - free, 0.0) + torch.log1p(-apart.exp())
    moved = parent - shift.clamp(min=0) - torch.log1p((-shift.abs()).exp())
    return torch.where(possible, moved, -torch.inf)


def row_of(rows: Int[Tensor, " m"], batch: int) -> Int[Tensor, " m"]:
    """How many of the same row came before, where `rows` are sorted."""
    count = torch.bincount(rows, minlength=batch)
    return torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]

"""What `infill` gives."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.inference.search.alphabet import Alphabet
from probseq.inference.search.hypotheses import first_of_equals
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences
from probseq.shapes import slot_mask

FEW = 30
"""Effective draws below which no estimate is to be trusted."""

MOST_ERROR = 0.5
"""Nats of standard error of log Ẑ above which it is not to be trusted."""


@dataclass(frozen=True)
class Infilled:
    """Weighted completions of b patterns, and how far they can be trusted.

    Shapes:
        sequences: m completed sequences, in the order of the patterns.
        rows: (m,), int64, the pattern that each completes.
        log_weight: (m,), nats; those of one pattern sum to 1, unless nothing was possible: all are then −∞.
        log_evidence: (b,), nats, log Ẑ of what was observed; Ẑ is unbiased, and exact where `exact`.
        standard_error: (b,), of log Ẑ; 0 where that is −∞.
        exact: (b,), bool, whether every completion was listed.
        died: (b,), int64, the position at which the last particle met probability 0, or −1.
        symbols: (v, *e), the values of an element, or None where they are not listed.
    """

    sequences: Sequences
    rows: Int[Tensor, " m"]
    log_weight: Float[Tensor, " m"]
    log_evidence: Float[Tensor, " b"]
    standard_error: Float[Tensor, " b"]
    exact: Bool[Tensor, " b"]
    died: Int[Tensor, " b"]
    symbols: Tensor | None

    def __len__(self) -> int:
        return len(self.log_evidence)

    @checked
    def interval(self, level: float = 0.95) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Bounds of log P(what was observed), normal on the log scale.

        Raises:
            ValueError: a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1; got {level}.")
        z = math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
        width = torch.where(self.standard_error > 0, z * self.standard_error, 0.0)
        return self.log_evidence - width, self.log_evidence + width

    @cached_property
    def weight(self) -> Float[Tensor, " m"]:
        """The probability of each completion given what was observed."""
        return self.log_weight.exp()

    @cached_property
    def ess(self) -> Float[Tensor, " b"]:
        """(Σ w)² / Σ w²: how many exact draws would tell as much. Particles that were drawn anew share ancestors, which
        this does not see; `standard_error` does."""
        squares = torch.zeros_like(self.log_evidence).index_add(0, self.rows, self.weight.square())
        return torch.where(squares > 0, 1 / squares, 0.0)

    @cached_property
    def draws(self) -> Int[Tensor, " b"]:
        """How many completions each pattern has."""
        return torch.bincount(self.rows, minlength=len(self))

    @cached_property
    def pareto_k(self) -> Float[Tensor, " b"]:
        """The shape of the tail of the weights: above 0.7 their mean cannot be relied on; NaN below 25 draws.

        Source: Vehtari et al., Pareto smoothed importance sampling, 2024.
        """
        import numpy as np
        from arviz_stats.base import array_stats  # seconds to import

        found = torch.full_like(self.log_evidence, torch.nan)
        for row in range(len(self)):
            logs = self.log_weight[self.rows == row]
            logs = logs[logs > -torch.inf].double()
            if bool(self.exact[row]) or len(logs) < 25:
                continue
            with np.errstate(divide="ignore", invalid="ignore"), contextlib.suppress(ValueError):
                # Where the largest weights are all equal there is no tail, which is said by an error.
                found[row] = -torch.inf
                if float(logs.max() - logs.min()) > 1e-6:
                    found[row] = float(array_stats.psislw(-logs.cpu().numpy())[1])
        return found

    @cached_property
    def verdicts(self) -> list[str]:
        """For each pattern "exact", "reliable", or why it should not be trusted and what to do."""
        return [self._judge(row) for row in range(len(self))]

    @property
    def reliable(self) -> Bool[Tensor, " b"]:
        """Whether the verdict is "exact" or "reliable"."""
        return torch.tensor([verdict in ("exact", "reliable") for verdict in self.verdicts], dtype=torch.bool)

    def _judge(self, row: int) -> str:
        if self.log_evidence[row] == -torch.inf:
            if bool(self.exact[row]):
                return "impossible: what was observed has probability 0"
            return (
                f"not to be trusted: every particle met probability 0 at position {int(self.died[row])}. What was "
                "observed may be contradictory; else use more particles, a lookahead, or method='exact'"
            )
        if bool(self.exact[row]):
            return "exact"
        ess, k, count = float(self.ess[row]), float(self.pareto_k[row]), int(self.draws[row])
        cure = "Use more particles, or a lookahead"
        if ess < FEW:
            return f"not to be trusted: {count} draws are worth {ess:.1f}. {cure}"
        if not float(self.standard_error[row]) <= MOST_ERROR:
            return f"not to be trusted: the standard error of log Ẑ is {float(self.standard_error[row]):.2f}. {cure}"
        if k > 0.7:
            return f"not to be trusted: the weights have a heavy tail, Pareto k̂ = {k:.2f}. {cure}"
        return "reliable"

    @cached_property
    def marginals(self) -> Float[Tensor, "b t v"]:
        """P(yₜ = v | what was observed); each (b, t) sums to P(the sequence has an element at t).

        Raises:
            ValueError: elements that are not listed.
        """
        if self.symbols is None:
            raise ValueError("the values of an element cannot be listed; use mean, variance, or draw().")
        width, size = self.sequences.values.shape[1], len(self.symbols)
        number = Alphabet(self.symbols).numbers(self.sequences.values)
        at = torch.arange(width, device=number.device)
        flat = ((self.rows.unsqueeze(1) * width + at) * size + number).flatten()
        share = (self.weight.unsqueeze(1) * self._mask()).flatten()
        total = share.new_zeros(len(self) * width * size).index_add(0, flat, share)
        return total.view(len(self), width, size)

    @cached_property
    def mean(self) -> Float[Tensor, "b t *e"]:
        """E[yₜ | what was observed, there is an element at t]; NaN where there is none."""
        return self._average(self._values())

    @cached_property
    def variance(self) -> Float[Tensor, "b t *e"]:
        """Var(yₜ | what was observed, there is an element at t), of each part of an element."""
        return self._average((self._values() - self.mean[self.rows]).square())

    @checked
    def draw(self, count: int, generator: Seed = None) -> Sequences:
        """`count` completions of each pattern, drawn by their weights, side by side.

        Raises:
            ValueError: a pattern of which nothing is possible; count below 1.
        """
        if count < 1:
            raise ValueError(f"draw() needs count ≥ 1; got {count}.")
        with seeded(generator, self.log_weight.device):
            index = [self._of(row)[self.weight[self._of(row)].multinomial(count, True)] for row in range(len(self))]
        return self.sequences.select(torch.cat(index) if index else [])

    @checked
    def ranked(self, row: int = 0, count: int | None = None) -> tuple[Sequences, Float[Tensor, " k"]]:
        """The different completions of a pattern with their probabilities, the likeliest first; `count` at most.

        Raises:
            ValueError: a pattern that is not there, or of which nothing is possible; count below 0.
        """
        if not 0 <= row < len(self):
            raise ValueError(f"there are {len(self)} patterns, counted from 0; got {row}.")
        if count is not None and count < 0:
            raise ValueError(f"ranked() needs count ≥ 0; got {count}.")
        index = self._of(row)
        own = self.sequences.select(index.cpu())
        if self.sequences.values.is_floating_point():
            shares, order = self.weight[index].sort(descending=True)
        else:
            first = first_of_equals(torch.zeros_like(index), own)
            shares = torch.zeros_like(self.weight[index]).index_add(0, first, self.weight[index])
            shares, order = shares.sort(descending=True, stable=True)
            order, shares = order[shares > 0], shares[shares > 0]
        return own.select(order[:count].cpu()), shares[:count]

    def _of(self, row: int) -> Int[Tensor, " k"]:
        index = (self.rows == row).nonzero().squeeze(-1)
        if not bool((self.log_weight[index] > -torch.inf).any()):
            raise ValueError(f"pattern {row} has no completion: {self.verdicts[row]}.")
        return index

    def _mask(self) -> Bool[Tensor, "m t"]:
        return slot_mask(self.sequences.lengths, self.sequences.values.shape[1]).to(self.weight.device)

    def _values(self) -> Float[Tensor, "m t *e"]:
        return self.sequences.values.to(self.weight.dtype)

    def _average(self, values: Float[Tensor, "m t *e"]) -> Float[Tensor, "b t *e"]:
        share = self.weight.unsqueeze(1) * self._mask()
        total = share.new_zeros(len(self), share.shape[1]).index_add(0, self.rows, share)
        share = share.reshape(*share.shape, *[1] * (values.ndim - 2))
        masked = torch.where(share > 0, values, 0.0)
        summed = share.new_zeros(len(self), *values.shape[1:]).index_add(0, self.rows, share * masked)
        return summed / total.reshape(*total.shape, *[1] * (values.ndim - 2))


def pooled(log_share: Float[Tensor, " m"], rows: Int[Tensor, " m"], batch: int) -> tuple[Tensor, Tensor]:
    """log Σ exp over each row, and what each is of its row's sum, in nats; −∞ where a row's are all −∞."""
    top = torch.full((batch,), -torch.inf, dtype=log_share.dtype, device=log_share.device)
    top = top.scatter_reduce(0, rows, log_share, "amax")
    safe = torch.where(top > -torch.inf, top, 0.0)
    total = torch.zeros_like(top).index_add(0, rows, (log_share - safe[rows]).exp())
    log_total = torch.where(top > -torch.inf, safe + total.log(), -torch.inf)
    log_weight = torch.where((top > -torch.inf)[rows], log_share - safe[rows] - total.log()[rows], -torch.inf)
    return log_total, log_weight


def standard_error(
    log_evidence: Float[Tensor, " n"], relative_variance: Float[Tensor, " n"], rows: Int[Tensor, " n"], batch: int
) -> Float[Tensor, " b"]:
    """Of the log of Σ exp(log_evidence) over each row, the terms being independent."""
    log_total, _ = pooled(log_evidence, rows, batch)
    shares = torch.where((log_evidence > -torch.inf), (log_evidence - log_total[rows]).exp(), 0.0)
    squares = torch.where(shares > 0, shares.square() * relative_variance, 0.0)
    found = torch.zeros_like(log_total).index_add(0, rows, squares).sqrt()
    return torch.where(log_total > -torch.inf, found, 0.0)

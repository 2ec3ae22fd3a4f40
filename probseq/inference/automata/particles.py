"""Sequential Monte Carlo under an automaton."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.inference.automata.descent import Space
from probseq.inference.search.hypotheses import Hypotheses
from probseq.inference.weights import effective_size, log_mean, normalise, relative_variance

ENOUGH = 0.5
"""Particles are resampled where the effective number falls below this share."""


@dataclass(frozen=True)
class Swarm:
    """Weighted sequences, n for each row, side by side.

    Shapes:
        hypotheses: b · n sequences; those of weight 0 may be cut.
        log_weight: (b, n), normalised: Σ exp = 1 for each row, or all −∞.
        log_evidence: (b,), log Ẑ, where Ẑ is an unbiased estimate of P(accepted).
        relative_error: (b,), the standard error of Ẑ divided by Ẑ.
    """

    hypotheses: Hypotheses
    log_weight: Float[Tensor, "b n"]
    log_evidence: Float[Tensor, " b"]
    relative_error: Float[Tensor, " b"]

    @property
    def ess(self) -> Float[Tensor, " b"]:
        """The effective number of particles, 1 / Σ w²; 0 where all have died."""
        return effective_size(self.log_weight)


def swarm(space: Space, particles: int) -> Swarm:
    """Each particle draws from what the automaton allows, renormalised, and is weighed by how much of the law that is.

    What would be local masking without its weights. Resampled before a step is drawn, when the
    weights of that step are known; the error is told by which first ancestors are left.

    Source: Lee & Whiteley, Variance estimation in the particle filter, 2018, section 3 (the error).
    """
    batch, device = space.state.batch, space.state.features.device
    run = _Run(space, batch, particles, device)
    for position in range(space.longest + 1):
        if not run.step(position):
            break
    return run.close()


class _Run:
    """The particles of all rows, flat: row r's are r · n … r · n + n − 1."""

    def __init__(self, space: Space, batch: int, particles: int, device: torch.device) -> None:
        self.space, self.batch, self.particles = space, batch, particles
        flat = torch.arange(batch, device=device).repeat_interleave(particles)
        self.rows, self.state = flat, space.state.select(flat)
        self.where, self.lengths = torch.zeros_like(flat), torch.zeros_like(flat)
        self.going = torch.ones_like(flat, dtype=torch.bool)
        self.log_prob = torch.zeros(len(flat), dtype=torch.float64, device=device)
        self.log_weight = torch.zeros(batch, particles, dtype=torch.float64, device=device)
        self.log_evidence = self.log_weight.new_zeros(batch)
        self.ancestor = torch.arange(particles, device=device).repeat(batch)
        self.resampled = torch.zeros(batch, dtype=torch.int64, device=device)
        self.numbers = torch.zeros(len(flat), 0, dtype=torch.int64, device=device)

    def step(self, position: int) -> bool:
        """Weigh, resample where the weights differ, draw one outcome each. Whether anything goes on."""
        outcomes = self.space.law(self.state)
        masked = outcomes.to(torch.float64).log_softmax(1)
        masked = masked.masked_fill(~self.space.allowed(self.where, position), -torch.inf)
        kept = torch.where(self.going, masked.logsumexp(1), 0.0)
        self.log_weight = self.log_weight + kept.view(self.batch, self.particles)
        self.going = self.going & (kept > -torch.inf)
        index = self._resample()
        self._select(index)
        live = self.going.nonzero().squeeze(-1)
        if not len(live):
            return False
        source = index[live]
        outcome = torch.zeros_like(self.rows)
        outcome[live] = masked[source].softmax(1).multinomial(1).squeeze(1)
        own = outcomes[source].gather(1, outcome[live].unsqueeze(1)).squeeze(1)
        self.log_prob = self.log_prob.index_add(0, live, own.to(self.log_prob))
        number = (outcome - 1).clamp(min=0)
        self.numbers = torch.cat([self.numbers, number.unsqueeze(1)], 1)
        self.going = self.going & (outcome > 0)
        self.lengths = self.lengths + self.going
        self.where = torch.where(self.going, self.space.dfa.next[self.where, number], self.where)
        if not bool(self.going.any()):
            return False
        self.state = self.space.model.extend(self.state, self.space.alphabet.symbols[number].unsqueeze(1))[1]
        return True

    def _resample(self) -> Int[Tensor, " m"]:
        """Which particle each place goes on with, (b · n,)."""
        n, weight = self.particles, self.log_weight
        size = effective_size(weight)
        chosen = (size > 0) & (size < ENOUGH * n) & (self.going.view(self.batch, n).any(1))
        # Multinomial, which the estimate of the error is made for.
        drawn = normalise(weight).exp().multinomial(n, replacement=True)
        drawn = torch.where(chosen.unsqueeze(1), drawn, torch.arange(n, device=drawn.device))
        self.log_evidence = torch.where(chosen, self.log_evidence + log_mean(weight), self.log_evidence)
        self.log_weight = torch.where(chosen.unsqueeze(1), 0.0, weight)
        self.resampled = self.resampled + chosen
        return (drawn + torch.arange(self.batch, device=drawn.device).unsqueeze(1) * n).flatten()

    def _select(self, index: Tensor) -> None:
        self.state = self.state.select(index)
        for name in ("where", "lengths", "going", "log_prob", "ancestor", "numbers"):
            setattr(self, name, getattr(self, name)[index])

    def close(self) -> Swarm:
        weight = self.log_weight
        possible = (weight > -torch.inf).any(1, keepdim=True)
        log_weight = torch.where(possible, normalise(weight), -torch.inf)
        ended = ~self.going & (weight.flatten() > -torch.inf)
        y = self.space.sequences(self.numbers, self.lengths, ended)
        found = Hypotheses(y, self.log_prob, log_weight.flatten(), self.rows)
        variance = relative_variance(weight, self.ancestor.view_as(weight), self.resampled)
        return Swarm(found, log_weight, self.log_evidence + log_mean(weight), variance.sqrt())

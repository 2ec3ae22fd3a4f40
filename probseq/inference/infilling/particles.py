"""Sequential Monte Carlo over the missing elements of many patterns at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import State
from probseq.inference.infilling.pattern import Templates
from probseq.inference.partial import complete
from probseq.inference.score import Score
from probseq.inference.search.alphabet import Alphabet
from probseq.inference.segments import piece, read_piece
from probseq.inference.weights import effective_size, log_mean, normalise, relative_variance
from probseq.numerics import log_sum
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences

Potential = Callable[[State, Tensor, int], Tensor]
"""(state of m particles, the template (m,) of each, t) → (m, v): log ψ of each symbol as the element at t, an estimate,
up to a constant for each template and t, of the log-probability of all that is known beyond t."""


@dataclass(frozen=True)
class Cloud:
    """Weighted completions of n templates, N particles each.

    Shapes:
        y: n · N completed sequences, those of one template side by side.
        log_weight: (n, N), nats: the mean of exp is the estimate Ẑ of the probability of what was observed, unbiased.
        origin: (n, N), the particle of the beginning that each descends from.
        resampled: (n,), how often the particles were drawn anew.
        died: (n,), the position at which the last particle met probability 0, or −1.
    """

    y: Sequences
    log_weight: Float[Tensor, "n N"]
    origin: Int[Tensor, "n N"]
    resampled: Int[Tensor, " n"]
    died: Int[Tensor, " n"]

    @property
    def log_evidence(self) -> Float[Tensor, " n"]:
        """log Ẑ."""
        return log_mean(self.log_weight)

    @property
    def relative_variance(self) -> Float[Tensor, " n"]:
        """An estimate of Var(Ẑ) / Z²."""
        return relative_variance(self.log_weight, self.origin, self.resampled)


@torch.no_grad()
def run(
    model: Autoregressive,
    start: State,
    templates: Templates,
    particles: int,
    potential: Potential | None = None,
    alphabet: Alphabet | None = None,
    threshold: float = 0.5,
    kept: Sequences | None = None,
) -> Cloud:
    """Draw the missing elements from the model, tilted by the potential, and weight them by what was observed.

    Element t is drawn from q(yₜ) ∝ P(yₜ | y₍<t₎) ψₜ(yₜ), which costs the weight P / q; an observed one costs
    P(yₜ | y₍<t₎). When the effective size of the weights times ψ falls below `threshold` · N, particles are drawn anew.

    Args:
        start: n states of which nothing was read, one for each template.
        potential, alphabet: a look ahead, for elements that can be listed; without one elements come from the model.
        kept: n sequences, of which particle 0 takes its elements and which always lives on: conditional SMC.

    Source: Doucet & Johansen, A tutorial on particle filtering and smoothing, 2011; Andrieu et al., Particle Markov
    chain Monte Carlo, 2010 (the conditional one).
    """
    first, last = _span(templates)
    flight = _Flight(model, templates, particles, potential, alphabet, threshold, kept, first)
    flight.begin(start)
    for t in range(first, last):
        flight.advance(t)
    flight.close(last)
    return flight.cloud()


def _span(templates: Templates) -> tuple[int, int]:
    """The first position where something is missing in any template, and the one after the last."""
    columns = templates.holes.any(0).nonzero().squeeze(-1)
    if not len(columns):
        return templates.y.values.shape[1], templates.y.values.shape[1]
    return int(columns[0]), int(columns[-1]) + 1


@dataclass
class _Flight:
    """The particles on their way; m = n · N of them, those of a template side by side."""

    model: Autoregressive
    templates: Templates
    particles: int
    potential: Potential | None
    alphabet: Alphabet | None
    threshold: float
    kept: Sequences | None
    first: int

    def begin(self, state: State) -> None:
        """Read what comes before the first hole, and put N particles in the place of each template."""
        n, device = len(self.templates), state.features.device
        log_weight = state.features.new_zeros(n)
        self.died = torch.full((n,), -1, dtype=torch.int64, device=device)
        if self.first:
            score, state = read_piece(self.model, state, piece(self.templates.y, 0, self.first).to(device), 0)
            self.died, log_weight = lost(log_weight.unsqueeze(1), score, 0), score.log_prob
        self.rows = torch.arange(n, device=device).repeat_interleave(self.particles)
        self.state = state.select(self.rows)
        self.log_weight = log_weight[self.rows]
        self.origin = torch.arange(self.particles, device=device).repeat(n)
        self.resampled = torch.zeros(n, dtype=torch.int64, device=device)
        self.lengths = self.templates.y.lengths.to(device)
        self.ended = self.templates.y.ended.to(device)
        self.values = self.templates.y.values.to(device)
        self.values = self.values.to(state.features.dtype) if self.values.is_floating_point() else self.values
        self.observed = self.templates.observed.to(device)
        self.whole = self.templates.whole.to(device)
        self.columns = self.values.new_zeros(len(self.rows), 0, *self.values.shape[2:])

    def advance(self, t: int) -> None:
        """The element at t, drawn or observed, for every particle."""
        active = (t < self.lengths)[self.rows]
        if self.potential is None:
            values, log_weight = self._from_model(t)
            twist = torch.zeros_like(log_weight)
        else:
            values, log_weight, twist = self._tilted(t)
        self._end(t)
        self.log_weight = torch.where(active, self.log_weight + log_weight, self.log_weight)
        self._note_death(t)
        self.columns = torch.cat([self.columns, values.unsqueeze(1)], 1)
        self.state = self.model.extend(self.state, values.unsqueeze(1))[1]
        self._resample(torch.where(active, twist, 0.0))

    def close(self, last: int) -> None:
        """What is observed beyond the last hole."""
        self._end(last)
        self._note_death(last)
        rest = piece(self.templates.y, last, max(self.values.shape[1] - last, 1))
        if bool((rest.lengths > 0).any()):
            rest = rest.select(self.rows.cpu()).to(self.rows.device)
            score = read_piece(self.model, self.state, rest, last)[0]
            died = lost(self.log_weight.view(-1, self.particles), score, last)
            self.died = torch.where(self.died < 0, died, self.died)
            self.log_weight = self.log_weight + score.log_prob

    def cloud(self) -> Cloud:
        """What has come of them."""
        width = self.columns.shape[1]
        values = self.values[self.rows]
        values = torch.cat([values[:, : self.first], self.columns, values[:, self.first + width :]], 1)
        at = self.rows.cpu()
        y = Sequences(values, self.templates.y.lengths[at], self.templates.y.ended[at])
        shape = (len(self.templates), self.particles)
        return Cloud(y, self.log_weight.view(shape), self.origin.view(shape), self.resampled, self.died)

    def _from_model(self, t: int) -> tuple[Tensor, Tensor]:
        step = self.model.emit(self.state.features, self.state.position, self.state.context)
        values, log_prob = complete(step.element, self.values[self.rows, t], self.observed[self.rows, t])
        return self._keep(values.to(self.values), t), log_prob + step.log_go

    def _tilted(self, t: int) -> tuple[Tensor, Tensor, Tensor]:
        assert self.alphabet is not None
        assert self.potential is not None
        log_p = self.alphabet.law(self.model, self.state)[0]
        log_psi = self.potential(self.state, self.rows, t)
        tilted = log_p + log_psi
        log_norm = log_sum(tilted).unsqueeze(1)
        dead = log_norm == -torch.inf
        log_q = torch.where(dead, 0.0, tilted - log_norm)
        drawn = self.alphabet.symbols[log_q.exp().multinomial(1).squeeze(1)]
        whole = self.whole[self.rows, t]
        flag = whole.reshape(-1, *[1] * (drawn.ndim - 1))
        values = self._keep(torch.where(flag, self.values[self.rows, t], drawn), t)
        number = self.alphabet.numbers(values).unsqueeze(1)
        gain = torch.where(whole.unsqueeze(1), log_p, torch.where(dead, -torch.inf, log_p - log_q)).gather(1, number)
        return values, gain.squeeze(1), log_psi.gather(1, number).squeeze(1)

    def _keep(self, values: Tensor, t: int) -> Tensor:
        """Particle 0 of each template takes the element that is to be kept."""
        if self.kept is None:
            return values
        kept = self.kept.values[:, t].to(values)[self.rows]
        first = self._firsts().reshape(-1, *[1] * (values.ndim - 1))
        return torch.where(first, kept, values)

    def _firsts(self) -> Bool[Tensor, " m"]:
        return torch.arange(len(self.rows), device=self.rows.device).remainder(self.particles) == 0

    def _end(self, t: int) -> None:
        """The end of the templates that have t elements; one within what was read before the first hole is counted."""
        here = (self.lengths == t) & self.ended & (t > self.first or t == 0)
        if bool(here.any()):
            step = self.model.emit(self.state.features, self.state.position, self.state.context)
            self.log_weight = torch.where(here[self.rows], self.log_weight + step.log_stop, self.log_weight)

    def _note_death(self, t: int) -> None:
        dead = (self.log_weight.view(-1, self.particles) == -torch.inf).all(1)
        self.died = torch.where((self.died < 0) & dead, t, self.died)

    def _resample(self, twist: Float[Tensor, " m"]) -> None:
        """Where the effective size is small, N particles drawn by their weights times ψ."""
        shape = (-1, self.particles)
        aim = (self.log_weight + twist).view(shape)
        size = effective_size(aim)
        low = (size < self.threshold * self.particles) & (size > 0)
        if self.particles == 1 or not bool(low.any()):
            return
        chosen = normalise(aim).exp().multinomial(self.particles, replacement=True)
        chosen = torch.where(low.unsqueeze(1), chosen, torch.arange(self.particles, device=chosen.device))
        if self.kept is not None:
            chosen[:, 0] = 0
        flat = (chosen + self.particles * torch.arange(len(chosen), device=chosen.device).unsqueeze(1)).flatten()
        mean = log_mean(aim).unsqueeze(1)
        anew = mean - twist[flat].view(shape)
        self.log_weight = torch.where(low.unsqueeze(1), anew, self.log_weight.view(shape)).flatten()
        self.state, self.columns, self.origin = self.state.select(flat), self.columns[flat], self.origin[flat]
        self.resampled = self.resampled + low


def lost(before: Float[Tensor, "n N"], score: Score, offset: int) -> Int[Tensor, " n"]:
    """Where the last of N particles dies of the factors of `score` (n · N rows), read from `offset` on, or −1."""
    steps = score.stop.clone()
    steps[:, :-1] += score.element
    gone = (before.reshape(-1, 1) + steps.cumsum(1) == -torch.inf).view(*before.shape, -1).all(1)
    return torch.where(gone.any(1), gone.to(torch.uint8).argmax(1) + offset, -1)


def particle(cloud: Cloud, index: Int[Tensor, " n"]) -> Sequences:
    """The completion that is particle index[i] of template i."""
    flat = index + cloud.log_weight.shape[1] * torch.arange(len(index), device=index.device)
    return cloud.y.select(flat.cpu())


def reweighted(cloud: Cloud, log_factor: Float[Tensor, " m"]) -> Cloud:
    """With each weight multiplied by a factor."""
    return replace(cloud, log_weight=cloud.log_weight + log_factor.view_as(cloud.log_weight))

"""Completions of patterns, all of them or weighted ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import State
from probseq.inference.infilling.alignment import log_share
from probseq.inference.infilling.lookahead import Lookahead
from probseq.inference.infilling.particles import Cloud, Potential, particle, reweighted, run
from probseq.inference.infilling.pattern import Pattern, Templates
from probseq.inference.search.alphabet import Alphabet
from probseq.inference.segments import score_piece
from probseq.inference.weights import normalise
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences

ROWS = 1 << 15
"""Sequences that are carried at once."""


@dataclass(frozen=True)
class Part:
    """Completions of the templates `index`.

    Shapes:
        y, owner, log_share: m completions, the template of each, and what it adds: over those of a template, the sum of
            exp is its Ẑ.
        relative_variance, died: (n,), of each template; see `Cloud`.
    """

    index: Int[Tensor, " n"]
    y: Sequences
    owner: Int[Tensor, " m"]
    log_share: Float[Tensor, " m"]
    relative_variance: Float[Tensor, " n"]
    died: Int[Tensor, " n"]


@dataclass(frozen=True)
class Task:
    """What was asked: n templates of the patterns, and the states before their first elements."""

    model: Autoregressive
    pattern: Pattern | Sequences
    templates: Templates
    state: State
    alphabet: Alphabet | None
    lookahead: Lookahead | None

    def enumerate(self, index: Int[Tensor, " n"]) -> Part:
        """Every completion of some templates."""
        assert self.alphabet is not None
        made, owner = [], []
        for i in index.tolist():
            made.append(_complete(self.templates.select(torch.tensor([i])), self.alphabet))
            owner.append(torch.full((len(made[-1]),), i))
        y, owners = Sequences.cat(made), torch.cat(owner)
        found = [
            score_piece(self.model, self.state.select(owners[i].to(self.device)), y.select(i).pad(1), 0)[0]
            for i in torch.arange(len(y)).split(ROWS)
        ]
        log_prob, owners = torch.cat(found), owners.to(self.device)
        exact = log_prob.new_zeros(len(index)), torch.full((len(index),), -1, device=self.device)
        return Part(index, y, owners, log_prob + self._share(owners, y).to(log_prob), *exact)

    def estimate(self, index: Int[Tensor, " n"], particles: int, sweeps: int, threshold: float) -> Part:
        """Weighted completions of some templates by particles."""
        part, state = self.templates.select(index), self.state.select(index.to(self.device))
        potential = look(self.model, part, self.lookahead, self.alphabet)
        owner = index.to(self.device).repeat_interleave(particles)

        def draw(kept: Sequences | None) -> Cloud:
            cloud = run(self.model, state, part, particles, potential, self.alphabet, threshold, kept)
            return reweighted(cloud, self._share(owner, cloud.y))

        cloud = draw(None)
        found, shares = [cloud.y], [cloud.log_weight - math.log(particles)]
        last = cloud
        for sweep in range(sweeps):
            last = draw(particle(last, normalise(last.log_weight).exp().multinomial(1).squeeze(1)))
            share = normalise(last.log_weight) + cloud.log_evidence.unsqueeze(1) - math.log(sweeps)
            found, shares = ([last.y], [share]) if not sweep else ([*found, last.y], [*shares, share])
        log_share = torch.cat([share.flatten() for share in shares])
        # Where nothing is missing there is nothing to estimate.
        variance = torch.where(part.holes.any(1).to(self.device), cloud.relative_variance, 0.0)
        return Part(index, Sequences.cat(found), owner.repeat(len(found)), log_share, variance, cloud.died)

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.state.features.device

    def _share(self, owner: Int[Tensor, " m"], y: Sequences) -> Float[Tensor, " m"]:
        if not isinstance(self.pattern, Pattern) or not (self.alphabet or self.model.element.discrete):
            # Two choices of lengths lead to one sequence of reals with probability 0.
            return torch.zeros(len(y), device=y.device)
        return log_share(self.pattern, self.templates.rows.to(owner.device)[owner], y)


def _complete(template: Templates, alphabet: Alphabet) -> Sequences:
    """Every completion of one template."""
    y, size = template.y, len(alphabet)
    holes = template.holes[0].nonzero().squeeze(-1).tolist()
    count = size ** len(holes)
    values = y.values.to(alphabet.symbols.device).repeat(count, *[1] * (y.values.ndim - 1))
    number = torch.arange(count, device=values.device)
    for hole in reversed(holes):
        values[:, hole] = alphabet.symbols[number.remainder(size)].to(values)
        number = torch.div(number, size, rounding_mode="floor")
    return Sequences(values, y.lengths.expand(count), y.ended.expand(count))


def look(
    model: Autoregressive, templates: Templates, lookahead: Lookahead | None, alphabet: Alphabet | None
) -> Potential | None:
    """The potential of a look ahead, if there is one.

    Raises:
        ValueError: elements of which only a part was observed.
    """
    if lookahead is None or alphabet is None:
        return None
    partly = templates.observed.flatten(2).any(-1) if templates.observed.ndim > 2 else templates.observed
    if bool((templates.holes & partly).any()):
        raise ValueError("a lookahead needs elements that are observed or missing as a whole. Leave it out.")
    return lookahead.of(model, templates, alphabet)

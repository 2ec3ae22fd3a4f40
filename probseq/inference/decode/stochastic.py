"""Stochastic beam search: sampling without replacement, all at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import State
from probseq.inference.decode.replacement import WithoutReplacement, below_best
from probseq.inference.sample import certainly_over
from probseq.inference.search.alphabet import Alphabet, begin
from probseq.inference.search.hypotheses import Hypotheses
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences


@torch.no_grad()
def stochastic_beam(
    model: Autoregressive,
    num_samples: int,
    context: Any = None,
    *,
    max_length: int | None = None,
    generator: Seed = None,
) -> WithoutReplacement:
    """Draws without replacement by a beam whose scores are perturbed: num_samples different sequences for each row.

    The score G of a prefix is the largest perturbed log-probability of all sequences that begin so; a prefix hands it
    down to one of its continuations, and the others get Gumbel variables below it. So a beam of `num_samples` + 1
    finds the largest of all, without looking at all, and the last of them is the threshold κ.

    Args:
        num_samples: for each row of the context; fewer come where there are fewer sequences.
        context: what the model is conditioned on, or None.
        max_length: where a sequence that has not ended is cut, as in `sample`.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: num_samples below 1, a continuous element, a model that is not causal, or a max_length below 0.

    Source: Kool et al., Stochastic beams and where to find them: the Gumbel-top-k trick for sampling sequences without
    replacement, 2019.

    >>> from probseq.oracles import Automaton
    >>> model = Automaton("ab", [{"a": (0.6, 1), "b": (0.4, 1)}, {}])
    >>> sorted(stochastic_beam(model, 5).hypotheses.sequences.values.tolist())
    [[0], [1]]
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be 1 or more; got {num_samples}.")
    state, alphabet, longest = begin(model, context, max_length, "stochastic_beam()")
    with seeded(generator, state.features.device):
        return _Stochastic(model, alphabet, longest, num_samples + 1, state.context.batch).run(state)


@dataclass(frozen=True)
class _Beam:
    """The best of each row so far, whole sequences and prefixes together.

    Shapes:
        score, log_prob: (b, w), −∞ in empty places. length: (b, w). going: (b, w), whether it may go on.
        numbers: (b, w, t). live: (n,), which flat places are prefixes; state: of those, n rows.
    """

    score: Float[Tensor, "b w"]
    log_prob: Float[Tensor, "b w"]
    length: Int[Tensor, "b w"]
    going: Bool[Tensor, "b w"]
    numbers: Int[Tensor, "b w t"]
    live: Int[Tensor, " n"]
    state: State


@dataclass(frozen=True)
class _Stochastic:
    model: Autoregressive
    alphabet: Alphabet
    longest: int
    width: int
    batch: int

    def run(self, state: State) -> WithoutReplacement:
        over = certainly_over(self.model, state.context, self.longest)
        beam = self._first(state)
        for position in range(self.longest):
            if not len(beam.live):
                break
            beam = self._step(beam, position)
        return self._close(beam, over.to(beam.score.device))

    def _first(self, state: State) -> _Beam:
        device = state.features.device
        score = torch.zeros(self.batch, 1, dtype=torch.float64, device=device)
        # Given the largest of all, the rest are draws; what it is, is a draw too.
        score = score - torch.empty_like(score).exponential_().log()
        length = torch.zeros(self.batch, 1, dtype=torch.int64, device=device)
        going = torch.ones_like(length, dtype=torch.bool)
        live = torch.arange(self.batch, device=device)
        return _Beam(score, torch.zeros_like(score), length, going, length.new_zeros(self.batch, 1, 0), live, state)

    def _step(self, beam: _Beam, position: int) -> _Beam:
        """Every prefix as its continuations; of these and the whole sequences, the best of each row."""
        size, slots = len(self.alphabet) + 1, beam.score.shape[1]
        log_symbols, log_stop = self.alphabet.law(self.model, beam.state)
        onward = torch.cat([log_stop.unsqueeze(1), log_symbols], 1).to(beam.score)
        log_prob = beam.log_prob.flatten()[beam.live].unsqueeze(1) + onward
        # Column 0 holds the end, or, of a whole sequence, itself.
        scores = self._spread(beam.score.masked_fill(beam.going, -torch.inf), size)
        probs = self._spread(beam.log_prob, size)
        scores.view(-1, size)[beam.live] = below_best(log_prob, beam.score.flatten()[beam.live])
        probs.view(-1, size)[beam.live] = log_prob
        best, place = scores.flatten(1).topk(min(self.width, slots * size), 1)
        slot, outcome = torch.div(place, size, rounding_mode="floor"), place.remainder(size)
        going = beam.going.gather(1, slot) & (outcome > 0) & (best > -torch.inf)
        number = (outcome - 1).clamp(min=0)
        numbers = beam.numbers.gather(1, slot.unsqueeze(2).expand(-1, -1, position))
        state, live = self._read(beam, slot, number, going, position)
        return _Beam(
            best,
            probs.flatten(1).gather(1, place),
            beam.length.gather(1, slot) + going,
            going,
            torch.cat([numbers, number.unsqueeze(2)], 2),
            live,
            state,
        )

    def _read(self, beam: _Beam, slot: Tensor, number: Tensor, going: Tensor, position: int) -> tuple[State, Tensor]:
        """The states of the prefixes that are left, after their last symbols, and where they stand."""
        live = going.flatten().nonzero().squeeze(-1)
        # Flat places of the old beam → rows of its state.
        row = torch.zeros(beam.score.numel(), dtype=torch.int64, device=live.device)
        row[beam.live] = torch.arange(len(beam.live), device=live.device)
        first = torch.arange(self.batch, device=live.device).unsqueeze(1) * beam.score.shape[1]
        state = beam.state.select(row[(first + slot).flatten()[live]])
        if len(live) and position + 1 < self.longest:
            state = self.model.extend(state, self.alphabet.symbols[number.flatten()[live]].unsqueeze(1))[1]
        return state, live

    @staticmethod
    def _spread(values: Tensor, size: int) -> Tensor:
        """(b, w) as the first of `size` columns, −∞ in the others."""
        spread = values.new_full((*values.shape, size), -torch.inf)
        spread[..., 0] = values
        return spread

    def _close(self, beam: _Beam, over: Bool[Tensor, " b"]) -> WithoutReplacement:
        kept = min(self.width - 1, beam.score.shape[1])
        threshold = torch.full_like(beam.score[:, 0], -torch.inf)
        if beam.score.shape[1] == self.width:
            threshold = beam.score[:, -1]
        rows, place = (beam.score[:, :kept] > -torch.inf).nonzero().unbind(1)
        ended = ~beam.going[rows, place] | over[rows]
        y = Sequences(self.alphabet.symbols[beam.numbers[rows, place]], beam.length[rows, place], ended).trim()
        found = Hypotheses(y, beam.log_prob[rows, place], beam.score[rows, place], rows)
        return WithoutReplacement(found, threshold)

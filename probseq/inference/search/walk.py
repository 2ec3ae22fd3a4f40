"""One hypothesis a row, chosen step by step: the likeliest, or drawn from a changed law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.context import State
from probseq.inference.sample import COMPACT_EVERY, certainly_over
from probseq.inference.search.alphabet import Alphabet, begin
from probseq.inference.search.hypotheses import Hypotheses
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

Choice = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""log P of the end and of each symbol (n, 1 + v), and which of the sequences these are (n,) → the outcome chosen (n,),
and the log q (n,) of choosing it."""


@checked
@torch.no_grad()
def greedy(model: Autoregressive, context: Any = None, max_length: int | None = None) -> Hypotheses:
    """At each step the likeliest outcome, the end being one among the symbols: one sequence for each source.

    Quick, and in general not the most probable sequence: that is what `beam` looks for.

    Args:
        context: what the model is conditioned on, or None.
        max_length: where a sequence that has not ended is cut, as in `sample`: it comes back with `ended=False`.

    Raises:
        ValueError: a continuous element, a model that is not causal, or a max_length below 0.

    >>> from probseq.oracles import Automaton
    >>> model = Automaton("ab", [{"a": (0.6, 1), "b": (0.4, 0)}, {}])
    >>> greedy(model).sequences.values.tolist()
    [[0]]
    """
    state, alphabet, max_length = begin(model, context, max_length, "greedy()")
    rows = torch.arange(state.batch, device=state.features.device)
    return walk(model, state, rows, alphabet, max_length, lambda log_prob, _: (log_prob.argmax(-1), None))


@checked
@torch.no_grad()
def tempered(
    model: Autoregressive,
    num_samples: int = 1,
    context: Any = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    max_length: int | None = None,
    generator: Seed = None,
) -> Hypotheses:
    """Draws from a changed law q, with both log-probabilities: `log_prob` under the model, `proposal_log_prob` under q.

    At each step q is the model's law over the end and the symbols, to the power 1 / temperature, cut to its `top_k`
    likeliest outcomes, of these to the fewest that hold a share `top_p`, and normalised. So q is a law over sequences,
    and E_q[p / q · f] = E_p[f] wherever nothing was cut.

    Args:
        num_samples: draws for each row of the context, which stand side by side in the order of drawing.
        temperature: above 0; 1 leaves the model's law, lower ones sharpen it.
        top_k: how many outcomes are left at each step, or None.
        top_p: the share, in (0, 1], of what is left that the nucleus holds, or None.
        max_length: where a sequence that has not ended is cut, as in `sample`.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: a continuous element, a model that is not causal, or numbers out of their range.

    Source: Holtzman et al., The curious case of neural text degeneration, 2020 (the nucleus).
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must be 0 or more; got {num_samples}.")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; got {temperature}. Its limit at 0 is greedy().")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be 1 or more; got {top_k}. Use None to keep all.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1]; got {top_p}. Use None to keep all.")
    state, alphabet, max_length = begin(model, context, max_length, "tempered()")
    rows = torch.arange(state.batch, device=state.features.device).repeat_interleave(num_samples)

    def draw(log_prob: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None]:
        log_q = change(log_prob, temperature, top_k, top_p)
        drawn = log_q.exp().multinomial(1)
        return drawn.squeeze(1), log_q.gather(1, drawn).squeeze(1)

    with seeded(generator, state.features.device):
        return walk(model, state.select(rows), rows, alphabet, max_length, draw)


def change(
    log_prob: Float[Tensor, "n v"], temperature: float, top_k: int | None, top_p: float | None
) -> Float[Tensor, "n v"]:
    """log q of each outcome, from log p; −∞ where it was cut."""
    log_q = log_prob if temperature == 1 else (log_prob / temperature).log_softmax(-1)
    if top_k is not None and top_k < log_q.shape[-1]:
        best, place = log_q.topk(top_k, -1)
        log_q = torch.full_like(log_q, -torch.inf).scatter(-1, place, best).log_softmax(-1)
    if top_p is not None and top_p < 1:
        best, place = log_q.sort(-1, descending=True)
        share = best.exp()
        # What stands before an outcome decides, so that the first is never cut.
        best = best.masked_fill(share.cumsum(-1) - share >= top_p, -torch.inf)
        log_q = torch.full_like(log_q, -torch.inf).scatter(-1, place, best).log_softmax(-1)
    return log_q


def walk(
    model: Autoregressive,
    state: State,
    sources: Int[Tensor, " b"],
    alphabet: Alphabet,
    max_length: int,
    choose: Choice,
) -> Hypotheses:
    """One sequence for each row of the state, of the rows `sources` of the context; finished ones leave the batch."""
    batch, device = state.batch, state.features.device
    over = certainly_over(model, state.context, max_length).to(device)
    every = COMPACT_EVERY.get(device.type, 8)
    rows, going = torch.arange(batch, device=device), torch.ones(batch, dtype=torch.bool, device=device)
    record = _Record(alphabet.law(model, state)[1].new_zeros(batch), device)
    for position in range(max_length):
        if not len(rows):
            break
        log_symbols, log_stop = alphabet.law(model, state)
        outcomes = torch.cat([log_stop.unsqueeze(1), log_symbols], 1)
        chosen, log_q = choose(outcomes, rows)
        record.add(rows, going, outcomes.gather(1, chosen.unsqueeze(1)).squeeze(1), log_q)
        going = going & (chosen > 0)
        number = (chosen - 1).clamp(min=0)
        record.extend(rows, going, number)
        if position % every == 0 and not bool(going.all()):
            left = going.nonzero().squeeze(-1)
            state, rows, number, going = state.select(left), rows[left], number[left], going[left]
        if len(rows) and position + 1 < max_length:
            state = model.extend(state, alphabet.symbols[number].unsqueeze(1))[1]
    open_ = torch.zeros(batch, dtype=torch.bool, device=device).index_put((rows,), going) & ~over
    sequences = Sequences(alphabet.symbols[record.numbers()], record.lengths, ~open_).trim()
    return Hypotheses(sequences, record.log_prob, record.log_prob, sources, record.log_q)


class _Record:
    """What was chosen so far, for all rows."""

    def __init__(self, zero: Float[Tensor, " b"], device: torch.device) -> None:
        self.log_prob, self.log_q = zero, None
        self.zero = zero
        self.lengths = torch.zeros(len(zero), dtype=torch.int64, device=device)
        self.columns: list[Tensor] = []

    def add(self, rows: Tensor, going: Bool[Tensor, " n"], log_prob: Tensor, log_q: Tensor | None) -> None:
        """One more factor for each of `rows` that is `going`."""
        self.log_prob = self.log_prob.index_add(0, rows, torch.where(going, log_prob, 0.0))
        if log_q is not None:
            so_far = self.zero if self.log_q is None else self.log_q
            self.log_q = so_far.index_add(0, rows, torch.where(going, log_q, 0.0))

    def extend(self, rows: Tensor, going: Bool[Tensor, " n"], number: Int[Tensor, " n"]) -> None:
        """One more element for each of `rows` that is `going`."""
        self.lengths = self.lengths.index_add(0, rows, going.to(torch.int64))
        self.columns.append(torch.zeros_like(self.lengths).index_copy(0, rows, number))

    def numbers(self) -> Int[Tensor, "b t"]:
        return torch.stack(self.columns, 1) if self.columns else self.lengths.new_zeros(len(self.lengths), 0)

"""Beam search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.arguments import check_fields, checked
from probseq.context import Context, State
from probseq.inference.sample import COMPACT_EVERY, certainly_over
from probseq.inference.search.alphabet import Alphabet, begin
from probseq.inference.search.constraints import Constraints
from probseq.inference.search.gathering import gather
from probseq.inference.search.hypotheses import Hypotheses
from probseq.inference.search.live import Attention, Live, Pool, Trace, advance
from probseq.inference.search.penalties import Normaliser, Ranking, as_normaliser
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences
from probseq.shapes import slot_mask

WORTH_LEAVING = 8
"""Finished sources leave when they are one in so many: each time, the contexts of the others are copied."""


@checked
@torch.no_grad()
def beam(
    model: Autoregressive,
    context: Any = None,
    width: int = 5,
    n_best: int = 1,
    max_length: int | None = None,
    *,
    length_penalty: float | Normaliser = 0.0,
    coverage: float = 0.0,
    prefix: Sequences | None = None,
    banned: Any = None,
    allowed: Any = None,
    groups: int = 1,
    diversity: float = 0.0,
) -> Hypotheses:
    """The sequences of highest search score that a beam of `width` finds, for all sources at once.

    search score = log P(y | x) / factor(n) + coverage · Σ_s log min(Σ_t a_ts, 1), and log P(y | x) itself by default.
    At each step every live hypothesis may end, and the `width` likeliest that go on stay live. (They are of one length,
    so a length penalty would not order them otherwise; coverage counts at the end.) An end takes no live place. A
    source is finished when no live hypothesis can beat its n-th best by any continuation: stopping early never changes
    what a beam of this width finds.

    Args:
        context: what the model is conditioned on, or None.
        width: live hypotheses for each source. As wide as the space, the search is exact.
        n_best: hypotheses to return for each source, all different. More than `width` may end, so it may be larger.
        max_length: where a sequence that has not ended is cut, as in `sample`. Cut ones rank behind all that ended, and
            are returned only where fewer than `n_best` did.
        length_penalty: the strength of `LengthPenalty`, or any `Normaliser`.
        coverage: the weight β ≥ 0 of the coverage of the source by attention, for a model with `attention()`.
        prefix: a beginning for each source that its sequences must have, open or not.
        banned, allowed: lists of elements, or bool masks over them, (v,) or (b, v); they say nothing of the prefix. No
            probability is renormalised.
        groups: the beam as so many beams of width / groups, each of which avoids what those before it chose at the same
            step: diverse beam search. `n_best` are then taken from the groups in turn.
        diversity: the nats by which a symbol is worth less for each hypothesis of the groups before that chose it.

    Returns:
        Up to `n_best` hypotheses for each source, fewer where the beam is wider than the space.

    Raises:
        ValueError: a continuous element, sizes out of range, a forced prefix of probability 0, or constraints that
            leave a source nothing.

    Source: Wu et al., Google's neural machine translation system, 2016, section 7; Vijayakumar et al., Diverse beam
    search, 2018.

    >>> from probseq.oracles import Automaton
    >>> model = Automaton("ab", [{"a": (0.6, 1), "b": (0.4, 0)}, {}])
    >>> found = beam(model, width=3, n_best=2)
    >>> found.sequences.values.tolist(), [round(p, 2) for p in found.log_prob.exp().tolist()]
    ([[0, 0], [1, 0]], [0.6, 0.24])
    """
    _check_sizes(width, n_best, coverage, groups, diversity)
    batch = 1 if prefix is None else len(prefix)
    attention = Attention(model) if coverage else None
    if attention is None:
        (state, alphabet, limit), attended = begin(model, context, max_length, "beam()", batch), None
    else:
        (state, alphabet, limit), attended = attention.of(lambda: begin(model, context, max_length, "beam()", batch))
        # A batch without rows takes no step that could attend.
        attention = attention if state.batch else None
        if attention and attended is None:
            raise ValueError("the model gave no attention weights, so nothing can be covered. Leave coverage at 0.")
    constraints = Constraints.of(model, alphabet, state.batch, limit, prefix, banned, allowed)
    ranking = Ranking(as_normaliser(length_penalty), coverage)
    search = _Beam(model, state.context, alphabet, limit, ranking, constraints, attention, width, n_best, groups)
    return search.run(state, attended, diversity)


def _check_sizes(width: int, n_best: int, coverage: float, groups: int, diversity: float) -> None:
    if width < 1 or n_best < 1:
        raise ValueError(f"beam() needs width ≥ 1 and n_best ≥ 1; got {width} and {n_best}.")
    if groups < 1 or width % groups:
        raise ValueError(f"groups must divide the width; got {groups} groups of a beam of {width}.")
    if not (coverage >= 0 and diversity >= 0):
        raise ValueError(f"coverage and diversity must be 0 or more; got {coverage} and {diversity}.")


@dataclass
class _Beam:
    """One search: what stays the same during it."""

    model: Autoregressive
    context: Context
    alphabet: Alphabet
    max_length: int
    ranking: Ranking
    constraints: Constraints
    attention: Attention | None
    width: int
    n_best: int
    groups: int

    def __post_init__(self) -> None:
        check_fields(self)
        device = self.alphabet.symbols.device
        self.sources = self.context.batch
        most = torch.full((self.sources,), self.max_length, device=device)
        self.most = most if self.context.limit is None else most.minimum(self.context.limit)

    def run(self, state: State, attended: Tensor | None, diversity: float) -> Hypotheses:
        """Step by step; sources leave when they are finished."""
        total = self.sources * self.groups
        beams = torch.arange(total, device=state.features.device)
        log_prob = self.alphabet.law(self.model, state)[1].new_zeros(total, 1)
        if self.groups > 1:
            rows = torch.div(beams, self.groups, rounding_mode="floor")
            state, attended = state.select(rows), None if attended is None else attended[rows]
        live, pool, trace = Live(state, log_prob, beams, attended), Pool.empty(log_prob, self.n_best), Trace(total)
        finished: list[tuple[Tensor, Pool]] = []
        every = COMPACT_EVERY.get(beams.device.type, 8)
        for position in range(self.max_length):
            if not len(live.beams):
                break
            scores, pool = self._look(live, pool, position)
            parents, numbers, log_prob = choose(scores, self.width // self.groups, self.groups, diversity)
            trace.append(live.beams, parents, numbers)
            done = self._done(live.beams, pool, log_prob, position + 1)
            log_prob = log_prob.masked_fill(done.unsqueeze(1), -torch.inf)
            kept = self._kept(done) if position % every == 0 else None
            if kept is not None:
                finished.append((live.beams[done], pool.select(done.nonzero().squeeze(-1))))
                parents, numbers, log_prob, pool = parents[kept], numbers[kept], log_prob[kept], pool.select(kept)
            live = self._onward(live, kept, parents, numbers, log_prob, position + 1)
        found = self._close(live, pool, trace, finished)
        left = torch.bincount(found.rows, minlength=self.sources)
        if not bool(left.all()):
            raise ValueError(self.constraints.explain(self.model, self.context, int(left.argmin())))
        return found

    def _look(self, live: Live, pool: Pool, position: int) -> tuple[Float[Tensor, "n k v"], Pool]:
        """log P of every hypothesis with one more symbol; what ends here is offered to the pool."""
        shape = live.log_prob.shape
        log_symbols, log_stop = self.alphabet.law(self.model, live.state)
        log_symbols, log_stop = self.constraints.apply(
            log_symbols.view(*shape, -1), log_stop.view(shape), self._source(live.beams), position
        )
        ended = live.log_prob + log_stop
        pool = pool.offer(self._score(live, ended, position + 1), ended, position)
        return live.log_prob.unsqueeze(2) + log_symbols, pool

    def _source(self, beams: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        return beams if self.groups == 1 else torch.div(beams, self.groups, rounding_mode="floor")

    def _score(self, live: Live, log_prob: Float[Tensor, "n k"], decisions: int) -> Float[Tensor, "n k"]:
        if live.attended is None:
            return self.ranking.score(log_prob, decisions, None, None)
        attended, within = live.attended.view(*log_prob.shape, live.attended.shape[1]), self.context.source_lengths
        if within is not None:
            within = slot_mask(within[self._source(live.beams)], attended.shape[2]).unsqueeze(1)
        return self.ranking.score(log_prob, decisions, attended, within)

    def _done(self, beams: Tensor, pool: Pool, log_prob: Float[Tensor, "n k"], read: int) -> Bool[Tensor, " n"]:
        """Whether no continuation of a live hypothesis can come among the `n_best` of the beams of its source."""
        bound = self.ranking.bound(log_prob.amax(1), read + 1, self.most[self._source(beams)] + 1)
        done = pool.score[:, -1] >= bound
        if self.groups == 1:
            return done
        return done.view(-1, self.groups).all(1).repeat_interleave(self.groups)

    def _kept(self, done: Bool[Tensor, " n"]) -> Int[Tensor, " m"] | None:
        """The beams that go on, or None where all may as well: see WORTH_LEAVING."""
        count = int(done.sum())
        if not count or (count < len(done) and count * WORTH_LEAVING < len(done)):
            return None
        return (~done).nonzero().squeeze(-1)

    def _onward(
        self, live: Live, kept: Tensor | None, parents: Tensor, numbers: Tensor, log_prob: Tensor, read: int
    ) -> Live:
        """The chosen hypotheses, with their last symbol read."""
        whole = kept is None
        kept = torch.arange(len(live.beams), device=parents.device) if kept is None else kept
        beams = live.beams if whole else live.beams[kept]
        rows = live.rows(kept, parents)
        attended = None if live.attended is None else live.attended[rows]
        if not len(beams) or (read == self.max_length and self.attention is None):
            return replace(live, log_prob=log_prob, beams=beams, attended=attended)
        state = live.reorder(rows, whole and parents.shape[1] == live.log_prob.shape[1])
        y = self.alphabet.symbols[numbers.flatten()]
        state, attended = advance(self.model, self.attention, state, y, attended)
        return Live(state, log_prob, beams, attended)

    def _close(self, live: Live, pool: Pool, trace: Trace, finished: list[tuple[Tensor, Pool]]) -> Hypotheses:
        """All that was found, what is still live being cut here, unless its end is certain."""
        over = certainly_over(self.model, self.context, self.max_length).to(live.beams.device)
        over = over[self._source(live.beams)].unsqueeze(1)
        ends, cut = live.log_prob.masked_fill(~over, -torch.inf), live.log_prob.masked_fill(over, -torch.inf)
        pool = pool.offer(self._score(live, ends, self.max_length + 1), ends, self.max_length)
        opened = Pool.empty(cut, min(self.n_best, cut.shape[1]))
        opened = opened.offer(self._score(live, cut, self.max_length), cut, self.max_length)
        finished = [*finished, (live.beams, pool)]
        order = torch.cat([beams for beams, _ in finished]).argsort()
        ended = Pool.cat([own for _, own in finished]).select(order)
        gone = len(order) - len(live.beams)
        nothing = Pool.empty(cut.new_empty(gone, 1), opened.score.shape[1])
        opened = Pool.cat([nothing, opened]).select(order)
        return gather(ended, opened, trace, self.alphabet.symbols, self.groups, self.n_best)


def choose(
    log_prob: Float[Tensor, "n k v"], width: int, groups: int, diversity: float
) -> tuple[Int[Tensor, "n w"], Int[Tensor, "n w"], Float[Tensor, "n w"]]:
    """Of each beam the `width` best that go on: the slots they come from, their symbols' numbers, their log P."""
    size = log_prob.shape[2]
    flat = log_prob.flatten(1)
    width = min(width, flat.shape[1])
    if groups == 1 or not diversity:
        best, place = flat.topk(width, 1)
    else:
        place = _choose_apart(log_prob, width, groups, diversity)
        best = flat.gather(1, place)
    parents = torch.div(place, size, rounding_mode="floor")
    return parents, place - parents * size, best


def _choose_apart(log_prob: Float[Tensor, "n k v"], width: int, groups: int, diversity: float) -> Int[Tensor, "n w"]:
    """Group after group: a symbol is worth `diversity` less for each time that a group before chose it."""
    by_group = log_prob.view(-1, groups, *log_prob.shape[1:])
    times, places = torch.zeros_like(by_group[:, 0, 0]), []
    for own in by_group.unbind(1):
        best, place = (own - diversity * times.unsqueeze(1)).flatten(1).topk(width, 1)
        places.append(place)
        times = times.scatter_add(1, place.remainder(times.shape[1]), (best > -torch.inf).to(times))
    return torch.stack(places, 1).flatten(0, 1)

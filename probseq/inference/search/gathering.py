"""From what beams hold to hypotheses."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probseq.inference.search.hypotheses import Hypotheses, best_first, first_of_equals
from probseq.inference.search.live import Pool, Trace
from probseq.sequences import Sequences


def gather(ended: Pool, opened: Pool, trace: Trace, symbols: Tensor, groups: int, n_best: int) -> Hypotheses:
    """Up to `n_best` different hypotheses for each source.

    Args:
        ended, opened: of all beams, those of a source side by side, one for each group; each best first.
    """
    pool = Pool.cat([ended, opened], 1)
    closed = torch.arange(pool.score.shape[1], device=symbols.device) < ended.score.shape[1]
    rank = torch.where(pool.score > -torch.inf, 1 - closed.to(torch.int64), 2)
    order = rank.argsort(dim=1, stable=True)[:, :n_best]
    beams, column = (rank.gather(1, order) < 2).nonzero().unbind(1)
    place = order[beams, column]
    found = _read(pool, closed, beams, place, trace, symbols, groups)
    if groups > 1:
        found = found.select(_in_turn(found, beams.remainder(groups), groups, n_best))
    return found.select(best_first(found.rows, found.sequences, found.search_score))


def _read(
    pool: Pool, closed: Tensor, beams: Tensor, place: Tensor, trace: Trace, symbols: Tensor, groups: int
) -> Hypotheses:
    """The hypotheses at `place` of `beams`."""
    time, slot = pool.time[beams, place], pool.slot[beams, place]
    sequences = Sequences(symbols[trace.read(beams, time, slot)], time, closed[place]).trim()
    rows = torch.div(beams, groups, rounding_mode="floor")
    return Hypotheses(sequences, pool.log_prob[beams, place], pool.score[beams, place], rows)


def _in_turn(found: Hypotheses, group: Int[Tensor, " m"], groups: int, n_best: int) -> Bool[Tensor, " m"]:
    """Which to keep: the best of each group, then the second of each, none twice; `found` goes by row and group."""
    places = torch.arange(len(found), device=found.rows.device)
    fresh = first_of_equals(found.rows, found.sequences) == places
    beams = found.rows * groups + group
    before = fresh.to(torch.int64).cumsum(0) - fresh.to(torch.int64)
    round_ = before - before[torch.searchsorted(beams, beams)]
    turn = (round_ * groups + group).masked_fill(~fresh, torch.iinfo(torch.int64).max)
    order = turn.argsort(stable=True)
    order = order[found.rows[order].argsort(stable=True)]
    begins = torch.searchsorted(found.rows, found.rows)
    kept = torch.zeros_like(fresh)
    kept[order] = places - begins < n_best
    return kept & fresh

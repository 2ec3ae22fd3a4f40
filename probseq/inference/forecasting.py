"""What comes after known histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context, State
from probseq.inference.sample import ancestral, require_causal
from probseq.inference.score import check, check_batch
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences
from probseq.tree import cat

PATHS = 1 << 13
"""Paths that go on together: each has its own copy of the context, a sequence x among it."""


@dataclass(frozen=True)
class Forecast:
    """Draws from the law of what follows each history, all steps of a path together.

    Shapes:
        paths: (b, s, t, *e), s paths of t elements for each of b histories, in the data's units; NaN (reals) or −1
            (integers) after the end of a path that ends before.
    """

    paths: Tensor

    @property
    def numbers(self) -> Float[Tensor, "b s t *e"]:
        """The paths, if they are of reals.

        Raises:
            ValueError: paths of symbols, of which there are no means and quantiles.
        """
        if not self.paths.is_floating_point():
            raise ValueError(
                f"a forecast of symbols ({self.paths.dtype}) has no means, quantiles or scores of numbers. Count its "
                "paths, or ask query()."
            )
        return self.paths

    @property
    def mean(self) -> Float[Tensor, "b t *e"]:
        """At each step the mean over the paths that reach it.

        Raises:
            ValueError: paths of symbols.
        """
        return self.numbers.nanmean(1)

    def quantiles(self, levels: Sequence[float]) -> Float[Tensor, "b q t *e"]:
        """At each step the quantiles, interpolated, over the paths that reach it.

        Raises:
            ValueError: a level outside [0, 1], or paths of symbols.
        """
        wanted = torch.as_tensor(levels, dtype=self.numbers.dtype, device=self.paths.device)
        if wanted.ndim != 1 or not bool(((wanted >= 0) & (wanted <= 1)).all()):
            raise ValueError(f"quantiles() takes levels in [0, 1], as [0.1, 0.5, 0.9]; got {levels}.")
        return torch.nanquantile(self.paths, wanted, 1).movedim(0, 1)


@checked
@torch.no_grad()
def forecast(
    model: Autoregressive,
    history: Sequences,
    horizon: int,
    context: Any = None,
    num_samples: int = 100,
    generator: Seed = None,
) -> Forecast:
    """Draw what comes after each history: the histories are read once, then all paths go on together.

    The exact density of what did come is `score`'s, of history and future as one open sequence.

    Args:
        history: b open sequences, of any lengths.
        horizon: how many elements to draw.
        context: x of batch b, or None; a sequence x that goes along with y holds the future steps too.
        num_samples: how many paths for each history.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: a history that has ended, a horizon beyond what x or the stop law allows, horizon or num_samples
            below 1, or a model that is not causal.

    >>> import torch, probseq as ps
    >>> model = ps.recipes.forecaster(size=8)
    >>> history = ps.Sequences.of([torch.randn(30, 1), torch.randn(20, 1)], ended=False)
    >>> ps.forecast(model, history, 12, num_samples=50).quantiles([0.1, 0.5, 0.9]).shape
    torch.Size([2, 3, 12, 1])
    """
    if horizon < 1 or num_samples < 1:
        raise ValueError(f"forecast() needs horizon and num_samples ≥ 1; got {horizon} and {num_samples}.")
    if bool(history.ended.any()):
        row = int(history.ended.nonzero()[0])
        raise ValueError(f"history {row} has ended: nothing comes after it. Pass Sequences.of(…, ended=False).")
    require_causal(model, "forecast()")
    state = read_each(model, check(model, history), context)
    _check_horizon(model, state, horizon)
    rows = torch.arange(state.batch, device=state.features.device).repeat_interleave(num_samples)
    settle, over = getattr(model, "settle", None), torch.zeros(len(rows), dtype=torch.bool)
    with seeded(generator, state.features.device):
        pieces = [
            ancestral(model, state.select(some) if settle is None else settle(state, some), horizon, over[: len(some)])
            for some in rows.split(PATHS)
        ]
    paths = torch.cat([piece.dense(horizon) for piece in pieces])
    return Forecast(paths.reshape(len(history), num_samples, *paths.shape[1:]))


def read_each(model: Autoregressive, y: Sequences, context: Any = None) -> State:
    """The state of each sequence after its own last element, in as many calls as there are different lengths."""
    lengths = y.lengths.unique().tolist()
    start = Context.none(len(y), y.device) if context is None else context
    state = model.unroll(start, y.values[:, : lengths[0]] if lengths else y.values)[1]
    check_batch(y, state.context)
    rows, finished, order = torch.arange(len(y)), [], []
    for at, until in pairwise([*lengths, None]):
        here = y.lengths[rows] == at
        finished.append(state.select(here.nonzero().squeeze(-1).to(state.features.device)))
        order.append(rows[here])
        if until is not None:
            state = state.select((~here).nonzero().squeeze(-1).to(state.features.device))
            rows = rows[~here]
            state = model.extend(state, y.values[rows.to(y.device), at:until])[1]
    return cat(finished).select(torch.cat(order).argsort().to(state.features.device)) if finished else state


def _check_horizon(model: Autoregressive, state: State, horizon: int) -> None:
    """Refuse a horizon that no sequence can fill."""
    limit = torch.full_like(
        state.position, torch.iinfo(torch.int64).max if model.max_length is None else model.max_length
    )
    limit = limit if state.context.limit is None else limit.minimum(state.context.limit)
    short = (state.position + horizon > limit).nonzero()
    if len(short):
        row = int(short[0])
        raise ValueError(
            f"history {row} has {int(state.position[row])} elements, and with a horizon of {horizon} more than the "
            f"{int(limit[row])} that x or the stop law allows. Give x for the future too, a longer stop law, or a "
            "shorter horizon."
        )

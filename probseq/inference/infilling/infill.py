"""The missing middle of a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context, State
from probseq.inference.infilling.engines import ROWS, Part, Task
from probseq.inference.infilling.found import Infilled, pooled, standard_error
from probseq.inference.infilling.lookahead import Lookahead
from probseq.inference.infilling.pattern import Pattern, Templates
from probseq.inference.missing import example
from probseq.inference.outcomes import support
from probseq.inference.sample import longest, require_causal
from probseq.inference.search.alphabet import Alphabet
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

MOST = 1 << 20
"""Completions that are listed for one pattern."""

PARTICLES = {"cpu": 1 << 12}
"""Particles that are carried at once, of patterns whose gaps begin near each other; ROWS on an accelerator."""


@checked
@torch.no_grad()
def infill(
    model: Autoregressive,
    pattern: Any,
    context: Any = None,
    particles: int = 256,
    lookahead: Lookahead | None = None,
    *,
    method: str = "auto",
    sweeps: int = 0,
    threshold: float = 0.5,
    max_length: int | None = None,
    generator: Seed = None,
) -> Infilled:
    """P(what is missing | what is known): completions of sequences of which a part was observed, with weights.

    Where they are few, all completions are listed, and the answer is exact. Else particles are drawn from the model
    element by element, tilted by a look ahead where there is one, and weighted by what was observed (sequential Monte
    Carlo); Ẑ, the mean of the weights, is an unbiased estimate of the probability of what was observed.

    Args:
        pattern: a text ("c_lo_ed": `_` is one missing symbol, `*` any number of them) or a list of texts; a list of
            elements with None and `Gap(low, high)`; a `Pattern`; or `Sequences`, with −1 or NaN where something is
            missing, and `ended=False` where the sequence may go on. Parts of a vector may be missing.
        context: what the model is conditioned on: a row for each pattern, one row for all of them, or None.
        particles: N, for each pattern, and for each choice of the lengths of its gaps.
        lookahead: what tells the particles of what is to come: `train_lookahead(model)` makes one.
        method: "exact", "smc", or "auto": exact where there are no more completions than particles.
        sweeps: how often the particles of smc are drawn again given one of them (particle Gibbs); the completions are
            then those of all sweeps. Ẑ stays that of the first pass.
        threshold: the share of the particles below which their effective number may not fall before they are drawn
            anew, in [0, 1]; 0 never does.
        max_length: the longest that gaps without a bound can make a sequence; by default the model's own bound, or that
            of `sample`.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: sizes out of range, a pattern that does not fit the model, elements that cannot be listed where
            `exact` or a look ahead needs it, or a model that is not causal.

    Source: Lin & Eisner, Neural particle smoothing for sampling from conditional sequence models, 2018; Andrieu et
    al., Particle Markov chain Monte Carlo methods, 2010.

    >>> from probseq.oracles import HMM
    >>> model = HMM([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], [[1.0, 0.0], [0.0, 1.0]], length=3)
    >>> found = infill(model, [0, None, 0])
    >>> found.verdicts, [round(p, 4) for p in found.marginals[0, 1].tolist()]
    (['exact'], [0.9878, 0.0122])
    """
    _check(particles, sweeps, threshold, method)
    require_causal(model, "infill()")
    given = Pattern.read(model, pattern)
    batch = len(given.items) if isinstance(given, Pattern) else len(given)
    start = _begin(model, context, batch)
    limit = longest(model, start.context) if max_length is None else max_length
    with seeded(generator, start.features.device):
        templates = Templates.of(model, given, limit, example(model, start))
        alphabet = _alphabet(model, start, lookahead is not None or method == "exact")
        state = start.select(templates.rows.to(start.features.device))
        task = Task(model, given, templates, state, alphabet, lookahead)
        counts = _count(templates, alphabet)
        listed = _listed(counts, templates.rows, particles, method, batch)
        most = PARTICLES.get(start.features.device.type, ROWS)
        parts = [task.enumerate(index) for index in _split(counts, listed, ROWS)]
        for index in _split(torch.full_like(counts, particles), ~listed, most, _first_hole(templates)):
            parts.append(task.estimate(index, particles, sweeps, threshold))
    return _gather(task, parts, listed, batch)


def _check(particles: int, sweeps: int, threshold: float, method: str) -> None:
    if particles < 1 or sweeps < 0:
        raise ValueError(f"infill() needs particles ≥ 1 and sweeps ≥ 0; got {particles} and {sweeps}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is a share of the particles, in [0, 1]; got {threshold}.")
    if method not in ("auto", "exact", "smc"):
        raise ValueError(f"method must be 'auto', 'exact' or 'smc'; got {method!r}.")


def _begin(model: Autoregressive, context: Any, batch: int) -> State:
    """The state before the first element of each pattern."""
    start = model.start(Context.none(batch) if context is None else context)
    if start.batch == 1 and batch != 1:
        start = start.select(torch.zeros(batch, dtype=torch.int64, device=start.features.device))
    if start.batch != batch:
        raise ValueError(f"the context has batch {start.batch}, but there are {batch} patterns. Pass one row for each.")
    return start


def _alphabet(model: Autoregressive, start: State, needed: bool) -> Alphabet | None:
    """The values of an element, or None where they cannot be listed."""
    law = model.emit(start.features[:1], start.position[:1], start.context.select(start.position[:1] * 0)).element
    try:
        return Alphabet(support(model.element, law, "infill() with a lookahead or method='exact'", "Leave them out."))
    except ValueError:
        if needed:
            raise
        return None


def _count(templates: Templates, alphabet: Alphabet | None) -> Float[Tensor, " n"]:
    """How many completions each template has; ∞ where they cannot be listed."""
    partly = (templates.holes & templates.observed.flatten(2).any(-1)).any(1) if templates.observed.ndim > 2 else None
    size = torch.inf if alphabet is None else float(len(alphabet))
    holes = templates.holes.sum(1).cpu()
    found = torch.where(holes > 0, torch.tensor(size, dtype=torch.float64) ** holes, 1.0)
    return found if partly is None else torch.where(partly.cpu(), torch.inf, found)


def _listed(
    counts: Float[Tensor, " n"], rows: Int[Tensor, " n"], particles: int, method: str, batch: int
) -> Bool[Tensor, " n"]:
    """Which templates are listed, all of a pattern alike.

    Raises:
        ValueError: asked to list a pattern that has too many completions.
    """
    if method == "smc":
        return torch.zeros(len(counts), dtype=torch.bool)
    total = torch.zeros(batch, dtype=torch.float64).index_add(0, rows, counts)
    if method == "exact" and bool((total > MOST).any()):
        row = int(total.argmax())
        raise ValueError(
            f"pattern {row} has {float(total[row]):,.0f} completions; method='exact' lists {MOST:,} at most. Use "
            "method='smc'."
        )
    return (total <= (MOST if method == "exact" else particles))[rows]


def _first_hole(templates: Templates) -> Int[Tensor, " n"]:
    """Where something is missing first; the length, where nothing is."""
    holes = torch.nn.functional.pad(templates.holes.cpu(), (0, 1))
    return torch.where(holes.any(1), holes.to(torch.uint8).argmax(1), templates.y.lengths)


def _split(
    sizes: Tensor, chosen: Bool[Tensor, " n"], most: int, key: Int[Tensor, " n"] | None = None
) -> Iterator[Int[Tensor, " k"]]:
    """The chosen templates, by key, in groups whose sizes sum to `most` at most, or that have one member."""
    order = torch.arange(len(sizes)) if key is None else key.argsort(stable=True)
    group, total = [], 0.0
    for index in order[chosen[order]].tolist():
        size = float(sizes[index])
        if group and total + size > most:
            yield torch.tensor(group)
            group, total = [], 0.0
        group.append(index)
        total += size
    if group:
        yield torch.tensor(group)


def _gather(task: Task, parts: list[Part], listed: Bool[Tensor, " n"], batch: int) -> Infilled:
    """The parts as one answer."""
    templates, n, device = task.templates, len(task.templates), task.state.features.device
    rows = templates.rows.to(device)
    nothing = task.state.features.new_zeros(0)
    y = Sequences.cat([part.y for part in parts]) if parts else templates.y
    owner = torch.cat([part.owner for part in parts] or [rows])
    log_share = torch.cat([part.log_share for part in parts] or [nothing])
    order = torch.cat([part.index for part in parts] or [templates.rows]).to(device).argsort()
    variance = torch.cat([part.relative_variance for part in parts] or [nothing])[order]
    died = torch.cat([part.died for part in parts] or [rows])[order]
    log_evidence, log_weight = pooled(log_share, rows[owner], batch)
    error = standard_error(pooled(log_share, owner, n)[0], variance, rows, batch)
    exact = torch.ones(batch, dtype=torch.bool).index_put((templates.rows,), listed)
    last = torch.full((batch,), -1, device=device).scatter_reduce(0, rows, died, "amax")
    by_row = rows[owner].argsort(stable=True)
    return Infilled(
        y.select(by_row.cpu()), rows[owner][by_row], log_weight[by_row], log_evidence, error, exact,
        torch.where(log_evidence == -torch.inf, last, -1), None if task.alphabet is None else task.alphabet.symbols,
    )  # fmt: skip

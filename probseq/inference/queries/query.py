"""Events of a sequence's future, with known accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from probseq.arguments import checked
from probseq.inference.queries.answer import Answer
from probseq.inference.queries.events import Event, Expectation
from probseq.inference.queries.monitors import Monitor
from probseq.inference.queries.question import Question, ask, begin
from probseq.inference.queries.sampling import Tally, sample_all, sample_open
from probseq.inference.queries.search import bounds, explore, walk
from probseq.inference.queries.simulation import continue_, enumerate_, simulate
from probseq.inference.queries.tree import Nodes, Tree, mass
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded

METHODS = ("hybrid", "importance", "naive", "exact")

LIMIT = 1 << 19
"""Most open prefixes that `method="exact"` reads for one row."""

CHUNK = 1 << 16
"""Elements that are read for rows answered together: bounds the memory."""

VAIN = 0.99
"""The open mass above which a search is taken to have found nothing."""

PILOT = 0.125
"""The share of the draws of a simulation that tell what a draw costs."""


@checked
@torch.no_grad()
def query(
    model: Autoregressive,
    event: Event | Expectation,
    context: Any = None,
    *,
    prefix: Any = None,
    method: str = "hybrid",
    budget: int = 10_000,
    tolerance: float | None = None,
    generator: Seed = None,
) -> Answer:
    """What happens next: the probability of an event, or a law, given the context and how the sequence begins.

    "hybrid" follows the most probable prefixes as a beam does; what they decide is a lower bound L, what was left open
    has the mass D, so that the truth lies in [L, L + D] for certain; and D's part is estimated by draws that keep the
    question open. Where the tree of open prefixes fits in the budget it is walked whole, and the answer is exact.
    "importance" draws only, "naive" simulates and looks, "exact" walks the whole tree, whatever it costs.

    Args:
        event: a question of `probseq.events`, its steps counted after the prefix.
        context: what the model is conditioned on, b rows, or None.
        prefix: how each sequence begins: b sequences, or texts where the tokens stand for characters.
        method: for continuous elements "naive", with sets of elements as predicates.
        budget: elements that the model may read for each row, those of the prefix aside.
        tolerance: stop where two standard errors, or the certified bounds, are as close as this; None spends the
            budget.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: a method or a number out of its range, symbols or a prefix that do not fit the model, a prefix of
            probability 0, a continuous element and another method than "naive", or a tree too large to be "exact".

    Source: Boyd et al., Predictive querying for autoregressive neural sequence models, 2022.

    >>> import probseq as ps
    >>> from probseq.oracles import Automaton
    >>> coin = Automaton("ab", [{"a": (0.5, 0), "b": (0.25, 0)}])
    >>> answer = ps.query(coin, ps.events.FirstAt([1], 3))  # aab: 0.5 · 0.5 · 0.25
    >>> round(float(answer.estimate), 9), bool(answer.exact)
    (0.0625, True)
    """
    _check(method, budget, tolerance)
    expects = hasattr(event, "function")
    if expects:
        state, known, alphabet = begin(model, context, prefix, "query()")
        question = Question(model, state, known, _open(event.steps, state.features.device), alphabet, None, _same)  # type: ignore[union-attr]
    else:
        question = ask(model, event, context, prefix)  # type: ignore[arg-type]
    if question.alphabet is None and method != "naive":
        raise ValueError(
            f'method={method!r} lists what can come next, and {model.element!r} is continuous. Use method="naive", '
            "with predicates for sets of elements, or Expectation."
        )
    answers = []
    with seeded(generator, question.state.features.device):
        for rows in torch.arange(question.batch).split(max(CHUNK // budget, 1)):
            own = question.select(rows)
            if expects:
                answers.append(_expectation(own, event, method, budget, tolerance))  # type: ignore[arg-type]
            else:
                answers.append(_event(own, method, budget, tolerance))
    answer = Answer.cat(answers)
    return answer.only() if answer.estimate.shape[1] == 1 and getattr(event, "scalar", True) else answer


def _check(method: str, budget: int, tolerance: float | None) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}; got {method!r}.")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise ValueError(f"budget must be a number of elements ≥ 1; got {budget!r}.")
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f"tolerance must be above 0; got {tolerance}. Use None to spend the budget.")


def _event(question: Question, method: str, budget: int, tolerance: float | None) -> Answer:
    if method == "naive":
        monitor = question.monitor
        answer = _simulated(question, lambda rows: simulate(question, rows), monitor.steps, budget, tolerance)
        least, most = (table.expand_as(answer.estimate) for table in (monitor.low.amin(0), monitor.high.amax(0)))
        return replace(answer, lower=least, upper=most)
    tree, size = Tree(question), question.prefixes
    if method == "exact" and size > LIMIT:
        raise ValueError(
            f'{size:,.0f} prefixes leave the question open; method="exact" reads {LIMIT:,} at most. Ask of fewer '
            'steps, or use method="hybrid", whose bounds are certain too.'
        )
    if method == "importance":
        lower, upper = _whole(tree)
        tally = sample_all(tree, budget, tolerance, tree.spent == 0)
        return _answer(tree, tally.mean, tally.error, lower, upper, tally, tally.draws < 0)
    nodes = walk(tree) if method == "exact" or size <= budget else explore(tree, budget, tolerance)
    lower, upper = bounds(tree, nodes)
    open_ = mass(nodes, question.batch).unsqueeze(1)
    exact = open_.squeeze(1) == 0
    # Where the search decided next to nothing, draws from what it left would only be fewer, and begin apart.
    vain = open_.squeeze(1) > VAIN
    known = torch.where(vain.unsqueeze(1), 0.0, tree.decided @ question.monitor.low)
    scale = torch.where(vain.unsqueeze(1), 1.0, open_)
    tally = Tally.empty(question.batch, known.shape[1], known.device)
    if not bool((exact | vain).all()):
        left = nodes.select((~vain)[nodes.row].nonzero().squeeze(-1))
        tally = sample_open(tree, _wide(left, lower, upper, tolerance), budget, tolerance)
    if bool(vain.any()):
        tally = tally.plus(sample_all(tree, budget, tolerance, vain))
    estimate, error = known + scale * tally.mean, scale * tally.error
    undrawn = (tally.draws == 0).unsqueeze(1) & ~exact.unsqueeze(1)
    estimate = torch.where(undrawn, (lower + upper) / 2, estimate).maximum(lower).minimum(upper)
    return _answer(tree, estimate, error, lower, upper, tally, exact)


def _wide(nodes: Nodes, lower: Tensor, upper: Tensor, tolerance: float | None) -> Nodes:
    """The open prefixes of rows whose bounds are not close enough yet."""
    if tolerance is None:
        return nodes
    wide = (upper - lower).amax(1) > tolerance
    return nodes.select(wide[nodes.row].nonzero().squeeze(-1))


def _answer(
    tree: Tree, estimate: Tensor, error: Tensor, lower: Tensor, upper: Tensor, tally: Tally, exact: Tensor
) -> Answer:
    return Answer(estimate, error, lower, upper, tally.degrees, tally.draws, tree.spent, exact)


def _whole(tree: Tree) -> tuple[Tensor, Tensor]:
    """Bounds where nothing was looked at."""
    low, high = (span[0, 0] for span in tree.monitor.spans)
    return low.expand(tree.question.batch, -1), high.expand(tree.question.batch, -1)


def _expectation(question: Question, event: Expectation, method: str, budget: int, tolerance: float | None) -> Answer:
    """Exact where all continuations can be listed, else by simulation: of any function nothing is known beforehand."""
    size = float("inf") if question.alphabet is None else float(len(question.alphabet)) ** event.steps
    if method == "importance" or (method == "exact" and size > LIMIT):
        raise ValueError(
            f"method={method!r} cannot give the expectation of any function over {event.steps} steps. Use "
            'method="naive", or ask for an event.'
        )
    if method == "naive" or (method == "hybrid" and size > budget):
        return _simulated(question, lambda rows: continue_(question, event, rows), event.steps, budget, tolerance)
    found, spent = enumerate_(question, event)
    eps = torch.finfo(question.state.features.dtype).eps
    slack = 8 * eps * (event.steps + 1) * found.abs().clamp(min=1.0)
    whole = torch.ones(question.batch, dtype=torch.bool, device=found.device)
    none, degrees = torch.zeros_like(found), torch.full_like(found, torch.inf)
    return Answer(found, none, found - slack, found + slack, degrees, torch.zeros_like(spent), spent, whole)


def _simulated(
    question: Question,
    draw: Callable[[Tensor], tuple[Tensor, Tensor]],
    steps: int,
    budget: int,
    tolerance: float | None,
) -> Answer:
    """The mean of independent draws; their number is what a first few say that the budget buys.

    The first draws and the rest have weights that are fixed beforehand, or the mean would be biased by what they cost.
    """
    batch, device = question.batch, question.state.features.device
    every = torch.arange(batch, device=device)
    first = max(int(PILOT * budget / max(steps - 1, 1)), 2)
    values, spent = draw(every.repeat_interleave(first))
    values, cost = values.view(batch, first, -1), spent.view(batch, first).sum(1)
    # Two standard errors more than the mean, or half of all answers would cost more than they may.
    spread = 2 * spent.view(batch, first).to(torch.float64).std(1) / first**0.5
    price = (cost / first + spread).clamp(min=1.0)
    rest = ((budget - cost) / price).floor().to(torch.int64).clamp(min=2)
    if tolerance is not None:
        needed = 4 * values.var(1).amax(1) / tolerance**2
        rest = rest.minimum(needed.ceil().to(torch.int64).clamp(min=2))
    rows = every.repeat_interleave(rest)
    more, spent = draw(rows)
    mean = more.new_zeros(batch, more.shape[1]).index_add(0, rows, more) / rest.unsqueeze(1)
    around = (more - mean[rows]).square()
    variance = torch.zeros_like(mean).index_add(0, rows, around) / (rest - 1).unsqueeze(1)
    estimate = PILOT * values.mean(1) + (1 - PILOT) * mean
    square = PILOT**2 * values.var(1) / first + (1 - PILOT) ** 2 * variance / rest.unsqueeze(1)
    nothing = torch.full_like(estimate, torch.inf)
    cost = cost + torch.bincount(rows, weights=spent.to(torch.float64), minlength=batch).to(torch.int64)
    fourth = torch.zeros_like(mean).index_add(0, rows, around.square())
    few = 2 * (rest - 1).unsqueeze(1) ** 2 * variance.square() / (fourth - variance.square() * rest.unsqueeze(1))
    degrees = torch.where(variance > 0, few.nan_to_num(nan=torch.inf).clamp(min=1.0), torch.inf)
    return Answer(estimate, square.sqrt(), -nothing, nothing, degrees, first + rest, cost, rest < 0)


def _open(steps: int, device: torch.device) -> Monitor:
    """What stands for an automaton where a function looks at the whole sequence."""
    return Monitor.of([[0]], [0], [0], steps, [[0.0]]).to(device)


def _same(y: Tensor) -> Tensor:
    return torch.zeros(len(y), dtype=torch.int64, device=y.device)

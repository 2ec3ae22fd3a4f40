"""The laws, as plain functions: a part that you add is right when a model made with it keeps every one of them.

Each `check_…` takes a model, in float64, and what it is conditioned on, and raises AssertionError where the law
fails. Where a law needs sequences it draws them from the model itself.

>>> import probseq as ps
>>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol()).double()
>>> check_split(model)
>>> check_normalised(model, length=4)
"""

from __future__ import annotations

import itertools
import tempfile
from typing import Any

import numpy as np
import pyro
import torch
from scipy import stats
from torch import Tensor, nn

from probseq.causality import find_leak
from probseq.context import Context
from probseq.inference.exact import exact
from probseq.inference.sample import certainly_over, sample
from probseq.inference.score import score
from probseq.model import SequenceModel
from probseq.protocols import Autoregressive
from probseq.randomness import seeded
from probseq.rows import select_rows
from probseq.saving import load, save
from probseq.sequences import Sequences
from probseq.tree import leaves

TIGHT = (0.0, 1e-12)
"""Relative and absolute tolerance: rounding of float64 on sums of a few terms."""

ROUNDING = (1e-9, 1e-10)
"""The same quantity by another order of operations."""


def _close(a: Tensor, b: Tensor, tolerance: tuple[float, float]) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance[0], atol=tolerance[1])


def ragged(model: Autoregressive, context: Any = None, batch: int = 5, length: int = 6, seed: int = 0) -> Sequences:
    """Sequences that the model could give, of lengths from 0 to `length`, ended where it can end there.

    Args:
        context: of batch `batch`, or None.
    """
    if model.max_length is not None:
        length = min(length, model.max_length)
    state = model.start(Context.none(batch) if context is None else context)
    if not length:
        empty = torch.zeros(batch, 0, *model.element.shape, dtype=torch.int64)
        return model.element.conform(Sequences(empty, [0] * batch))
    columns = []
    with seeded(seed, state.features.device), torch.no_grad():
        for _ in range(length):
            y = model.emit(state.features, state.position, state.context).element.sample()
            columns.append(y)
            state = model.extend(state, y.unsqueeze(1))[1]
    lengths = torch.linspace(length, 0, state.batch).round().long()
    if state.context.limit is not None:
        lengths = lengths.minimum(state.context.limit.cpu())
    y = Sequences(torch.stack(columns, 1), lengths, True)
    possible = torch.isfinite(score(model, y, context).stop).all(-1)
    return Sequences(y.values, lengths, possible.cpu())


def check_split(model: Autoregressive, context: Any = None) -> None:
    """extend(s, a + b) is extend(s, a), then extend(·, b); unroll is start, then extend."""
    y = model.element.conform(ragged(model, context)).values
    start = model.start(Context.none(len(y)) if context is None else context)
    features, after = model.extend(start, y)
    for k in {0, 1, y.shape[1] // 2, y.shape[1]}:
        first, middle = model.extend(start, y[:, :k])
        second, end = model.extend(middle, y[:, k:])
        _close(torch.cat([first, second], 1), features, TIGHT)
        _assert_trees_close(end, after)
    unrolled, end = model.unroll(start.context, y)
    _close(unrolled, torch.cat([start.features.unsqueeze(1), features], 1), TIGHT)
    _assert_trees_close(end, after)


def _assert_trees_close(a: Any, b: Any) -> None:
    for left, right in zip(leaves(a), leaves(b), strict=True):
        _close(left, right, TIGHT)


def check_select(model: Autoregressive, context: Any = None) -> None:
    """Rows of a state go on as they would have: select, then read, is read, then select; contexts go along."""
    y = model.element.conform(ragged(model, context)).values
    rows = torch.tensor([len(y) - 1, 0, len(y) - 1])
    start = model.start(Context.none(len(y)) if context is None else context)
    _, middle = model.extend(start, y[:, :1])
    features, end = model.extend(middle, y[:, 1:])
    chosen, chosen_end = model.extend(middle.select(rows), y[rows, 1:])
    _close(chosen, features[rows], TIGHT)
    _assert_trees_close(chosen_end, end.select(rows))
    for state, chosen_state in ((middle, middle.select(rows)), (end, chosen_end)):
        step = model.emit(state.features, state.position, state.context)
        again = model.emit(chosen_state.features, chosen_state.position, chosen_state.context)
        _close(again.log_stop.exp(), step.log_stop.exp()[rows], TIGHT)


def check_normalised(model: Autoregressive, length: int, context: Any = None, tolerance: float = 1e-10) -> None:
    """Σ P over the sequences that ended before `length` and the open ones of that length is 1, by enumeration.

    Args:
        context: one row.
    """
    mass = float(exact(model, length, context).log_mass.exp())
    assert abs(mass - 1) <= tolerance, f"the probabilities sum to {mass!r}, not 1"


def check_density(model: Autoregressive, context: Any = None, tolerance: float = 1e-8) -> None:
    """For a scalar real element, the law of the next element integrates to 1 after every prefix, by quadrature.

    The substitution y = sinh(u) reaches into heavy tails.
    """
    y = ragged(model, context)
    features, state = model.unroll(
        Context.none(len(y)) if context is None else context, model.element.conform(y).values
    )
    u = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    grid = u.sinh().reshape(-1, 1, 1).to(features)
    for row, position in itertools.product(range(len(y)), range(features.shape[1])):
        one = state.context.select(torch.tensor([row]))
        law = model.emit(features[row : row + 1, position], torch.tensor([position]), one).element
        density = (law.log_prob(grid).squeeze(-1) + u.cosh().log()).exp()
        mass = float(torch.trapezoid(density.detach(), u))
        assert abs(mass - 1) <= tolerance, f"the density integrates to {mass!r}, not 1"


def check_stop_pair(model: Autoregressive, context: Any = None) -> None:
    """exp(log_stop) + exp(log_go) = 1 after every prefix."""
    y = ragged(model, context)
    features, state = model.unroll(
        Context.none(len(y)) if context is None else context, model.element.conform(y).values
    )
    step = model.emit(features, torch.arange(features.shape[1]), state.context)
    _close(step.log_stop.exp() + step.log_go.exp(), torch.ones_like(step.log_stop), TIGHT)


def check_causal(model: Autoregressive, context: Any = None) -> None:
    """The factors of elements up to t do not move when later elements do, and some factor after them does, unless the
    element is not read back in."""
    y = ragged(model, context, seed=0)
    other = ragged(model, context, seed=1)
    limit = model.start(Context.none(len(y)) if context is None else context).context.limit
    lengths = torch.full_like(y.lengths, y.values.shape[1])
    full = Sequences(y.values, lengths if limit is None else lengths.minimum(limit.cpu()), False).trim()
    length = full.values.shape[1]
    fed, moved, tried = getattr(model.element, "feedback", True), 0.0, False
    a = score(model, full, context)
    for t in range(length):
        changed = torch.cat([full.values[:, :t], other.values[:, t:length]], 1)
        b = score(model, Sequences(changed, full.lengths, False), context)
        _close(a.element[:, :t], b.element[:, :t], TIGHT)
        _close(a.stop[:, : t + 1], b.stop[:, : t + 1], TIGHT)
        changed = torch.cat([full.values[:, :t], other.values[:, t : t + 1], full.values[:, t + 1 :]], 1)
        if t + 1 < length and not torch.equal(changed, full.values):
            b = score(model, Sequences(changed, full.lengths, False), context)
            tried = True
            moved = max(moved, float((a.element[:, t + 1 :] - b.element[:, t + 1 :]).detach().abs().max()))
    assert fed or moved == 0, "an element depends on those before it, which are not fed back"
    assert not fed or moved > 0 or not tried, "no factor depends on the elements before it: the model has no memory"


def check_no_leak(part: Any, inputs: int = 3, steps: int = 8) -> None:
    """The features of a recurrence part do not depend on later inputs, by gradient.

    What `check_causal` asks of a model, for a part alone: one that leaks cannot be sampled from, and its scores are
    not those of a distribution over sequences.

    Args:
        part: a recurrence part; a fresh copy is built.
        inputs: how many numbers it reads a step.
        steps: how many are looked at; a leak from further away is not found.
    """
    fresh = part.fresh()
    fresh.build(inputs)
    found = find_leak(fresh.double().eval(), inputs, steps)
    assert found is None, (
        f"{part.describe()} is not causal: the features at step {found[0]} depend on the input at step {found[1]}"
    )


def check_batch_invariant(model: Any, context: Any = None) -> None:
    """A sequence has one log-probability and one gradient: alone, in a batch, and beside garbage in the padding."""
    y = ragged(model, context)
    together, gradient = _value_and_gradient(model, y, context)
    for garbage in (float("nan"), -torch.inf, 1e30) if y.values.is_floating_point() else (-1, 2**40):
        noisy = _with_padding(y, garbage)
        value, same = _value_and_gradient(model, noisy, context)
        _close(value, together, ROUNDING)
        _close(same, gradient, ROUNDING)
    values, total = [], torch.zeros_like(gradient)
    for i in range(len(y)):
        row = select_rows(context, torch.tensor([i]))
        value, part = _value_and_gradient(model, y.select([i]), row)
        values.append(value)
        total = total + part
    _close(torch.cat(values), together, ROUNDING)
    _close(total, gradient, ROUNDING)


def _with_padding(y: Sequences, garbage: float | int) -> Sequences:
    values = torch.cat([y.values, torch.full_like(y.values[:, :2], garbage)], 1)
    mask = torch.arange(values.shape[1]) < y.lengths.unsqueeze(-1)
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - 2))
    return Sequences(torch.where(mask, values, torch.full_like(values, garbage)), y.lengths, y.ended)


def _value_and_gradient(model: Any, y: Sequences, context: Any) -> tuple[Tensor, Tensor]:
    """log P of each sequence, and the gradient of their sum, flat."""
    value = model.log_prob(y, context)
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    return value.detach(), _gradient(value, parameters) if parameters else value.new_zeros(0)


def check_sampler(model: Autoregressive, length: int, context: Any = None, draws: int = 20_000, seed: int = 0) -> None:
    """Ancestral samples follow the enumerated law: Pearson's χ², at the 10⁻⁴ level, with the seed fixed.

    Args:
        context: one row.
    """
    law = exact(model, length, context)
    expected = law.log_prob.exp().cpu().numpy() * draws
    # The elements name a sequence: one that fills the length is open in the law, ended or not.
    names = {tuple(sequence.flatten().tolist()): i for i, sequence in enumerate(law.sequences)}
    observed = np.zeros(len(names))
    drawn = sample(model, draws, context, length, seed)
    start = model.start(Context.none(1) if context is None else context)
    certain = bool(certainly_over(model, start.context, length))
    assert torch.equal(drawn.ended, (drawn.lengths < length) | certain), "a cut sequence is said to have ended"
    for sequence in drawn:
        observed[names[tuple(sequence.flatten().tolist())]] += 1
    assert observed[expected == 0].sum() == 0, "an impossible sequence was drawn"
    large = expected >= 5
    observed = np.append(observed[large], observed[~large].sum())
    expected = np.append(expected[large], expected[~large].sum())
    # The pooled cell may be too small for χ² by itself: then it is left to the others' total.
    keep = expected >= 1
    scale = observed[keep].sum() / expected[keep].sum()
    if keep.sum() > 1:
        p_value = float(stats.chisquare(observed[keep], expected[keep] * scale).pvalue)
        assert p_value > 1e-4, f"samples do not follow the law: p = {p_value:.2e}"


def check_score_identity(model: Any, context: Any = None, draws: int = 400, seed: int = 0) -> None:
    """E[∇ log P(y)] = 0 over the model's own samples, within 6 standard errors in every parameter of the heads.

    What goodness of fit is for discrete elements, for any element: a sampler that follows another law than the
    scorer is found out.

    Args:
        context: one row.
    """
    length = model.max_length or 6
    y = sample(model, draws, context, length, seed)
    heads = [*model.likelihood.parameters(), *model.stop.parameters()]
    value = model.log_prob(y, select_rows(context, torch.zeros(draws, dtype=torch.int64)))
    # The gradient of each draw, in one backward pass.
    each = torch.eye(draws, dtype=value.dtype)
    found = torch.autograd.grad(value, heads, each, allow_unused=True, is_grads_batched=True)
    reached = [gradient.flatten(1) for gradient in found if gradient is not None]
    assert reached, "no parameter of the heads was reached"
    stacked = torch.cat(reached, 1)
    error = stacked.std(0) / draws**0.5
    z = (stacked.mean(0).abs() / error.clamp(min=1e-12))[error > 1e-9]
    assert len(z), "no parameter of the heads was reached"
    assert float(z.max()) < 6, f"the mean score is {float(z.max()):.1f} standard errors from 0"


def check_fused(model: Any, context: Any = None) -> None:
    """`model.log_prob` and `score` are the factors of a walk by single steps, values and gradients."""
    y = ragged(model, context)
    parameters = list(model.parameters())
    walked = _walk(model, y, context)
    expected = _gradient(walked, parameters)
    for fused in (model.log_prob(y, context), score(model, y, context).log_prob):
        _close(fused, walked, ROUNDING)
        _close(_gradient(fused, parameters), expected, ROUNDING)


def _gradient(value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """The gradient of the sum of `value`, flat, 0 where a parameter is not reached."""
    gradients = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
    filled = (torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True))
    return torch.cat([gradient.flatten() for gradient in filled])


def _walk(model: Autoregressive, y: Sequences, context: Any) -> Tensor:
    """log P of each sequence, one sequence and one element at a time."""
    start = model.start(Context.none(len(y)) if context is None else context)
    totals = []
    for row, (sequence, ended) in enumerate(zip(y, y.ended.tolist(), strict=True)):
        state, total = start.select(torch.tensor([row])), torch.zeros(1, dtype=start.features.dtype)
        for element in sequence:
            step = model.emit(state.features, state.position, state.context)
            total = total + step.log_go + step.element.log_prob(element.unsqueeze(0))
            state = model.extend(state, element.reshape(1, 1, *element.shape))[1]
        step = model.emit(state.features, state.position, state.context)
        totals.append(total + step.log_stop if ended else total + 0 * state.features.sum())
    return torch.cat(totals)


def check_gradients(model: Any, context: Any = None) -> None:
    """On a ragged batch with an empty sequence in it, every parameter is reached, and every gradient is finite."""
    y = ragged(model, context)
    assert int(y.lengths.min()) == 0
    model.zero_grad()
    model.log_prob(y, context).sum().backward()
    for name, parameter in model.named_parameters():
        if not parameter.numel():
            continue
        assert parameter.grad is not None, f"{name} is not reached"
        assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"
        # One step alone does not reach the weights of the memory.
        assert bool((parameter.grad != 0).any()) or int(y.lengths.max()) < 2, f"the gradient of {name} is zero"
    model.zero_grad()


def check_round_trip(model: SequenceModel, context: Any = None, parts: Any = ()) -> None:
    """save, then load: the same log-probabilities, to the bit."""
    y = ragged(model, context)
    with tempfile.TemporaryDirectory() as folder:
        again = load(save(model, folder), parts)
    assert torch.equal(again.log_prob(y, context), model.log_prob(y, context))


def check_unfolded(model: Any, length: int = 4, context: Any = None) -> None:
    """The program with a site a step has the log-probability of the folded law."""
    program = model.program(length)
    y = sample(model, 1 if context is not None else 5, context, length, 0)
    conditioned = pyro.poutine.condition(program, data=program.data(y))
    trace = pyro.poutine.trace(conditioned).get_trace(context, len(y))
    trace.compute_log_prob()
    sites = [site for name, site in trace.nodes.items() if name.startswith(("y_", "stop_"))]
    unfolded = torch.stack([site["log_prob"] for site in sites]).sum(0)  # type: ignore[reportTypedDictNotRequiredAccess]
    folded = model.distribution(context, length).log_prob(y.dense(length))
    _close(unfolded, folded, ROUNDING)
    if isinstance(model, nn.Module) and folded.requires_grad:
        parameters = list(model.parameters())
        _close(_gradient(unfolded, parameters), _gradient(folded, parameters), ROUNDING)

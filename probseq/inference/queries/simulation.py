"""Plain simulation: the model goes on by itself, and one looks what happens."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.inference.queries.events import Expectation
from probseq.inference.queries.prefixes import beyond
from probseq.inference.queries.question import Question
from probseq.sequences import Sequences


def simulate(question: Question, rows: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n m"], Int[Tensor, " n"]]:
    """One draw for each of `rows` of the question: the numbers of its outcome, and the elements read until then."""
    model, monitor = question.model, question.monitor
    state, count, device = question.state.select(rows), len(rows), rows.device
    known = int(monitor.decided[0, 0])
    outcome = torch.full((count,), known, device=device)
    spent, at, left = torch.zeros_like(rows), torch.zeros_like(rows), torch.arange(count, device=device)
    left = left[:0] if known >= 0 else left
    for t in range(monitor.steps):
        if not len(left):
            break
        step = model.emit(state.features, state.position, state.context)
        stops = torch.rand_like(step.log_stop).log() < step.log_stop
        y = step.element.sample()
        at = torch.where(stops, at, monitor.next[at, question.classify(y)])
        came = torch.where(stops, monitor.end[at], monitor.decided[t + 1, at])
        outcome[left] = came
        going = (came < 0).nonzero().squeeze(-1)
        left, at = left[going], at[going]
        if len(left):
            spent[left] += 1
            state = model.extend(state.select(going), y[going].unsqueeze(1))[1]
    return monitor.low[outcome], spent


def continue_(
    question: Question, expectation: Expectation, rows: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n m"], Int[Tensor, " n"]]:
    """The function of one continued sequence for each of `rows`, and the elements read."""
    model, device = question.model, rows.device
    state, known = question.state.select(rows), question.prefix.select(rows.to("cpu"))
    left = torch.arange(len(rows), device=device)
    lengths, columns = torch.zeros_like(rows), []
    for t in range(expectation.steps):
        step = model.emit(state.features, state.position, state.context)
        going = (torch.rand_like(step.log_stop).log() >= step.log_stop).nonzero().squeeze(-1)
        left = left[going]
        if not len(left):
            break
        y = step.element.sample()[going]
        columns.append(y.new_zeros(len(rows), *y.shape[1:]).index_copy(0, left, y))
        lengths[left] += 1
        if t + 1 < expectation.steps:
            state = model.extend(state.select(going), y.unsqueeze(1))[1]
    over = beyond(model, question.state, expectation.steps)[rows.to("cpu")]
    lengths = lengths.to("cpu")
    ended = (lengths < expectation.steps) | over
    new = torch.stack(columns, 1) if columns else known.values.new_zeros(len(rows), 0, *known.values.shape[2:])
    spent = lengths.clamp(max=max(expectation.steps - 1, 0)).to(device)
    return numbers(expectation, join(known, new, lengths, ended)), spent


def join(known: Sequences, new: Tensor, lengths: Int[Tensor, " n"], ended: Tensor) -> Sequences:
    """What is known, and the first `lengths` of what came after it."""
    total = known.lengths + lengths
    values = new.new_zeros(len(known), int(total.max()) if len(known) else 0, *new.shape[2:])
    before, after = known.values, new
    place = torch.arange(values.shape[1])
    mask = place < known.lengths.unsqueeze(1)
    own = torch.nn.functional.pad(before.movedim(1, -1), (0, values.shape[1] - before.shape[1])).movedim(-1, 1)
    index = (place - known.lengths.unsqueeze(1)).clamp(min=0, max=max(after.shape[1] - 1, 0)).to(new.device)
    if after.shape[1]:
        rows = torch.arange(len(known), device=new.device).unsqueeze(1)
        values = after[rows, index]
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - 2)).to(new.device)
    return Sequences(torch.where(mask, own.to(values), values), total, ended)


def numbers(expectation: Expectation, y: Sequences) -> Float[Tensor, "n m"]:
    """What the function gives, checked.

    Raises:
        ValueError: another shape than (n,) or (n, m).
    """
    found = torch.as_tensor(expectation.function(y))
    if found.ndim not in (1, 2) or len(found) != len(y):
        raise ValueError(
            f"Expectation: the function must map {len(y)} sequences to numbers ({len(y)},) or ({len(y)}, m); got "
            f"shape {tuple(found.shape)}."
        )
    return found.to(torch.float64).reshape(len(y), -1)


def enumerate_(question: Question, expectation: Expectation) -> tuple[Float[Tensor, "b m"], Int[Tensor, " b"]]:
    """Σ P(y) f(y) over all continuations, level by level, and the elements read for each row."""
    model, alphabet, state = question.model, question.alphabet, question.state
    rows = torch.arange(question.batch, device=state.features.device)
    log_mass = torch.zeros(question.batch, dtype=torch.float64, device=rows.device)
    drawn, spent, total = rows.new_zeros(question.batch, 0), torch.zeros_like(rows), None
    over = beyond(model, question.state, expectation.steps)

    def add(rows: Tensor, log_mass: Tensor, drawn: Tensor, ended: Tensor) -> None:
        nonlocal total
        some = (log_mass > -torch.inf).nonzero().squeeze(-1)
        if not len(some):
            return
        own, lengths = rows[some].to("cpu"), torch.full((len(some),), drawn.shape[1])
        y = join(question.prefix.select(own), alphabet.symbols[drawn[some]], lengths, ended[some.to("cpu")])  # type: ignore[union-attr]
        each = numbers(expectation, y).to(rows.device) * log_mass[some].exp().unsqueeze(1)
        total = each.new_zeros(question.batch, each.shape[1]) if total is None else total
        total = total.index_add(0, rows[some], each)

    for t in range(expectation.steps):
        log_symbols, log_stop = alphabet.law(model, state)  # type: ignore[union-attr]
        add(rows, log_mass + log_stop, drawn, torch.ones(len(rows), dtype=torch.bool))
        onward = log_mass.unsqueeze(1) + log_symbols
        i, v = (onward > -torch.inf).nonzero().unbind(1)
        rows, log_mass = rows[i], onward[i, v]
        drawn = torch.cat([drawn[i], v.unsqueeze(1)], 1)
        if not len(rows) or t + 1 == expectation.steps:
            break
        state = model.extend(state.select(i), alphabet.symbols[v].unsqueeze(1))[1]  # type: ignore[union-attr]
        spent += torch.bincount(rows, minlength=question.batch)
    if len(rows):
        add(rows, log_mass, drawn, over[rows.to("cpu")])
    assert total is not None
    return total, spent

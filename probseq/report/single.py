"""Sections that show single sequences: surprise, draws, alignments, completions, fans."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import probseq.inference as engines
from probseq.context import Context
from probseq.evaluation.intervals import log_probs
from probseq.evaluation.steps import decisions, few_symbols, over_symbols
from probseq.report.html import figure, number, paragraph, table, text
from probseq.report.subject import Subject
from probseq.report.svg import Line, heat, lines
from probseq.sequences import Sequences

LIKELIER = 5
"""Symbols that are named beside the one that came."""

LONG = 400
"""Elements of a sequence that are shown."""

HOT = 8.0
"""Nats of surprise that have the full colour."""


def surprise(subject: Subject) -> str:
    """Each element in the colour of its −log P."""
    nats = -log_probs(subject.model, subject.y, subject.context) / subject.y.decisions.clamp(min=1)
    order = nats.argsort(descending=True)
    count = min(subject.limit, len(order))
    chosen = {"The first sequences": torch.arange(count)}
    if len(order) > 2 * count:
        chosen |= {"The most surprising, by the decision": order[:5], "The least surprising": order[-5:].flip(0)}
    body = []
    for name, index in chosen.items():
        y, x = subject.rows(index)
        shown = "".join(_lines(subject, y, x, nats[index]))
        body.append(f"<h3>{text(name)}</h3>{shown}")
    said = paragraph(
        f"{count} of {len(subject.y)} sequences. The darker an element, the less the model expected it; ■ is the end.",
        "Point at an element, or move along a line with the arrow keys, to read what the model said there.",
    )
    return said + "".join(body)


def _lines(subject: Subject, y: Sequences, x: Any, nats: Tensor) -> list[str]:
    state = subject.model.start(Context.none(len(y)) if x is None else x)
    cells: list[list[tuple[int, str]]] = [[] for _ in range(len(y))]
    names = [subject.decode(row) for row in y]
    with torch.no_grad():
        for each in decisions([subject.model], [state.context], y):
            log_prob, step = each.log_prob(), each.steps[0]
            symbols = few_symbols(subject.model, step.element)
            over = None if symbols is None or step.element.event_shape else over_symbols(step.element, symbols)
            for i, (row, column) in enumerate(zip(each.rows.tolist(), each.columns.tolist(), strict=True)):
                if column >= LONG:
                    continue
                goes = bool(each.goes[i])
                shown = names[row][column] if goes else "■"
                likelier = "" if over is None else _likelier(subject, step, over, i)
                cells[row].append((column, _cell(shown, float(log_prob[i]), over is None and goes, likelier)))
    found = []
    for row, line in enumerate(cells):
        more = f" … {int(y.lengths[row]) - LONG} more" if int(y.lengths[row]) > LONG else ""
        label = text(f"sequence of {int(y.lengths[row])} elements, {number(float(nats[row]))} nats a decision")
        inner = "".join(cell for _, cell in sorted(line))
        found.append(f'<p class="line" tabindex="0" role="group" aria-label="{label}">{inner}{text(more)}</p>')
    return found


def _cell(shown: str, log_prob: float, density: bool, likelier: str) -> str:
    what = "log density" if density else "P"
    value = number(log_prob) if density else number(math.exp(log_prob))
    tip = text(f"{shown}: {what} {value}, {number(-log_prob)} nats{likelier}")
    share = 0.0 if density and log_prob > 0 else min(-log_prob / HOT, 1.0)
    gap = " " if len(shown) > 1 else ""
    return f'<span class="cell" style="--s:{share:.2f}" data-tip="{tip}">{text(shown)}</span>{gap}'


def _likelier(subject: Subject, step: Any, over: Tensor, i: int) -> str:
    """The likeliest symbols there, and the end."""
    go, stop = step.log_go[i].exp(), float(step.log_stop[i].exp())
    p, index = (go * over[i].exp()).topk(min(LIKELIER, over.shape[-1]))
    names = subject.decode(index)
    end = [("■", stop)] if stop > 0 else []
    pairs = sorted([*zip(names, p.tolist(), strict=True), *end], key=lambda pair: -pair[1])[:LIKELIER]
    return "\nlikeliest: " + ", ".join(f"{name} {number(share)}" for name, share in pairs)


def samples(subject: Subject) -> str:
    """Draws, each with its log-probability."""
    _, x = subject.first(subject.limit)
    if x is None:
        y = engines.sample(subject.model, subject.limit, generator=subject.seed)
    else:
        y = engines.sample(subject.model, 1, x, generator=subject.seed)
    log_prob = log_probs(subject.model, y, x)
    rows = [
        [_joined(subject.decode(row)), int(length), float(nats), "yes" if ended else "no"]
        for row, length, nats, ended in zip(y, y.lengths, log_prob, y.ended, strict=True)
    ]
    of = "" if x is None else ", one for each x of the first held-out sequences"
    return table(["sequence", "length", "log P, nats", "ended"], rows, f"{len(y)} draws, unpicked{of}")


def alignments(subject: Subject) -> str:
    """Where the model looked."""
    y, x = subject.first(4)
    weights = subject.model.alignments(y, x)
    body = []
    for row in range(len(y)):
        reads, m, s = _source_of(x), int(y.lengths[row]) + int(y.ended[row]), 0
        s = int(reads.lengths[row])
        names = [*subject.decode(y[row]), "■"][:m]
        columns = subject.source(reads[row])
        title = f"What of {_joined(columns)} was looked at for {_joined(names[: int(y.lengths[row])])}"
        picture = heat(title, names, columns, weights[row, :m, :s].tolist())
        body.append(figure(picture, title, table(["", *columns], _named(names, weights[row, :m, :s]), title)))
    return paragraph("The weights behind each element; they sum to 1 along a row.") + "".join(body)


def _named(names: list[str], weights: Tensor) -> list[list[Any]]:
    return [[name, *row] for name, row in zip(names, weights.tolist(), strict=True)]


def _source_of(x: Any) -> Sequences:
    """The sequence in a context."""
    every = x if isinstance(x, tuple) else (x,)
    return next(each for each in every if isinstance(each, Sequences))


def infilled(subject: Subject) -> str:
    """Held-out sequences of which the middle third is hidden."""
    model = subject.model
    if getattr(model.element, "cardinality", None) is None or model.element.shape:
        return paragraph("Shown for single symbols alone; probseq.infill completes numbers too.")
    long = (subject.y.lengths >= 3).nonzero().squeeze(-1)[:4]
    if not len(long):
        return paragraph("No held-out sequence has three elements.")
    y, _ = subject.rows(long)
    rows = []
    for i in range(len(y)):
        whole, n = y[i].tolist(), int(y.lengths[i])
        hidden = range(n // 3, n // 3 + max(1, min(n // 3, 4)))
        pattern = engines.Pattern.of([[None if t in hidden else v for t, v in enumerate(whole)]], bool(y.ended[i]))
        _, own = subject.rows(long[i : i + 1])
        found = engines.infill(model, pattern, own, 500, generator=subject.seed)
        names = subject.decode(y[i])
        shown = _joined(["_" if t in hidden else name for t, name in enumerate(names)])
        answers, share = found.ranked(0, 3)
        for answer, p in zip(answers, share.tolist(), strict=True):
            true = "the truth" if answer.tolist() == whole else ""
            rows.append([shown, _joined(subject.decode(answer)), p, true, float(found.ess[0]), found.verdicts[0]])
    return table(["known", "completion", "P", "", "effective draws", "verdict"], rows, "The likeliest completions")


def fans(subject: Subject) -> str:
    """What follows the first halves of series."""
    if subject.y.values.is_floating_point() and subject.context is None:
        return "".join(_fan(subject, row) for row in range(min(3, len(subject.y))) if subject.y.lengths[row] >= 4)
    return paragraph("Shown for numbers without a context; probseq.forecast takes contexts too.")


def _fan(subject: Subject, row: int) -> str:
    whole = subject.y[row].reshape(int(subject.y.lengths[row]), -1)[:LONG]
    half = len(whole) // 2
    past = Sequences(subject.y.values[row : row + 1, :half], subject.y.lengths[row : row + 1].clamp(max=half), False)
    steps = len(whole) - half
    found = engines.forecast(subject.model, past, steps, num_samples=200, generator=subject.seed)
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    low, lower, middle, upper, high = found.quantiles(levels)[0].reshape(5, steps, -1)[..., 0].tolist()
    ahead = [float(t) for t in range(half, half + steps)]
    curves = [
        Line("median, and 90 % of the paths", ahead, middle, low, high),
        Line("what came", [float(t) for t in range(len(whole))], whole[:, 0].tolist()),
        Line("half of the paths", ahead, middle, lower, upper),
    ]
    title = f"Sequence {row}: what follows its first {half} elements (the first coordinate)"
    rows = [[int(t), *each] for t, *each in zip(ahead, low, lower, middle, upper, high, strict=True)]
    numbers = table(["step", *(f"{level:.0%}" for level in levels)], rows, "Quantiles of the paths")
    return figure(lines(title, "step", "value", curves), title, numbers)


def _joined(names: list[str]) -> str:
    shown = names[:LONG]
    gap = "" if all(len(name) == 1 for name in shown) else " "
    return gap.join(shown) + (" …" if len(names) > LONG else "")

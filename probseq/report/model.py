"""Sections on the model and its training."""

from __future__ import annotations

import base64
import io
from typing import Any

from probseq.evaluation import compare
from probseq.report.html import figure, number, paragraph, table, text
from probseq.report.subject import Subject
from probseq.report.svg import Line, lines


def structure(subject: Subject) -> str:
    """What the model is: its formula, its graph, its parts."""
    model = subject.model
    given = "" if model.parts.get("context") is None else ", x"
    total = sum(weight.numel() for weight in model.parameters())
    law = paragraph(f"P(y{' | x' if given else ''}) = ∏ₜ P(yₜ | y₁ … yₜ₋₁{given}), with the end as one more decision.")
    rows = [
        [name, repr(part), sum(weight.numel() for weight in part.parameters())]
        for name, part in model.parts.items()
        if part is not None
    ]
    rest = total - sum(row[2] for row in rows)
    rows += [["the first step", "what is read and carried before any element", rest]] if rest else []
    parts = table(["part", "what it is", "parameters"], rows, f"{total:,} parameters")
    return law + _drawn(model) + parts


def _drawn(model: Any) -> str:
    """The graph, where matplotlib is installed."""
    from probseq import graph

    try:
        picture = graph.draw(model, 3)
    except (ImportError, ValueError, TypeError) as error:
        return paragraph(f"The graph is not drawn: {error}")
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "probseq"}):
        picture.savefig(buffer, format="svg", metadata={"Date": None})
    shown = base64.b64encode(buffer.getvalue()).decode()
    caption = "The directed graphical model over three steps: circles are drawn or given, squares computed."
    image = f'<img alt="{text(caption)}" src="data:image/svg+xml;base64,{shown}">'
    return figure(image, caption)


def learning(subject: Subject) -> str:
    """Learning curves."""
    if not subject.history:
        return paragraph("How the model was trained is not known here.")
    names = {"train_nats": "training", "train_objective": "training objective", "validation_nats": "validation"}
    curves = []
    for key, name in names.items():
        kept = [(entry["epoch"], entry[key]) for entry in subject.history if key in entry]
        if kept:
            curves.append(Line(name, [e for e, _ in kept], [value for _, value in kept]))
    head = ["epoch", *(curve.name for curve in curves)]
    rows = [
        [int(entry["epoch"]), *(entry.get(key, float("nan")) for key, name in names.items() if name in head)]
        for entry in subject.history
    ]
    seconds = sum(entry.get("seconds", 0.0) for entry in subject.history)
    picture = lines("Learning curves", "epoch", "nats a decision", curves, points=len(subject.history) < 60)
    said = paragraph(f"{len(subject.history)} epochs, {number(seconds)} seconds.")
    return said + figure(picture, "Nats a decision by epoch: lower is better.", table(head, rows, "By epoch"))


def held_out(subject: Subject) -> str:
    """Nats on the data, beside baselines."""
    found = subject.evaluation
    said = paragraph(f"{found.sequences} held-out sequences, {found.decisions} decisions.")
    rows = [
        [name, each.value, each.low, each.high]
        for name, each in (
            ("nats a sequence", found.nats), ("nats a decision", found.nats_per_decision),
            ("bits a decision", found.bits_per_decision), ("perplexity", found.perplexity),
        )
    ]  # fmt: skip
    own = table(["", "value", "low", "high"], rows, "With intervals of 95 %, by bootstrap over sequences")
    if not subject.baselines:
        return said + own
    beside = compare({"this model": subject.model, **subject.baselines}, subject.data, generator=subject.seed).rows()
    head = ["model", "nats a sequence", "low", "high", "behind the best", "p"]
    rows = [
        [
            row["model"],
            row["nats"],
            row["low"],
            row["high"],
            row["behind"],
            "" if row["p_value"] is None else row["p_value"],
        ]
        for row in beside
    ]
    caption = "Beside other models, on the same sequences; p, of no difference, by flipping signs"
    return said + own + table(head, rows, caption)


def scores(subject: Subject) -> str:
    """Scores of one step ahead."""
    found = subject.evaluation.scores
    return table(["score", "mean"], list(found.items()), "One step ahead") if found else ""

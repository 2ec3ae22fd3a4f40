"""The page itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import torch

from probseq.report import laws, model, single
from probseq.report.html import paragraph, text
from probseq.report.subject import Decode, Subject, plain
from probseq.sequences import Sequences

Section = tuple[str, str, Callable[[Subject], str]]


@torch.no_grad()
def page(
    model: Any,
    data: Any,
    *,
    history: Sequence[Mapping[str, float]] | None = None,
    title: str = "A sequence model",
    decode: Decode | None = None,
    source: Decode | None = None,
    baselines: Mapping[str, Any] | None = None,
    generator: int = 0,
    limit: int = 20,
) -> str:
    """One HTML page on a trained model: it needs nothing else, works from a disk, and has no script but its own.

    A part that does not apply to the model says so; nothing else stands in its way.

    Args:
        model: a SequenceModel.
        data: held-out Sequences, or a pair (Sequences, context).
        history: an entry for each epoch, `FitResult.history`.
        decode: the elements of one sequence (t, *e) as texts; by default the model's characters, or numbers.
        source: the same of a source that y is a translation of.
        baselines: other models of the same elements, by name.
        generator: the seed of all that is drawn.
        limit: single sequences that are shown.

    Raises:
        ValueError: there are no sequences, or they do not fit the model.
        TypeError: data of another type.

    >>> import probseq as ps
    >>> from probseq import report
    >>> model = ps.SequenceModel(ps.Tokens(2, symbols="ab"), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> report.page(model, model.sample(30, generator=0))[:15]
    '<!doctype html>'
    """
    y, context = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if not isinstance(y, Sequences):
        raise TypeError(f"data must be Sequences or a pair (Sequences, context); got {type(data).__name__}.")
    if not len(y):
        raise ValueError("a report needs held-out sequences; got none.")
    y, context = model.conform(y, context)
    shown = plain(model) if decode is None else decode
    subject = Subject(model, y, context, history or (), shown, source or _numbers, baselines or {}, generator, limit)
    made = [(key, name, _made(build, subject)) for key, name, build in _sections(subject)]
    return _page(title, made)


def _sections(subject: Subject) -> list[Section]:
    """Those that can apply."""
    found: list[Section] = [
        ("model", "Model", model.structure), ("learning", "Learning", model.learning),
        ("nats", "Held-out nats", lambda own: model.held_out(own) + model.scores(own)),
        ("surprise", "Surprise", single.surprise), ("lengths", "Lengths", laws.lengths),
        ("calibration", "Calibration", laws.calibration), ("samples", "Samples", single.samples),
    ]  # fmt: skip
    if getattr(subject.model.recurrence, "attends", False):
        found.append(("attention", "Attention", single.alignments))
    if subject.y.values.is_floating_point() and not subject.model.element.discrete:
        found.append(("fans", "Forecasts", single.fans))
    else:
        found.append(("infilled", "Infilled", single.infilled))
    return found


def _made(build: Callable[[Subject], str], subject: Subject) -> str:
    """A section, or the reason why there is none: one that fails must not take the others with it."""
    try:
        return build(subject)
    except Exception as error:
        return paragraph(f"This part could not be made for this model: {error}")


def _numbers(row: Any) -> list[str]:
    return [str(each) for each in row.tolist()]


def _page(title: str, sections: list[tuple[str, str, str]]) -> str:
    tabs = "".join(
        f'<button role="tab" type="button" id="tab-{key}" aria-controls="{key}">{text(name)}</button>'
        for key, name, _ in sections
    )
    panels = "".join(
        f'<section role="tabpanel" id="{key}" aria-labelledby="tab-{key}" tabindex="-1">'
        f"<h2>{text(name)}</h2>{inner}</section>"
        for key, name, inner in sections
    )
    style, script = (_resource(name) for name in ("style.css", "script.js"))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body><header><h1>{text(title)}</h1>'
        '<p class="lead">A recurrent network as a distribution over sequences. Log-probabilities are natural: nats.</p>'
        f'</header><main><div role="tablist" aria-label="Parts of the report" hidden>{tabs}</div>'
        f'{panels}</main><footer><p>Made by probseq.</p></footer><div id="tip" hidden></div>'
        f'<div id="said" class="said" aria-live="polite"></div><script>{script}</script></body></html>'
    )


def _resource(name: str) -> str:
    return resources.files("probseq.report").joinpath(name).read_text(encoding="utf-8")

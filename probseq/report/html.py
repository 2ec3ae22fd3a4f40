"""Pieces of a page, every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


def text(value: Any) -> str:
    """A value as text that no browser takes for markup."""
    return html.escape(number(value) if isinstance(value, float) else str(value), quote=True)


def number(value: float) -> str:
    """A number in four figures."""
    if value != value:
        return "–"
    return f"{value:.4g}" if value and not 1e-3 <= abs(value) < 1e5 else f"{value:.4f}".rstrip("0").rstrip(".")


def paragraph(*sentences: Any) -> str:
    """A paragraph of sentences, escaped."""
    return f"<p>{text(' '.join(map(str, sentences)))}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str) -> str:
    """A table with a caption, numbers to the right; it scrolls by itself where it is too wide."""
    top = "".join(f'<th scope="col">{text(each)}</th>' for each in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    inner = f"<table><caption>{text(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">{inner}</div>'


def details(summary: str, inner: str) -> str:
    """What is shown when it is asked for."""
    return f"<details><summary>{text(summary)}</summary>{inner}</details>"


def figure(picture: str, caption: str, numbers: str = "") -> str:
    """A picture, what it shows, and the numbers that it is drawn from."""
    more = details("The numbers", numbers) if numbers else ""
    return f"<figure>{picture}<figcaption>{text(caption)}</figcaption>{more}</figure>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{text(value)}</td>"
    return f'<td class="number">{text(value)}</td>'

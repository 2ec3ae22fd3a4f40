"""Charts as inline SVG, in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from probseq.report.html import number, text

WIDE, HIGH = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 40


@dataclass(frozen=True)
class Scale:
    """Data on pixels.

    Args:
        low, high: of the data; begin, end: of the pixels.
    """

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 2)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers in the range."""
        step = (self.high - self.low) / count
        power = 10 ** math.floor(math.log10(step))
        step = next((m * power for m in (1, 2, 5, 10) if m * power >= step), 10 * power)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Line:
    """Points that are joined, and their name; with `low` and `high` a band about them."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def lines(
    title: str, across: str, up: str, curves: Sequence[Line], diagonal: bool = False, points: bool = False
) -> str:
    """Curves over a number; points that are not finite are left out."""
    xs = [x for curve in curves for x in curve.x]
    ys = [y for c in curves for part in (c.y, c.low or (), c.high or ()) for y in part if math.isfinite(y)]
    if not xs or not ys:
        return ""
    scale_x, scale_y = _scales((0.0, 1.0), (0.0, 1.0)) if diagonal else _scales(_range(xs), _range(ys))
    body = [_axes(scale_x, scale_y, across, up)]
    if diagonal:
        body.append(f'<line class="guide" x1="{scale_x(0)}" y1="{scale_y(0)}" x2="{scale_x(1)}" y2="{scale_y(1)}"/>')
    for i, curve in enumerate(curves):
        if curve.low is not None and curve.high is not None:
            body.append(f'<polygon class="band c{i}" points="{_band(curve, scale_x, scale_y)}"/>')
        kept = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
        path = " ".join(f"{scale_x(x)},{scale_y(y)}" for x, y in kept)
        body.append(f'<polyline class="curve c{i}" points="{path}"/>')
        if points or len(kept) == 1:
            for x, y in kept:
                tip = text(f"{curve.name}: {number(x)}, {number(y)}")
                body.append(f'<circle class="point c{i}" cx="{scale_x(x)}" cy="{scale_y(y)}" r="4" data-tip="{tip}"/>')
    return _svg(title, "".join(body)) + _legend([curve.name for curve in curves])


def bars(
    title: str, across: str, up: str, heights: Sequence[float], edges: Sequence[float], level: Line | None = None
) -> str:
    """Bars over intervals between `edges`, and a curve over them."""
    others = [] if level is None else list(level.y)
    scale_x, scale_y = _scales((edges[0], edges[-1]), (0.0, 1.05 * max([*heights, *others, 1e-12])))
    body = [_axes(scale_x, scale_y, across, up)]
    for low, high, height in zip(edges, edges[1:], heights, strict=False):
        x, y = scale_x(low), scale_y(height)
        tip = text(f"{number(low)} to {number(high)}: {number(height)}")
        size = f'width="{max(scale_x(high) - x - 1, 1):.2f}" height="{max(scale_y(0) - y, 0):.2f}"'
        body.append(f'<rect class="bar" x="{x}" y="{y}" {size} data-tip="{tip}"/>')
    if level is not None:
        path = " ".join(f"{scale_x(x)},{scale_y(y)}" for x, y in zip(level.x, level.y, strict=True))
        body.append(f'<polyline class="curve c1" points="{path}"/>')
    return _svg(title, "".join(body)) + ("" if level is None else _legend(["data", level.name]))


def heat(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """A grid of numbers from 0 to 1, the darker the larger."""
    cell, left, top = 22, 8 + 9 * max(map(len, rows), default=1), 8 + 9 * max(map(len, columns), default=1)
    body = []
    for j, name in enumerate(columns):
        x = left + cell * j + 15
        body.append(f'<text class="tick" transform="translate({x},{top - 6}) rotate(-90)">{text(name)}</text>')
    for i, (name, line) in enumerate(zip(rows, values, strict=True)):
        y = top + cell * i
        body.append(f'<text class="tick" x="{left - 6}" y="{y + 15}" text-anchor="end">{text(name)}</text>')
        for j, value in enumerate(line):
            tip = text(f"{name} looks at {columns[j]}: {value:.3f}")
            place = f'x="{left + cell * j}" y="{y}" width="{cell - 1}" height="{cell - 1}"'
            body.append(f'<rect class="heat" {place} fill-opacity="{value:.3f}" data-tip="{tip}"/>')
    return _svg(title, "".join(body), left + cell * len(columns) + 8, top + cell * len(rows) + 8)


def _svg(title: str, body: str, wide: int = WIDE, high: int = HIGH) -> str:
    size = f'viewBox="0 0 {wide} {high}" style="max-width:{wide}px"'
    return f'<svg role="img" aria-label="{text(title)}" {size}><title>{text(title)}</title>{body}</svg>'


def _scales(x: tuple[float, float], y: tuple[float, float]) -> tuple[Scale, Scale]:
    return Scale(*x, LEFT, WIDE - RIGHT), Scale(*y, HIGH - BOTTOM, TOP)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _axes(x: Scale, y: Scale, across: str, up: str) -> str:
    body = []
    for value in y.ticks():
        body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        body.append(f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{text(value)}</text>')
    for value in x.ticks():
        body.append(
            f'<text class="tick" x="{x(value)}" y="{HIGH - BOTTOM + 16}" text-anchor="middle">{text(value)}</text>'
        )
    middle = (LEFT + WIDE - RIGHT) / 2
    body.append(f'<text class="axis" x="{middle}" y="{HIGH - 6}" text-anchor="middle">{text(across)}</text>')
    turned = f'transform="translate(14,{(TOP + HIGH - BOTTOM) / 2}) rotate(-90)"'
    body.append(f'<text class="axis" {turned} text-anchor="middle">{text(up)}</text>')
    return "".join(body)


def _band(curve: Line, x: Scale, y: Scale) -> str:
    assert curve.low is not None
    assert curve.high is not None
    there = [*zip(curve.x, curve.high, strict=True), *reversed(list(zip(curve.x, curve.low, strict=True)))]
    low, high = sorted((y.low, y.high))
    return " ".join(f"{x(a)},{y(min(max(b, low), high))}" for a, b in there if math.isfinite(b))


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    items = "".join(f'<li><span class="key c{i}"></span>{text(name)}</li>' for i, name in enumerate(names))
    return f'<ul class="legend">{items}</ul>'

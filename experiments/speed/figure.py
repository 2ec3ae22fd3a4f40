"""The figures of the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

from experiments.speed.rows import Row

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "img"
MET, MISSED = "#2a6f4e", "#b5482a"


def ratios(rows: Sequence[Row], path: Path) -> None:
    """How far each row is to the good side of its target: the median, and from the least to the greatest."""
    shown = [row for row in rows if row.met is not None]
    height = max(2.0, 0.3 * len(shown) + 0.8)
    picture, axes = plt.subplots(figsize=(9, height), layout="constrained")
    for i, row in enumerate(shown):
        low, middle, high = (margin(row, x) for x in (row.least, row.value, row.greatest))
        colour = MET if row.met else MISSED
        axes.plot([low, high], [i, i], color=colour, linewidth=1)
        axes.plot([middle], [i], "o", color=colour, markersize=5)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    plain_ticks(axes.xaxis, (0.5, 1, 2, 4))
    axes.set_yticks(range(len(shown)), [f"{row.measure} [{row.target}]" for row in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("against the target: right of 1 it is met", fontsize=8)
    picture.savefig(path, dpi=110)
    plt.close(picture)


def plain_ticks(axis: Any, at: Sequence[float]) -> None:
    """These numbers, as they are, on a logarithmic axis."""
    axis.set_ticks(at, [f"{x:g}" for x in at])
    axis.set_minor_formatter(NullFormatter())


def margin(row: Row, value: float | None) -> float:
    """A figure over its target, or the target over it where less is better."""
    assert value is not None
    target = float(row.target[2:])
    return value / target if row.target.startswith("≥") else target / max(value, 1e-9)


def growth(curves: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """A panel for each curve, both axes logarithmic."""
    columns = 4
    lines = -(-len(curves) // columns)
    picture, axes = plt.subplots(lines, columns, figsize=(10, 2.4 * lines), layout="constrained", squeeze=False)
    for panel in axes.flat[len(curves) :]:
        panel.axis("off")
    for panel, (name, curve) in zip(axes.flat, curves.items(), strict=False):
        panel.loglog(curve["sizes"], curve["values"], "o-", color=MET, markersize=4)
        panel.set_title(f"{name}\nexponent {curve['exponent']:.2f}", fontsize=8)
        panel.set_ylabel(curve["unit"], fontsize=7)
        panel.tick_params(labelsize=7)
        plain_ticks(panel.xaxis, (curve["sizes"][0], curve["sizes"][-1]))
        panel.yaxis.set_minor_formatter(NullFormatter())
    picture.savefig(path, dpi=110)
    plt.close(picture)

"""Pictures of a model's graph, as the book draws them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from probseq.graph.layout import Point, bends, curve, loop, place_nodes, radius
from probseq.graph.unfolding import unfold

FILL = {"context": "#d9d9d9", "element": "#cfe3f5", "stop": "#fbe3c8", "length": "#fbe3c8"}
"""Of what is given or drawn; what is computed stays white."""

LINE = {"element": "#1f5c99", "stop": "#b4640a", "length": "#b4640a", "context": "#6b6b6b"}
"""Of the arrows that leave a node; black where not said."""


def draw(model: Any, steps: int = 4, path: str | Path | None = None, folded: bool = False, axes: Any = None) -> Any:
    """Draw the graph of a model: folded out in time, or as a circuit.

    Unfolded, time goes to the right; from the bottom to the top stand x, what an encoder makes of it, the features h,
    and the elements y, each with its end to the left. Folded, each row is one node, and a black square stands for a
    delay: of one step, or of as many as are written beside it; a negative one looks ahead. Circles are drawn or given,
    squares are computed from what points to them.

    Args:
        model: a SequenceModel.
        steps: how many elements.
        path: where to save the picture, by its ending as PNG or SVG, or None.
        folded: draw the circuit.
        axes: a matplotlib Axes to draw into, or None for a new figure.

    Returns:
        The matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError, ValueError: see `unfold`; a path with another ending.

    Source: Goodfellow et al., Deep Learning, figures 10.2 to 10.13.
    """
    if path is not None and Path(path).suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"draw() saves .png and .svg; got {Path(path).name!r}. Change the ending.")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("draw() needs matplotlib. Install probseq[report].") from error
    graph = unfold(model, steps)
    graph, marks = _fold(graph) if folded else (graph, {})
    places = place_nodes(graph)
    own = Figure(layout="tight") if axes is None else None
    axes = axes if own is None else own.subplots()
    patches = _draw_nodes(axes, graph, places)
    reached = _draw_edges(axes, graph, places, patches, marks)
    wide, high = _set_limits(axes, places, reached)
    _draw_legend(axes, graph, columns=3 if folded else 5)
    if own is not None:
        own.set_size_inches(max(0.62 * wide + 0.4, 2.6 if folded else 3.2), 0.62 * high + 0.7)
    figure = axes.get_figure()
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _fold(graph: nx.DiGraph) -> tuple[nx.DiGraph, dict[tuple[str, str], str]]:
    """One node for each row, and what to write at its arrows: a delay, or the only time at which there is one."""
    steps = graph.graph["steps"]
    folded = nx.DiGraph(steps=1, folded=True)
    for _, facts in graph.nodes(data=True):
        label = facts["label"].replace(f"_{{{facts['time']}}}", "")
        folded.add_node(facts["row"], **(facts | {"label": label, "time": None}))
    found: dict[tuple[str, str], set[tuple[int | None, int | None]]] = {}
    for edge in graph.edges:
        (row, s), (other, t) = ((graph.nodes[node]["row"], graph.nodes[node]["time"]) for node in edge)
        found.setdefault((row, other), set()).add((s, t))
    folded.add_edges_from(found)
    return folded, {edge: _mark_of(times, steps) for edge, times in found.items()}


def _mark_of(times: set[tuple[int | None, int | None]], steps: int) -> str:
    """What to write at an arrow that stands for those from the times s to the times t."""
    delays = {t - s for s, t in times if s is not None and t is not None}
    if delays:
        whole = steps > 1 and len(delays) == 2 * steps - 1
        return "" if delays == {0} else "all" if whole else _span(delays)
    when = {s if t is None else t for s, t in times} - {None}
    if not when or len(when) == steps:
        return ""
    return "t = T" if when == {steps} else f"t = {_span(when)}"


def _span(found: set[Any]) -> str:
    """1–3 for {1, 2, 3}."""
    low, high = min(found), max(found)
    run = len(found) > 1 and low >= 0 and high - low == len(found) - 1
    return f"{low}–{high}" if run else ", ".join(map(str, sorted(found))).replace("-", "−")


def _draw_nodes(axes: Any, graph: nx.DiGraph, places: dict[str, Point]) -> dict[str, Any]:
    patches = {}
    for node, facts in graph.nodes(data=True):
        patches[node] = axes.add_patch(_shape(facts["kind"], facts["deterministic"], places[node]))
        small = facts["kind"] == "stop" or "," in facts["label"]
        axes.text(*places[node], facts["label"], ha="center", va="center", fontsize=8 if small else 11, zorder=4)
    return patches


def _shape(kind: str, deterministic: bool, place: Any) -> Any:
    from matplotlib.patches import Circle, FancyBboxPatch

    size = radius(kind)
    style: dict[str, Any] = {"facecolor": "white" if deterministic else FILL[kind], "edgecolor": "black"}
    style |= {"linewidth": 1.0, "zorder": 3}
    if not deterministic:
        return Circle(place, size, **style)
    side, corner = 1.5 * size, 0.08
    box = f"round,pad={corner},rounding_size={corner}"
    return FancyBboxPatch((place[0] - side / 2, place[1] - side / 2), side, side, boxstyle=box, **style)


def _draw_edges(
    axes: Any, graph: nx.DiGraph, places: dict[str, Point], patches: dict[str, Any], marks: dict[tuple[str, str], str]
) -> np.ndarray:
    """The arrows; returns the points that they pass."""
    from matplotlib.patches import FancyArrowPatch

    chosen, passed = bends(graph, places), []
    for a, b in graph.edges:
        kind = graph.nodes[a]["kind"]
        style = {"arrowstyle": "-|>,head_length=4,head_width=2", "color": LINE.get(kind, "black"), "linewidth": 0.9}
        if a == b:
            points = loop(places[a], kind)
            arrow = FancyArrowPatch(path=_bezier(points), fill=False, zorder=2, **style)
            middle = (points[0] + 3 * points[1] + 3 * points[2] + points[3]) / 8
        else:
            points = curve(places[a], places[b], chosen[a, b])
            arrow = FancyArrowPatch(
                places[a], places[b], patchA=patches[a], patchB=patches[b], connectionstyle=f"arc3,rad={chosen[a, b]}",
                shrinkA=0, shrinkB=1, zorder=2, **style,
            )  # fmt: skip
            middle = points[len(points) // 2]
        axes.add_patch(arrow)
        _mark(axes, middle, marks.get((a, b), ""))
        passed.append(points)
    return np.concatenate(passed)


def _bezier(points: np.ndarray) -> Any:
    from matplotlib.path import Path as Line

    return Line(points, [Line.MOVETO, Line.CURVE4, Line.CURVE4, Line.CURVE4])


def _mark(axes: Any, place: Any, mark: str) -> None:
    """A black square for a delay, with how long it is where that is not one step; a time stands alone."""
    if not mark:
        return
    alone = mark.startswith("t")
    if not alone:
        axes.plot(*place, marker="s", color="black", markersize=5.5, zorder=5)
    if mark != "1":
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6} if alone else None
        across = place[0] + (0 if alone else 0.14)
        side = "center" if alone else "left"
        axes.text(across, place[1], mark, fontsize=7, ha=side, va="center", bbox=box, zorder=5)


def _set_limits(axes: Any, places: dict[str, Point], reached: np.ndarray) -> tuple[float, float]:
    """Room for all nodes, arrows and what is written at them; returns the width and the height."""
    nodes, beside = np.array(list(places.values())), np.array([0.25, 0.1])
    points = np.concatenate([nodes - 0.45, nodes + 0.45, reached - beside, reached + beside])
    (left, low), (right, high) = points.min(0), points.max(0)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.axis("off")
    return right - left, high - low


def _draw_legend(axes: Any, graph: nx.DiGraph, columns: int) -> None:
    """What occurs in the picture."""
    from matplotlib.lines import Line2D

    drawn = {kind for _, (kind, computed) in _facts(graph) if not computed}
    entries = [("given", "o", FILL["context"])] if "context" in drawn else []
    entries += [("element", "o", FILL["element"])]
    entries += [("end", "o", FILL["stop"])] if drawn & {"stop", "length"} else []
    entries += [("computed", "s", "white")] + ([("delay", "s", "black")] if graph.graph.get("folded") else [])
    handles = [
        Line2D([], [], linestyle="", marker=marker, markerfacecolor=fill, markeredgecolor="black", label=name,
               markersize=4 if fill == "black" else 6)
        for name, marker, fill in entries
    ]  # fmt: skip
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns, fontsize=7,
                frameon=False, handletextpad=0.1, columnspacing=1.0)  # fmt: skip


def _facts(graph: nx.DiGraph) -> list[tuple[str, tuple[str, bool]]]:
    return [(node, (facts["kind"], facts["deterministic"])) for node, facts in graph.nodes(data=True)]

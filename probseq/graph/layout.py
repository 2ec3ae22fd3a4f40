"""Where nodes stand in a picture, and how arrows go around them."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import networkx as nx
import numpy as np

Point = tuple[float, float]

COLUMN, ROW = 1.7, 1.35
"""The distance between steps, and between rows."""

RADIUS = {"stop": 0.2}
"""Of a node; 0.3 where not said."""

BENDS = (0.0, -0.15, 0.15, -0.3, 0.3, -0.45, 0.45, -0.65, 0.65, -0.85, 0.85)
"""How far an arrow may leave the straight line, in shares of its length, the first that will do first."""

ORDER = ("context", "length", "encoder", "hidden", "element")
"""From the bottom to the top."""


def radius(kind: str) -> float:
    """The radius of a node of this kind."""
    return RADIUS.get(kind, 0.3)


def place_nodes(graph: nx.DiGraph) -> dict[str, Point]:
    """Time goes to the right, and rows go up: x, what an encoder makes of it, h, y, and the ends left of y."""
    places: dict[str, Point] = {}
    height = 0.0
    rows = sorted((node for node in graph if graph.nodes[node]["kind"] != "stop"), key=lambda node: _level(graph, node))
    for _, row in groupby(rows, key=lambda node: _level(graph, node)[:3]):
        free = -np.inf
        for across, node in sorted((_across(graph, node), node) for node in row):
            places[node] = max(across, free), height
            free = places[node][0] + 0.7 * COLUMN
        height += ROW
    for node, time in graph.nodes(data="time"):
        if graph.nodes[node]["kind"] == "stop":
            across, top = places[f"y_{time}"] if time is not None else places["y"]
            places[node] = across - 0.5 * COLUMN, top + 0.45
    return places


def _across(graph: nx.DiGraph, node: str) -> float:
    """At its time, or between the first and the last of what is computed from it."""
    nodes = [node] if graph.nodes[node]["time"] is not None else list(graph.successors(node))
    times = [time for time in (graph.nodes[each]["time"] for each in nodes) if time is not None] or [1]
    return COLUMN * (min(times) + max(times)) / 2


def _level(graph: nx.DiGraph, node: str) -> tuple[int, bool, str, int]:
    """What has no time stands below what has, but a summary above what it sums up; τ stands beside x."""
    kind, row, time = (graph.nodes[node][name] for name in ("kind", "row", "time"))
    timeless = time is None and not graph.graph.get("folded", False)
    level = ORDER.index("context") if kind == "length" else ORDER.index(kind)
    above = row.startswith("C") if kind == "encoder" else not timeless
    return level, above, "" if timeless else row, time or 0


def loop(place: Point, kind: str) -> np.ndarray:
    """The Bézier points (4, 2) of an arrow from a node to itself: on its right, but on the left of an end."""
    size, side = radius(kind), -1 if kind == "stop" else 1
    shape = [(size, 0.5 * size), (size + 0.75, 1.3 * size), (size + 0.75, -1.3 * size), (size + 0.03, -0.5 * size)]
    return np.array(place) + np.array(shape) * [side, 1]


def bends(graph: nx.DiGraph, places: dict[str, Point]) -> dict[Any, float]:
    """For each arrow the bend that keeps it clear of other nodes, and, if it can, of other arrows."""
    found: dict[Any, float] = {}
    drawn: list[np.ndarray] = []
    kinds = dict(graph.nodes(data="kind"))
    loops = [loop(places[node], kinds[node]).mean(0) for node in graph if graph.has_edge(node, node)]
    centres = np.array([*places.values(), *loops])
    sizes = np.array([radius(kinds[node]) for node in places] + [0.3] * len(loops))
    index = {node: i for i, node in enumerate(places)}
    edges = [edge for edge in graph.edges if edge[0] != edge[1]]
    for a, b in sorted(edges, key=lambda edge: _length(places, edge)):
        others = np.ones(len(centres), dtype=bool)
        others[[index[a], index[b]]] = False
        curves = [curve(places[a], places[b], bend) for bend in BENDS]
        costs = [
            abs(bend) + _hits(line, centres[others], sizes[others]) + _crossings(line, drawn)
            for bend, line in zip(BENDS, curves, strict=True)
        ]
        best = int(np.argmin(costs))
        found[a, b] = BENDS[best]
        drawn.append(curves[best])
    return found


def curve(start: Point, end: Point, bend: float, points: int = 25) -> np.ndarray:
    """Points (points, 2) of the arc that matplotlib draws as arc3 with this bend."""
    a, b = np.array(start), np.array(end)
    aside = np.array([(b - a)[1], -(b - a)[0]])
    control = (a + b) / 2 + bend * aside
    s = np.linspace(0, 1, points)[:, None]
    return (1 - s) ** 2 * a + 2 * s * (1 - s) * control + s**2 * b


def _length(places: dict[str, Point], edge: tuple[str, str]) -> float:
    return float(np.hypot(*np.subtract(places[edge[0]], places[edge[1]])))


def _hits(line: np.ndarray, centres: np.ndarray, sizes: np.ndarray) -> float:
    """What it costs to come too near to other nodes."""
    if not len(centres):
        return 0.0
    nearest = np.linalg.norm(line[:, None] - centres, axis=-1).min(0)
    short = np.clip(sizes + 0.1 - nearest, 0, None)
    return float((20 * short + 2 * (short > 0)).sum())


def _crossings(line: np.ndarray, drawn: list[np.ndarray]) -> float:
    """What it costs to run along arrows that are drawn already: more than to cross them once."""
    inner = line[4:-4]
    near = [int((np.linalg.norm(inner[:, None] - other[4:-4], axis=-1).min(1) < 0.07).sum()) for other in drawn]
    return 0.06 * float(sum(near))

"""The unfolded graph, and the marginal one over what is random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx

from probseq.structure import (
    ENTERS,
    INPUT,
    JOINTS,
    OUTPUT,
    SCALE,
    STATE,
    SUMMARY,
    Links,
    Place,
    context_links,
    recurrence_links,
)  # fmt: skip

KINDS = {"x": "context", "e": "encoder", "C": "encoder", "y": "element", "stop": "stop", "tau": "length"}
"""What stands in a row; in any other row stands something hidden."""


def unfold(model: Any, steps: int) -> nx.DiGraph:
    """The directed graphical model over the first `steps` elements, folded out in time.

    An edge u → v says that v is drawn, or computed, from u. The nodes are

    - `x`, or `x_t`: what the model is conditioned on; a sequence x is taken to have `steps` elements;
    - `e_t`, `C`: the features and the summary that an encoder makes of x;
    - `h_t`, or `h^1_t`, `h^2_t` where layers are stacked: the features of the recurrence;
    - `stop_t`: whether the sequence has ended before its t-th element, where that is not known beforehand. A stopped
      sequence stays so, and `y_t` is then "none";
    - `tau`: the length that is drawn first, by `PlannedLength`; the `stop_t` are functions of it;
    - `y_t`: the t-th element.

    Rows of a part that is one of several have its number, as in `x^2_t`. Each node has the attributes `kind` (context,
    encoder, hidden, stop, length or element), `row`, `time` (or None), `label` (for matplotlib), and `deterministic`.

    Args:
        model: a SequenceModel.
        steps: how many elements, 1 or more.

    Raises:
        TypeError: a model that is not made of parts.
        ValueError: fewer than 1 step, or more than the model has elements.

    Source: Goodfellow et al., Deep Learning, section 10.2.3.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(2), ps.Elman(3), ps.Categorical(), ps.FixedLength(9))
    >>> sorted(ps.graph.unfold(model, 2).edges)
    [('h_1', 'h_2'), ('h_1', 'y_1'), ('h_2', 'y_2'), ('y_1', 'h_2')]
    """
    _check(model, steps)
    graph = nx.DiGraph()
    graph.add_edges_from(_links(model, steps))
    graph.add_nodes_from(Place("y", t) for t in range(1, steps + 1))
    _eliminate(graph, lambda place: place.row in JOINTS)
    _drop_unused(graph)
    for place, attributes in graph.nodes(data=True):
        attributes.update(_describe(place, planned=model.stop.plans))
    ordered = nx.DiGraph(steps=steps, longest=model.max_length)
    places = sorted(graph, key=lambda place: (place.time or 0, place))
    ordered.add_nodes_from((_name(place), graph.nodes[place]) for place in places)
    ordered.add_edges_from((_name(a), _name(b)) for a in places for b in graph.successors(a))
    return ordered


def marginal(model: Any, steps: int) -> nx.DiGraph:
    """The graph over what is random: an edge where a path of `unfold` goes through deterministic nodes only.

    A recurrent network makes the graph over y complete, with a number of parameters that does not grow with it; a
    window of k elements leaves an order-k Markov model, and no feedback leaves no edge among the elements.

    Args, raises: as `unfold`.

    Source: Goodfellow et al., Deep Learning, section 10.2.3, figures 10.7 and 10.8.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(2), ps.Memoryless(3), ps.Categorical(), ps.FixedLength(9))
    >>> list(ps.graph.marginal(model, 4).edges)
    [('y_1', 'y_2'), ('y_2', 'y_3'), ('y_3', 'y_4')]
    """
    graph = unfold(model, steps)
    deterministic = {node for node, yes in graph.nodes(data="deterministic") if yes}
    _eliminate(graph, deterministic.__contains__)
    return graph


def _check(model: Any, steps: int) -> None:
    if not hasattr(model, "parts"):
        raise TypeError(f"the graph of a SequenceModel is that of its parts; got {type(model).__name__}.")
    if steps < 1:
        raise ValueError(f"steps must be 1 or more; got {steps}.")
    found = [n for n in (model.max_length, getattr(model.recurrence, "max_length", None)) if n is not None]
    if found and steps > min(found):
        raise ValueError(f"the model has {min(found)} elements at most; got steps={steps}. Unfold fewer.")


def _links(model: Any, steps: int) -> Links:
    """All that is computed or drawn from something else."""
    element, recurrence, stop, context = model.element, model.recurrence, model.stop, model.context
    times = range(1, steps + 1)
    links = [(Place(ENTERS, t), Place(INPUT, t)) for t in times]
    links += [(Place(OUTPUT, t), Place("y", t)) for t in times]
    if element.width:
        links += [(Place("y", t), Place(INPUT, t + 1)) for t in times[:-1]]
        links += [(Place(SCALE), Place(INPUT, t + 1)) for t in times[:-1]]
    links += [(Place(SCALE), Place("y", t)) for t in times]
    for source, target in recurrence_links(recurrence, steps):
        links.append((source if source.time is None or source.time >= 1 else Place(STATE), target))
    if context is not None:
        links += context_links(context, steps)
    return links + _ends(stop, times)


def _ends(stop: Any, times: range) -> Links:
    """How a sequence ends: not at all, where that is certain."""
    if stop.certain:
        return []
    links = [(Place("stop", t), Place("y", t)) for t in times]
    sees = getattr(stop, "sees", (OUTPUT, SUMMARY))
    if stop.plans:
        links += [(Place("tau"), Place("stop", t)) for t in times]
        links += [(Place("tau"), Place(ENTERS, t)) for t in times if stop.feed_width]
        return links + ([(Place(SUMMARY), Place("tau"))] if SUMMARY in sees else [])
    links += [(Place("stop", t), Place("stop", t + 1)) for t in times[:-1]]
    links += [(Place(SUMMARY), Place("stop", t)) for t in times if SUMMARY in sees]
    return links + [(Place(OUTPUT, t), Place("stop", t)) for t in times if OUTPUT in sees]


def _eliminate(graph: nx.DiGraph, chosen: Callable[[Any], bool]) -> None:
    """Take nodes out, and join what they are computed from to what is computed from them."""
    for node in [node for node in graph if chosen(node)]:
        graph.add_edges_from([(a, b) for a in graph.predecessors(node) for b in graph.successors(node)])
        graph.remove_node(node)


def _drop_unused(graph: nx.DiGraph) -> None:
    """Take out what an encoder computes and nothing reads."""
    used = {"x", "y", "stop", "tau"}
    while unused := [place for place in graph if place.row not in used and not graph.out_degree(place)]:
        graph.remove_nodes_from(unused)


def _describe(place: Place, planned: bool) -> dict[str, Any]:
    kind = KINDS.get(place.row, "hidden")
    deterministic = kind in ("encoder", "hidden") or (kind == "stop" and planned)
    row = _name(place._replace(time=None))
    return {
        "kind": kind, "row": row, "time": place.time, "label": _label(place), "deterministic": deterministic,
    }  # fmt: skip


def _name(place: Place) -> str:
    above = "^" + ",".join(map(str, place.index)) if place.index else ""
    return place.row + above + ("" if place.time is None else f"_{place.time}")


def _label(place: Place) -> str:
    letter = {"stop": "s", "tau": r"\tau"}.get(place.row, place.row)
    above = "^{(" + ",".join(map(str, place.index)) + ")}" if place.index else ""
    below = "" if place.time is None else f"_{{{place.time}}}"
    return f"${letter}{above}{below}$"

"""Conditional independence, read off the graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import networkx as nx

from probseq.graph.unfolding import unfold

Nodes = str | Iterable[str]


def independent(model: Any, a: Nodes, b: Nodes, given: Nodes = (), steps: int | None = None) -> bool:
    """Whether a and b are independent given `given` in every model of this structure, whatever its parameters.

    This is d-separation in `unfold(model, steps)`, and two things more that the structure says. What is a function of
    known nodes is known (Geiger, Verma & Pearl's D-separation). And what is known of the length cuts edges: a sequence
    that has an element has not stopped before it, and one that has stopped has no more elements and stays stopped,
    whatever the features are; a and b must be separated in each of these cases (Boutilier et al.'s context-specific
    independence). Where the answer is False, almost all parameters make a and b dependent.

    Args:
        model: a SequenceModel.
        a, b, given: names of nodes of the unfolded graph, as "y_3", or collections of them.
        steps: how many elements are unfolded; by default up to the last that is named.

    Raises:
        TypeError: a model that is not made of parts.
        ValueError: an unknown node, a node in two of the three sets, nothing in `a` or `b`, or steps out of range.

    Sources: Geiger, Verma & Pearl, Identifying independence in Bayesian networks, 1990; Boutilier, Friedman,
    Goldszmidt & Koller, Context-specific independence in Bayesian networks, 1996.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(2), ps.Memoryless(3), ps.Categorical(), ps.EndSymbol())
    >>> independent(model, "y_1", "y_3"), independent(model, "y_1", "y_3", given="y_2")
    (False, True)
    """
    one, two, known = ({names} if isinstance(names, str) else set(names) for names in (a, b, given))
    if steps is None:
        steps = max((int(found[1]) for name in one | two | known if (found := re.search(r"_(\d+)$", name))), default=1)
    graph = unfold(model, steps)
    _check(graph, one, two, known)
    return separated(graph, one, two, known)


def separated(graph: nx.DiGraph, one: set[str], two: set[str], known: set[str]) -> bool:
    """`independent`, in a graph that is unfolded already, for sets that are disjoint."""
    for determined, gone in _cases(graph, known):
        _close(graph, determined)
        left, right = one - determined, two - determined
        # What is known has one value, which is independent of everything.
        if left and right and not nx.is_d_separator(_without(graph, gone), left, right, determined):
            return False
    return True


def _check(graph: nx.DiGraph, one: set[str], two: set[str], known: set[str]) -> None:
    unknown = sorted((one | two | known) - set(graph))
    if unknown:
        raise ValueError(f"the graph has no node {unknown[0]!r}; expected some of {', '.join(graph)}.")
    if not one or not two:
        raise ValueError("independent() needs a node in a and one in b; got none. Name one, as 'y_1'.")
    twice = sorted((one & two) | (one & known) | (two & known))
    if twice:
        raise ValueError(f"{twice[0]!r} stands in two of a, b and given. Leave it in one of them.")


def _cases(graph: nx.DiGraph, known: set[str]) -> Iterator[tuple[set[str], set[str]]]:
    """For each thing that `known` can say of the length: what is known then, and what has but one value then."""
    facts = graph.nodes
    ends = {facts[node]["time"]: node for node in graph if facts[node]["kind"] == "stop"}
    # An element that there is, or is not, says as much as the decision before it.
    told = {facts[node]["time"] for node in known if facts[node]["kind"] in ("stop", "element")}
    told = sorted(set(ends) if "tau" in known else told & set(ends))
    for going in range(len(told) + 1):
        # It has not stopped before element `last`, and has before element `first`.
        last = told[going - 1] if going else 0
        first = told[going] if going < len(told) else len(ends) + 1
        gone = {f"y_{time}" for time in ends if time >= first} | {ends[time] for time in ends if time > first}
        determined = known | gone | {node for time, node in ends.items() if time <= last or time == first}
        if "tau" in graph and (first == last + 1 <= len(ends) or last == graph.graph["longest"]):
            determined.add("tau")
        yield determined, gone


def _close(graph: nx.DiGraph, determined: set[str]) -> None:
    """Add to what is known all that is a function of it."""
    computed = [node for node, yes in graph.nodes(data="deterministic") if yes]
    while more := {n for n in computed if n not in determined and determined.issuperset(graph.predecessors(n))}:
        determined |= more


def _without(graph: nx.DiGraph, gone: set[str]) -> nx.DiGraph:
    """The graph where nothing has an influence on `gone`."""
    if not gone:
        return graph
    left = nx.DiGraph()
    left.add_nodes_from(graph)
    left.add_edges_from((a, b) for a, b in graph.edges if b not in gone)
    return left

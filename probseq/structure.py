"""What depends on what inside a part, so far as the directed graphical model must know.

A part says it in `links(steps)`: pairs of places, the second of which is computed from the first. Places stand in rows
of the part's own choice, such as "h", and in those that join it to the others. Where a part says nothing, the most is
assumed that one of its kind can do.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

INPUT = "input"
"""What a recurrence or an encoder reads, at times 1…steps. At time 0 and before stands a memory's start."""

OUTPUT = "output"
"""Its features, from which the element and the end are drawn."""

STATE = "state"
"""What sets the memory at the start."""

SUMMARY = "summary"
"""What an encoder sums up, and what of a context enters the stop law."""

ENTERS = "enters"
"""What of a context, or of a planned length, enters the input of each step."""

READ, ENCODED = "read", "encoded"
"""What the encoder of a context reads, and its features."""

SOURCE, ATTENDS = "source", "attends"
"""The features that can be attended to, and what decides where."""

SCALE = "scale"
"""The location and the scale of the series: they turn what is drawn into y, and y into what is read."""

JOINTS = frozenset({INPUT, OUTPUT, STATE, SUMMARY, ENTERS, READ, ENCODED, SOURCE, ATTENDS, SCALE})
"""Rows that only join parts, and are no nodes of the graph."""


class Place(NamedTuple):
    """A quantity: a row, its time, or None where it has none, and the numbers of the layer and member it is in."""

    row: str
    time: int | None = None
    index: tuple[int, ...] = ()


Links = list[tuple[Place, Place]]


def recurrent(steps: int, layers: int = 1) -> Links:
    """Layers that each read the one below and their own past: what is assumed of a recurrence that says nothing."""
    links, below = [], [Place(INPUT, t) for t in range(1, steps + 1)]
    for layer in range(1, layers + 1):
        row = [Place("h", t, (layer,) if layers > 1 else ()) for t in range(steps + 1)]
        links += [*pairwise(row), *zip(below, row[1:], strict=True)]
        below = row[1:]
    return links + [(h, Place(OUTPUT, h.time)) for h in below]


def windowed(steps: int, window: int) -> Links:
    """Features of the last `window` inputs, and of nothing else."""
    links = []
    for t in range(1, steps + 1):
        links += [(Place(INPUT, s), Place("h", t)) for s in range(t - window + 1, t + 1)]
        links.append((Place("h", t), Place(OUTPUT, t)))
    return links


def everything(steps: int) -> Links:
    """Features that have seen all inputs: what is assumed of an encoder that says nothing."""
    times = range(1, steps + 1)
    links = [(Place(INPUT, s), Place("h", t)) for t in times for s in times]
    return links + [(Place("h", t), end) for t in times for end in (Place(OUTPUT, t), Place(SUMMARY))]


def nested(links: Links, member: int) -> Links:
    """The links of a member of a part: all its rows, those that join it too, bear its number."""

    def named(place: Place) -> Place:
        return place._replace(index=(member, *place.index))

    return [(named(a), named(b)) for a, b in links]


def renamed(links: Links, rows: dict[str, str]) -> Links:
    """The same links between rows of other names."""

    def named(place: Place) -> Place:
        return place._replace(row=rows.get(place.row, place.row))

    return [(named(a), named(b)) for a, b in links]


def reversed_in_time(links: Links, steps: int) -> Links:
    """The same links from the last step to the first; what came from before the start comes from nowhere."""

    def turned(place: Place) -> Place:
        return place if place.time is None else place._replace(time=steps + 1 - place.time)

    return [(turned(a), turned(b)) for a, b in links if a.time is None or a.time >= 1]


def recurrence_links(part: Any, steps: int) -> Links:
    """What a recurrence says, or that every step reads the one before."""
    return part.links(steps) if hasattr(part, "links") else recurrent(steps)


def encoder_links(part: Any, steps: int) -> Links:
    """What an encoder says, or that each of its features has seen all inputs."""
    return part.links(steps) if hasattr(part, "links") else everything(steps)


def context_links(part: Any, steps: int) -> Links:
    """What a context says, or that all of x enters wherever something of it does."""
    if hasattr(part, "links"):
        return part.links(steps)
    sources = [Place("x", t) for t in range(1, steps + 1)] if part.aligned else [Place("x")]
    return [(x, end) for x in sources for end in entrances(part, steps)]


def entrances(part: Any, steps: int) -> list[Place]:
    """Where something of a context enters: the input of each step, the start of the memory, the units, the stop law."""
    ends = [Place(ENTERS, t) for t in range(1, steps + 1)] if part.input_width else []
    ends += [Place(STATE)] if part.state_width else []
    ends += [Place(SCALE)] if getattr(part, "scale_width", 0) else []
    return ends + ([Place(SUMMARY)] if part.width else [])

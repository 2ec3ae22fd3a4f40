"""The Reber grammar."""

from __future__ import annotations

from probseq.oracles.automaton import Automaton

Arrows = dict[str, tuple[float, int]]


class Reber(Automaton):
    """The Reber grammar over "BTPSXVE" (tokens 0…6), with a fair coin at each of its branchings.

    Its entropy is exactly 6 ln 2 nats a string, its mean length 8. Embedded, a string is B, T or P, a Reber string,
    the same T or P again, E: one coin more, so 7 ln 2 nats, mean length 12, and a dependency across the whole string.

    Source: Reber, Implicit learning of artificial grammars, 1967; embedded: Hochreiter & Schmidhuber, Long short-term
    memory, 1997, experiment 1.

    >>> import math
    >>> round(Reber().entropy() / math.log(2), 9), round(Reber(embedded=True).entropy() / math.log(2), 9)
    (6.0, 7.0)
    """

    def __init__(self, embedded: bool = False) -> None:
        self.embedded = embedded
        super().__init__("BTPSXVE", _embedded() if embedded else _reber(0, {}))


def _reber(base: int, after: Arrows) -> list[Arrows]:
    """The eight states of a Reber string, numbered from `base`; `after` are the arrows out of the last."""

    def coin(one: str, to_one: int, other: str, to_other: int) -> Arrows:
        return {one: (0.5, base + to_one), other: (0.5, base + to_other)}

    return [
        {"B": (1.0, base + 1)},
        coin("T", 2, "P", 3),
        coin("S", 2, "X", 4),
        coin("T", 3, "V", 5),
        coin("X", 3, "S", 6),
        coin("P", 4, "V", 6),
        {"E": (1.0, base + 7)},
        after,
    ]


def _embedded() -> list[Arrows]:
    """B, a coin that picks one of two copies of the grammar, and that coin's symbol once more before E."""
    return [
        {"B": (1.0, 1)},
        {"T": (0.5, 2), "P": (0.5, 10)},
        *_reber(2, {"T": (1.0, 18)}),
        *_reber(10, {"P": (1.0, 18)}),
        {"E": (1.0, 19)},
        {},
    ]

"""How does cost grow with length, batch, hidden size, alphabet, particles and data?"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments import report
from experiments.speed import figure
from experiments.speed.memory import peak
from experiments.speed.models import letters
from experiments.speed.rows import clock

Sizes = tuple[int, ...]
SYMBOLS = 27


def score(objective: Any, length: int, batch: int = 8, hidden: int = 64, symbols: int = SYMBOLS) -> Callable[[], None]:
    """An objective's loss of random letters, and its gradient."""
    torch.manual_seed(0)
    model = letters(symbols, hidden)
    y = ps.Sequences(torch.randint(symbols, (batch, length)), [length] * batch)

    def action() -> None:
        model.zero_grad()
        objective.loss(model, y, None, 0.0).sum().backward()

    return action


def warmed(objective: Any, length: int, batch: int, hidden: int) -> Callable[[], None]:
    """The same, after a small one: what is imported at first use is not counted."""
    score(objective, 4)()
    return score(objective, length, batch, hidden)


FORCED, CHECKPOINTED = ps.TeacherForcing(), ps.TeacherForcing(checkpoint=True)


def infill(particles: int) -> Callable[[], Any]:
    """20 letters of which every third is known."""
    torch.manual_seed(0)
    model = letters(SYMBOLS, 64)
    pattern = [t % SYMBOLS if t % 3 == 2 else None for t in range(20)]
    return partial(ps.infill, model, pattern, particles=particles, method="smc", generator=0)


def epoch(sequences: int) -> float:
    """Seconds of the second epoch over so many sequences of 10 letters on average."""
    torch.manual_seed(0)
    lengths = torch.randint(5, 16, (sequences,))
    train = ps.Sequences(torch.randint(SYMBOLS, (sequences, 15)), lengths)
    result = ps.fit(letters(SYMBOLS, 64), train, max_epochs=2, accelerator="cpu", progress=False)
    return result.history[1]["seconds"]


def seconds(make: Callable[[int], Callable[[], Any]], sizes: Sizes, rounds: int) -> list[float]:
    """Medians over rounds, in each of which every size has its turn."""
    actions = [make(size) for size in sizes]
    found = [[clock(action, "cpu") for action in actions] for _ in range(rounds + 1)][1:]
    return [median(each) for each in zip(*found, strict=True)]


def curves(smoke: bool) -> Iterator[tuple[str, str, Sizes, list[float], float | None]]:
    """Name, unit, sizes, what each costs, and the greatest exponent that is asked for."""
    rounds = 1 if smoke else 7

    def sizes(start: int, count: int, factor: int = 2) -> Sizes:
        return tuple((8 if smoke else start) * factor**i for i in range(2 if smoke else count))

    times: dict[str, tuple[Callable[[int], Callable[[], Any]], Sizes, float | None]] = {
        "time in T": (partial(score, FORCED), sizes(128, 5), 1.05),
        "time in T, checkpointed": (partial(score, CHECKPOINTED), sizes(128, 5), None),
        "time in sequences of a batch": (lambda n: score(FORCED, 64, batch=n, hidden=128), sizes(4, 5), None),
        "time in hidden units": (lambda n: score(FORCED, 32, hidden=n), sizes(64, 4), None),
        "time in symbols": (lambda n: score(FORCED, 64, symbols=n), sizes(1024, 6), None),
        "time in particles": (infill, sizes(64, 5), None),
    }
    for name, (make, each, at_most) in times.items():
        yield name, "seconds", each, seconds(make, each, rounds), at_most
    each = sizes(1000, 5)
    yield "time in sequences of a data set", "seconds", each, [epoch(n) for n in each], None
    # Large enough that Python's own megabytes do not count.
    wide = (8, 16) if smoke else (32, 256)
    for name, objective, at_most in (("memory in T", FORCED, None), ("memory in T, checkpointed", CHECKPOINTED, 0.6)):
        each = sizes(256 if objective is FORCED else 1024, 3, 2 if objective is FORCED else 4)
        yield name, "MB", each, [max(peak(warmed, objective, n, *wide), 0.1) for n in each], at_most


def exponent(sizes: Sizes, values: list[float]) -> float:
    """The slope of log cost over log size, by least squares."""
    return linear_regression([math.log(size) for size in sizes], [math.log(value) for value in values]).slope


def main(smoke: bool) -> None:
    """Measure all curves; write growth.json and the figure of the docs."""
    found: dict[str, dict[str, Any]] = {}
    for name, unit, sizes, values, at_most in curves(smoke):
        slope = exponent(sizes, values)
        reached = None if at_most is None else slope <= at_most
        found[name] = {
            "unit": unit, "sizes": sizes, "values": values, "exponent": slope, "at_most": at_most, "met": reached
        }  # fmt: skip
        print(f"{name}: exponent {slope:.2f}", flush=True)
    met = {None: "", True: "yes", False: "no"}
    cells = [
        (name, curve["exponent"], "" if curve["at_most"] is None else f"≤ {curve['at_most']}", met[curve["met"]])
        for name, curve in found.items()
    ]
    print(f"\n{report.table(('curve', 'exponent', 'target', 'met'), cells)}")
    folder = report.destination(__file__, smoke)
    report.write({"question": __doc__, "curves": found}, folder, "growth.json")
    figure.growth(found, folder / "growth.png" if smoke else figure.PICTURES / "growth.png")
    print(f"\nin {folder}")


if __name__ == "__main__":
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small scale, for a check that it runs")
    main(parser.parse_args().smoke)

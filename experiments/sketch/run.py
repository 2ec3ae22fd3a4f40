"""Can a network draw kanji with a pen, and does it know how much it does not know?"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import matplotlib
import numpy as np
import torch
from scipy import stats
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
matplotlib.use("Agg")

import matplotlib.pyplot as plt

import probseq as ps
from experiments.report import destination, table, write
from probseq.datasets.strokes import Drawings, kanji

UNITS = 100.0
"""Of the canvas, to one unit of what the networks read and of their densities."""

FLOOR = 0.5 / UNITS
"""No deviation goes below half a unit of the canvas: moves are whole numbers, and no finer law of them is known."""

LONGEST = 88
"""Points of the longest drawing."""

ELEMENT = ps.Record((ps.Reals(2), ps.Tokens(2, dim=4)))
GAUSSIAN = ps.Gaussian(covariance="full", min_scale=FLOOR)
COLOURS = ("#1b2a41", "#8d2b0b")


@dataclass(frozen=True)
class Size:
    """How long is trained, and how wide the networks and the mixture are."""

    epochs: int
    width: int
    components: int


FULL = Size(epochs=16, width=192, components=20)
SMOKE = Size(epochs=1, width=16, components=3)


def models(size: Size) -> dict[str, tuple[Any, Any]]:
    """Recurrence and likelihood of each model, by name."""
    mixture = ps.Product((ps.MixtureOf(GAUSSIAN, size.components), ps.Categorical()), chained=True)
    single = ps.Product((GAUSSIAN, ps.Categorical()))
    return {
        "last move alone, one Gaussian": (ps.Memoryless(size.width), single),
        f"LSTM, {size.components} Gaussians": (ps.LSTM(size.width), mixture),
    }


def scaled(y: ps.Sequences) -> ps.Sequences:
    """Moves in the networks' units."""
    return ps.Sequences(y.values / torch.tensor([UNITS, UNITS, 1.0]), y.lengths, y.ended)


def scribbles(count: int) -> Drawings:
    """Made-up drawings, for a run without the data."""
    generator = torch.Generator().manual_seed(0)

    def some() -> ps.Sequences:
        moves = (torch.randn(count, 12, 2, generator=generator) * UNITS).round()
        lifted = torch.rand(count, 12, 1, generator=generator) < 0.3
        return ps.Sequences(torch.cat([moves, lifted], -1), torch.randint(2, 13, (count,), generator=generator))

    return Drawings(some(), some(), some())


def fit(parts: tuple[Any, Any], data: Drawings, size: Size, seed: int) -> tuple[Any, dict[str, Any]]:
    """A fitted model, and what its training came to."""
    torch.manual_seed(seed)
    (recurrence, likelihood), begin = parts, time.process_time()
    model = ps.SequenceModel(ELEMENT, recurrence, likelihood, ps.PlannedLength(LONGEST))
    outcome = ps.fit(
        model, scaled(data.train), scaled(data.validation), max_epochs=size.epochs, batch_size=64, batch_tokens=None,
        bucket=False, learning_rate=3e-3, schedule="cosine", seed=seed, progress=False,
    )  # fmt: skip
    return model, {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "best_epoch": outcome.epoch,
        "fit_seconds": round(time.process_time() - begin),
    }


@torch.no_grad()
def nats(model: Any, y: ps.Sequences) -> tuple[float, float]:
    """Nats a point of whole drawings, pens and ends among them, densities per unit of the canvas; and the error."""
    points = y.lengths.double()
    drawn = torch.cat([model.log_prob(scaled(part)) for part in pieces(y)]).double()
    own = 2 * math.log(UNITS) * points - drawn
    ratio = own.sum() / points.sum()
    return float(ratio), float((own - ratio * points).std() / points.mean() / len(y) ** 0.5)


def pieces(y: ps.Sequences, rows: int = 250) -> list[ps.Sequences]:
    """The same sequences, some at a time."""
    return [y.select(index) for index in torch.arange(len(y)).split(rows)]


@torch.no_grad()
def lengths(model: Any, held_out: ps.Sequences) -> tuple[dict[str, float], Tensor]:
    """How far the model's law of the length is from held-out drawings, by Kolmogorov and Smirnov; and the law."""
    law = model.stop.log_pmf(model.encode(None))[0].exp().double()
    below = law.cumsum(0).numpy()
    test: Any = stats.ks_1samp(held_out.lengths.numpy(), lambda t: below[np.asarray(t, dtype=int).clip(0, LONGEST)])
    mean = float(law @ torch.arange(LONGEST + 1).double())
    return {"length": mean, "length_distance": float(test.statistic), "length_p": float(test.pvalue)}, law


def examine(name: str, model: Any, data: Drawings) -> tuple[dict[str, Any], Tensor]:
    """What is measured of one fitted model on the test drawings."""
    begin = time.process_time()
    (validation, _), (test, error) = nats(model, data.validation), nats(model, data.test)
    fitted, law = lengths(model, data.test)
    print(f"{name}: {test:.3f} nats a point, {time.process_time() - begin:.0f} s", flush=True)
    return {"validation_nats": validation, "nats": test, "error": error, **fitted}, law


def pen_lines(drawing: Tensor) -> list[np.ndarray]:
    """The lines (n, 2) of a drawing, each from where the pen is set down to where it is lifted."""
    places = drawing[:, :2].cumsum(0).numpy()
    lifted = (drawing[:, 2] == 1).nonzero().flatten().numpy() + 1
    return [line for line in np.split(places, lifted) if len(line) > 1]


def draw(axis: Any, drawings: list[Tensor], columns: int, colour: str, title: str) -> None:
    """Drawings on a grid, each in the middle of its cell."""
    for i, drawing in enumerate(drawings):
        lines = pen_lines(drawing)
        if not lines:
            continue
        every = np.concatenate(lines)
        middle = (every.min(0) + every.max(0)) / 2
        size = max(float((every.max(0) - every.min(0)).max()), 1.0)
        corner = np.array([i % columns, i // columns])
        for line in lines:
            x, y = ((line - middle) / size * 0.8 + corner).T
            axis.plot(x, y, color=colour, lw=1.3, solid_capstyle="round", solid_joinstyle="round")
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(len(drawings) / columns - 0.5, -0.5), aspect="equal")
    axis.axis("off")
    axis.set_title(title)


def draw_samples(data: Drawings, drawn: dict[str, ps.Sequences], folder: Path) -> None:
    """The first test drawings, and the first draws of each model, none picked."""
    shown = {"held-out drawings": list(data.test)[:36]}
    shown |= {f"drawn by: {name}": [d for d in list(y) if len(d)][:36] for name, y in reversed(drawn.items())}
    figure, axes = plt.subplots(1, len(shown), figsize=(5 * len(shown), 5.2), layout="constrained")
    for i, (axis, (title, drawings)) in enumerate(zip(axes, shown.items(), strict=True)):
        draw(axis, drawings, 6, COLOURS[min(i, 1)], title)
    figure.savefig(folder / "samples.png", dpi=80)
    plt.close(figure)


def draw_lengths(data: Drawings, laws: dict[str, Tensor], folder: Path) -> None:
    """The number of points of test drawings, and its law under each model."""
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    count = torch.bincount(data.test.lengths, minlength=LONGEST + 1) / len(data.test)
    axis.bar(range(LONGEST + 1), count.numpy(), color="0.8", width=1.0, label="test drawings")
    for name, law in laws.items():
        axis.plot(law.numpy(), label=name)
    axis.set(xlabel="points", ylabel="share", xlim=(0, LONGEST))
    axis.legend(frameon=False)
    figure.savefig(folder / "lengths.png", dpi=90)
    plt.close(figure)


def show(results: dict[str, Any]) -> str:
    """The results as a table."""
    keys = ("weights", "nats", "error", "length", "length_distance", "length_p")
    rows = [[name, *(row[key] for key in keys)] for name, row in results.items()]
    return table(["model", "weights", "nats/point", "±", "mean length", "distance", "p"], rows)


def main() -> None:
    """Fit, measure, draw."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run on made-up data, into a temporary folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.process_time()
    size, data = (SMOKE, scribbles(40)) if arguments.smoke else (FULL, kanji())
    results, drawn, laws = {}, {}, {}
    for name, parts in models(size).items():
        model, trained = fit(parts, data, size, arguments.seed)
        row, laws[name] = examine(name, model, data)
        results[name] = row | trained
        drawn[name] = model.sample(48, generator=arguments.seed)
    folder = destination(__file__, arguments.smoke)
    draw_samples(data, drawn, folder)
    draw_lengths(data, laws, folder)
    between: Any = stats.ks_2samp(data.train.lengths.numpy(), data.test.lengths.numpy())
    content = {
        "question": __doc__, "seed": arguments.seed, "size": vars(size), "models": results,
        "test": {
            "points": int(data.test.lengths.sum()), "length": float(data.test.lengths.double().mean()),
            "distance_to_train": float(between.statistic),
        },
        "processor_seconds": round(time.process_time() - begin),
    }  # fmt: skip
    write(content, folder)
    print(f"\n{show(results)}\n\n{content['processor_seconds']} s of processor time, in {folder}")


if __name__ == "__main__":
    main()

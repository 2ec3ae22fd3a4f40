"""Are images better read in two dimensions?"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import jsonargparse
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments.digits import pictures
from experiments.digits.mnist import Plan, draw_mnist, learn
from experiments.report import destination, table, write
from probseq.datasets import digits

PIXELS = 64
TOLERANCE = 0.03
"""By how much parameter counts may differ and still be called equal."""


@dataclass(frozen=True)
class Size:
    """How much is trained and measured; `parameters` of a density and of a labeller."""

    parameters: tuple[int, int]
    images: int | None
    epochs: int
    seeds: int
    rates: tuple[float, ...]
    side: int
    timed: tuple[int, ...]
    mnist: Plan


FULL = Size((24_000, 6_550), None, 30, 3, (3e-3, 1e-2), side=28, timed=(1, 8, 64), mnist=Plan())
SMOKE = Size(
    (2_000, 1_000), 60, 1, 1, (1e-2,), side=10, timed=(1,), mnist=Plan(size=8, batch=20, minutes=0.05, images=40)
)


def grid_density(size: int) -> ps.SequenceModel:
    """A recurrence in two dimensions."""
    return ps.SequenceModel(ps.Bits(1), ps.Grid(8, 8, size), ps.Bernoulli(), ps.FixedLength(PIXELS))


def raster_density(size: int) -> ps.SequenceModel:
    """A recurrence along the raster."""
    return ps.SequenceModel(ps.Bits(1), ps.LSTM(size), ps.Bernoulli(), ps.FixedLength(PIXELS))


def positional_density(size: int) -> ps.SequenceModel:
    """A recurrence along the raster that is told where it is, as `Grid` is."""
    network = ps.Positional(ps.LSTM(size), PIXELS, dim=16)
    return ps.SequenceModel(ps.Bits(1), network, ps.Bernoulli(), ps.FixedLength(PIXELS))


def labeller(size: int, directions: int) -> ps.SequenceModel:
    """P(clean | noisy), its pixels independent given what the encoder makes of the whole noisy image."""
    context = ps.Aligned(ps.Reals(1), encoder=ps.GridEncoder(8, 8, size, directions))
    return ps.SequenceModel(
        ps.Bits(1, feedback=False), ps.Memoryless(32), ps.Bernoulli(), ps.FixedLength(PIXELS), context
    )


DENSITIES = {"Grid": grid_density, "LSTM": raster_density, "LSTM with position": positional_density}
LABELLERS = {"four directions": lambda size: labeller(size, 4), "one direction": lambda size: labeller(size, 1)}


def count(model: Any) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def matched(make: Callable[[int], Any], parameters: int) -> int:
    """The size that comes nearest to so many parameters."""
    return min(range(2, 120), key=lambda size: abs(count(make(size)) - parameters))


@dataclass(frozen=True)
class Task:
    """Images y in three parts, each by itself or in a pair (y, x); the test part is always a pair."""

    train: Any
    validation: Any
    test: tuple[ps.Sequences, Any]


def fit(make: Callable[[int], Any], size: int, task: Task, rate: float, epochs: int, seed: int) -> tuple[Any, float]:
    """A model with its best weights by the validation images, and their nats per image."""
    torch.manual_seed(seed)
    model = make(size)
    outcome = ps.fit(
        model, task.train, task.validation, max_epochs=epochs, batch_size=32, batch_tokens=None, learning_rate=rate,
        schedule="cosine", seed=seed, progress=False,
    )  # fmt: skip
    return model, PIXELS * outcome.nats


@torch.no_grad()
def nats(model: Any, test: tuple[ps.Sequences, Any]) -> Tensor:
    """−log P of each test image."""
    return -model.log_prob(*test).double()


def compare(
    makers: dict[str, Callable[[int], Any]], task: Task, parameters: int, size: Size, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each kind of model at the same number of parameters: its learning rate chosen by validation, then all seeds."""
    rows, models = {}, {}
    for name, make in makers.items():
        begin = time.perf_counter()
        width = matched(make, parameters)
        tried = {rate: fit(make, width, task, rate, size.epochs, seed) for rate in size.rates}
        rate = min(tried, key=lambda rate: tried[rate][1])
        fitted = [tried[rate]] + [fit(make, width, task, rate, size.epochs, seed + i) for i in range(1, size.seeds)]
        each = [nats(model, task.test) for model, _ in fitted]
        models[name] = fitted[0][0]
        found = [float(one.mean()) for one in each]
        rows[name] = {
            "size": width, "parameters": count(models[name]), "learning_rate": rate,
            "validation_by_learning_rate": {str(rate): nats for rate, (_, nats) in tried.items()},
            "nats": mean(found), "spread": stdev(found) if len(found) > 1 else None, "seeds": found,
            "nats_error": float(torch.stack(each).mean(0).std() / len(each[0]) ** 0.5),
            "seconds": round(time.perf_counter() - begin, 1),
        }  # fmt: skip
        print(f"{name}: {rows[name]['nats']:.3f} nats/image, {rows[name]['seconds']:.0f} s", flush=True)
    return rows, models


def density_task(size: Size) -> Task:
    """The images by themselves."""
    data = digits()
    train, validation, test = (
        ps.raster(part[: size.images], 8, 8) for part in (data.train, data.validation, data.test)
    )
    return Task(train, validation, (test, None))


def independent_nats(task: Task) -> float:
    """Each pixel by itself, with its share of ones among the training images (and one more of each)."""
    share = (task.train.values.sum(0) + 1) / (len(task.train) + 2)
    clean = task.test[0].values
    return float(-(clean * share.log() + (1 - clean) * (1 - share).log()).sum((1, 2)).mean())


def denoising_task(size: Size, seed: int, scale: float = 1.0) -> Task:
    """y, the image; x, ±1 for its bits, with Gaussian noise of standard deviation `scale`."""
    clean, generator = density_task(size), torch.Generator().manual_seed(seed)

    def noisy(y: ps.Sequences) -> tuple[ps.Sequences, ps.Sequences]:
        noise = scale * torch.randn(y.values.shape, generator=generator)
        return y, ps.Sequences(2 * y.values - 1 + noise, y.lengths)

    return Task(noisy(clean.train), noisy(clean.validation), noisy(clean.test[0]))


def pointwise_nats(task: Task, scale: float = 1.0) -> float:
    """Bayes' rule for each pixel by itself: its share of ones as the prior, and the noise as it is."""
    (y, _), (clean, noisy) = task.train, task.test
    share = (y.values.sum(0) + 1) / (len(y) + 2)
    logits = share.logit() + 2 * noisy.values / scale**2
    return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, clean.values) * PIXELS)


@torch.no_grad()
def schedules(side: int, images: int, seed: int) -> dict[str, Any]:
    """The likelihood of images along the diagonals and pixel by pixel: are they equal, and how much faster is one?"""
    pixels = side**2
    generator = torch.Generator().manual_seed(seed)
    y = ps.Sequences((torch.rand(images, pixels, 1, generator=generator) < 0.2).float(), [pixels] * images)
    models = {}
    for name, parallel in (("diagonals", True), ("pixels", False)):
        torch.manual_seed(seed)
        grid = ps.Grid(side, side, 48, parallel=parallel)
        models[name] = ps.SequenceModel(ps.Bits(1), grid, ps.Bernoulli(), ps.FixedLength(pixels))
    values = {name: model.double().log_prob(y.to(dtype=torch.float64)) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(5):
        for name, model in models.items():
            begin = time.process_time()
            model.float().log_prob(y)
            seconds[name].append(time.process_time() - begin)
    both = {name: median(times) for name, times in seconds.items()}
    return {
        "images": images, "side": side, "size": 48, "processor_seconds": both,
        "ratio": both["pixels"] / both["diagonals"],
        "greatest_difference": float((values["diagonals"] - values["pixels"]).abs().max()),
    }  # fmt: skip


def targets(results: dict[str, Any]) -> dict[str, bool]:
    """What was to be shown, and whether it was."""
    met = {}
    if "density" in results:
        density, labels, speed = results["density"], results["denoising"], results["schedules"]
        counts = [[row["parameters"] for row in rows.values()] for rows in (density, labels)]
        met = {
            "equal parameters": all(max(rows) <= (1 + TOLERANCE) * min(rows) for rows in counts),
            "Grid below the raster LSTM": density["Grid"]["nats"] < density["LSTM"]["nats"],
            "four directions below one": labels["four directions"]["nats"] < labels["one direction"]["nats"],
            "schedules equal to 1e-6": max(row["greatest_difference"] for row in speed) <= 1e-6,
            "diagonals 8 times faster on one image": speed[0]["ratio"] >= 8,
        }
    return met | ({"MNIST at most 82": results["mnist"]["nats"] <= 82} if "mnist" in results else {})


def show(results: dict[str, Any]) -> str:
    """The comparisons as a table."""
    rows = [
        [question, name, row["parameters"], row["nats"], "" if row["spread"] is None else row["spread"]]
        for question in ("density", "denoising")
        for name, row in results.get(question, {}).items()
    ]
    if "mnist" in results:
        rows.append(["MNIST", "Grid", results["mnist"]["parameters"], results["mnist"]["nats"], ""])
    return table(["question", "model", "parameters", "nats/image", "spread"], rows)


def study(size: Size, folder: Path, seed: int) -> dict[str, Any]:
    """All that needs scikit-learn's digits alone."""
    begin = time.perf_counter()
    images, noisy = density_task(size), denoising_task(size, seed)
    speed = [schedules(size.side, images, seed) for images in size.timed]
    density, densities = compare(DENSITIES, images, size.parameters[0], size, seed)
    labels, labellers = compare(LABELLERS, noisy, size.parameters[1], size, seed)
    pictures.samples(densities, images.test[0], folder / "samples.png")
    pictures.denoised(labellers, noisy.test, folder / "denoised.png")
    return {
        "seed": seed, "epochs": size.epochs, "independent_nats": independent_nats(images),
        "pointwise_nats": pointwise_nats(noisy), "density": density, "denoising": labels, "schedules": speed,
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the order of the images and the noise")
    parser.add_argument("--mnist", action="store_true", help="MNIST, which PROBSEQ_DATA must have, and not the rest")
    parser.add_argument("--minutes", type=float, default=Plan.minutes, help="of training on MNIST")
    parser.add_argument("--runs", type=Path, default=Path("runs/digits"), help="where MNIST's checkpoints are")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, folder = SMOKE if arguments.smoke else FULL, destination(__file__, arguments.smoke)
    earlier = folder / "results.json"
    content: dict[str, Any] = json.loads(earlier.read_text()) if earlier.exists() else {}
    if arguments.mnist:
        runs = folder if arguments.smoke else arguments.runs
        content["mnist"] = learn(
            size.mnist if arguments.smoke else Plan(minutes=arguments.minutes), runs, arguments.seed
        )
        draw_mnist(runs, folder / "mnist.png")
    else:
        content |= study(size, folder, arguments.seed)
    content |= {"question": __doc__, "targets": targets(content)}
    write(content, folder)
    print(f"\n{show(content)}\n\ntargets: {content['targets']}, in {folder}")


if __name__ == "__main__":
    main()

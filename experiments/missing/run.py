"""What do 30 % of values, removed at random, cost a model that is trained on the rest?"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments.report import destination, table, write
from probseq.datasets import chorales
from probseq.oracles import LinearGaussianAR

SHARE = 0.3
"""Of the values that are removed."""

WAYS = ("full", "missing", "imputed")
"""Trained on all values; on what is left, by MissingValues; on what is left, the rest filled with mean or mode."""

BEAT = 4
"""Sixteenths of a chorale from one frame to the next."""


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Args:
        seeds: of what is removed, the weights and the order of the batches.
        sequences: to train on; None for all. Of the autoregressive source there are half as many to validate with,
            and five times as many to test with; of the chorales as many.
        length: of each.
        particles: fillings of each training sequence.
    """

    seeds: tuple[int, ...]
    sequences: int | None
    length: int
    epochs: int
    particles: int


FULL = {"autoregressive": Scale((0, 1, 2), 200, 24, 40, 8), "chorales": Scale((0,), None, 16, 120, 4)}
SMOKE = {"autoregressive": Scale((0,), 8, 4, 1, 2), "chorales": Scale((0,), 4, 3, 1, 2)}


@dataclass(frozen=True)
class Task:
    """Data and a model of them.

    Args:
        parts: train, validation, test, all values known.
        model: a fresh one. bits: whether the values are bits, whose mode is imputed, or reals, whose mean is.
    """

    parts: tuple[ps.Sequences, ps.Sequences, ps.Sequences]
    model: Callable[[], ps.SequenceModel]
    bits: bool


def source(length: int) -> LinearGaussianAR:
    """yₜ = 1.2 yₜ₋₁ − 0.4 yₜ₋₂ + 0.5 εₜ."""
    return LinearGaussianAR([1.2, -0.4], 0.5, length)


def autoregressive(scale: Scale) -> Task:
    """Series of the source, and a network that does not know it."""
    n = scale.sequences or 0
    law, sizes = source(scale.length), (n, n // 2, 5 * n)
    parts = tuple(ps.sample(law, size, generator=seed).to(dtype=torch.float32) for seed, size in enumerate(sizes))

    def model() -> ps.SequenceModel:
        return ps.SequenceModel(ps.Reals(1), ps.LSTM(16), ps.Gaussian(), ps.FixedLength(scale.length))

    return Task(parts, model, bits=False)  # type: ignore[arg-type]


def rolls(scale: Scale) -> Task | None:
    """Beats of the chorales as bits, one for each pitch that sounds, and a network; None where there are no data."""
    try:
        data = chorales()
    except (OSError, ModuleNotFoundError) as error:
        print(error)
        return None
    lowest, highest = min(data.lowest), max(data.highest)

    def roll(pieces: ps.Sequences) -> ps.Sequences:
        crops = [crop for piece in pieces for crop in piece[::BEAT].split(scale.length) if len(crop) == scale.length]
        pitch = torch.stack(crops[: scale.sequences])
        sounds = torch.arange(lowest, highest + 1)
        on = (pitch.unsqueeze(-1) == sounds).any(2).float()
        return ps.Sequences(on, torch.full((len(on),), scale.length))

    def model() -> ps.SequenceModel:
        bits = ps.Bits(highest - lowest + 1)
        return ps.SequenceModel(bits, ps.LSTM(64), ps.Bernoulli(), ps.FixedLength(scale.length))

    return Task((roll(data.train), roll(data.validation), roll(data.test)), model, bits=True)


def damaged(y: ps.Sequences, seed: int) -> ps.Sequences:
    """y without a share of its values, each removed by itself."""
    gone = torch.rand(y.values.shape, generator=torch.Generator().manual_seed(seed)) < SHARE
    return ps.Sequences(y.values.masked_fill(gone, torch.nan), y.lengths, y.ended)


def imputed(y: ps.Sequences, typical: Tensor) -> ps.Sequences:
    """y with `typical`, (*e), in place of what is missing."""
    return ps.Sequences(torch.where(y.values.isnan(), typical, y.values), y.lengths, y.ended)


def train(task: Task, way: str, scale: Scale, seed: int) -> tuple[ps.SequenceModel, float]:
    """A model trained and validated in one of the WAYS, and the seconds that took, of processor time."""
    parts = task.parts[:2]
    if way != "full":
        parts = tuple(damaged(y, 10 * seed + i) for i, y in enumerate(parts))
    if way == "imputed":
        typical = parts[0].values.nanmean((0, 1))
        parts = tuple(imputed(y, typical.round() if task.bits else typical) for y in parts)
    objective: Any = ps.MissingValues(scale.particles) if way == "missing" else None
    torch.manual_seed(seed)
    model, begin = task.model(), time.process_time()
    ps.fit(
        model, parts[0], parts[1], objective=objective, max_epochs=scale.epochs, batch_size=32, batch_tokens=None,
        learning_rate=5e-3, schedule="cosine", seed=seed, progress=False, accelerator="cpu",
    )  # fmt: skip
    return model, time.process_time() - begin


def score(task: Task, model: ps.SequenceModel) -> dict[str, float]:
    """Nats per element of the test data, all known; and per value that is left when they are damaged as well."""
    y, holes = task.parts[2], damaged(task.parts[2], -1)
    with torch.no_grad():
        whole = -float(model.log_prob(y).sum() / y.lengths.sum())
        left = ps.MissingValues(32).held_out(model, holes, None)
    return {"nats": whole, "nats_per_value_left": -float(left.sum() / (~holes.values.isnan()).sum())}


def exact(scale: Scale, y: ps.Sequences) -> dict[str, float]:
    """What the source itself scores: the observed values are jointly normal, whatever is missing."""
    law, n = source(scale.length), scale.length
    lower = torch.eye(n, dtype=torch.float64)
    for lag, a in enumerate(law.coefficients.tolist(), 1):
        lower -= a * torch.diag(torch.ones(n - lag, dtype=torch.float64), -lag)
    root = torch.linalg.inv(lower) * law.scale
    covariance, holes = root @ root.T, damaged(y, -1)
    left = 0.0
    for row in holes.values.squeeze(-1).double():
        seen = ~row.isnan()
        normal = torch.distributions.MultivariateNormal(
            torch.zeros(int(seen.sum())).double(), covariance[seen][:, seen]
        )
        left += float(normal.log_prob(row[seen])) if seen.any() else 0.0
    whole = float(law.log_prob(y.to(dtype=torch.float64)).sum() / y.lengths.sum())
    return {"nats": -whole, "nats_per_value_left": -left / float((~holes.values.isnan()).sum())}


def study(task: Task, scale: Scale) -> dict[str, Any]:
    """Each way, on each seed; and how much of what imputation loses the objective regains."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in scale.seeds:
        for way in WAYS:
            model, seconds = train(task, way, scale, seed)
            runs[way].append({**score(task, model), "seconds": round(seconds, 1)})
            print(f"{way}, seed {seed}: {runs[way][-1]}", flush=True)
    nats = {way: torch.tensor([run["nats"] for run in runs[way]]) for way in WAYS}
    regained = (nats["imputed"] - nats["missing"]) / (nats["imputed"] - nats["full"])
    between = (nats["full"] < nats["missing"]) & (nats["missing"] < nats["imputed"])
    return {
        "runs": runs, "mean": {way: float(nats[way].mean()) for way in WAYS},
        "regained": regained.tolist(), "between_and_nearer_to_full": bool((between & (regained > 0.5)).all()),
    }  # fmt: skip


def show(name: str, found: dict[str, Any]) -> str:
    """The results as a table."""
    rows: list[list[Any]] = []
    for way in WAYS:
        left = [run["nats_per_value_left"] for run in found["runs"][way]]
        rows.append([way, found["mean"][way], sum(left) / len(left)])
    if "exact" in found:
        rows.append(["the source itself", *found["exact"].values()])
    regained = ", ".join(f"{share:.0%}" for share in found["regained"])
    return f"{table([name, 'nats/element', 'nats/value left'], rows)}\nregained, each seed: {regained}\n"


def main() -> None:
    """Damage, train, score, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--data", choices=list(FULL), help="one of the two only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scales, folder = SMOKE if options.smoke else FULL, destination(__file__, options.smoke)
    for name in [options.data] if options.data else scales:
        # A smoke run downloads nothing.
        if name == "chorales" and options.smoke and "PROBSEQ_DATA" not in os.environ:
            continue
        begin, scale = time.process_time(), scales[name]
        task = autoregressive(scale) if name == "autoregressive" else rolls(scale)
        if task is None:
            continue
        results = study(task, scale)
        if name == "autoregressive":
            results["exact"] = exact(scale, task.parts[2])
        content = {
            "question": __doc__, "share": SHARE, "scale": vars(scale), "sizes": [len(part) for part in task.parts],
            **results, "processor_seconds": round(time.process_time() - begin, 1),
        }  # fmt: skip
        write(content, folder, f"{name}.json")
        print(f"\n{show(name, results)}{content['processor_seconds']:.0f} s of processor time, in {folder}\n")


if __name__ == "__main__":
    main()

"""How often do the tests of `probseq.evaluate` reject a model that is right, and one that is a little wrong?"""

from __future__ import annotations

import copy
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments.report import destination, table, write

LEVEL = 0.05
RATE = (0.03, 0.07)
"""Where the rate of false alarms should lie."""
POWER, DIVERGENCE = 0.9, 0.25
"""What share of wrong models should be found, at so many nats of KL divergence a sequence."""


@dataclass(frozen=True)
class Size:
    """How much is drawn.

    Args:
        nulls, sequences: data sets of the model itself, and sequences in each.
        repeats, held_out: data sets of each wrong model, and sequences in each.
        draws: for each estimate of a divergence.
    """

    nulls: int
    sequences: int
    repeats: int
    held_out: int
    draws: int


FULL = Size(nulls=2000, sequences=200, repeats=50, held_out=500, draws=2000)
SMOKE = Size(nulls=5, sequences=60, repeats=2, held_out=60, draws=200)

FAMILIES: dict[str, Callable[[], ps.SequenceModel]] = {
    "symbols": lambda: ps.SequenceModel(ps.Tokens(6, 8), ps.GRU(16), ps.Categorical(), ps.EndSymbol()),
    "symbols given a label": lambda: ps.SequenceModel(
        ps.Tokens(4, 8), ps.LSTM(16), ps.Categorical(), ps.BernoulliStop(), ps.Labels(3)
    ),
    "vectors, normal": lambda: ps.SequenceModel(
        ps.Reals(2), ps.GRU(16), ps.Gaussian(covariance="full"), ps.BernoulliStop()
    ),
    "counts": lambda: ps.SequenceModel(ps.Reals(1), ps.GRU(16), ps.NegativeBinomial(), ps.BernoulliStop()),
    "bits": lambda: ps.SequenceModel(ps.Bits(4), ps.GRU(16), ps.Bernoulli(), ps.BernoulliStop()),
    "numbers, a mixture": lambda: ps.SequenceModel(
        ps.Reals(1), ps.GRU(16), ps.MixtureOf(ps.StudentT(), 2), ps.FixedLength(8)
    ),
}


def network(name: str) -> ps.SequenceModel:
    """An untrained network whose weights are large enough for the past to matter, of some 8 elements a sequence."""
    torch.manual_seed(3)
    model = FAMILIES[name]().eval()
    real = model.element.shape != ()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "project.weight" in key or key.startswith("recurrence"):
                weight.mul_(1.5 if real else 3.0)
            if key == "stop.project.bias":
                weight.fill_(-2.0)
        if isinstance(model.stop, ps.EndSymbol):
            # Of a symbol's share of ends.
            model.get_parameter("likelihood.project.bias")[-1] = -0.5
    return model


def changed(model: ps.SequenceModel, kind: str, size: float) -> ps.SequenceModel:
    """The model, made wrong in one way."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for key, weight in other.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            likelihood = key.startswith("likelihood")
            if kind == "other weights" and not key.startswith("stop"):
                weight.add_(size * noise * 0.2)
            elif (kind == "sharper" and likelihood) or (kind == "longer memory" and "weight_hh" in key):
                weight.mul_(1 + size)
            elif kind == "other ends" and key == "stop.project.bias":
                weight.add_(size)
    return other


def kinds(model: ps.SequenceModel) -> list[str]:
    """The ways that apply."""
    ends = [] if model.stop.certain or isinstance(model.stop, ps.EndSymbol) else ["other ends"]
    return ["other weights", "sharper", "longer memory", *ends]


def context_of(model: ps.SequenceModel, rows: int) -> Any:
    """Labels in turn, where the model takes some."""
    return None if model.parts["context"] is None else torch.arange(rows) % 3


def at_divergence(model: ps.SequenceModel, kind: str, draws: int) -> tuple[ps.SequenceModel, float]:
    """The wrong model whose divergence from the right one is the one asked for, by bisection."""
    x = context_of(model, 3)

    def divergence(size: float) -> float:
        other = changed(model, kind, size)
        found = ps.kl(other, model, draws // (1 if x is None else 3), x, generator=0)
        return found.estimate

    low, high = 0.0, 0.25
    while divergence(high) < DIVERGENCE and high < 64:
        low, high = high, 2 * high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(middle) < DIVERGENCE else (low, middle)
    return changed(model, kind, high), divergence(high)


def judge(truth: ps.SequenceModel, model: ps.SequenceModel, sequences: int, seed: int) -> ps.Evaluation:
    """The model on sequences of the truth."""
    x = context_of(model, sequences)
    y = truth.sample(sequences if x is None else 1, x, max_length=60, generator=seed)
    return ps.evaluate(model, y if x is None else (y, x), level=LEVEL, generator=seed + 1)


def study(task: tuple[str, Size]) -> dict[str, Any]:
    """One family: false alarms, then power."""
    name, size = task
    torch.set_num_threads(1)
    begin, model = time.process_time(), network(name)
    alarms: dict[str, list[bool]] = {}
    for seed in range(size.nulls):
        found = judge(model, model, size.sequences, 2 * seed)
        alarms.setdefault("all together", []).append(found.rejected)
        for test in found.tests:
            alarms.setdefault(test.name.split(":")[0], []).append(test.p_value <= LEVEL)
    false = {test: {"rate": sum(own) / len(own), "nulls": len(own)} for test, own in alarms.items()}
    power = {}
    for kind in kinds(model):
        truth, divergence = at_divergence(model, kind, size.draws)
        every = [judge(truth, model, size.held_out, 10**6 + 2 * seed) for seed in range(size.repeats)]
        caught: dict[str, int] = {}
        for each in every:
            for test in each.tests:
                short = test.name.split(":")[0]
                caught[short] = caught.get(short, 0) + (test.p_value <= LEVEL)
        power[kind] = {
            "kl": divergence, "power": sum(each.rejected for each in every) / len(every),
            "by test": {test: count / len(every) for test, count in caught.items()},
        }  # fmt: skip
    print(f"{name}: {time.process_time() - begin:.0f} s", flush=True)
    return {"false alarms": false, "power": power, "processor_seconds": round(time.process_time() - begin, 1)}


def main() -> None:
    """Draw, test, count."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--nulls", type=int, default=FULL.nulls, help="data sets of each model itself")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    size = SMOKE if options.smoke else Size(**{**vars(FULL), "nulls": options.nulls})
    folder = destination(__file__, options.smoke)
    tasks = [(name, size) for name in (list(FAMILIES)[:2] if options.smoke else FAMILIES)]
    if options.workers == 1 or options.smoke:
        found = [study(task) for task in tasks]
    else:
        with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(study, tasks))
    results = dict(zip((name for name, _ in tasks), found, strict=True))
    rates = {(name, test): own["rate"] for name, each in results.items() for test, own in each["false alarms"].items()}
    powers = {(name, kind): own["power"] for name, each in results.items() for kind, own in each["power"].items()}
    outside = [f"{name}, {test}: {rate:.3f}" for (name, test), rate in rates.items() if not RATE[0] <= rate <= RATE[1]]
    weak = [f"{name}, {kind}: {power:.2f}" for (name, kind), power in powers.items() if power < POWER]
    content = {
        "question": __doc__, "size": vars(size), "targets": {"rate": RATE, "power": POWER, "kl": DIVERGENCE},
        "outside": outside, "weak": weak, "families": results,
    }  # fmt: skip
    write(content, folder)
    rows = [[name, test, rate] for (name, test), rate in rates.items()]
    print(table(["false alarms at 5 %", "test", "rate"], rows))
    print(table(["power", "wrong in", "share found"], [[name, kind, power] for (name, kind), power in powers.items()]))
    print(f"outside {RATE}: {outside or 'none'}; power below {POWER}: {weak or 'none'}; in {folder}")


if __name__ == "__main__":
    main()

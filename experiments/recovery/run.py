"""Does maximum likelihood recover laws that are known exactly?"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import matplotlib
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
matplotlib.use("Agg")

import matplotlib.pyplot as plt

import probseq as ps
from experiments.report import destination, table, write
from probseq.oracles import HMM, LinearGaussianAR, LinearGaussianStateSpace, NGram

TARGET = 0.02
"""Nats per step that a model may lose against the exact law."""


@dataclass(frozen=True)
class Size:
    """How many sequences are drawn for each purpose, and how long is trained."""

    train: int
    validation: int
    test: int
    epochs: int


FULL = Size(train=8_000, validation=1_000, test=5_000, epochs=15)
SMOKE = Size(train=200, validation=50, test=100, epochs=2)

NETWORKS = {"LSTM": ps.LSTM(32), "GRU": ps.GRU(32)}


@dataclass(frozen=True)
class Process:
    """A law that is known exactly.

    Args:
        unit: real values are divided by it before the model sees them; log(unit) per step puts the nats right.
        exact: nats per step in closed form, or None where the forward algorithm estimates them.
    """

    name: str
    oracle: Any
    unit: float = 1.0
    exact: float | None = None

    @property
    def length(self) -> int:
        return self.oracle.length

    @property
    def discrete(self) -> bool:
        return self.oracle.element.discrete


def processes() -> list[Process]:
    """The laws to recover."""
    emission = [[0.5, 0.2, 0.1, 0.1, 0.1], [0.1, 0.2, 0.4, 0.2, 0.1], [0.1, 0.1, 0.1, 0.2, 0.5]]
    stay = torch.full((3, 3), 0.03, dtype=torch.float64).fill_diagonal_(0.94)
    series = LinearGaussianAR([1.2, -0.5], scale=0.7, length=50)
    hidden = LinearGaussianStateSpace(
        transition=[[1.0]], transition_cov=[[10.0]], emission=[[0.5]], emission_cov=[[20.0]],
        initial_mean=[0.05], initial_cov=[[10.0]], length=25, transition_offset=[0.05],
    )  # fmt: skip
    return [
        Process("HMM, concentration 1", HMM.random(3, 5, 50, generator=7, concentration=1.0)),
        Process("HMM, concentration 0.3", HMM.random(3, 5, 50, generator=1, concentration=0.3)),
        Process("HMM, concentration 0.1", HMM.random(3, 5, 50, generator=2, concentration=0.1)),
        Process("HMM, sticky", HMM([1 / 3, 1 / 3, 1 / 3], stay, emission, length=50)),
        Process("AR(2)", series, exact=float(normal_entropy(torch.tensor(0.7, dtype=torch.float64)))),
        Process("state space", hidden, unit=10.0, exact=float(normal_entropy(kalman_scales(hidden)).mean())),
    ]


def normal_entropy(scale: Tensor) -> Tensor:
    """½ log(2πe σ²), in nats."""
    return 0.5 * math.log(2 * math.pi * math.e) + scale.log()


def kalman_scales(oracle: LinearGaussianStateSpace) -> Tensor:
    """The standard deviation of yₜ given y₍<t₎, (t,): it depends on t alone."""
    features, _ = oracle.unroll(None, torch.zeros(1, oracle.length - 1, 1, dtype=torch.float64))
    cov = oracle.predicted(features[0])[1]
    return (oracle.emission @ cov @ oracle.emission.T + oracle.emission_cov).flatten().sqrt()


def scaled(process: Process, y: ps.Sequences) -> ps.Sequences:
    """The data in the model's units."""
    return y if process.discrete else ps.Sequences((y.values / process.unit).float(), y.lengths, y.ended)


def fit(process: Process, network: Any, train: ps.Sequences, validation: ps.Sequences, epochs: int, seed: int) -> Any:
    """A fitted model and what its training came to."""
    torch.manual_seed(seed)
    element, likelihood = (ps.Tokens(5, dim=8), ps.Categorical()) if process.discrete else (ps.Reals(1), ps.Gaussian())
    model = ps.SequenceModel(element, network, likelihood, ps.FixedLength(process.length))
    outcome = ps.fit(
        model, scaled(process, train), scaled(process, validation), max_epochs=epochs, batch_size=64,
        batch_tokens=None, learning_rate=1e-2, schedule="cosine", seed=seed, progress=False,
    )  # fmt: skip
    return model, outcome


@torch.no_grad()
def predictive(model: Any, y: ps.Sequences) -> Any:
    """The law of each element given those before it, batch shape (b, t)."""
    features, state = model.unroll(None, y.values[:, :-1])
    return model.emit(features, torch.arange(features.shape[1]), state.context).element


def moments(law: Any, unit: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (b, t) of a law over (1,)-vectors, in the data's units, in float64."""
    return law.mean[..., 0].double() * unit, law.variance[..., 0].double().sqrt() * unit


def divergence(process: Process, model: Any, y: ps.Sequences) -> Tensor:
    """KL(exact ‖ model) of the next step, averaged over each sequence: the excess with the noise of y integrated out.

    Shapes:
        result: (b,), nats per step.
    """
    truth, law = predictive(process.oracle, y), predictive(model, scaled(process, y))
    if not process.discrete:
        truth, law = Normal(*moments(truth)), Normal(*moments(law, process.unit))
    return kl_divergence(truth, law).double().mean(-1)


@torch.no_grad()
def log_prob(process: Process, model: Any, y: ps.Sequences) -> Tensor:
    """log P of each sequence under a model of the data in its units, per step of the data in theirs."""
    return model.log_prob(scaled(process, y)).double() / process.length - math.log(process.unit)


def baselines(process: Process, train: ps.Sequences, test: ps.Sequences) -> dict[str, Tensor]:
    """log P per step of each test sequence under models without, or with a short, memory."""
    if not process.discrete:
        steps = Normal(train.values.mean(0), train.values.std(0))
        return {"independent steps": steps.log_prob(test.values).mean((1, 2))}
    # The end, which is certain, is left out.
    grams = [ps.score(NGram(order, 5).fit(train), test).element.mean(-1) for order in range(1, 6)]
    best = max(grams, key=lambda found: float(found.mean()))
    return {"independent steps": grams[0], "bigram": grams[1], "best n-gram, n ≤ 5": best}


def mean_error(values: Tensor) -> tuple[float, float]:
    """A mean and its standard error."""
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def examine(process: Process, model: Any, own: Tensor, test: ps.Sequences) -> dict[str, Any]:
    """Everything measured of one fitted model; `own` is the exact law's score of the test sequences."""
    theirs = log_prob(process, model, test)
    nats, error = mean_error(-theirs)
    excess, excess_error = mean_error(own - theirs)
    kl, kl_error = mean_error(divergence(process, model, test))
    return {
        "nats": nats, "nats_error": error, "excess": excess, "excess_error": excess_error,
        "kl": kl, "kl_error": kl_error, "target_excess": TARGET, "met": excess <= TARGET,
    }  # fmt: skip


def study(process: Process, size: Size, seed: int, index: int) -> tuple[dict[str, Any], dict[str, Any], ps.Sequences]:
    """Both networks on one process: the results, the models, the test sequences."""
    first = 1_000 * seed + 10 * index
    train, validation, test = (
        ps.sample(process.oracle, number, generator=first + i)
        for i, number in enumerate((size.train, size.validation, size.test))
    )
    own = process.oracle.log_prob(test) / process.length
    nats, error = mean_error(-own)
    results: dict[str, Any] = {
        "length": process.length, "exact_nats": process.exact, "oracle_nats": nats, "oracle_nats_error": error,
        "baselines": {}, "models": {},
    }  # fmt: skip
    for name, theirs in baselines(process, train, test).items():
        excess, excess_error = mean_error(own - theirs)
        results["baselines"][name] = {"excess": excess, "excess_error": excess_error}
    models = {}
    for name, network in NETWORKS.items():
        begin = time.perf_counter()
        models[name], outcome = fit(process, network, train, validation, size.epochs, seed)
        seconds = time.perf_counter() - begin
        row = examine(process, models[name], own, test)
        results["models"][name] = row | {"best_epoch": outcome.epoch, "fit_seconds": round(seconds, 1)}
        print(f"{process.name}, {name}: excess {row['excess']:.5f} ± {row['excess_error']:.5f}, {seconds:.0f} s")
    return results, models, test


def show(results: dict[str, Any]) -> str:
    """The results as a table."""
    head = ["process", "model", "nats/step", "±", "exact law on the same", "exact", "excess", "±", "KL", "target met"]
    rows = []
    for name, process in results.items():
        exact = "forward" if process["exact_nats"] is None else f"{process['exact_nats']:.4f}"
        own = process["oracle_nats"]
        for model, row in process["baselines"].items():
            errors = [f"{row['excess']:.5f}", f"{row['excess_error']:.5f}"]
            rows.append([name, model, own + row["excess"], "", own, exact, *errors, "", "baseline"])
        for model, row in process["models"].items():
            errors = [f"{row[key]:.5f}" for key in ("excess", "excess_error", "kl")]
            met = "yes" if row["met"] else "NO"
            rows.append([name, model, row["nats"], row["nats_error"], own, exact, *errors, met])
    return table(head, rows)


STYLE = {
    "independent steps": ("0.6", "v"), "bigram": ("0.4", "<"), "best n-gram, n ≤ 5": ("0.2", "D"),
    "LSTM": ("C0", "o"), "GRU": ("C1", "s"),
}  # fmt: skip


def draw_excess(results: dict[str, Any], folder: Path) -> None:
    """The excess of every model, and of the baselines."""
    figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
    labelled: set[str] = set()
    for i, process in enumerate(results.values()):
        for name, row in {**process["baselines"], **process["models"]}.items():
            color, marker = STYLE[name]
            x = i + 0.12 * (list(STYLE).index(name) - 2)
            label = None if name in labelled else name
            axis.errorbar(x, row["excess"], 2 * row["excess_error"], fmt=marker, color=color, ms=5, label=label)
            labelled.add(name)
    axis.axhline(TARGET, color="black", ls="--", lw=1, label=f"target, {TARGET}")
    axis.set(yscale="log", ylabel="excess over the exact law (nats per step)")
    axis.set_xticks(range(len(results)), [name.replace(", ", "\n").replace("concentration", "α =") for name in results])
    axis.set_title(
        "Held-out −log P of the model less that of the exact law (bars: two standard errors)", fontsize="medium"
    )
    axis.grid(alpha=0.3, axis="y")
    axis.legend(frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.savefig(folder / "excess.png", dpi=100)
    plt.close(figure)


def draw_laws(studies: dict[str, tuple[Process, Any, ps.Sequences]], folder: Path) -> None:
    """The learned law of the next step against the exact one: probabilities, means, standard deviations."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    process, model, test = studies["HMM, sticky"]
    few = test.select(torch.arange(min(40, len(test))))
    exact, learned = predictive(process.oracle, few).probs, predictive(model, few).probs
    axes[0].plot([0, 0.5], [0, 0.5], color="black", lw=1)
    for k in range(exact.shape[-1]):
        axes[0].plot(exact[..., k].flatten(), learned[..., k].flatten(), ".", ms=2, label=f"symbol {k}")
    axes[0].set(title="HMM, sticky", xlabel="exact P(yₜ | y₍<t₎)", ylabel="learned P(yₜ | y₍<t₎)")
    axes[0].legend(frameon=False, markerscale=4)
    process, model, test = studies["AR(2)"]
    few = test.select(torch.arange(min(40, len(test))))
    exact, learned = moments(predictive(process.oracle, few))[0], moments(predictive(model, scaled(process, few)))[0]
    low, high = float(exact.min()), float(exact.max())
    axes[1].plot([low, high], [low, high], color="black", lw=1)
    axes[1].plot(exact.flatten(), learned.flatten(), ".", ms=2, color="C0")
    axes[1].set(title="AR(2)", xlabel="exact mean of yₜ given y₍<t₎ (units of y)", ylabel="learned mean (units of y)")
    process, model, test = studies["state space"]
    scale = moments(predictive(model, scaled(process, test)), process.unit)[1]
    steps = torch.arange(1, process.length + 1)
    low, high = scale.quantile(0.05, 0), scale.quantile(0.95, 0)
    axes[2].fill_between(steps, low, high, alpha=0.3, lw=0, label="learned, 5–95 % of sequences")
    axes[2].plot(steps, scale.mean(0), color="C0", label="learned, mean")
    axes[2].plot(steps, kalman_scales(process.oracle), "k--", lw=1, label="exact (Kalman)")
    axes[2].set(title="state space", xlabel="step t", ylabel="st. dev. of yₜ given y₍<t₎ (units of y)")
    axes[2].legend(frameon=False, loc="lower right")
    figure.suptitle("The law of the next step: learned by the LSTM, and exact, on held-out sequences")
    figure.savefig(folder / "laws.png", dpi=100)
    plt.close(figure)


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the weights; the laws are fixed")
    arguments = parser.parse_args()
    # So small a network gains nothing from a second thread, and loses much where cores are shared.
    torch.set_num_threads(1)
    begin = time.perf_counter()
    size = SMOKE if arguments.smoke else FULL
    results, studies = {}, {}
    for index, process in enumerate(processes()):
        results[process.name], models, test = study(process, size, arguments.seed, index)
        studies[process.name] = (process, models["LSTM"], test)
    folder = destination(__file__, arguments.smoke)
    draw_excess(results, folder)
    draw_laws(studies, folder)
    content = {
        "question": "Does maximum likelihood recover laws that are known exactly?",
        "seed": arguments.seed, "size": vars(size), "target_excess": TARGET, "processes": results,
        "targets_met": all(row["met"] for process in results.values() for row in process["models"].values()),
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder)
    print(f"\n{show(results)}\n\ntargets met: {content['targets_met']}, {content['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

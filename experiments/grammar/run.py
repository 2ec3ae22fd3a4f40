"""Does each stop law reach the exact optimum on the Reber grammar?"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import matplotlib
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
matplotlib.use("Agg")

import matplotlib.pyplot as plt

import probseq as ps
from experiments.report import destination, table, write
from probseq.oracles import Automaton, Reber

LONGEST = 60
"""The longest string: LengthStop's support, and where samples are cut. A longer one has probability below 1e-6."""

TARGET = 0.02
"""Nats per string above the entropy of the grammar that EndSymbol and BernoulliStop may lose."""


@dataclass(frozen=True)
class Size:
    """How many strings are drawn for each purpose, and how long is trained."""

    train: int
    validation: int
    test: int
    samples: int
    epochs: int


FULL = Size(train=20_000, validation=10_000, test=200_000, samples=100_000, epochs=30)
SMOKE = Size(train=1_000, validation=500, test=2_000, samples=2_000, epochs=2)


@dataclass(frozen=True)
class Exact:
    """What the automaton says exactly, in nats per string.

    Shapes:
        length_law: (LONGEST + 1,), P(length = t).
    """

    entropy: float
    independent_length: float
    length_law: Tensor
    independent_grammatical: float


@dataclass(frozen=True)
class Case:
    """One model to fit."""

    name: str
    stop: Any


CASES = (
    Case("EndSymbol", ps.EndSymbol()),
    Case("BernoulliStop", ps.BernoulliStop()),
    Case("LengthStop", ps.LengthStop(LONGEST)),
)


def exact(oracle: Automaton) -> Exact:
    """Entropy, length law, and the optimum of a length drawn without regard to the elements.

    Such a model is p(length) ∏ₜ q(yₜ | y₍<t₎, length ≥ t). At best p is the true law of the length and q the true
    conditional, so that it loses exactly what the elements say of the end:
        H(length) − Σ over states of visits · H(stop | state).
    Its sample is grammatical if its length is that of the string its elements spell, for Reber Σ p(length)².
    """
    moves = torch.zeros(len(oracle.go), len(oracle.go), dtype=torch.float64).scatter_add(1, oracle.next, oracle.go)
    stop = oracle.log_stop.exp()
    state = torch.zeros(len(moves), dtype=torch.float64)
    state[0] = 1
    law = []
    for _ in range(10 * LONGEST):
        law.append(state @ stop)
        state = state @ moves
    lengths = torch.stack(law)
    ends = torch.special.entr(stop) + torch.special.entr(1 - stop)
    lost = float(torch.special.entr(lengths).sum() - oracle.visits() @ ends)
    return Exact(oracle.entropy(), oracle.entropy() + lost, lengths[: LONGEST + 1], float((lengths * lengths).sum()))


def draw(oracle: Automaton, number: int, seed: int) -> ps.Sequences:
    """Strings of at most LONGEST symbols."""
    y = ps.sample(oracle, number, max_length=LONGEST, generator=seed)
    return y.select(y.ended)


@torch.no_grad()
def log_prob(model: Any, y: ps.Sequences) -> Tensor:
    """log P of each string, in nats, in float64."""
    found = torch.zeros(len(y), dtype=torch.float64)
    for index in y.lengths.argsort().split(4096):
        found[index] = model.log_prob(y.select(index)).double()
    return found


def best_log_prob(case: Case, oracle: Automaton, truth: Exact, y: ps.Sequences) -> Tensor:
    """log P of each string under the best model with such an end: the grammar, or for LengthStop see `exact`."""
    if not isinstance(case.stop, ps.LengthStop):
        return log_prob(oracle, y)
    return truth.length_law.log()[y.lengths] + ps.score(oracle, y).element.sum(-1)


def mean_error(values: Tensor) -> tuple[float, float]:
    """A mean and its standard error."""
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def fit(case: Case, train: ps.Sequences, validation: ps.Sequences, epochs: int, seed: int) -> tuple[Any, Any]:
    """A fitted model and what its training came to."""
    torch.manual_seed(seed)
    model = ps.SequenceModel(ps.Tokens(7, dim=16), ps.LSTM(64), ps.Categorical(), case.stop)
    outcome = ps.fit(
        model, train, validation, max_epochs=epochs, batch_tokens=1024, learning_rate=1e-2, schedule="cosine",
        seed=seed, progress=False,
    )  # fmt: skip
    return model, outcome


def distance(lengths: Tensor, law: Tensor) -> float:
    """Total variation between the lengths of a sample and their exact law."""
    share = lengths.bincount(minlength=len(law)).double() / len(lengths)
    return 0.5 * float((share - law).abs().sum())


def examine(case: Case, model: Any, oracle: Automaton, truth: Exact, test: ps.Sequences, sample: ps.Sequences) -> dict:
    """Everything measured of one fitted model."""
    own, theirs = log_prob(oracle, test), log_prob(model, test)
    nats, error = mean_error(-theirs)
    excess, excess_error = mean_error(own - theirs)
    gap, gap_error = mean_error(best_log_prob(case, oracle, truth, test) - theirs)
    independent = isinstance(case.stop, ps.LengthStop)
    optimum = truth.independent_length if independent else truth.entropy
    grammatical = sample.ended & (log_prob(oracle, sample) > -torch.inf)
    row = {
        "nats": nats, "nats_error": error, "oracle_nats": float(-own.mean()), "excess": excess,
        "excess_error": excess_error, "optimum": optimum, "gap": gap, "gap_error": gap_error,
        "grammatical": float(grammatical.double().mean()),
        "optimal_grammatical": truth.independent_grammatical if independent else 1.0,
        "samples": len(sample), "samples_cut": int((~sample.ended).sum()),
        "length_distance": distance(sample.lengths, truth.length_law),
    }  # fmt: skip
    if not independent:
        row |= {"target_nats": truth.entropy + TARGET, "target_excess": TARGET}
        row["met"] = nats <= truth.entropy + TARGET and excess <= TARGET
    return row


def learning_curve(outcome: Any, oracle: Automaton, validation: ps.Sequences) -> list[float]:
    """Nats per validation string above the grammar's own score of the same strings, after each epoch."""
    decisions = float(validation.decisions.double().mean())
    own = float(-log_prob(oracle, validation).mean())
    return [epoch["validation_nats"] * decisions - own for epoch in outcome.history]


def study(embedded: bool, size: Size, seed: int) -> dict[str, Any]:
    """Every case on one grammar."""
    oracle = Reber(embedded)
    truth = exact(oracle)
    first = 1_000 * seed + 100 * embedded
    train, validation, test, reference = (
        draw(oracle, number, first + i)
        for i, number in enumerate((size.train, size.validation, size.test, size.samples))
    )
    grammar: dict[str, Any] = {
        "entropy": truth.entropy,
        "optimum_of_independent_length": truth.independent_length,
        "length_law": truth.length_law.tolist(),
        "length_distance_of_the_grammar": distance(reference.lengths, truth.length_law),
        "probability_of_longer_strings": 1 - float(truth.length_law.sum()),
        "longer_strings_dropped": sum((size.train, size.validation, size.test, size.samples))
        - sum(map(len, (train, validation, test, reference))),
        "models": {},
    }
    for case in CASES:
        begin = time.perf_counter()
        model, outcome = fit(case, train, validation, size.epochs, seed)
        seconds = time.perf_counter() - begin
        sample = ps.sample(model, size.samples, max_length=LONGEST, generator=first + 10)
        row = examine(case, model, oracle, truth, test, sample)
        row |= {"best_epoch": outcome.epoch, "fit_seconds": round(seconds, 1)}
        row["curve"] = learning_curve(outcome, oracle, validation)
        row["sampled_lengths"] = sample.lengths.bincount(minlength=LONGEST + 1).tolist()
        grammar["models"][case.name] = row
        print(f"{'embedded' if embedded else 'plain'} {case.name}: excess {row['excess']:.4f}, {seconds:.0f} s")
    return grammar


def show(grammars: dict[str, Any]) -> str:
    """The results as a table."""
    head = ["grammar", "stop", "nats/string", "±", "exact optimum", "excess", "±", "gap", "±", "grammatical", "at best",
            "cut", "TV of lengths", "target met"]  # fmt: skip
    rows = [
        [name, stop, row["nats"], row["nats_error"], row["optimum"], row["excess"], row["excess_error"],
         row["gap"], row["gap_error"], row["grammatical"], row["optimal_grammatical"], row["samples_cut"],
         row["length_distance"], {True: "yes", False: "NO", None: "no target"}[row.get("met")]]
        for name, grammar in grammars.items()
        for stop, row in grammar["models"].items()
    ]  # fmt: skip
    return table(head, rows)


STYLE = {"EndSymbol": ("C0", "o"), "BernoulliStop": ("C1", "s"), "LengthStop": ("C2", "^")}
"""The cases that are drawn."""


def draw_lengths(grammars: dict[str, Any], folder: Path) -> None:
    """The lengths of samples over their exact law."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for axis, (name, grammar) in zip(axes, grammars.items(), strict=True):
        law = torch.tensor(grammar["length_law"])
        lengths = (law > 1e-5).nonzero().squeeze(-1)
        axis.plot(lengths, law[lengths], color="black", lw=1, label="exact")
        for model, (color, marker) in STYLE.items():
            counts = torch.tensor(grammar["models"][model]["sampled_lengths"]).double()
            drawn = counts.nonzero().squeeze(-1)
            axis.plot(drawn, counts[drawn] / counts.sum(), marker, color=color, ms=4, mfc="none", label=model)
        axis.set(yscale="log", xlabel="length (symbols)", title=f"{name} Reber grammar")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("probability")
    axes[0].legend(frameon=False)
    figure.suptitle("Lengths of model samples and their exact law")
    figure.savefig(folder / "lengths.png", dpi=100)
    plt.close(figure)


def draw_curves(grammars: dict[str, Any], folder: Path) -> None:
    """The excess over training, with the target and the exact bound of LengthStop."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.3), sharey=True, layout="constrained")
    for axis, (name, grammar) in zip(axes, grammars.items(), strict=True):
        for model, (color, _) in STYLE.items():
            curve = grammar["models"][model]["curve"]
            axis.plot(range(1, len(curve) + 1), curve, color=color, label=model)
        bound = grammar["optimum_of_independent_length"] - grammar["entropy"]
        axis.axhline(bound, color="C2", ls=":", label=f"exact bound of LengthStop, {bound:.3f}")
        axis.axhline(TARGET, color="black", ls="--", lw=1, label=f"target of the others, {TARGET}")
        axis.set(yscale="log", xlabel="epoch", title=f"{name} Reber grammar")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=5)
    axes[0].set_ylabel("excess over the grammar (nats per string)")
    figure.suptitle("Validation strings: −log P of the model less that of the grammar")
    figure.savefig(folder / "excess.png", dpi=100)
    plt.close(figure)


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--seed", type=int, default=0, help="of the data, the weights and the samples")
    arguments = parser.parse_args()
    # So small a network gains nothing from a second thread, and loses much where cores are shared.
    torch.set_num_threads(1)
    begin = time.perf_counter()
    size = SMOKE if arguments.smoke else FULL
    names = {"plain": False, "embedded": True}
    grammars = {name: study(embedded, size, arguments.seed) for name, embedded in names.items()}
    folder = destination(__file__, arguments.smoke)
    results = {
        "question": "Does each stop law reach the exact optimum on the Reber grammar?",
        "seed": arguments.seed, "size": vars(size), "target_excess": TARGET, "grammars": grammars,
        "targets_met": all(row.get("met", True) for g in grammars.values() for row in g["models"].values()),
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    draw_lengths(grammars, folder)
    draw_curves(grammars, folder)
    write(results, folder)
    print(f"\n{show(grammars)}\n\ntargets met: {results['targets_met']}, {results['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

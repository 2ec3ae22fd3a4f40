"""How near do answers about a sequence's future come to the truth, for what they cost?"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jsonargparse
import torch
from torch import Tensor

import probseq as ps
from experiments import letters
from experiments.chapter.common import figure, save, shrink
from experiments.report import destination, table, write
from probseq import events
from probseq.datasets import words
from probseq.datasets.splits import Texts
from probseq.oracles import HMM

METHODS = ("naive", "importance", "hybrid")
LEVEL = 0.95
TARGET = 0.5
"""The error of "hybrid" over that of "importance", the median over questions."""


@dataclass(frozen=True)
class Size:
    """How much is asked."""

    network: letters.Settings
    train: int
    questions: int
    repeats: int
    budgets: tuple[int, ...]
    steps: int
    hmm_budgets: tuple[int, ...]
    hmm_steps: int


FULL = Size(
    letters.Settings(size=64, dim=16, dropout=0.0, epochs=4, batch_size=128, learning_rate=5e-3),
    train=20_000,
    questions=30,
    repeats=8,
    budgets=(100, 300, 1_000, 3_000),
    steps=4,
    hmm_budgets=(1_000, 4_000),
    hmm_steps=200,
)
SMOKE = Size(
    letters.Settings(size=16, dim=8, dropout=0.0, epochs=1, batch_size=64),
    train=1_000,
    questions=3,
    repeats=3,
    budgets=(50, 150),
    steps=3,
    hmm_budgets=(300,),
    hmm_steps=20,
)


@dataclass(frozen=True)
class Asked:
    """One question, the model it is asked of, and the true answer (m,)."""

    name: str
    model: Any
    event: Any
    prefix: str | None
    truth: Tensor


def main() -> None:
    """Ask, compare with the truth, draw."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, on a small scale")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the questions and the draws")
    options = parser.parse_args()
    size, folder = SMOKE if options.smoke else FULL, destination(__file__, options.smoke)
    begin = time.perf_counter()
    results: dict[str, Any] = {"question": __doc__, "seed": options.seed, "level": LEVEL, "target": TARGET}
    about_words, training = ask_words(size, options.seed)
    print(f"Trained in {training['seconds']:.0f} s; {len(about_words)} questions about words.", flush=True)
    results["words"] = {**study(about_words, size.budgets, size.repeats, options.seed), "training": training}
    show("words", results["words"])
    about_hmm = ask_hmm(size, options.seed)
    results["hmm"] = study(about_hmm, size.hmm_budgets, size.repeats, options.seed)
    results["seconds"] = time.perf_counter() - begin
    show("hmm", results["hmm"])
    draw(results, folder)
    write(results, folder)
    print(f"\n{results['seconds']:.0f} s. Figure and results.json are in {folder}.")


def some_event(draw: torch.Generator, size: int, steps: int) -> Any:
    """A random question about an alphabet of so many symbols."""
    kind, a, b, back = (int(i) for i in torch.randint(10**6, (4,), generator=draw))
    a, b = a % size, (a + 1 + b % (size - 1)) % size
    k = steps - back % 2
    return [
        events.FirstAt([a], k),
        events.Within([a], k),
        events.Before([a], [b], k),
        events.At(k),
        events.Count([a], k),
    ][kind % 5]


def ask_words(size: Size, seed: int) -> tuple[list[Asked], dict[str, Any]]:
    """Questions about the next letters of a word, given its first ones; enumeration says what is true."""
    data = words(seed)
    data = Texts(data.alphabet, data.train[: size.train], data.validation[:1_000], data.test[:1_000])
    settings = letters.Settings(**{**vars(size.network), "seed": seed})
    trained = letters.train(data, settings, progress=False)
    nats = letters.nats(trained.model, data.alphabet.encode(data.test))
    model, draw, asked = trained.model.double(), torch.Generator().manual_seed(seed), []
    for word in data.test[: size.questions]:
        event = some_event(draw, len(data.alphabet), size.steps)
        prefix = word[: int(torch.randint(3, (), generator=draw))]
        truth = ps.query(model, event, prefix=prefix, method="exact")
        asked.append(Asked(type(event).__name__, model, event, prefix, truth.estimate.reshape(-1)))
    return asked, {"seconds": trained.seconds, "parameters": trained.parameters, "test_nats_per_letter": nats}


def ask_hmm(size: Size, seed: int) -> list[Asked]:
    """Questions about 200 steps of hidden Markov models; the forward algorithm says what is true."""
    draw, asked = torch.Generator().manual_seed(seed), []
    for i in range(size.questions):
        model = HMM.random(4, 6, length=size.hmm_steps, generator=seed + i, concentration=0.5)
        event = some_event(draw, 6, size.hmm_steps)
        if isinstance(event, events.FirstAt):
            # The first of its kind after 200 steps is too rare to be asked for.
            event = events.FirstAt(event.symbols, max(size.hmm_steps // 20, 2))
        asked.append(Asked(type(event).__name__, model, event, None, model.query(event)))
    return asked


def study(asked: list[Asked], budgets: tuple[int, ...], repeats: int, seed: int) -> dict[str, Any]:
    """Each question with each method and budget, several times."""
    rows = []
    for i, question in enumerate(asked):
        for budget in budgets:
            for method in METHODS:
                measured = measure(question, method, budget, repeats, seed + i)
                rows.append({"question": i, "event": question.name, "method": method, "budget": budget, **measured})
    return {"rows": rows, "budgets": [summary(rows, budget) for budget in budgets]}


def measure(question: Asked, method: str, budget: int, repeats: int, seed: int) -> dict[str, Any]:
    """The error of one method at one budget, over repeats and all numbers of the answer."""
    prefix = None if question.prefix is None else [question.prefix] * repeats
    context = ps.Context.none(repeats)
    begin = time.perf_counter()
    found = ps.query(
        question.model, question.event, context, prefix=prefix, method=method, budget=budget, generator=seed
    )
    seconds = (time.perf_counter() - begin) / repeats
    estimate, lower, upper = (t.reshape(repeats, -1) for t in (found.estimate, found.lower, found.upper))
    low, high = (t.reshape(repeats, -1) for t in found.interval(LEVEL))
    truth = question.truth
    return {
        "rmse": float((estimate - truth).square().mean().sqrt()),
        "cell_steps": float(found.cell_steps.double().mean()),
        "exact": bool(found.exact.all()),
        "violations": int(((truth < lower) | (truth > upper)).any(1).sum()),
        "width": float((upper - lower).amax(1).mean()),
        "covered": float(((low - 1e-12 <= truth) & (truth <= high + 1e-12)).double().mean()),
        "seconds": seconds,
    }


def summary(rows: list[dict[str, Any]], budget: int) -> dict[str, Any]:
    """Medians over questions at one budget."""
    own = {method: [row for row in rows if row["budget"] == budget and row["method"] == method] for method in METHODS}

    def median(values: list[float]) -> float:
        return float(torch.tensor(values, dtype=torch.float64).median())

    def ratio(over: str, under: str) -> list[float]:
        pairs = zip(own[over], own[under], strict=True)
        return [a["rmse"] / b["rmse"] for a, b in pairs if b["rmse"] > 0]

    against = torch.tensor(ratio("hybrid", "importance"), dtype=torch.float64)
    drawn = [row["covered"] for row in own["hybrid"] if not row["exact"]]
    return {
        "budget": budget,
        **{f"{method}_rmse": median([row["rmse"] for row in own[method]]) for method in METHODS},
        **{f"{method}_cell_steps": median([row["cell_steps"] for row in own[method]]) for method in METHODS},
        "hybrid_over_importance": float(against.median()),
        "quartiles": against.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist(),
        "worst": float(against.max()),
        "importance_over_naive": median(ratio("importance", "naive")),
        "exact_share": sum(row["exact"] for row in own["hybrid"]) / len(own["hybrid"]),
        "violations": sum(row["violations"] for row in own["hybrid"]),
        "width": median([row["width"] for row in own["hybrid"]]),
        "coverage": sum(drawn) / len(drawn) if drawn else 1.0,
        "seconds": median([row["seconds"] for row in own["hybrid"]]),
    }


def show(name: str, results: dict[str, Any]) -> None:
    """Medians by budget."""
    keys = (
        "budget", "naive_rmse", "importance_rmse", "hybrid_rmse", "hybrid_over_importance", "worst", "width",
        "coverage", "violations", "exact_share",
    )  # fmt: skip
    head = ("budget", "naive", "importance", "hybrid", "ratio", "worst", "U − L", "covered", "outside", "exact")
    questions = 1 + max(row["question"] for row in results["rows"])
    print(f"\n{name}: {questions} questions, the median root mean square error of each method\n")
    print(table(head, [[row[key] for key in keys] for row in results["budgets"]]), flush=True)


def draw(results: dict[str, Any], folder: Path) -> None:
    """Error against budget, both studies side by side."""
    drawn, axes = figure(2, 10.0)
    titles = {"words": "Next letters of a word (truth: enumeration)", "hmm": "200 steps of an HMM (truth: forward)"}
    for own, name in zip(axes, titles, strict=True):
        budgets = results[name]["budgets"]
        at = [row["budget"] for row in budgets]
        for i, method in enumerate(METHODS):
            medians = [row[f"{method}_rmse"] for row in budgets]
            own.plot(at, medians, "o-", color=f"C{i}", label=method)
        own.plot(at, [row["width"] for row in budgets], "--", color="0.6", label="hybrid, U − L (certain)")
        own.set(xscale="log", yscale="log", xlabel="elements read for one answer", title=titles[name])
        own.set_ylim(bottom=1e-6)
    axes[0].set_ylabel("root mean square error (median)")
    axes[0].legend(frameon=False)
    save(drawn, folder / "error.png")
    shrink(folder)


if __name__ == "__main__":
    main()

"""How is a word spoken? Letters to phonemes, with attention or by a fixed context, on the CMU dictionary."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jsonargparse
import matplotlib as mpl
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

from experiments.pronounce.models import Answers, Settings, Task, answer, load, measure, perform_all, rates, search
from experiments.report import destination, table, write
from experiments.transduction import Judged
from probseq.datasets.pronunciations import Pronunciations

FULL = Settings(size=512, dropout=0.15, epochs=8, batch_size=64, learning_rate=2e-3)
SMOKE = Settings(size=16, dim=8, epochs=1)
BUCKETS = ((1, 5), (6, 7), (8, 9), (10, 11), (12, 99))
"""Lengths of words, first and last."""
WER, PER = 27.0, 6.5
"""Targets, per cent."""
SHOWN = ("though", "queue", "colonel", "ghoti", "probability", "autoregressive")
NAMES = {"attention": "attention", "fixed": "fixed context C"}


def by_length(answers: Answers, data: Pronunciations) -> list[dict[str, Any]]:
    """The error rates of words of similar lengths."""
    lengths = torch.tensor([len(word) for word in data.test_references])
    found = []
    for low, high in BUCKETS:
        own = (lengths >= low) & (lengths <= high)
        if own.any():
            judged = answers.judged
            part = Judged(judged.right[own], judged.edits[own], judged.length[own])
            found.append(
                {"letters": f"{low}–{high}" if high < 99 else f"{low}–", "words": int(own.sum()), **rates(part)}
            )
    return found


def list_best(model: Any, data: Pronunciations, n: int = 5) -> dict[str, list[dict[str, Any]]]:
    """The n likeliest pronunciations of some words, with their probabilities."""
    found = search(model, data.letters.encode(list(SHOWN)), n)
    listed: dict[str, list[dict[str, Any]]] = {word: [] for word in SHOWN}
    for row, spoken, log_prob in zip(found.rows, data.spoken(found.sequences), found.log_prob, strict=True):
        listed[SHOWN[int(row)]].append({"spoken": " ".join(spoken), "probability": float(log_prob.exp())})
    return listed


def draw(model: Any, data: Pronunciations, results: dict[str, Any], folder: Path) -> None:
    """Alignments of some words, and how often answers of a probability are right."""
    words = SHOWN[-2:]
    top = search(model, data.letters.encode(list(words))).best()
    weights = model.alignments(top, data.letters.encode(list(words)))
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", width_ratios=(3, 4, 3))
    for axis, word, spoken, own in zip(axes, words, data.spoken(top), weights, strict=False):
        axis.imshow(own[: len(spoken) + 1, : len(word)], cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(range(len(word)), list(word))
        axis.set_yticks(range(len(spoken) + 1), [*spoken, "end"], fontsize=8)
        axis.set_title(f"where the phonemes of “{word}” look", fontsize="medium")
    for name in NAMES:
        bins = results["models"][name]["test"]["calibration"]["bins"]
        mean, right, error = ([each[key] for each in bins] for key in ("mean", "right", "error"))
        axes[2].errorbar(mean, right, error, marker="o", ms=4, lw=1, label=NAMES[name])
    axes[2].plot([0, 1], [0, 1], "k:", lw=1)
    axes[2].set(xlabel="probability of the answer", ylabel="share that is right")
    axes[2].legend(fontsize=8)
    figure.savefig(folder / "alignments.png", dpi=90)
    plt.close(figure)


def show(results: dict[str, Any]) -> str:
    """The results as tables."""
    rows = []
    for name, row in results["models"].items():
        test = row["test"]
        rows.append([
            NAMES[name], row["parameters"], test["wer"]["value"], test["per"]["value"], test["nats_per_word"]["value"],
            test["calibration"]["error"]["value"], test["calibration"]["chance"], row["processor_seconds"],
        ])  # fmt: skip
    head = ["test", "parameters", "WER %", "PER %", "nats/word", "calibration error", "by chance", "seconds"]
    pairs = zip(*(results["models"][name]["by_length"] for name in NAMES), strict=True)
    lengths = [
        [a["letters"], a["words"], a["wer"]["value"], b["wer"]["value"], a["per"]["value"], b["per"]["value"]]
        for a, b in pairs
    ]
    columns = ["letters", "words", "WER, attention", "WER, C", "PER, attention", "PER, C"]
    return f"{table(head, rows)}\n\n{table(columns, lengths)}"


def study(
    settings: Settings, few: int | None, folder: Path, seed: int, workers: int
) -> tuple[dict[str, Any], Any, Any]:
    """Train both models and measure them; the results, the model that attends, and the words."""
    chosen = {"attention": settings, "fixed": settings.without_attention()}
    tasks = [Task("cmudict", name, own, seed, few) for name, own in chosen.items()]
    data = load("cmudict", few)
    results: dict[str, Any] = {}
    models = {}
    for task, (model, trained) in zip(tasks, perform_all(tasks, folder, workers), strict=True):
        answers = answer(model, data, data.test_references)
        results[task.name] = {
            **trained, "settings": vars(task.settings), "test": measure(model, data, "test", seed),
            "by_length": by_length(answers, data),
        }  # fmt: skip
        models[task.name] = model
    better = all(
        a[rate]["value"] < b[rate]["value"]
        for a, b in zip(results["attention"]["by_length"], results["fixed"]["by_length"], strict=True)
        for rate in ("wer", "per")
    )
    found = results["attention"]["test"]
    met = {
        "wer": found["wer"]["value"] <= WER, "per": found["per"]["value"] <= PER,
        "attention better at every length": better,
    }  # fmt: skip
    return {"models": results, "met": met, "best": list_best(models["attention"], data)}, models["attention"], data


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order")
    parser.add_argument("--workers", type=int, default=2, help="processes that train")
    parser.add_argument("--models", type=Path, default=Path("runs/pronounce"), help="where trained models are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    folder = destination(__file__, options.smoke)
    settings, few = (SMOKE, 200) if options.smoke else (FULL, None)
    models = folder if options.smoke else options.models
    results, model, data = study(settings, few, models, options.seed, 1 if options.smoke else options.workers)
    draw(model, data, results, folder)
    content = {
        "question": __doc__, "seed": options.seed, "targets": {"wer": WER, "per": PER},
        "words": {part: len(getattr(data, part).y) for part in ("train", "validation", "test")}, **results,
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder)
    print(f"\n{show(results)}\n\ntargets met: {results['met']}, {content['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

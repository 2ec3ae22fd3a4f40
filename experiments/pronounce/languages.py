"""How well are words of ten languages pronounced? SIGMORPHON 2020, one model and several together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import torch

import probseq as ps
from experiments.pronounce.models import Settings, Task, load, measure, perform_all
from experiments.report import destination, table, write
from probseq.datasets import Pronunciations

FULL = Settings(size=256, dropout=0.4, epochs=50, batch_size=32, learning_rate=3e-3, smoothing=0.1, best=False)
SMOKE = Settings(size=16, dim=8, epochs=1)
PUBLISHED = {
    "arm": 14.67, "bul": 31.11, "dut": 16.44, "fre": 6.22, "gre": 18.89, "hin": 6.67, "ice": 10.00, "jpn": 7.56,
    "kor": 46.89, "vie": 4.67,
}  # fmt: skip
"""WER of the LSTM baseline, per cent (Gorman et al., 2020)."""
SINGLE, TOGETHER = 15.5, 14.0
"""Targets, per cent, the mean over languages."""
ENSEMBLES = {"mixture": ps.Mixture, "product of steps": ps.ProductOfSteps}


def study(models: Sequence[ps.SequenceModel], task: Task) -> dict[str, Any]:
    """The error rates of every model, and of all together."""
    data = load(task.data, task.few)
    found: dict[str, Any] = {"unpredictable": len(data.unpredictable("test"))}
    found["single"] = [figures(model, data) for model in models]
    if len(models) > 1:
        for name, kind in ENSEMBLES.items():
            found[name] = figures(kind(models), data)
    return found


def figures(model: Any, data: Pronunciations) -> dict[str, Any]:
    """What is measured of a model on words that it has not learned, of its calibration the mean gap alone."""
    found = {part: measure(model, data, part) for part in ("validation", "test")}
    for each in found.values():
        each["calibration"] = each["calibration"]["error"]["value"]
    return found


def mean(results: dict[str, Any], kind: str, part: str, rate: str) -> float:
    """Over the languages; of single models, over these first."""
    values = []
    for found in results.values():
        own = found[kind] if kind == "single" else [found[kind]]
        values.append(sum(each[part][rate]["value"] for each in own) / len(own))
    return sum(values) / len(values)


def summarise(results: dict[str, Any]) -> dict[str, Any]:
    """Means over languages; of the ensembles the one that the validation words prefer."""
    kinds = ["single", *(kind for kind in ENSEMBLES if all(kind in found for found in results.values()))]
    figures = [(part, rate) for part in ("validation", "test") for rate in ("wer", "per")]
    means = {kind: {f"{part} {rate}": mean(results, kind, part, rate) for part, rate in figures} for kind in kinds}
    summary: dict[str, Any] = {"mean": means, "published": sum(PUBLISHED[each] for each in results) / len(results)}
    summary["met"] = {"single": means["single"]["test wer"] <= SINGLE}
    if len(kinds) > 1:
        chosen = min(kinds[1:], key=lambda kind: means[kind]["validation wer"])
        summary |= {"chosen": chosen}
        summary["met"]["together"] = means[chosen]["test wer"] <= TOGETHER
    return summary


def show(results: dict[str, Any], summary: dict[str, Any]) -> str:
    """Test WER by language."""
    kinds = list(summary["mean"])
    rows = []
    for language, found in results.items():
        single = [each["test"]["wer"]["value"] for each in found["single"]]
        together = [found[kind]["test"]["wer"]["value"] for kind in kinds[1:]]
        rows.append([language, PUBLISHED[language], sum(single) / len(single), *together])
    rows.append(["mean", summary["published"], *(summary["mean"][kind]["test wer"] for kind in kinds)])
    return table(["test WER %", "published", *kinds], rows)


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--languages", type=list[str], default=list(PUBLISHED), help="which of the ten")
    parser.add_argument("--members", type=int, default=5, help="models of each language, with seeds 0, 1, …")
    parser.add_argument("--workers", type=int, default=2, help="processes that train")
    parser.add_argument("--models", type=Path, default=Path("runs/pronounce"), help="where trained models are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    folder = destination(__file__, options.smoke)
    settings, few = (SMOKE, 60) if options.smoke else (FULL, None)
    languages, members = (["fre", "kor"], 2) if options.smoke else (options.languages, options.members)
    tasks = [Task(language, "attention", settings, seed, few) for seed in range(members) for language in languages]
    place = folder if options.smoke else options.models
    done = perform_all(tasks, place, 1 if options.smoke else options.workers)
    results = {}
    for language in languages:
        own = [(task, *each) for task, each in zip(tasks, done, strict=True) if task.data == language]
        results[language] = study([model for _, model, _ in own], own[0][0])
        results[language]["trained"] = [trained for _, _, trained in own]
    summary = summarise(results)
    content = {
        "question": __doc__, "settings": vars(settings), "members": members, "targets": [SINGLE, TOGETHER], **summary,
        "languages": results, "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder, "languages.json")
    print(f"\n{show(results, summary)}\n\ntargets met: {summary['met']}, {content['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

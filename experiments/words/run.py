"""How probable is a spelling? A recurrent network over the letters of English words, beside n-grams."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jsonargparse

import probseq as ps
from experiments import letters
from experiments.report import destination, table, write
from probseq.datasets import words
from probseq.datasets.splits import Texts

FULL = letters.Settings(
    size=512,
    layers=2,
    embedding_dropout=0.1,
    dropout=0.4,
    epochs=16,
    batch_size=128,
    learning_rate=2e-3,
    precision="bf16-mixed",
)
DEMO = letters.Settings(size=256, embedding_dropout=0.05, dropout=0.1, epochs=9, batch_size=128, learning_rate=3e-3)
SMOKE = letters.Settings(size=32, dim=16, epochs=2, batch_size=64)

TARGET = 0.10
"""Nats a character below the best n-gram."""

SHOWN = ["probability", "sequence", "hidden", "through", "rhythm", "knight", "bayes's", "gaussian", "zyzzyva", "qqqq"]


def main() -> None:
    """Train, compare, show."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", action="store_true", help="about two minutes on two cores; writes to runs/demo")
    parser.add_argument("--smoke", action="store_true", help="seconds, on a tenth of the words")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the order")
    options = parser.parse_args()
    data = words(options.seed)
    if options.smoke:
        data = Texts(data.alphabet, data.train[:4000], data.validation[:500], data.test[:500])
    settings = SMOKE if options.smoke else DEMO if options.demo else FULL
    settings = letters.Settings(**{**vars(settings), "seed": options.seed})
    folder = Path("runs/demo") if options.demo else destination(__file__, options.smoke)
    run(data, settings, folder, range(1, 6) if options.demo else range(1, 8), demo=options.demo)


def run(data: Texts, settings: letters.Settings, folder: Path, orders: range, demo: bool) -> None:
    """The whole experiment."""
    print(f"{len(data.train):,} words to learn from, {len(data.test):,} held out; {len(data.alphabet)} letters.\n")
    smoothings = ("kneser-ney",) if demo else ("witten-bell", "kneser-ney")
    study = letters.study(data, settings, folder, orders, smoothings, SHOWN)
    model, gram, network = study.trained.model, study.gram, study.results["nats"]["test"]
    unigram = next(row for row in study.grams if row["order"] == 1)
    scores = [
        ("uniform", math.log(len(data.alphabet) + 1)),
        ("unigram", unigram["test"]),
        (f"{gram['order']}-gram, {gram['smoothing']}", gram["test"]),
        (f"network, {study.trained.parameters:,} weights", network),
    ]
    print(f"\nTrained in {study.trained.seconds:.0f} s.\n\n{letters.comparison(scores)}\n")
    print(letters.scored(model, data, SHOWN))
    print("\nWords it made up: " + ", ".join(study.made_up) + "\n")
    lengths = range(1, min(16, len(study.observed)))
    rows = [(n, float(study.observed[n]), float(study.learned[n])) for n in lengths]
    print(table(("length", "held-out", "model"), rows))
    gains = {smoothing: _gain(study.grams, smoothing, network) for smoothing in smoothings}
    write({"question": __doc__, "target": TARGET, "better_than_best": gains, **study.results}, folder)
    print(f"\nFigures and results.json are in {folder}.")
    if demo:
        print(f"The model is in {ps.save(model, 'runs/words')}: probseq.load('runs/words').")


def _gain(grams: list[dict[str, Any]], smoothing: str, network: float) -> float:
    """Nats a character, on the test words, below the best n-gram of a smoothing."""
    return letters.best([row for row in grams if row["smoothing"] == smoothing])["test"] - network


if __name__ == "__main__":
    main()

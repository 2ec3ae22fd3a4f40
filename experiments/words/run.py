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
    size=512, layers=2, embedding_dropout=0.1, dropout=0.4, epochs=20, batch_size=256, precision="bf16-mixed"
)
DEMO = letters.Settings(size=256, embedding_dropout=0.05, dropout=0.1, epochs=10, batch_size=256)
SMOKE = letters.Settings(size=32, dim=16, epochs=2, batch_size=64)

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


def run(data: Texts, settings: letters.Settings, folder: Path, orders: range, demo: bool) -> dict[str, Any]:
    """The whole experiment."""
    print(f"{len(data.train):,} words to learn from, {len(data.test):,} held out; {len(data.alphabet)} letters.\n")
    smoothings = ("kneser-ney",) if demo else ("witten-bell", "kneser-ney")
    grams = letters.n_grams(data, orders, smoothings)
    trained = letters.train(data, settings)
    model, test = trained.model, data.sequences()[2]
    network, gram = letters.nats(model, test), letters.best(grams)
    unigram = next(row for row in grams if row["order"] == 1)
    scores = [
        ("uniform", math.log(len(data.alphabet) + 1)),
        ("unigram", unigram["test"]),
        (f"{gram['order']}-gram, {gram['smoothing']}", gram["test"]),
        (f"network, {trained.parameters:,} weights", network),
    ]
    print(f"\nTrained in {trained.seconds:.0f} s.\n\n{letters.comparison(scores)}\n")
    print(letters.scored(model, data, SHOWN))
    made_up = letters.invented(model, data, 24, settings.seed)
    print("\nWords it made up: " + ", ".join(made_up) + "\n")
    observed, learned, cut = letters.lengths(model, data, 10_000, settings.seed)
    rows = [(n, float(observed[n]), float(learned[n])) for n in range(1, min(16, len(observed)))]
    print(table(("length", "held-out", "model"), rows))
    folder.mkdir(parents=True, exist_ok=True)
    lines = [(f"{gram['order']}-gram", gram["validation"])]
    letters.draw_learning_curve(trained.result.history, lines, folder / "learning_curve.png")
    letters.draw_lengths(observed, learned, folder / "lengths.png")
    letters.draw_surprise(model, data, SHOWN, folder / "surprise.png")
    results = {
        "question": __doc__,
        "settings": vars(settings),
        "test_nats": dict(scores),
        "n_grams": grams,
        "better_than_best_n_gram": gram["test"] - network,
        "better_than_best_witten_bell": _gain(grams, "witten-bell", network),
        "target": 0.10,
        "seconds": trained.seconds,
        "best_epoch": trained.result.epoch,
        "length_total_variation": 0.5 * float((observed - learned).abs().sum()),
        "samples_cut_at_40": cut,
        "made_up": made_up,
        "history": trained.result.history,
    }
    write(results, folder)
    saved = ps.save(model, Path("runs/words")) if demo else None
    print(f"\nFigures and results.json are in {folder}." + (f" The model is in {saved}: ps.load(…)." if saved else ""))
    return results


def _gain(grams: list[dict[str, Any]], smoothing: str, network: float) -> float | None:
    rows = [row for row in grams if row["smoothing"] == smoothing]
    return letters.best(rows)["test"] - network if rows else None


if __name__ == "__main__":
    main()

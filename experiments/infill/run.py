"""What stood in the gap? Letters of words, kinds of letters against enumeration, and notes of chorales."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jsonargparse
import matplotlib as mpl
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

import probseq as ps
from experiments import letters
from experiments.infill import chorales, words
from experiments.report import destination, table, write
from probseq.datasets import words as spelled
from probseq.datasets.splits import Texts

FULL = words.Scale(
    letters.Settings(size=64, dim=16, epochs=4, batch_size=128, dropout=0.1),
    letters.Settings(size=256, embedding_dropout=0.05, dropout=0.1, epochs=9, batch_size=128, learning_rate=3e-3),
    steps=1500, queries=100, repeats=10,
)  # fmt: skip
SMOKE = words.Scale(
    letters.Settings(size=16, dim=8, epochs=1),
    letters.Settings(size=16, dim=8, epochs=1),
    steps=20,
    queries=5,
    repeats=2,
)
CHORALES = chorales.Scale(size=192, epochs=12, steps=800, crop=32, pieces=40, particles=512)
SMOKE_CHORALES = chorales.Scale(size=16, epochs=1, steps=5, crop=8, pieces=3, particles=16)
SHOWN = ["c_lo_ed", "th_____ht", "pr___b_lity", "qu*ly", "_____", "un___ted"]


def draw(asker: words.Asker, text: str, data: Texts, folder: Path) -> None:
    """The fan of answers: the probability of each letter at each place."""
    found = ps.infill(asker.model, text, particles=4096, lookahead=asker.ahead, generator=0)
    share = found.marginals[0].T
    figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
    axis.imshow(share, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(text)), list(text))
    axis.set_yticks(range(len(data.alphabet)), list(data.alphabet.symbols), fontsize=7)
    axis.set_title(f"P(letter | {text})", fontsize="medium")
    figure.savefig(folder / "fan.png", dpi=80)
    plt.close(figure)


def show(results: dict[str, Any]) -> str:
    """The results as tables."""
    first = results["kinds"]
    keys = list(first["with"])
    rows = [[name, *(first[name][key] for key in keys)] for name in first]
    second = [list(row.values()) for row in results["letters"]]
    listed = "\n".join(
        f"{text}: " + ", ".join(f"{word} {p:.3f}" for word, p in found)
        for text, found in results["completions"].items()
    )
    return "\n\n".join([
        table(["look ahead", *keys], rows), table(list(results["letters"][0]), second), listed,
        "seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in results["seconds"].items()),
    ])  # fmt: skip


def main() -> None:
    """Train, ask, compare, show."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights, the gaps and the draws")
    parser.add_argument("--models", type=Path, default=Path("runs/infill"), help="where trained models are kept")
    options = parser.parse_args()
    begin = time.perf_counter()
    folder = destination(__file__, options.smoke)
    place = folder if options.smoke else options.models
    scale = SMOKE if options.smoke else FULL
    data = spelled(options.seed)
    if options.smoke:
        data = Texts(data.alphabet, data.train[:1000], data.validation[:200], data.test[:200])
    kinds = words.in_kinds(data)
    small = words.Asker.of(kinds, scale.small, scale.steps, place / "kinds")
    large = words.Asker.of(data, scale.large, scale.steps, place / "letters")
    results: dict[str, Any] = {
        "question": __doc__, "seed": options.seed, "particles": words.PARTICLES,
        "training_seconds": {"kinds": small.seconds, "letters": large.seconds},
        "seconds": words.cost(large, data, options.seed),
        "kinds": words.accuracy(small, kinds, scale, options.seed),
        "letters": words.restored(large, data, scale, options.seed),
        "completions": words.show_words(large, data, SHOWN, options.seed),
    }  # fmt: skip
    draw(large, SHOWN[1], data, folder)
    pieces = chorales.at_hand()
    if pieces is None:
        print("The chorales are left out: PROBSEQ_DATA names no folder.")
    else:
        own = SMOKE_CHORALES if options.smoke else CHORALES
        results["chorales"] = chorales.study(pieces, own, place / "chorales", folder, options.seed)
    results["total_seconds"] = round(time.perf_counter() - begin, 1)
    write(results, folder)
    print(f"{show(results)}\n\n{results.get('chorales', '')}\n\n{results['total_seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

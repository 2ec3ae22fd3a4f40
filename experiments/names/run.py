"""How probable is a name? makemore's names, in its split."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jsonargparse

from experiments import letters
from experiments.report import destination, write
from probseq.datasets import names, words
from probseq.datasets.splits import Texts

FULL = letters.Settings(
    size=512, embedding_dropout=0.2, dropout=0.5, epochs=40, batch_size=128, learning_rate=2e-3, precision="bf16-mixed"
)
SMOKE = letters.Settings(size=32, dim=16, epochs=2, batch_size=64)
TARGET = 1.935
"""Nats a character on the validation names."""

SHOWN = ["emma", "olivia", "christopher", "maximilian", "xavien", "yuheng", "zzyzx"]


def main() -> None:
    """Train, compare, show."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, on a tenth of the data")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order; the split is fixed")
    options = parser.parse_args()
    data = _smoke_data() if options.smoke else names()
    settings = letters.Settings(**{**vars(SMOKE if options.smoke else FULL), "seed": options.seed})
    folder = destination(__file__, options.smoke)
    study = letters.study(data, settings, folder, range(1, 8), ("witten-bell", "kneser-ney"), SHOWN)
    nats, gram = study.results["nats"], study.gram
    rows = [
        (f"{gram['order']}-gram, {gram['smoothing']}", gram["validation"]),
        ("MLP (makemore)", 2.105),
        ("WaveNet-like (makemore)", 1.9937),
        (f"network, {study.trained.parameters:,} weights", nats["validation"]),
    ]
    print(f"\nTrained in {study.trained.seconds:.0f} s.\n\n{letters.comparison(rows)}\n")
    print(f"On the test names: {nats['test']:.4f}.\n\n{letters.scored(study.trained.model, data, SHOWN)}\n")
    print("Names it made up: " + ", ".join(study.made_up))
    write({"question": __doc__, "target": TARGET, "met": nats["validation"] <= TARGET, **study.results}, folder)
    print(f"\nFigures and results.json are in {folder}.")


def _smoke_data() -> Texts:
    """Words, which are embedded, in the place of names, which may be absent."""
    data = words()
    plain = [[w for w in part if "'" not in w] for part in (data.train, data.validation, data.test)]
    return Texts(data.alphabet, plain[0][:4000], plain[1][:500], plain[2][:500])


if __name__ == "__main__":
    main()

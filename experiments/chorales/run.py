"""How probable is the next chord: what is it worth to know the notes that sound already within it?"""

from __future__ import annotations

import json
import os
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
from probseq.datasets import Rolls, jsb_chorales, nottingham, write_midi

KEYS = 88
HEADS = ("Bernoulli", "NADE")
READERS = {"JSB": jsb_chorales, "Nottingham": nottingham}
BEAT = {"JSB": 1, "Nottingham": 2}
"""Frames in a beat, where it is to be heard."""

PUBLISHED = {
    "JSB": {"Bernoulli": 8.10, "NADE": 5.19},
    "Nottingham": {"Bernoulli": 3.07, "NADE": 2.31},
}
"""Test nats per frame: the TCN of Bai et al., 2018, and the RNN-NADE of Boulanger-Lewandowski et al., 2012."""

SAMPLE_SEED, SAMPLES, SHOWN = 1, 20, 96


@dataclass(frozen=True)
class Settings:
    """One model and how it is trained.

    Args:
        size: units of the LSTM.
        before, after: the shares of its inputs and features that are dropped.
        hidden: units of the NADE.
        batch_size: pieces in a batch.
        pieces: of each part, or None for all.
    """

    size: int
    before: float
    after: float
    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float
    average: float
    pieces: int | None = None


FULL: dict[str, Settings] = {
    "JSB": Settings(300, 0.2, 0.5, 200, epochs=30, batch_size=4, learning_rate=6e-3, average=0.99),
    "Nottingham": Settings(200, 0.1, 0.2, 100, epochs=20, batch_size=4, learning_rate=6e-3, average=0.995),
}
SMOKE = Settings(16, 0.1, 0.3, 8, epochs=1, batch_size=8, learning_rate=6e-3, average=0.9, pieces=3)


def load(name: str, smoke: bool) -> Rolls | None:
    """The pieces, or None where they are not at hand; a smoke run downloads nothing."""
    if smoke and "PROBSEQ_DATA" not in os.environ:
        return None
    try:
        return READERS[name]()
    except (OSError, ModuleNotFoundError) as error:
        print(error)
        return None


def train(data: Rolls, head: str, settings: Settings, seed: int) -> tuple[ps.SequenceModel, dict[str, Any]]:
    """A model at its best epoch on the validation pieces, and how it came there."""
    torch.manual_seed(seed)
    model = ps.SequenceModel(
        ps.Bits(KEYS),
        ps.SharedDropout(ps.LSTM(settings.size), settings.before, settings.after),
        ps.NADE(settings.hidden) if head == "NADE" else ps.Bernoulli(),
        ps.BernoulliStop(),
    )
    # From log-odds of 0 it takes a thousand steps to learn that most keys are silent.
    often = torch.cat(list(data.train)).double().mean(0).clamp(min=1e-4)
    with torch.no_grad():
        model.likelihood.project.bias[-KEYS:] = often.logit()
    begin = time.process_time()
    fitted = ps.fit(
        model, data.train, data.validation, max_epochs=settings.epochs, seed=seed,
        batch_tokens=None, batch_size=settings.batch_size, learning_rate=settings.learning_rate, schedule="cosine",
        average=settings.average, progress=False,
    )  # fmt: skip
    seconds = round(time.process_time() - begin, 1)
    return model, {
        "parameters": sum(each.numel() for each in model.parameters()), "epoch": fitted.epoch,
        "history": fitted.history, "processor_seconds": seconds,
    }  # fmt: skip


@torch.no_grad()
def nats(model: ps.SequenceModel, y: ps.Sequences) -> tuple[list[Tensor], Tensor]:
    """Of each piece, the nats of its frames (t,), and those of all decisions to go on or to end."""
    frames, ends = [], []
    for index in torch.arange(len(y)).split(8):
        part = y.select(index)
        found = ps.score(model, part)
        frames += [-row[:n].double() for row, n in zip(found.element, part.lengths.tolist(), strict=True)]
        ends.append(-found.stop.double().sum(-1))
    return frames, torch.cat(ends)


def mean(sums: Tensor, frames: Tensor) -> dict[str, float]:
    """Σ sums / Σ frames, and its standard error over pieces."""
    ratio = sums.sum() / frames.sum()
    return {"nats": float(ratio), "error": float((sums - ratio * frames).square().sum().sqrt() / frames.sum())}


def counted(model: ps.SequenceModel, y: ps.Sequences) -> dict[str, Any]:
    """Nats per frame, pooled over the pieces: without the first frame of each, as the TCN's authors count; of all
    frames; and of all frames and the ends, the whole −log P(y)."""
    frames, ends = nats(model, y)
    total, lengths = torch.stack([row.sum() for row in frames]), y.lengths.double()
    first = torch.stack([row[0] for row in frames])
    return {
        "without the first": mean(total - first, lengths - 1),
        "all frames": mean(total, lengths),
        "with the end": mean(total + ends, lengths),
    }


def baselines(data: Rolls) -> dict[str, float]:
    """Nats per frame, without the first of each piece, of each key by itself, and given whether it sounded before."""
    found = {}
    after, before = (torch.cat([piece[at] for piece in data.train]) for at in (slice(1, None), slice(None, -1)))
    later, earlier = (torch.cat([piece[at] for piece in data.test]) for at in (slice(1, None), slice(None, -1)))
    for name, given, told in (
        ("each key's frequency", torch.zeros_like(before), torch.zeros_like(earlier)),
        ("given the key's last frame", before, earlier),
    ):
        p = torch.stack([((after & (given == v)).sum(0) + 0.5) / ((given == v).sum(0) + 1) for v in (False, True)])
        chosen = torch.where(told, p[1], p[0]).double()
        found[name] = -float(torch.where(later, chosen, 1 - chosen).log().sum() / len(later))
    return found


def chords(y: ps.Sequences, known: set[tuple[int, ...]]) -> dict[str, float]:
    """Notes in a frame, and the share of frames whose pitch classes sound together somewhere in the training data."""
    frames = torch.cat(list(y)).bool()
    count = frames.sum(-1).double()
    among = sum(classes(frame) in known for frame in frames) / len(frames)
    return {"notes": float(count.mean()), "deviation": float(count.std()), "known": among}


def classes(frame: Tensor) -> tuple[int, ...]:
    return tuple(sorted({int(key) % 12 for key in frame.nonzero()}))


def study(name: str, data: Rolls, settings: Settings, seed: int) -> tuple[dict[str, Any], list[Tensor]]:
    """Both heads on one data set: the results, and a test piece and a drawn one of each head to look at."""
    data = Rolls(*(part.select(list(range(len(part)))[: settings.pieces]) for part in data))
    known = {classes(frame) for piece in data.train for frame in piece}
    results: dict[str, Any] = {
        "settings": vars(settings), "published": PUBLISHED[name], "baselines": baselines(data),
        "test_frames": int(data.test.lengths.sum()), "heads": {}, "chords": {"test": chords(data.test, known)},
    }  # fmt: skip
    shown = [data.test[int(data.test.lengths.argsort()[len(data.test) // 2])]]
    for head in HEADS:
        model, row = train(data, head, settings, seed)
        print(f"{name}, {head}: {row}", flush=True)
        row |= {"validation": counted(model, data.validation), "test": counted(model, data.test)}
        drawn = model.sample(SAMPLES, max_length=SHOWN, generator=SAMPLE_SEED)
        results["heads"][head], results["chords"][head] = row, chords(drawn, known)
        shown.append(max(drawn, key=len))
    return results, shown


def show(name: str, results: dict[str, Any]) -> str:
    """The results of one data set as a table."""
    rows: list[list[Any]] = [
        ["counted: " + what, "", each, "", "", "", ""] for what, each in results["baselines"].items()
    ]
    for head, row in results["heads"].items():
        test = row["test"]
        rows.append([
            head, row["parameters"], test["without the first"]["nats"], test["without the first"]["error"],
            test["all frames"]["nats"], test["with the end"]["nats"], results["published"][head],
        ])  # fmt: skip
    head = [f"{name}, test", "parameters", "without the first", "±", "all frames", "with the end", "published"]
    return table(head, rows)


def draw(name: str, shown: list[Tensor], folder: Path) -> None:
    """A test piece, and pieces drawn from each head."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), sharey=True, layout="constrained")
    for axis, roll, title in zip(axes, shown, ("a test piece", *(f"drawn: {head}" for head in HEADS)), strict=True):
        axis.imshow(roll[:SHOWN].T, cmap="Greys", origin="lower", aspect="auto", interpolation="nearest")
        axis.set(title=f"{name}, {title}", xlabel="frames", ylim=(10, 78))
    axes[0].set_ylabel("key")
    figure.savefig(folder / f"{name.lower()}.png", dpi=90)
    plt.close(figure)


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order")
    parser.add_argument("--data", choices=list(READERS), help="one data set alone; the other's results stay")
    parser.add_argument("--midi", type=str, default=None, help="a folder for what was drawn, as MIDI files")
    options = parser.parse_args()
    # So small a network gains nothing from a second thread, and loses much where cores are shared.
    torch.set_num_threads(1)
    folder = destination(__file__, options.smoke)
    kept = folder / "results.json"
    results: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    for name in READERS if options.data is None else [options.data]:
        data = load(name, options.smoke)
        if data is None:
            print("chorales needs the rolls in PROBSEQ_DATA/polymusic, or a download: nothing was done.")
            return
        found, shown = study(name, data, SMOKE if options.smoke else FULL[name], options.seed)
        draw(name, shown, folder)
        results |= {"question": __doc__, "seed": options.seed, name: found}
        write(results, folder)
        print(f"\n{show(name, found)}\n")
        for roll, head in zip(shown[1:], HEADS, strict=True):
            if options.midi is not None:
                Path(options.midi).mkdir(parents=True, exist_ok=True)
                write_midi(roll, Path(options.midi) / f"{name.lower()}-{head.lower()}.mid", BEAT[name])
    print(f"in {folder}")


if __name__ == "__main__":
    main()

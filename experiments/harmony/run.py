"""How probable are alto, tenor and bass given the soprano: what do a look ahead, and feedback, tell of Bach?"""

from __future__ import annotations

import itertools
import os
import random
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
from experiments import tagging
from experiments.report import destination, table, write
from probseq.datasets import Chorales, chorales

BAR = 16
"""Frames, sixteenth notes, that the clock tells apart."""

LOWER = 3
"""Voices to be found: alto, tenor and bass, in this order within a frame."""

NAMES = ("soprano", "alto", "tenor", "bass")

SAMPLE_SEED = 1


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Args:
        crop: frames of a training sequence; whole pieces are scored.
        copies: how often each piece is in the training data, in another transposition each time.
        pieces: of each part, or None for all.
    """

    settings: tagging.Settings
    crop: int = 64
    copies: int = 5
    pieces: int | None = None


FULL = Scale(tagging.Settings(budget=250_000, epochs=3, dim=32, dropout=0.2, batch_size=16, learning_rate=5e-3))
SMOKE = Scale(tagging.Settings(budget=20_000, epochs=1, dim=16, batch_size=8), copies=1, pieces=4)


def load(smoke: bool) -> Chorales | None:
    """The chorales, or None where they are not at hand; a smoke run downloads nothing."""
    if smoke and "PROBSEQ_DATA" not in os.environ:
        return None
    try:
        return chorales()
    except (OSError, ModuleNotFoundError) as error:
        print(error)
        return None


@dataclass(frozen=True)
class Reader:
    """Frames of four pitches as sequences: y, three tokens a frame, and x, the soprano and a clock beside each of them.

    The three voices share their tokens: 0 is a rest, then come the semitones from the lowest pitch to the highest.
    The clock says which voice is next, and where in 16 sixteenths its frame stands.
    """

    data: Chorales

    @property
    def lowest(self) -> int:
        return min(self.data.lowest[1:])

    @property
    def symbols(self) -> int:
        return max(self.data.highest[1:]) - self.lowest + 2

    def read(self, pieces: list[Tensor], starts: list[int] | None = None) -> tuple[ps.Sequences, tuple[Any, ...]]:
        """(y, x) of pieces (t, 4), which begin at frame `starts` of their chorale."""
        starts = [0] * len(pieces) if starts is None else starts
        y = [self.tokens(piece[:, 1:], self.lowest).flatten() for piece in pieces]
        soprano = [self.tokens(piece[:, 0], self.data.lowest[0]).repeat_interleave(LOWER) for piece in pieces]
        clock = [
            torch.arange(LOWER * start, LOWER * (start + len(piece))) % (LOWER * BAR)
            for piece, start in zip(pieces, starts, strict=True)
        ]
        return ps.Sequences.of(y), (ps.Sequences.of(soprano), ps.Sequences.of(clock))

    @staticmethod
    def tokens(pitches: Tensor, lowest: int) -> Tensor:
        return torch.where(pitches > 0, pitches - lowest + 1, 0)

    def pitches(self, tokens: Tensor) -> Tensor:
        """The inverse for the lower voices, (3t,) → (t, 3)."""
        return torch.where(tokens > 0, tokens + self.lowest - 1, 0).reshape(-1, LOWER)

    def contexts(self, settings: tagging.Settings) -> tagging.Contexts:
        """The soprano goes through the encoder; the clock is known, and enters as it is."""
        soprano = ps.Tokens(self.data.sizes[0], settings.dim, dropout=settings.embedding_dropout)
        clock = ps.Tokens(LOWER * BAR, settings.dim // 2)
        return lambda encoder: (ps.Aligned(soprano, encoder), ps.Aligned(clock))


def shifts(piece: Tensor, data: Chorales) -> list[int]:
    """The transpositions, in semitones, that leave every voice within its range in the training part."""
    found = []
    for shift in range(-6, 7):
        moved = torch.where(piece > 0, piece + shift, 0)
        inside = (moved == 0) | ((moved >= torch.tensor(data.lowest)) & (moved <= torch.tensor(data.highest)))
        if bool(inside.all()):
            found.append(shift)
    return found


def crops(data: Chorales, scale: Scale, seed: int) -> tuple[list[Tensor], list[int]]:
    """The training pieces in several transpositions, each cut at other places; and the frame where each crop begins."""
    draw = random.Random(seed)
    cut, starts = [], []
    for piece in list(data.train)[: scale.pieces]:
        possible = shifts(piece, data)
        chosen = draw.sample(possible, min(scale.copies, len(possible)))
        for shift in chosen:
            moved = torch.where(piece > 0, piece + shift, 0)
            first = draw.randint(scale.crop // 2, scale.crop)
            for begin, end in spans(len(piece), first, scale.crop):
                cut.append(moved[begin:end])
                starts.append(begin)
    return cut, starts


def spans(length: int, first: int, crop: int) -> list[tuple[int, int]]:
    """[0, first), then `crop` frames at a time."""
    places = [0, *range(first, length, crop), length]
    return list(itertools.pairwise(places))


def baselines(data: Chorales, part: list[Tensor], pieces: list[Tensor]) -> dict[str, float]:
    """Nats per frame of counted tables, each voice by itself, ½ added to each count."""
    found = {}
    for name, given in (
        ("each voice's pitches", lambda piece, v: torch.zeros(len(piece), dtype=torch.int64)),
        ("given the soprano's pitch", lambda piece, v: piece[:, 0]),
        ("given the voice's last pitch", lambda piece, v: torch.cat([torch.tensor([-1]), piece[:-1, v]])),
    ):
        nats = 0.0
        for v in range(1, 1 + LOWER):
            counts = torch.full((128 + 1, data.sizes[v]), 0.5, dtype=torch.float64)
            for piece in part:
                place = given(piece, v) + 1, Reader.tokens(piece[:, v], data.lowest[v])
                counts.index_put_(place, torch.ones((), dtype=torch.float64), accumulate=True)
            law = (counts / counts.sum(-1, keepdim=True)).log()
            nats -= sum(
                float(law[given(piece, v) + 1, Reader.tokens(piece[:, v], data.lowest[v])].sum()) for piece in pieces
            )
        found[name] = nats / sum(map(len, pieces))
    return found


def study(data: Chorales, scale: Scale, seed: int) -> tuple[dict[str, Any], list[tagging.Trained], list[Tensor]]:
    """Train the four models, and score the held-out pieces whole: the results, the models, nats by frame."""
    reader, settings = Reader(data), scale.settings
    training = reader.read(*crops(data, scale, seed))
    validation, test = (list(part)[: scale.pieces] for part in (data.validation, data.test))
    pair = training, reader.read(validation)
    trained = [
        tagging.train(cell, reader.symbols, reader.contexts(settings), pair, settings, seed) for cell in tagging.CELLS
    ]
    y, x = reader.read(test)
    found = [tagging.surprise(each.model, y, x, rows=8).double() for each in trained]
    frames = y.lengths.double() / LOWER
    results: dict[str, Any] = tagging.compare(trained, torch.stack([nats.sum(-1) for nats in found]), frames, seed)
    by_voice = [(nats.reshape(len(y), -1, LOWER).sum((0, 1)) / frames.sum()).tolist() for nats in found]
    voices = {
        each.cell.name: dict(zip(NAMES[1:], row, strict=True)) for each, row in zip(trained, by_voice, strict=True)
    }
    results |= {
        "nats_by_voice": voices, "baselines": baselines(data, list(data.train)[: scale.pieces], test),
        "training_frames": int(training[0].lengths.sum()) // LOWER, "test_frames": int(frames.sum()),
    }  # fmt: skip
    return results, trained, [nats.reshape(len(y), -1, LOWER).sum(-1) for nats in found]


def show(results: dict[str, Any]) -> str:
    """The results as tables."""
    rows: list[list[Any]] = [[f"counted: {name}", "", nats, ""] for name, nats in results["baselines"].items()]
    rows += [[name, row["parameters"], row["nats"], row["error"]] for name, row in results["cells"].items()]
    gains = [[name, row["lower_by"], row["error"]] for name, row in results["gains"].items()]
    cells = table(["test pieces", "parameters", "nats/frame", "±"], rows)
    return f"{cells}\n\n{table(['what is added', 'lower by', '±'], gains)}"


def draw(data: Chorales, trained: list[tagging.Trained], nats: list[Tensor], shown: int, folder: Path) -> None:
    """A test chorale: Bach's voices, voices drawn under the same soprano, and how surprising Bach is by frame."""
    reader = Reader(data)
    pieces = list(data.test)[: len(nats[0])]
    best = next(i for i, each in enumerate(trained) if each.cell == tagging.Cell(True, True))
    # Neither an easy piece nor a hard one.
    means = torch.stack([row[: len(piece)].mean() for row, piece in zip(nats[best], pieces, strict=True)])
    index = int(means.argsort()[len(means) // 2])
    piece = pieces[index]
    y = trained[best].model.sample(1, reader.read([piece])[1], generator=SAMPLE_SEED)
    drawn = torch.cat([piece[:, :1], reader.pitches(y[0])], 1)
    shown = min(shown, len(piece))
    figure, axes = plt.subplots(3, 1, figsize=(11, 8), sharex=True, layout="constrained", height_ratios=(3, 3, 2))
    for axis, frames, title in (
        (axes[0], piece, f"Bach (test piece {index})"),
        (axes[1], drawn, "The same soprano; alto, tenor and bass drawn from the bidirectional model with feedback"),
    ):
        for v, name in enumerate(NAMES):
            pitch = frames[:shown, v].double()
            pitch[pitch == 0] = torch.nan
            axis.hlines(pitch, torch.arange(shown), torch.arange(shown) + 1, color=f"C{v}", lw=4, label=name)
        axis.set(ylabel="MIDI pitch", ylim=(35, 82))
        axis.set_title(title, fontsize="medium")
    # Beside the title, where no voice is.
    beside: dict[str, Any] = {"frameon": False, "fontsize": "small", "loc": "lower right", "bbox_to_anchor": (1, 0.98)}
    axes[0].legend(ncols=4, **beside)
    for each, found in zip(trained, nats, strict=True):
        if each.cell.feedback:
            axes[2].step(torch.arange(shown), found[index, :shown], where="post", lw=1, label=each.cell.name)
    axes[2].set(ylabel="nats per frame", xlabel="sixteenth notes", xlim=(0, shown))
    axes[2].set_title("Surprise at Bach's three lower voices", fontsize="medium")
    axes[2].legend(ncols=2, **beside)
    for axis in axes:
        axis.set_xticks(range(0, shown + 1, BAR))
        axis.grid(alpha=0.3)
    figure.savefig(folder / "chorale.png", dpi=90)
    plt.close(figure)


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--seed", type=int, default=0, help="of the crops, the weights and the order")
    options = parser.parse_args()
    # So small a network gains nothing from a second thread, and loses much where cores are shared.
    torch.set_num_threads(1)
    begin = time.perf_counter()
    data = load(options.smoke)
    if data is None:
        print("harmony needs the chorales in PROBSEQ_DATA/jsb_satb, or a download: nothing was done.")
        return
    scale = SMOKE if options.smoke else FULL
    results, trained, nats = study(data, scale, options.seed)
    folder = destination(__file__, options.smoke)
    draw(data, trained, nats, 8 * BAR, folder)
    met = all(results["gains"][name]["lower_by"] > 0 for name in ("feedback, causal", "feedback, bidirectional"))
    content = {
        "question": __doc__, "seed": options.seed, "scale": {**vars(scale), "settings": vars(scale.settings)},
        "feedback_lowers": met, **results, "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder)
    print(f"\n{show(results)}\n\nfeedback lowers nats: {met}, {content['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

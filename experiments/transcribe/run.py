"""Who speaks, one after the other: what does attention give over one fixed vector C for the whole recording?"""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
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
from experiments.transduction import Judged, error_rates, interval, judge
from probseq.datasets import Pairs, Utterances, vowels
from probseq.datasets.vowels import FOLDER

SPEAKERS = 9
FEWEST, MOST = 2, 6
BUCKETS = (0, 40, 55, 70, 85, 1000)
"""Frames of a recording: those at or above one number and below the next."""


@dataclass(frozen=True)
class Settings:
    """How many recordings there are of each part, and how the models are made and trained.

    Args:
        epochs, dropout: with the fixed vector, and with attention.
        size: of the encoder's LSTM in each direction; the decoder's has twice that.
        local: the width D of the local attention, in frames.
    """

    train: int
    validation: int
    test: int
    epochs: tuple[int, int]
    seeds: int
    dropout: tuple[float, float] = (0.3, 0.5)
    size: int = 48
    local: float = 16.0
    batch_size: int = 32
    learning_rate: float = 3e-3


FULL = Settings(train=4000, validation=500, test=1000, epochs=(15, 8), seeds=3)
SMOKE = Settings(train=64, validation=32, test=32, epochs=(1, 1), seeds=1, size=8)

WAYS = {"fixed": "fixed C", "attention": "attention", "local": "local attention"}


@dataclass(frozen=True)
class Recordings:
    """Pairs (y, x) of speakers and frames, and where in x each speaker begins in the test part."""

    train: Pairs
    validation: Pairs
    test: Pairs
    begins: list[list[int]]


def load(settings: Settings, seed: int) -> Recordings:
    """Utterances one after the other; no utterance is in two parts, and the test's are of the published test part.

    A fifth of the published training utterances of each speaker validate; the numbers are standardised by the rest.
    """
    generator = torch.Generator().manual_seed(seed)
    data = vowels() if given() else made_up(generator)
    order = torch.randperm(len(data.train), generator=generator)
    own = [order[data.train_speakers[order] == k] for k in range(SPEAKERS)]
    held, kept = (torch.cat([rows[part] for rows in own]) for part in (slice(0, 6), slice(6, None)))
    frames = data.train.select(kept)
    known = frames.values[frames.mask()]
    mean, scale = known.mean(0), known.std(0)
    parts = [
        join([(data.train[int(i)] - mean) / scale for i in rows], data.train_speakers[rows], count, generator)
        for rows, count in ((kept, settings.train), (held, settings.validation))
    ]
    test, begins = join([(each - mean) / scale for each in data.test], data.test_speakers, settings.test, generator)
    return Recordings(parts[0][0], parts[1][0], test, begins)


def given() -> bool:
    """Whether the vowels are at hand."""
    folder = os.environ.get("PROBSEQ_DATA")
    return folder is not None and (Path(folder) / FOLDER).is_dir()


def made_up(generator: torch.Generator) -> Utterances:
    """Noise around one mean for each speaker, in place of the vowels."""
    means = torch.randn(SPEAKERS, 12, generator=generator)

    def draw(count: int) -> tuple[ps.Sequences, Tensor]:
        speakers = torch.arange(count) % SPEAKERS
        lengths = torch.randint(7, 30, (count,), generator=generator).tolist()
        rows = [means[k] + torch.randn(n, 12, generator=generator) for k, n in zip(speakers, lengths, strict=True)]
        return ps.Sequences.of(rows), speakers

    (train, train_speakers), (test, test_speakers) = draw(270), draw(370)
    return Utterances(train, test, train_speakers, test_speakers)


def join(
    utterances: list[Tensor], speakers: Tensor, count: int, generator: torch.Generator
) -> tuple[Pairs, list[list[int]]]:
    """Recordings of 2 to 6 utterances: the number, each speaker and the utterance of that speaker drawn evenly."""
    own = [(speakers == k).nonzero().flatten() for k in range(SPEAKERS)]
    y, x, begins = [], [], []
    for size in torch.randint(FEWEST, MOST + 1, (count,), generator=generator).tolist():
        who = torch.randint(SPEAKERS, (size,), generator=generator).tolist()
        chosen = [int(own[k][torch.randint(len(own[k]), (), generator=generator)]) for k in who]
        pieces = [utterances[i] for i in chosen]
        y.append(who)
        x.append(torch.cat(pieces))
        begins.append([sum(map(len, pieces[:i])) for i in range(size)])
    return Pairs(ps.Sequences.of(y), ps.Sequences.of(x)), begins


def without_a_source() -> float:
    """Nats of y where x is not known, exactly: an even law of the number, and of each speaker."""
    return math.log(MOST - FEWEST + 1) + (FEWEST + MOST) / 2 * math.log(SPEAKERS)


def fit(way: str, data: Recordings, settings: Settings, seed: int) -> tuple[ps.SequenceModel, Any]:
    """A bidirectional encoder of the frames and a decoder of the speakers, trained by maximum likelihood."""
    attends = way != "fixed"
    drop, epochs = settings.dropout[attends], settings.epochs[attends]
    encoder = ps.Bidirectional(ps.LSTM(settings.size, dropout=drop))
    decoder: Any = ps.LSTM(2 * settings.size, dropout=drop)
    if attends:
        decoder = ps.Attentive(decoder, score="general", local=settings.local if way == "local" else None)
    source = ps.Source(ps.Reals(12), encoder, enters="state" if attends else "both")
    torch.manual_seed(seed)
    model = ps.SequenceModel(ps.Tokens(SPEAKERS, dim=16), decoder, ps.Categorical(), ps.EndSymbol(), source)
    outcome = ps.fit(
        model, data.train, data.validation, max_epochs=epochs, batch_tokens=None, batch_size=settings.batch_size,
        learning_rate=settings.learning_rate, schedule="cosine", warmup_steps=50, seed=seed, accelerator="cpu",
        progress=False,
    )  # fmt: skip
    return model, outcome


@torch.no_grad()
def examine(model: ps.SequenceModel, part: Pairs) -> tuple[Tensor, Judged]:
    """−log P(y | x) of each recording, and the answers of a beam of 5 beside the truth."""
    nats, answers = [], []
    for rows in torch.arange(len(part.y)).split(100):
        x = part.x.select(rows)  # type: ignore[union-attr]
        nats.append(-model.log_prob(part.y.select(rows), x))
        answers += [row.tolist() for row in ps.beam(model, x, width=5, max_length=3 * MOST).best()]
    return torch.cat(nats).double(), judge(answers, [[row.tolist()] for row in part.y])


def measure(lengths: Tensor, nats: Tensor, judged: Judged) -> list[dict[str, Any]]:
    """The figures of all recordings, then of those of each bucket of source lengths, with intervals."""
    found = []
    for low, high in [(0, BUCKETS[-1]), *itertools.pairwise(BUCKETS)]:
        own = (lengths >= low) & (lengths < high)
        if own.any():
            some = Judged(judged.right[own], judged.edits[own], judged.length[own])
            rates = error_rates(some)
            row = {"from": low, "below": high, "count": int(own.sum()), "nats": interval(nats[own], own[own].double())}
            found.append(row | {"wrong": rates["sequence"], "speaker_errors": rates["symbol"]})
    return found


def study(settings: Settings) -> tuple[dict[str, Any], dict[str, ps.SequenceModel], Recordings]:
    """Every way with every seed, the figures pooled over seeds; the models and recordings of the first seed."""
    seen: dict[str, list[Any]] = {way: [] for way in WAYS}
    runs: dict[str, list[Any]] = {way: [] for way in WAYS}
    first: dict[str, ps.SequenceModel] = {}
    every = [load(settings, seed) for seed in range(settings.seeds)]
    for seed, data in enumerate(every):
        for way in WAYS:
            begin = time.process_time()
            model, outcome = fit(way, data, settings, seed)
            seconds = time.process_time() - begin
            nats, judged = examine(model, data.test)
            seen[way].append((nats, judged))
            first.setdefault(way, model)
            run = {
                "seed": seed, "nats": float(nats.mean()), "wrong": 1 - float(judged.right.double().mean()),
                "speaker_errors": float(judged.edits.sum() / judged.length.sum()), "best_epoch": outcome.epoch,
                "validation_nats_per_decision": outcome.nats, "fit_seconds": round(seconds),
            }  # fmt: skip
            runs[way].append(run)
            print(
                f"seed {seed}, {WAYS[way]}: {run['nats']:.3f} nats, {run['wrong']:.3f} wrong, {seconds:.0f} s",
                flush=True,
            )
    lengths = torch.cat([data.test.x.lengths for data in every])  # type: ignore[union-attr]
    models = {}
    for way in WAYS:
        nats, judged = zip(*seen[way], strict=True)
        pooled = Judged(*(torch.cat([getattr(one, name) for one in judged]) for name in ("right", "edits", "length")))
        weights = sum(parameter.numel() for parameter in first[way].parameters())
        models[way] = {"weights": weights, "runs": runs[way], "buckets": measure(lengths, torch.cat(nats), pooled)}
    return {"without_a_source": without_a_source(), "models": models}, first, every[0]


def span(row: dict[str, Any]) -> str:
    """The frames of a bucket, in words."""
    if row["below"] < BUCKETS[-1]:
        return f"{row['from']}–{row['below'] - 1}" if row["from"] else f"below {row['below']}"
    return f"{row['from']} or more" if row["from"] else "all"


def show(results: dict[str, Any]) -> str:
    """The results as a table."""
    rows: list[list[Any]] = [["no source, exactly", "all", "", results["without_a_source"], "", "", "", "", ""]]
    for way, found in results["models"].items():
        for row in found["buckets"]:
            cells = [row[name] for name in ("nats", "wrong", "speaker_errors")]
            each = [[cell["value"], (cell["high"] - cell["low"]) / 2] for cell in cells]
            rows.append([WAYS[way], span(row), row["count"], *itertools.chain(*each)])
    return table(["", "frames", "recordings", "nats", "±", "wrong", "±", "speaker errors", "±"], rows)


@torch.no_grad()
def draw(models: dict[str, ps.SequenceModel], data: Recordings, folder: Path) -> None:
    """Where both kinds of attention look for each speaker and for the end, in one recording of 5 utterances."""
    i = data.test.y.lengths.tolist().index(5)
    y, x = data.test.y.select([i]), data.test.x.select([i])  # type: ignore[union-attr]
    names = [f"speaker {k + 1}" for k in y.values[0, :5].tolist()] + ["end"]
    figure, axes = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True, layout="constrained")
    for axis, way in zip(axes, ("attention", "local"), strict=True):
        axis.imshow(models[way].alignments(y, x)[0], aspect="auto", cmap="Blues", vmin=0, interpolation="nearest")
        axis.set_yticks(range(6), names)
        axis.set_title(WAYS[way], fontsize="medium")
        for place in data.begins[i][1:]:
            axis.axvline(place - 0.5, color="black", lw=0.6, ls=":")
    axes[1].set_xlabel("frame (dotted: where another utterance begins)")
    figure.savefig(folder / "alignments.png", dpi=100)
    plt.close(figure)


def draw_buckets(results: dict[str, Any], folder: Path) -> None:
    """The share of wrong speakers by the length of the recording, with 95 % intervals."""
    figure, axis = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for way, found in results["models"].items():
        rows = found["buckets"][1:]
        rates = [row["speaker_errors"] for row in rows]
        values = torch.tensor([rate["value"] for rate in rates])
        spans = torch.tensor([[rate["value"] - rate["low"], rate["high"] - rate["value"]] for rate in rates]).T
        axis.errorbar(range(len(rows)), values, spans.clamp(min=0), fmt="o-", ms=4, capsize=2, label=WAYS[way])
        axis.set_xticks(range(len(rows)), [span(row) for row in rows])
    axis.set(xlabel="frames of the recording", ylabel="speaker error rate", ylim=(0, None))
    axis.legend(frameon=False)
    figure.savefig(folder / "lengths.png", dpi=100)
    plt.close(figure)


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    arguments = parser.parse_args()
    if not (arguments.smoke or given()):
        print(f"Skipped: PROBSEQ_DATA names no folder with {FOLDER}. Without it only --smoke runs, on made-up noise.")
        return
    torch.set_num_threads(1)
    begin = time.process_time()
    settings = SMOKE if arguments.smoke else FULL
    results, models, data = study(settings)
    folder = destination(__file__, arguments.smoke)
    draw(models, data, folder)
    draw_buckets(results, folder)
    content = {
        "question": __doc__, "seeds": list(range(settings.seeds)), "settings": asdict(settings), **results,
        "processor_seconds": round(time.process_time() - begin),
    }  # fmt: skip
    write(content, folder)
    print(f"\n{show(results)}\n\n{content['processor_seconds']} s of processor time, in {folder}")


if __name__ == "__main__":
    main()

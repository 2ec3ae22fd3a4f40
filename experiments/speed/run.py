"""Does probseq cost anything over the code that a torch user writes by hand?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments import report
from experiments.speed import by_hand
from probseq import datasets

EMBEDDING = 64
LEARNING_RATE = 2e-3
BATCH_SIZE = 64
MAX_LENGTH = 30
NO_GPU = "not measured: no GPU"


@dataclass(frozen=True)
class Scale:
    """How much is measured; a shape is (sequences, elements, hidden units, greatest ratio)."""

    shapes: tuple[tuple[int, int, int, float], ...]
    hidden: int
    rounds: int
    epochs: int
    trainings: int
    samples: int
    samplings: int
    imports: int


FULL = Scale(((32, 128, 256, 1.05), (32, 16, 256, 1.15)), 256, 30, 3, 4, 10_000, 7, 5)
SMOKE = Scale(((4, 8, 16, 1.05), (4, 2, 16, 1.15)), 16, 3, 2, 2, 200, 2, 1)


@dataclass(frozen=True)
class Row:
    """A measure with its target; seconds are those of one call, and all figures are medians over rounds."""

    measure: str
    device: str
    unit: str
    value: float
    least: float
    greatest: float
    target: str
    met: bool
    seconds_probseq: float
    seconds_by_hand: float | None = None

    @staticmethod
    def costs(measure: str, device: str, ours: list[float], theirs: list[float], at_most: float) -> Row:
        """Time of probseq over time by hand."""
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        met, unit = median(ratios) <= at_most, "probseq / by hand"
        shown = (median(ratios), min(ratios), max(ratios))
        return Row(measure, device, unit, *shown, f"≤ {at_most}", met, median(ours), median(theirs))

    @staticmethod
    def gains(measure: str, device: str, ours: list[float], theirs: list[float], at_least: float) -> Row:
        """Time by hand over time of probseq."""
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        met, unit = median(ratios) >= at_least, "by hand / probseq"
        shown = (median(ratios), min(ratios), max(ratios))
        return Row(measure, device, unit, *shown, f"≥ {at_least}", met, median(ours), median(theirs))


def clock(action: Callable[[], Any], device: str, calls: int = 1) -> float:
    """Seconds of one call, the device's work included."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(calls):
        action()
    wait()
    return (time.perf_counter() - begin) / calls


def alternate(
    ours: Callable[[], Any], theirs: Callable[[], Any], device: str, rounds: int, calls: int = 1
) -> tuple[list[float], list[float]]:
    """Seconds of a call of each, in turn, after one round that does not count."""
    pairs = [(clock(theirs, device, calls), clock(ours, device, calls)) for _ in range(rounds + 1)][1:]
    return [pair[1] for pair in pairs], [pair[0] for pair in pairs]


def new_model(symbols: int, hidden: int) -> ps.SequenceModel:
    """A language model of letters."""
    return ps.SequenceModel(ps.Tokens(symbols, EMBEDDING), ps.LSTM(hidden), ps.Categorical(), ps.EndSymbol())


def same_by_hand(model: ps.SequenceModel) -> by_hand.CharLSTM:
    """The hand-written model with the weights of `model`."""
    copy = by_hand.CharLSTM(model.element.size, EMBEDDING, model.recurrence.size).to(model.first.device)
    with torch.no_grad():
        copy.embedding.weight.copy_(torch.cat([model.element.embedding.weight, model.first.unsqueeze(0)]))
    copy.lstm.load_state_dict(model.recurrence.network.state_dict())
    copy.project.load_state_dict(model.likelihood.project.state_dict())
    return copy


def score_ours(model: ps.SequenceModel, y: ps.Sequences) -> torch.Tensor:
    """Σ log P(y), and its gradient."""
    model.zero_grad()
    total = model.log_prob(y).sum()
    total.backward()
    return total


def score_by_hand(model: by_hand.CharLSTM, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """−Σ log P(y), and its gradient."""
    model.zero_grad()
    total = by_hand.cross_entropy(model, inputs, targets, "sum")
    total.backward()
    return total


def scoring(shape: tuple[int, int, int, float], ragged: bool, device: str, rounds: int) -> Row:
    """log_prob and its gradient, on a batch that is already padded on both sides."""
    batch, length, hidden, at_most = shape
    model = new_model(27, hidden).to(device)
    hand = same_by_hand(model)
    lengths = torch.randint(1, length + 1, (batch,)) if ragged else torch.full((batch,), length)
    lengths[0] = length
    y = ps.Sequences(torch.randint(27, (batch, length)), lengths)
    inputs, targets = (tensor.to(device) for tensor in by_hand.collate(by_hand.mark(y, 27)))
    ours, theirs = partial(score_ours, model, y.to(device)), partial(score_by_hand, hand, inputs, targets)
    torch.testing.assert_close(ours(), -theirs(), rtol=1e-4, atol=0)
    gradients = model.recurrence.network.weight_hh_l0.grad, -hand.lstm.weight_hh_l0.grad  # type: ignore[operator]
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-3)
    calls = max(1, 256 // length)
    name = f"log_prob and gradient, {'ragged' if ragged else 'full'}, B={batch} T={length} H={hidden}"
    return Row.costs(name, device, *alternate(ours, theirs, device, rounds, calls), at_most)


def train_ours(train: ps.Sequences, symbols: int, hidden: int, epochs: int, seed: int) -> list[by_hand.Epoch]:
    """Epochs of `fit` with the baselines' settings."""
    torch.manual_seed(seed)
    result = ps.fit(
        new_model(symbols, hidden), train, max_epochs=epochs, seed=seed, batch_tokens=None, batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE, gradient_clip=None, accelerator="cpu", progress=False,
    )  # fmt: skip
    return [by_hand.Epoch(epoch["train_nats"], epoch["seconds"]) for epoch in result.history]


def train_by_hand(
    train: Callable[..., list[by_hand.Epoch]], marked: list[torch.Tensor], hidden: int, epochs: int, seed: int
) -> list[by_hand.Epoch]:
    """Epochs of a baseline from new weights."""
    torch.manual_seed(seed)
    symbols = int(marked[0][0])
    return train(by_hand.CharLSTM(symbols, EMBEDDING, hidden), marked, epochs, BATCH_SIZE, LEARNING_RATE)


def training(
    train: ps.Sequences, symbols: int, scale: Scale, seed: int
) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """An epoch of maximum likelihood by probseq and in two ways by hand; the first epoch of each does not count."""
    marked = by_hand.mark(train, symbols)
    size = scale.hidden, scale.epochs
    runs: dict[str, list[list[by_hand.Epoch]]] = {"plain": [], "best": [], "probseq": []}
    for i in range(scale.trainings):
        runs["plain"].append(train_by_hand(by_hand.train_plain, marked, *size, seed + i))
        runs["best"].append(train_by_hand(by_hand.train_best, marked, *size, seed + i))
        runs["probseq"].append(train_ours(train, symbols, *size, seed + i))
    seconds = {name: [mean(epoch.seconds for epoch in run[1:]) for run in each] for name, each in runs.items()}
    nats = {name: mean(run[-1].nats for run in each) for name, each in runs.items()}
    for name in ("plain", "best"):
        if abs(nats[name] / nats["probseq"] - 1) > 0.05:
            raise ValueError(f"the objectives differ: {nats[name]:.4f} nats by hand ({name}), {nats['probseq']:.4f}.")
    tokens = int(train.decisions.sum())
    epochs = {
        name: {"seconds": median(each), "tokens_per_second": tokens / median(each), "nats_per_character": nats[name]}
        for name, each in seconds.items()
    }
    rows = [
        Row.gains(f"epoch, {way} by hand", "cpu", seconds["probseq"], seconds[way], at_least)
        for way, at_least in (("plain", 1.5), ("best", 0.95))
    ]
    return rows, epochs


def sampling(model: ps.SequenceModel, device: str, scale: Scale) -> Row:
    """Draws of the same law: finished rows leave the batch in probseq, and stay in it by hand."""
    model = model.to(device)
    hand = same_by_hand(model)
    ours = partial(ps.sample, model, scale.samples, max_length=MAX_LENGTH)
    theirs = partial(by_hand.sample, hand, scale.samples, MAX_LENGTH)
    lengths = ours().lengths.double(), theirs()[1].cpu().double()
    error = sum(drawn.var() / len(drawn) for drawn in lengths) ** 0.5
    if abs(lengths[0].mean() - lengths[1].mean()) > 6 * error:
        raise ValueError(f"the samples differ: mean length {lengths[0].mean():.3f}, by hand {lengths[1].mean():.3f}.")
    times = alternate(ours, theirs, device, scale.samplings)
    return Row.gains(f"sampling {scale.samples:,} sequences", device, *times, 1.3)


def importing(times: int) -> Row:
    """Seconds of `import probseq` in a fresh interpreter."""
    code = "import time; begin = time.perf_counter(); import probseq; print(time.perf_counter() - begin)"
    run = partial(subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds = [float(run().stdout) for _ in range(times)]
    middle = median(seconds)
    return Row("import probseq", "cpu", "seconds", middle, min(seconds), max(seconds), "≤ 3", middle <= 3, middle)


def main(smoke: bool, seed: int) -> None:
    """Measure all rows; print them and write results.json."""
    scale = SMOKE if smoke else FULL
    texts = datasets.words() if smoke else datasets.names()
    train = texts.alphabet.encode(texts.train[:512] if smoke else texts.train)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    torch.manual_seed(seed)
    rows = [
        scoring(shape, ragged, device, scale.rounds)
        for device in devices
        for shape in scale.shapes
        for ragged in (False, True)
    ]
    epoch_rows, epochs = training(train, len(texts.alphabet), scale, seed)
    torch.manual_seed(seed)
    model = new_model(len(texts.alphabet), scale.hidden)
    ps.fit(model, train, max_epochs=1, seed=seed, accelerator="cpu", progress=False)
    rows += [*epoch_rows, *(sampling(model, device, scale) for device in devices), importing(scale.imports)]
    gpu = torch.cuda.get_device_name() if len(devices) > 1 else NO_GPU
    show(rows, epochs, gpu)
    if smoke:
        print("\nA smoke run: at this scale fixed costs are all there is, and the ratios mean nothing.")
    results = {"seed": seed, "rows": [asdict(row) for row in rows], "epochs": epochs, "gpu": gpu}
    report.write(results, report.destination(__file__, smoke))


def show(rows: list[Row], epochs: dict[str, dict[str, float]], gpu: str) -> None:
    """The tables of the README."""
    head = ("measure", "device", "unit", "median", "least", "greatest", "target", "met", "s probseq", "s by hand")
    cells = [
        (*list(asdict(row).values())[:7], "yes" if row.met else "no", row.seconds_probseq, row.seconds_by_hand or "")
        for row in rows
    ]
    print(report.table(head, cells))
    print(f"gpu: {gpu}\n")
    rates = [
        (name, epoch["seconds"], round(epoch["tokens_per_second"]), epoch["nats_per_character"])
        for name, epoch in epochs.items()
    ]
    print(report.table(("epoch", "seconds", "tokens/s", "nats/character"), rates))


if __name__ == "__main__":
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small scale, for a check that it runs")
    parser.add_argument("--seed", type=int, default=0, help="of weights, data order and draws")
    arguments = parser.parse_args()
    main(arguments.smoke, arguments.seed)

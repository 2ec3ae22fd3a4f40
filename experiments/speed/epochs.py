"""Epochs of maximum likelihood on ragged data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from statistics import mean, stdev
from typing import Any

import torch

import probseq as ps
from experiments.speed import by_hand
from experiments.speed.models import EMBEDDING, chords, chords_by_hand, letters, letters_by_hand
from experiments.speed.rows import NO_GPU, OURS, Row, Run, Times, compare, recurrent_flops, skipped
from probseq import datasets

RATE = 2e-3
NEAR = 0.005
"""Held-out nats that are no further apart are called equal."""

WAYS = {"plain by hand": (by_hand.train_plain, 1.7, None), "best by hand": (by_hand.train_best, 1.0, 1.3)}
"""How it is trained, and the least gain that is asked for in float32 and with bfloat16."""

BF16 = f"{OURS}, bfloat16"


@dataclass(frozen=True)
class Task:
    """Data and sizes; `hand` makes the hand-written model of ours.

    Args:
        flops: of an element and its gradient.
    """

    name: str
    train: ps.Sequences
    validation: ps.Sequences
    new: Callable[[], ps.SequenceModel]
    hand: Callable[[Any], by_hand.Hand]
    batch_size: int
    epochs: int
    trainings: int
    flops: float


def spelled(name: str, texts: Any, run: Run, limit: int | None = None) -> Task:
    """Letters of names or words."""
    hidden, epochs, trainings = (16, 2, 2) if run.smoke else (256, 3, 4)
    train, validation = (texts.alphabet.encode(part[:limit]) for part in (texts.train, texts.validation))
    symbols = len(texts.alphabet)
    flops = recurrent_flops("LSTM", 1, EMBEDDING, hidden, symbols + 1, backward=True)
    new = lambda: letters(symbols, hidden)  # noqa: E731
    return Task(name, train, validation, new, letters_by_hand, 64, epochs, trainings, flops)


def sung(run: Run) -> Task:
    """Chords of chorales."""
    rolls, hidden = datasets.jsb_chorales(), 256
    flops = recurrent_flops("LSTM", 1, 88, hidden, 89, backward=True)
    new = lambda: chords(88, hidden)  # noqa: E731
    return Task("JSB chorales", rolls.train, rolls.validation, new, chords_by_hand, 16, 6, 6, flops)


def epochs(run: Run) -> Iterator[Row]:
    """An epoch by probseq and in two ways by hand; the first epoch of each does not count."""
    if run.smoke:
        yield from measured(spelled("words", datasets.words(), run, 256), run)
        return
    yield from measured(spelled("names", datasets.names(), run), run)
    yield from measured(spelled("words", datasets.words(), run, 20_000), run)
    yield from measured(sung(run), run)


def measured(task: Task, run: Run) -> Iterator[Row]:
    """The rows of one task."""
    require_equal(task)
    half = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    times: Times = {}
    nats: dict[str, list[float]] = {}
    sides: dict[str, Any] = {way: way for way in WAYS} | {OURS: "32-true"} | ({BF16: "bf16-mixed"} if half else {})
    for i in range(task.trainings):
        for side, how in sides.items():
            train = train_by_hand if side in WAYS else train_ours
            seconds, found = train(task, how, run.seed + i)
            times.setdefault(side, []).append(seconds)
            nats.setdefault(side, []).append(found)
    work = task.flops * int(task.train.decisions.sum())
    for way, (_, at_least, with_half) in WAYS.items():
        name = f"epoch of {task.name}, {way}"
        note = against(nats[OURS], nats[way])
        yield compare(run, "epochs", name, "cpu", times, way, work, at_least=at_least, note=note)
        if with_half is None:
            continue
        if half:
            sides_of_it = {way: times[way], OURS: times[BF16]}
            note = against(nats[BF16], nats[way])
            yield compare(
                run, "epochs", f"{name}, ours in bfloat16", "cpu", sides_of_it, way, work, at_least=with_half, note=note
            )
        else:
            reason = "skipped: this processor has no bfloat16 arithmetic"
            yield skipped("epochs", f"{name}, ours in bfloat16", "cpu", f"≥ {with_half}", reason)


def against(ours: list[float], theirs: list[float]) -> str:
    """Held-out nats of both, means over trainings, with the standard error of their difference."""
    apart = mean(ours) - mean(theirs)
    error = stdev(a - b for a, b in zip(ours, theirs, strict=True)) / len(ours) ** 0.5
    told = abs(apart) > 2 * error
    near = "equal" if abs(apart) <= NEAR else "not told apart" if not told else "better" if apart < 0 else "worse"
    return f"held-out nats {mean(ours):.4f}, by hand {mean(theirs):.4f} ({near}, ± {error:.4f})"


def require_equal(task: Task) -> None:
    """Raise AssertionError unless both models give some held-out data the same probability."""
    model, some = task.new(), task.validation.select(range(8))
    hand = task.hand(model)
    total = hand.nats(*hand.collate(list(some)), "sum")
    torch.testing.assert_close(-model.log_prob(some).sum(), total, rtol=1e-4, atol=0)


def train_ours(task: Task, precision: str, seed: int) -> tuple[float, float]:
    """Seconds of an epoch of `fit` with the baselines' settings, and nats a decision of held-out data."""
    torch.manual_seed(seed)
    model = task.new()
    result = ps.fit(
        model, task.train, max_epochs=task.epochs, seed=seed, batch_tokens=None, batch_size=task.batch_size,
        learning_rate=RATE, gradient_clip=None, accelerator="cpu", precision=precision, progress=False,
    )  # fmt: skip
    with torch.no_grad():
        nats = -model.log_prob(task.validation).sum() / task.validation.decisions.sum()
    return mean(epoch["seconds"] for epoch in result.history[1:]), float(nats)


def train_by_hand(task: Task, way: str, seed: int) -> tuple[float, float]:
    """The same by hand, from the same first weights."""
    torch.manual_seed(seed)
    hand = task.hand(task.new())
    seconds = WAYS[way][0](hand, list(task.train), task.epochs, task.batch_size, RATE)
    with torch.no_grad():
        nats = hand.nats(*hand.collate(list(task.validation)))
    return mean(seconds[1:]), float(nats)


def throughput(run: Run) -> Iterator[Row]:
    """Tokens a second of `fit` on a GPU: 256 symbols, sequences of 127 and their end, batches of 65,536 slots."""
    kinds = {"two layers of LSTM 512": ps.LSTM(512, 2), "two layers of LSTM 1024": ps.LSTM(1024, 2),
             "two layers of MinGRU 1024": ps.MinGRU(1024, 2)}  # fmt: skip
    for (name, recurrence), precision in product(kinds.items(), ("32-true", "bf16-mixed")):
        measure = f"fit, {name}, {precision}"
        if "cuda" not in run.limits:
            yield skipped("epochs", measure, "cuda", "", NO_GPU)
            continue
        torch.manual_seed(run.seed)
        model = ps.SequenceModel(ps.Tokens(256, 256), recurrence, ps.Categorical(), ps.EndSymbol())
        y = ps.Sequences(torch.randint(256, (16_384, 127)), torch.full((16_384,), 127))
        history = ps.fit(
            model, y, max_epochs=3, batch_tokens=65_536, accelerator="gpu", devices=1, precision=precision,
            seed=run.seed, progress=False,
        ).history  # fmt: skip
        values = [int(y.decisions.sum()) / epoch["seconds"] for epoch in history[1:]]
        yield Row.of("epochs", measure, "cuda", "tokens a second", values)

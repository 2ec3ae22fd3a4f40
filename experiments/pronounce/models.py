"""From spelling to sound: the models, their training, and what is measured of them."""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import probseq as ps
from experiments.transduction import Judged, calibration, error_rates, interval, judge
from probseq.datasets import pronunciations, sigmorphon2020
from probseq.datasets.pronunciations import Lexicon, Pronunciations
from probseq.datasets.splits import Pairs

WIDTH = 5
"""Of the beam."""

ROWS = 225
"""Words that are searched at once."""

DECOMPOSED = ("kor",)
"""Languages whose letters are taken apart."""


@dataclass(frozen=True)
class Settings:
    """A model and how it is trained.

    Args:
        size: of the decoder's LSTM; half of it of the encoder's, in each direction.
        attention: as in `recipes.seq2seq`; None is the fixed context C.
        smoothing: the share of label smoothing.
        average: the decay of the moving average of the weights, or None.
        best: whether the weights are kept of the epoch of highest likelihood on the validation words, or the last.
            Words go on being got right after the likelihood has begun to fall.
    """

    size: int = 256
    layers: int = 1
    dim: int = 64
    dropout: float = 0.15
    attention: Any = "general"
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 3e-3
    smoothing: float = 0.0
    average: float | None = None
    best: bool = True

    def without_attention(self) -> Settings:
        """The same with the fixed context C."""
        return replace(self, attention=None)


def assemble(data: Pronunciations, settings: Settings, seed: int) -> ps.SequenceModel:
    """The untrained model."""
    torch.manual_seed(seed)
    return ps.recipes.seq2seq(
        len(data.letters.symbols), len(data.phonemes), settings.size, settings.layers, settings.dim, settings.dropout,
        settings.attention,
    )  # fmt: skip


def train(model: ps.SequenceModel, data: Pronunciations, settings: Settings, seed: int) -> dict[str, Any]:
    """Maximise the likelihood, with smoothed labels."""
    begin, held_out = time.process_time(), tuple(data.validation) if settings.best else None
    outcome = ps.fit(
        model, tuple(data.train), held_out, objective=ps.LabelSmoothing(settings.smoothing), max_epochs=settings.epochs,
        batch_tokens=None, batch_size=settings.batch_size, bucket=False, schedule="cosine",
        learning_rate=settings.learning_rate, warmup_steps=100, average=settings.average, seed=seed,
        accelerator="cpu", progress=False,
    )  # fmt: skip
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "epoch": outcome.epoch,
        "processor_seconds": round(time.process_time() - begin, 1),
    }  # fmt: skip


def search(model: Any, x: ps.Sequences, n_best: int = 1) -> ps.Hypotheses:
    """What a beam finds for every word; words of similar lengths are searched together."""
    order = x.lengths.argsort(stable=True)
    found = []
    for index in order.split(ROWS):
        part = ps.beam(model, x.select(index), width=max(WIDTH, n_best), n_best=n_best, max_length=limit(x))
        found.append(replace(part, rows=index[part.rows]))
    whole = ps.Hypotheses(
        ps.Sequences.cat([part.sequences for part in found]),
        *(torch.cat([getattr(part, name) for part in found]) for name in ("log_prob", "search_score", "rows")),
    )
    return whole.select(whole.rows.argsort(stable=True))


def limit(x: ps.Sequences) -> int:
    """The longest pronunciation that is looked for."""
    return 2 * int(x.lengths.max()) + 10


@torch.no_grad()
def score(model: Any, pairs: Any) -> Float[Tensor, " n"]:
    """log P(y | x) of every pair."""
    return torch.cat(
        [model.log_prob(pairs.y.select(i), pairs.x.select(i)) for i in torch.arange(len(pairs.y)).split(ROWS)]
    )


@dataclass(frozen=True)
class Answers:
    """The likeliest pronunciation that was found for each word, and how it compares."""

    top: ps.Hypotheses
    judged: Judged


def answer(model: Any, data: Pronunciations, references: Lexicon) -> Answers:
    """Search every word of the references once."""
    top = search(model, data.letters.encode(list(references)))
    return Answers(top, judge(data.spoken(top.sequences), list(references.values())))


def measure(model: Any, data: Pronunciations, part: str, seed: int = 0) -> dict[str, Any]:
    """Error rates, nats and calibration on the "validation" or the "test" part."""
    references: Lexicon = getattr(data, f"{part}_references")
    pairs = getattr(data, part)
    answers = answer(model, data, references)
    log_prob = score(model, pairs)
    return {
        "words": len(references), **rates(answers.judged, seed),
        "nats_per_word": interval(-log_prob.double(), torch.ones(len(log_prob), dtype=torch.float64), seed),
        "nats_per_decision": float(-log_prob.sum() / pairs.y.decisions.sum()),
        "calibration": calibration(answers.top.log_prob, answers.judged.right, seed=seed),
        "cut": int((~answers.top.sequences.ended).sum()),
    }  # fmt: skip


def rates(judged: Judged, seed: int = 0) -> dict[str, Any]:
    """Shares of words and of phonemes that are wrong, in per cent."""
    found = error_rates(judged, seed)
    names = {"sequence": "wer", "symbol": "per"}
    return {names[kind]: {key: 100 * value for key, value in found[kind].items()} for kind in names}


@dataclass(frozen=True)
class Task:
    """One model to be trained.

    Args:
        data: "cmudict", or a language of SIGMORPHON 2020.
        few: how many training words are kept, or None; for a smoke run.
    """

    data: str
    name: str
    settings: Settings
    seed: int
    few: int | None = None


@functools.cache
def load(name: str, few: int | None) -> Pronunciations:
    """The words of "cmudict", or of a language; `few` of them, or all."""
    data = pronunciations() if name == "cmudict" else sigmorphon2020(name, decompose=name in DECOMPOSED)
    if few is None:
        return data

    def first(pairs: Pairs) -> Pairs:
        index = torch.arange(min(few, len(pairs.y)))
        return Pairs(pairs.y.select(index), pairs.x.select(index))  # type: ignore[union-attr]

    held = [dict(list(part.items())[: few // 4]) for part in (data.validation_references, data.test_references)]
    return replace(
        data, train=first(data.train), validation=first(data.validation), test=first(data.test),
        validation_references=held[0], test_references=held[1],
    )  # fmt: skip


def perform(task: Task, folder: Path) -> dict[str, Any]:
    """Train the model of a task and save it, unless that is done."""
    torch.set_num_threads(1)
    place = folder / f"{task.data}-{task.name}-{task.seed}"
    if (place / "trained.json").exists():
        return json.loads((place / "trained.json").read_text())
    data = load(task.data, task.few)
    model = assemble(data, task.settings, task.seed)
    trained = train(model, data, task.settings, task.seed)
    ps.save(model, place)
    (place / "trained.json").write_text(json.dumps(trained))
    print(f"{task.data}, {task.name}, seed {task.seed}: {trained}", flush=True)
    return trained


def perform_all(tasks: list[Task], folder: Path, workers: int) -> list[tuple[ps.SequenceModel, dict[str, Any]]]:
    """The models of all tasks, trained in so many processes, and what their training came to."""
    folders = [folder] * len(tasks)
    if workers == 1:
        done = list(map(perform, tasks, folders))
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            done = list(pool.map(perform, tasks, folders))
    return [
        (ps.load(folder / f"{task.data}-{task.name}-{task.seed}"), trained)
        for task, trained in zip(tasks, done, strict=True)
    ]

"""Draws from the same law."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

import probseq as ps
from experiments.speed import by_hand
from experiments.speed.models import EMBEDDING, letters, letters_by_hand
from experiments.speed.rows import NO_GPU, OURS, Row, Run, alternate, compare, recurrent_flops, skipped
from probseq import datasets

LONGEST = 30
PEER = "best by hand"


def sampling(run: Run) -> Iterator[Row]:
    """Words of a model that has seen an epoch of them; rows that have ended leave the batch on both sides."""
    texts, draws, hidden = datasets.words(), 200 if run.smoke else 10_000, 16 if run.smoke else 256
    train = texts.alphabet.encode(texts.train[: 256 if run.smoke else 20_000])
    torch.manual_seed(run.seed)
    model = letters(len(texts.alphabet), hidden)
    ps.fit(model, train, max_epochs=1, seed=run.seed, accelerator="cpu", progress=False)
    for device in run.limits:
        model = model.to(device)
        hand = letters_by_hand(model)
        ours = partial(ps.sample, model, draws, max_length=LONGEST)
        theirs = partial(by_hand.sample, hand, draws, LONGEST)
        steps = require_alike(ours().lengths, theirs().cpu())
        times = alternate({PEER: theirs, OURS: ours}, device, 2 if run.smoke else 7)
        work = recurrent_flops("LSTM", int(draws * steps), EMBEDDING, hidden, len(texts.alphabet) + 1)
        yield compare(run, "sampling", f"{draws:,} words, H={hidden}", device, times, PEER, work, at_least=1.5)
    yield from steps_on_gpu(run)


def require_alike(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The mean number of decisions in a draw; raises ValueError if the mean lengths differ by 6 standard errors."""
    lengths = ours.double(), theirs.double()
    error = sum(float(drawn.var()) / len(drawn) for drawn in lengths) ** 0.5
    if abs(lengths[0].mean() - lengths[1].mean()) > 6 * error:
        raise ValueError(f"the samples differ: mean length {lengths[0].mean():.3f}, by hand {lengths[1].mean():.3f}.")
    return float(lengths[0].mean()) + 1


def steps_on_gpu(run: Run) -> Iterator[Row]:
    """Microseconds of a step of sequences that do not end early, LSTM 512, 64 symbols; each is one CUDA graph."""
    length = 256
    for rows, at_most in ((1, 20), (64, 25), (1024, 60)):
        name = f"one step of {rows} sequences, LSTM 512"
        if "cuda" not in run.limits:
            yield skipped("sampling", name, "cuda", f"≤ {at_most}", NO_GPU)
            continue
        torch.manual_seed(run.seed)
        model = ps.SequenceModel(ps.Tokens(64, 512), ps.LSTM(512), ps.Categorical(), ps.FixedLength(length)).cuda()
        times = alternate({OURS: partial(ps.sample, model, rows, capture=True)}, "cuda", 7)
        values = [1e6 * seconds / length for seconds in times[OURS]]
        yield Row.of("sampling", name, "cuda", "microseconds", values, at_most=at_most, times=times)

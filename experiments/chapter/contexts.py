"""A fixed vector x as an input of every step, as the initial state, or both (10.2.4): words given their letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import probseq as ps
from experiments.chapter.common import figure, fit, log_probs, mean_error, model, parameters, save
from experiments.report import table
from probseq.datasets import words

LONGEST = 10


def study(smoke: bool, seed: int) -> dict[str, Any]:
    """P(word | how often it has each letter): only the order is left to learn, and what was spent must be known."""
    data = words(seed)
    size = len(data.alphabet)
    parts = [[w for w in part if 3 <= len(w) <= LONGEST] for part in (data.train, data.validation, data.test)]
    numbers = (300, 100, 200) if smoke else (10_000, 1_000, 5_000)
    train, validation, test = (data.alphabet.encode(p[:n]) for p, n in zip(parts, numbers, strict=True))
    first = ps.Labels(size, dim=16)
    ways: dict[str, Any] = {
        "nothing": None,
        "input": ps.Vector(size, enters="input"),
        "state": ps.Vector(size, enters="state"),
        "both": ps.Vector(size, enters="both"),
        "both, and the first letter": (ps.Vector(size, enters="both"), first),
    }
    rows, scores = [], {}
    for name, context in ways.items():
        network = model(seed, ps.LSTM(8 if smoke else 96), ps.EndSymbol(), ps.Tokens(size, dim=32), context)
        x = [_told(context, y, size) for y in (train, validation, test)]
        pairs = [y if own is None else (y, own) for y, own in zip((train, validation), x[:2], strict=True)]
        seconds = fit(network, *pairs, 1 if smoke else 10, seed, rate=5e-3, batch=128)  # type: ignore[arg-type]
        scores[name] = log_probs(network, test, x[2])
        nats, error = mean_error(-scores[name])
        gain, gain_error = mean_error(scores[name] - scores["nothing"])
        rows.append(
            {"x": name, "nats_per_word": nats, "error": error, "parameters": parameters(network), "gain": gain,
             "gain_error": gain_error, "seconds": seconds}
        )  # fmt: skip
    print(f"\n10.2.4: a word given its letter counts x; {len(train):,} words to learn from, {len(test):,} held out\n")
    print("gain: nats that x saves, a paired difference with its standard error\n")
    head = ("x enters", "nats a word", "±", "gain", "±", "parameters")
    keys = ("x", "nats_per_word", "error", "gain", "gain_error", "parameters")
    print(table(head, [tuple(row[key] for key in keys) for row in rows]))
    return {"rows": rows}


def _told(context: Any, y: ps.Sequences, size: int) -> Any:
    """What the model is told of each word."""
    counts = torch.stack([torch.bincount(word, minlength=size) for word in y]).float()
    if context is None:
        return None
    return (counts, _first(y)) if isinstance(context, tuple) else counts


def _first(y: ps.Sequences) -> Tensor:
    return y.values[:, 0]


def draw(results: dict[str, Any], folder: Path) -> None:
    """Nats by way of entering."""
    drawn, (axes,) = figure(1, 6.4)
    rows = results["rows"]
    axes.barh([row["x"] for row in rows], [row["nats_per_word"] for row in rows], color="C0",
              xerr=[2 * row["error"] for row in rows])  # fmt: skip
    axes.invert_yaxis()
    axes.set(xlabel="held-out nats per word (bars: two standard errors)", title="A word given its letter counts x")
    save(drawn, folder / "contexts.png")

"""What the sections share: how a model is made, fitted and measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import probseq as ps


def model(seed: int, recurrence: Any, stop: Any, element: Any = None, context: Any = None) -> ps.SequenceModel:
    """An untrained network over tokens (two of them unless `element` says otherwise)."""
    torch.manual_seed(seed)
    return ps.SequenceModel(element or ps.Tokens(2, dim=4), recurrence, ps.Categorical(), stop, context)


def fit(
    network: ps.SequenceModel, train: Any, validation: Any, epochs: int, seed: int, rate: float = 1e-2, batch: int = 64
) -> float:
    """Maximum likelihood, the best epoch by the validation data; the seconds it took."""
    begin = time.perf_counter()
    ps.fit(
        network, train, validation, max_epochs=epochs, batch_size=batch, batch_tokens=None, learning_rate=rate,
        schedule="cosine", seed=seed, progress=False, accelerator="cpu",
    )  # fmt: skip
    return time.perf_counter() - begin


@torch.no_grad()
def log_probs(network: Any, y: ps.Sequences, x: Any = None) -> Tensor:
    """log P of each sequence, in float64 and in pieces that fit in memory."""
    found = []
    for rows in torch.arange(len(y)).split(2000):
        own = x[rows] if isinstance(x, Tensor) else x.select(rows) if isinstance(x, ps.Sequences) else None
        if isinstance(x, tuple):
            own = tuple(each[rows] for each in x)
        found.append(network.log_prob(y.select(rows), own).double())
    return torch.cat(found)


def parameters(network: ps.SequenceModel) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in network.parameters())


def mean_error(values: Tensor) -> tuple[float, float]:
    """A mean and its standard error."""
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def figure(columns: int, width: float) -> tuple[Any, Any]:
    """A row of axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(1, columns, figsize=(width, 3.6), layout="constrained", squeeze=False)
    return drawn, axes[0]


def save(drawn: Any, path: Path) -> None:
    """Write a figure and let it go."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=100)
    plt.close(drawn)


def shrink(folder: Path) -> None:
    """Pictures in 64 colours of their own: a third of the bytes, and no difference that an eye finds."""
    from PIL import Image

    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(64) if picture.mode != "P" else None
        if small is not None:
            small.save(path, optimize=True)

"""What the models of digits draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import probseq as ps


def tiles(images: Tensor, columns: int) -> Tensor:
    """Images (n, height, width) side by side in so many columns, with a grey line between."""
    n, height, width = images.shape
    rows = n // columns
    framed = torch.full((rows * columns, height + 1, width + 1), 0.5)
    framed[:, :height, :width] = images[: rows * columns]
    return framed.unflatten(0, (rows, columns)).transpose(1, 2).flatten(2).flatten(0, 1)[:-1, :-1]


def sheet(panels: dict[str, Tensor], columns: int, path: Path, inches: float = 3.0) -> None:
    """One panel of tiles for each entry."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(inches * len(panels), inches * 1.1), layout="constrained", squeeze=False
    )
    for axis, (name, images) in zip(axes[0], panels.items(), strict=True):
        axis.imshow(tiles(images, columns), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(name, fontsize="medium")
        axis.axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def samples(models: dict[str, Any], data: ps.Sequences, path: Path, number: int = 64) -> None:
    """Images of the data, and samples of each model."""
    panels = {"held-out images": ps.unraster(data, 8, 8)[:number, ..., 0]}
    for name, model in models.items():
        drawn = ps.sample(model, min(number, len(data)), generator=0)
        panels[name] = ps.unraster(drawn, 8, 8)[..., 0]
    sheet(panels, 8, path)


@torch.no_grad()
def denoised(models: dict[str, Any], pairs: tuple[ps.Sequences, ps.Sequences], path: Path, number: int = 64) -> None:
    """The clean images, the noisy ones, and P(a pixel is 1) under each model."""
    clean, noisy = (part.select(range(min(number, len(part)))) for part in pairs)
    panels = {"clean": ps.unraster(clean, 8, 8)[..., 0], "noisy": ps.unraster(noisy, 8, 8)[..., 0] / 4 + 0.5}
    for name, model in models.items():
        features, state = model.unroll(model.encode(noisy), clean.values[:, :-1])
        law = model.emit(features, torch.arange(features.shape[1]), state.context).element
        panels[name] = law.mean[..., 0].unflatten(1, (8, 8))
    sheet(panels, 8, path)

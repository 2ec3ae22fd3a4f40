"""Chorales with a missing voice and a missing bar."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import probseq as ps
from probseq.datasets import Chorales, chorales

EVERY = 4
"""Sixteenths from one frame that is kept to the next: quarter notes."""

BAR = 4
"""Frames of a bar."""

VOICES = ("soprano", "alto", "tenor", "bass")


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    size: int
    epochs: int
    steps: int
    crop: int
    pieces: int
    particles: int


@dataclass(frozen=True)
class Reader:
    """Frames of four pitches as sequences of tokens, bass first: 0 is a rest, then the semitones from the lowest."""

    lowest: int
    size: int

    @staticmethod
    def of(data: Chorales) -> Reader:
        low, high = min(data.lowest), max(data.highest)
        return Reader(low, high - low + 2)

    def read(self, frames: ps.Sequences, crop: int, stride: int, cut: bool) -> ps.Sequences:
        """Pieces of `crop` frames, each beginning `stride` frames after the last; the last ones ended."""
        rows, ended = [], []
        for piece in frames:
            kept = piece[::EVERY].flip(1)
            tokens = torch.where(kept > 0, kept - self.lowest + 1, 0)
            for first in range(0, max(1, len(tokens) - crop + 1), stride) if cut else [0]:
                part = tokens[first : first + crop]
                rows.append(part.flatten())
                ended.append(first + crop >= len(tokens))
        return ps.Sequences.of(rows, torch.tensor(ended))

    def pitches(self, tokens: Tensor) -> Tensor:
        """MIDI pitches (…, t, 4), soprano first, 0 for a rest."""
        frames = tokens.reshape(*tokens.shape[:-1], -1, 4).flip(-1)
        return torch.where(frames > 0, frames + self.lowest - 1, 0)


def at_hand() -> Chorales | None:
    """The chorales, or None where their files are not at hand: nothing is downloaded."""
    return chorales() if "PROBSEQ_DATA" in os.environ else None


def study(data: Chorales, scale: Scale, place: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Train, hide a voice and a bar of test pieces, find them again."""
    reader = Reader.of(data)
    model, ahead, seconds = _trained(reader, data, scale, place, seed)
    y = reader.read(data.test, scale.crop, scale.crop, False)
    y = y.select(torch.arange(min(scale.pieces, len(y))))
    y = ps.Sequences(y.values[:, : 4 * scale.crop], y.lengths.clamp(max=4 * scale.crop), False)
    at = torch.arange(y.values.shape[1])
    results: dict[str, Any] = {
        "pieces": len(y),
        "seconds": seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    fans = {}
    middle = scale.crop // 2 * 4
    for name, missing in {
        "alto": at % 4 == 2, "bass": at % 4 == 0, "bar": (at >= middle) & (at < middle + 4 * BAR),
    }.items():  # fmt: skip
        pattern = ps.Sequences(torch.where(missing, -1, y.values), y.lengths, False)
        results[name] = {}
        for kind, own in (("with", ahead), ("without", None)):
            begin = time.perf_counter()
            found = ps.infill(model, pattern, particles=scale.particles, lookahead=own, generator=seed)
            hole = missing & y.mask()
            share = found.marginals.gather(2, y.values.unsqueeze(2)).squeeze(2)[hole]
            best = found.marginals.argmax(2)[hole] == y.values[hole]
            results[name][kind] = {
                "notes": int(hole.sum()), "probability_of_the_true_note": float(share.mean()),
                "likeliest_is_right": float(best.double().mean()), "ess_median": float(found.ess.median()),
                "log_evidence_per_known_note": float(found.log_evidence.sum() / (y.mask() & ~missing).sum()),
                "standard_error_median": float(found.standard_error.median()),
                "reliable": float(found.reliable.double().mean()), "seconds": round(time.perf_counter() - begin, 2),
            }  # fmt: skip
            fans[name] = found if kind == "with" else fans[name]
    _draw(reader, y, fans, middle // 4, folder)
    return results


def _trained(
    reader: Reader, data: Chorales, scale: Scale, place: Path, seed: int
) -> tuple[ps.SequenceModel, ps.LearnedLookahead, dict[str, float]]:
    if (place / "lookahead.safetensors").exists():
        return ps.load(place), ps.load_lookahead(place), {}
    torch.manual_seed(seed)
    model = ps.recipes.language_model(reader.size, scale.size, dropout=0.3)
    train, validation = (reader.read(part, scale.crop, 4, True) for part in (data.train, data.validation))
    begin = time.perf_counter()
    ps.fit(
        model, train, validation, max_epochs=scale.epochs, batch_tokens=None, batch_size=32, learning_rate=3e-3,
        schedule="cosine", seed=seed, accelerator="cpu", progress=False,
    )  # fmt: skip
    middle = time.perf_counter()
    ahead = ps.train_lookahead(
        model, num_samples=2000, max_length=4 * scale.crop, steps=scale.steps, seed=seed, accelerator="cpu",
        progress=False,
    )  # fmt: skip
    ps.save(model, place)
    ps.save_lookahead(ahead, place)
    return model, ahead, {"model": middle - begin, "lookahead": time.perf_counter() - middle}


def _draw(reader: Reader, y: ps.Sequences, fans: dict[str, ps.Infilled], middle: int, folder: Path) -> None:
    """The known voices as lines, what was found of the missing notes as shades."""
    figure, axes = plt.subplots(len(fans), 1, figsize=(9, 8), layout="constrained", sharex=True)
    pitch = reader.pitches(y.values[0]).double()
    pitch[pitch == 0] = torch.nan
    for axis, (name, found) in zip(axes, fans.items(), strict=True):
        shade = torch.zeros(reader.size - 1, len(pitch))
        voices = {"alto": [1], "bass": [3], "bar": [0, 1, 2, 3]}[name]
        for voice in voices:
            own = found.marginals[0, 3 - voice :: 4, 1:].T.float()
            inside = slice(middle, middle + BAR) if name == "bar" else slice(None)
            shade[:, inside] = torch.maximum(shade[:, inside], own[:, inside])
        axis.imshow(
            shade, origin="lower", aspect="auto", cmap="Oranges", vmin=0, vmax=1,
            extent=(-0.5, len(pitch) - 0.5, reader.lowest - 0.5, reader.lowest + reader.size - 1.5),
        )  # fmt: skip
        for voice, label in enumerate(VOICES):
            hidden = voice in voices if name != "bar" else False
            axis.plot(pitch[:, voice], "." if hidden else "-", ms=4, lw=1, color=f"C{voice}", label=label)
        axis.set(ylabel="MIDI pitch", title={"bar": "a missing bar"}.get(name, f"the {name} is missing"))
        axis.set_ylim(reader.lowest - 1, reader.lowest + reader.size - 1)
    axes[0].legend(fontsize=7, ncols=4)
    axes[-1].set_xlabel("quarter notes")
    figure.savefig(folder / "chorale.png", dpi=80)
    plt.close(figure)

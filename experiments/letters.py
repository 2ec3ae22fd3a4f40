"""What `words` and `names` share: a network over letters beside n-grams, and pictures of both."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

import probseq as ps
from experiments.report import table
from probseq.datasets.splits import Texts
from probseq.oracles import NGram

mpl.use("Agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Settings:
    """A network over letters, and how it is trained."""

    size: int
    layers: int = 1
    dim: int = 64
    embedding_dropout: float = 0.1
    dropout: float = 0.3
    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    precision: str = "32-true"
    seed: int = 0

    def model(self, symbols: str) -> ps.SequenceModel:
        """The untrained network."""
        torch.manual_seed(self.seed)
        return ps.SequenceModel(
            ps.Tokens(len(symbols), dim=self.dim, dropout=self.embedding_dropout, symbols=symbols),
            ps.LSTM(self.size, layers=self.layers, dropout=self.dropout),
            ps.Categorical(),
            ps.EndSymbol(),
        )


@dataclass(frozen=True)
class Trained:
    """A network after training."""

    model: ps.SequenceModel
    result: Any
    seconds: float
    parameters: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", sum(p.numel() for p in self.model.parameters()))


@dataclass(frozen=True)
class Study:
    """A trained network, the n-grams beside it, and what is written of them."""

    trained: Trained
    grams: list[dict[str, Any]]
    observed: torch.Tensor
    learned: torch.Tensor
    made_up: list[str]
    results: dict[str, Any]

    @property
    def gram(self) -> dict[str, Any]:
        """The n-gram that the validation part prefers."""
        return best(self.grams)


def study(
    data: Texts, settings: Settings, folder: Path, orders: range, smoothings: tuple[str, ...], shown: list[str]
) -> Study:
    """Train a network and n-grams, sample, and draw the three pictures into `folder`."""
    grams = n_grams(data, orders, smoothings)
    trained = train(data, settings)
    model, gram = trained.model, best(grams)
    _, validation, test = data.sequences()
    observed, learned, cut = lengths(model, data, 10_000, settings.seed)
    made_up = invented(model, data, 24, settings.seed)
    history = trained.result.history
    draw_learning_curve(history, [(f"{gram['order']}-gram", gram["validation"])], folder / "learning_curve.png")
    draw_lengths(observed, learned, folder / "lengths.png")
    draw_surprise(model, data, shown, folder / "surprise.png")
    results = {
        "settings": vars(settings),
        "parameters": trained.parameters,
        "nats": {"validation": nats(model, validation), "test": nats(model, test)},
        "n_grams": grams,
        "seconds": trained.seconds,
        "best_epoch": trained.result.epoch,
        "length_total_variation": 0.5 * float((observed - learned).abs().sum()),
        "samples_cut_at_40": cut,
        "made_up": made_up,
        "history": history,
    }
    return Study(trained, grams, observed, learned, made_up, results)


def train(data: Texts, settings: Settings, directory: Path | None = None, progress: bool = True) -> Trained:
    """Fit a network by maximum likelihood, with the best weights on the validation words."""
    training, validation, _ = data.sequences()
    model = settings.model(data.alphabet.symbols)
    start = time.perf_counter()
    result = ps.fit(
        model,
        training,
        validation,
        max_epochs=settings.epochs,
        directory=directory,
        seed=settings.seed,
        batch_tokens=None,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        schedule="cosine",
        warmup_steps=100,
        precision=settings.precision,
        accelerator="cpu",
        progress=progress,
    )
    return Trained(model, result, time.perf_counter() - start)


def nats(model: Any, y: ps.Sequences) -> float:
    """Nats per character, the end counted as one."""
    with torch.no_grad():
        total = sum(float(model.log_prob(y.select(rows)).sum()) for rows in torch.arange(len(y)).split(2048))
    return -total / int(y.decisions.sum())


def n_grams(data: Texts, orders: range, smoothings: tuple[str, ...]) -> list[dict[str, Any]]:
    """n-grams fitted to the training part, scored on the other two."""
    training, validation, test = data.sequences()
    rows = []
    for smoothing in smoothings:
        for order in orders:
            model = NGram(order, len(data.alphabet), smoothing).fit(training)  # type: ignore[arg-type]
            scores = {"validation": nats(model, validation), "test": nats(model, test)}
            rows.append({"order": order, "smoothing": smoothing, **scores})
    return rows


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The n-gram that the validation part prefers."""
    return min(rows, key=lambda row: row["validation"])


def comparison(scores: list[tuple[str, float]]) -> str:
    """Held-out nats, bits and perplexity per character."""
    rows = [(name, value, value / math.log(2), math.exp(value)) for name, value in scores]
    return table(("held-out, per character", "nats", "bits", "perplexity"), rows)


def scored(model: ps.SequenceModel, data: Texts, texts: list[str]) -> str:
    """Texts with their log-probabilities."""
    y = data.alphabet.encode(texts)
    with torch.no_grad():
        log_prob = model.log_prob(y)
    per_character = -log_prob / y.decisions
    rows = [(t, float(p), float(n)) for t, p, n in zip(texts, log_prob, per_character, strict=True)]
    return table(("", "log P (nats)", "nats per character"), rows)


def invented(model: ps.SequenceModel, data: Texts, count: int, seed: int) -> list[str]:
    """Sampled texts that are in no part of the data."""
    known = {*data.train, *data.validation, *data.test}
    drawn = data.alphabet.decode(model.sample(10 * count, max_length=40, generator=seed))
    return [text for text in dict.fromkeys(drawn) if text not in known][:count]


def lengths(model: ps.SequenceModel, data: Texts, draws: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The law of lengths: of the held-out data, of the model's samples; and how many samples were cut."""
    y = model.sample(draws, max_length=40, generator=seed)
    observed = torch.tensor([len(text) for text in data.test])
    width = int(max(observed.max(), y.lengths.max())) + 1
    laws = [torch.bincount(found, minlength=width) / len(found) for found in (observed, y.lengths)]
    return laws[0], laws[1], int((~y.ended).sum())


def draw_learning_curve(history: list[dict[str, float]], lines: list[tuple[str, float]], path: Path) -> None:
    """Nats per character by epoch, with the n-grams as lines."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    epochs = [epoch["epoch"] + 1 for epoch in history]
    axes.plot(epochs, [epoch["train_nats"] for epoch in history], label="network, training (with dropout)", color="0.6")
    axes.plot(epochs, [epoch["validation_nats"] for epoch in history], label="network, validation", color="C0", lw=2)
    for i, (name, value) in enumerate(lines):
        axes.axhline(value, ls="--", lw=1, color=f"C{i + 1}", label=f"{name}, validation")
    axes.set(xlabel="epoch", ylabel="nats per character", title="Learning curve")
    top = max(value for _, value in lines) if lines else None
    axes.set_ylim(top=None if top is None else top + 0.35)
    axes.legend(frameon=False)
    _save(figure, path)


def draw_lengths(observed: torch.Tensor, learned: torch.Tensor, path: Path) -> None:
    """Two histograms side by side."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    places = torch.arange(len(observed))
    axes.bar(places - 0.2, observed, 0.4, label="held-out data", color="0.7")
    axes.bar(places + 0.2, learned, 0.4, label="model's samples", color="C0")
    axes.set(xlabel="length (letters)", ylabel="probability", title="When words end: data and model")
    shown = int((torch.maximum(observed, learned) > 1e-3).nonzero().max())
    axes.set_xlim(-0.6, shown + 0.6)
    axes.legend(frameon=False)
    _save(figure, path)


def draw_surprise(model: ps.SequenceModel, data: Texts, texts: list[str], path: Path) -> None:
    """Each letter's nats, given those before it; the last cell of a row is the end."""
    y = data.alphabet.encode(texts)
    with torch.no_grad():
        steps = model.log_prob_steps(y)
    surprise = -(torch.cat([steps.element, steps.element.new_zeros(len(y), 1)], 1) + steps.stop)
    surprise[torch.arange(surprise.shape[1]) > y.lengths.unsqueeze(-1)] = torch.nan
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(texts) + 1.2), layout="constrained")
    image = axes.imshow(surprise, cmap="YlOrRd", vmin=0, vmax=6, aspect="auto")
    for row, text in enumerate(texts):
        for column, letter in enumerate([*text, "■"]):
            dark = float(surprise[row, column]) > 3.5
            axes.text(column, row, letter, ha="center", va="center", color="white" if dark else "black")
    axes.set(yticks=[], xticks=[], title="Surprise of each letter, given those before it (■ is the end)")
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(image, ax=axes, label="nats", fraction=0.03)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)

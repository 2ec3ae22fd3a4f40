"""What `harmony` and `spelling` share: one sequence given another, looking back or both ways, with feedback or without.

Four cells: the encoder of x reads left to right or from both ends, and y is read back in or not. All have the same
assembly and, by their width, the same number of parameters.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import probseq as ps

Contexts = Callable[[Any], Any]
"""From an encoder to the context of a model."""


@dataclass(frozen=True)
class Cell:
    """What a model may look at."""

    ahead: bool
    feedback: bool

    @property
    def name(self) -> str:
        return f"{'bidirectional' if self.ahead else 'causal'}, {'with' if self.feedback else 'without'} feedback"


CELLS = tuple(Cell(ahead, feedback) for ahead in (False, True) for feedback in (False, True))


@dataclass(frozen=True)
class Settings:
    """The models and how they are trained.

    Args:
        budget: parameters of each model; the width is the one that comes nearest.
    """

    budget: int
    epochs: int
    dim: int = 48
    dropout: float = 0.3
    embedding_dropout: float = 0.1
    batch_size: int = 64
    learning_rate: float = 4e-3
    patience: int = 3


@dataclass(frozen=True)
class Trained:
    """A model after training."""

    cell: Cell
    model: Any
    outcome: Any
    size: int
    parameters: int
    seconds: float


def assemble(cell: Cell, size: int, symbols: int, contexts: Contexts, settings: Settings) -> ps.SequenceModel:
    """The untrained model of a cell: an encoder of x with 2·size features, an LSTM of 2·size units over them and y."""
    drop = settings.dropout
    encoder = ps.Bidirectional(ps.LSTM(size, dropout=drop)) if cell.ahead else None
    encoder = encoder or ps.Unidirectional(ps.LSTM(2 * size, dropout=drop))
    element = ps.Tokens(symbols, settings.dim, dropout=settings.embedding_dropout, feedback=cell.feedback)
    recurrence = ps.LSTM(2 * size, dropout=drop)
    return ps.SequenceModel(element, recurrence, ps.Categorical(), ps.AlignedLength(), contexts(encoder))


def count(model: torch.nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in model.parameters())


def fitting_size(cell: Cell, symbols: int, contexts: Contexts, settings: Settings) -> int:
    """The size whose model has the number of parameters nearest to the budget."""

    def parameters(size: int) -> int:
        return count(assemble(cell, size, symbols, contexts, settings))

    above = 2 + bisect.bisect_left(range(2, 2048), settings.budget, key=parameters)
    return min((above - 1, above), key=lambda size: abs(parameters(size) - settings.budget))


def train(
    cell: Cell, symbols: int, contexts: Contexts, data: tuple[Any, Any], settings: Settings, seed: int
) -> Trained:
    """Maximum likelihood; the weights are those of the epoch that the validation part prefers."""
    begin = time.perf_counter()
    size = fitting_size(cell, symbols, contexts, settings)
    torch.manual_seed(seed)
    model = assemble(cell, size, symbols, contexts, settings)
    outcome = ps.fit(
        model, *data, max_epochs=settings.epochs, patience=settings.patience, batch_tokens=None,
        batch_size=settings.batch_size, learning_rate=settings.learning_rate, schedule="cosine", seed=seed,
        accelerator="cpu", progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    print(f"{cell.name}: {count(model):,} parameters, epoch {outcome.epoch}, {outcome.nats:.4f} nats, {seconds:.0f} s")
    return Trained(cell, model, outcome, size, count(model), seconds)


@torch.no_grad()
def surprise(model: Any, y: ps.Sequences, x: Any, rows: int = 128) -> Float[Tensor, "b t"]:
    """−log P(yₜ | y₍<t₎, x) of each element, 0 in the padding."""
    found = []
    for index in torch.arange(len(y)).split(rows):
        own = tuple(each.select(index) for each in x) if isinstance(x, tuple) else x.select(index)
        nats = -model.log_prob_steps(y.select(index), own).element
        found.append(torch.nn.functional.pad(nats, (0, y.values.shape[1] - nats.shape[1])))
    return torch.cat(found)


def bootstrap(
    nats: Float[Tensor, "m b"], counts: Float[Tensor, " b"], seed: int, draws: int = 2000
) -> Float[Tensor, "m draws"]:
    """Nats per unit of m models, all on the same sequences drawn with replacement.

    Args:
        nats: the total of each sequence under each model.
        counts: how many units each sequence has.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(counts), (draws, len(counts)), generator=generator)
    return nats[:, drawn].sum(-1) / counts[drawn].sum(-1)


@torch.no_grad()
def greedy(model: Any, x: Any, length: int) -> Float[Tensor, "b t"]:
    """The likeliest element at each step, given those chosen before it.

    Without feedback this is the likeliest sequence.
    """
    state, chosen = model.start(x), []
    for _ in range(length):
        law = model.emit(state.features, state.position, state.context).element
        chosen.append(law.probs.argmax(-1))
        state = model.extend(state, chosen[-1].unsqueeze(1))[1]
    return torch.stack(chosen, 1)


def compare(
    trained: list[Trained], nats: Float[Tensor, "m b"], counts: Float[Tensor, " b"], seed: int
) -> dict[str, dict[str, Any]]:
    """Nats per unit of each cell, and the share by which a look ahead, and feedback, lower them: ± bootstrap errors."""
    drawn = bootstrap(nats, counts, seed)
    means = nats.sum(-1) / counts.sum()
    place = {each.cell: i for i, each in enumerate(trained)}
    cells = {
        each.cell.name: {
            "nats": float(means[i]), "error": float(drawn[i].std()), "parameters": each.parameters, "size": each.size,
            "best_epoch": each.outcome.epoch, "epochs": len(each.outcome.history), "fit_seconds": round(each.seconds),
            "validation_nats_per_element": each.outcome.nats,
        }
        for i, each in enumerate(trained)
    }  # fmt: skip
    gains = {}
    for name, low, high in (
        ("look ahead, without feedback", Cell(True, False), Cell(False, False)),
        ("look ahead, with feedback", Cell(True, True), Cell(False, True)),
        ("feedback, causal", Cell(False, True), Cell(False, False)),
        ("feedback, bidirectional", Cell(True, True), Cell(True, False)),
    ):
        a, b = place[low], place[high]
        gain, gains_drawn = 1 - means[a] / means[b], 1 - drawn[a] / drawn[b]
        gains[name] = {"lower_by": float(gain), "error": float(gains_drawn.std())}
    return {"cells": cells, "gains": gains}

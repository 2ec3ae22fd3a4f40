"""What probseq is measured against: the code that a torch user writes by hand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

PADDING = -1
"""The target that cross-entropy ignores."""

State = tuple[Tensor, Tensor]


class CharLSTM(nn.Module):
    """Embedding, LSTM, linear. The symbol after the last letter is the start among inputs, the end among targets."""

    def __init__(self, symbols: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.symbols = symbols
        self.embedding = nn.Embedding(symbols + 1, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.project = nn.Linear(hidden, symbols + 1)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (b, t, v + 1), and the state after the last input."""
        hidden, after = self.lstm(self.embedding(inputs), state)
        return self.project(hidden), after


def cross_entropy(model: CharLSTM, inputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Nats of the targets that are not padding."""
    logits = model(inputs)[0]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction=reduction)


def mark(sequences: Iterable[Tensor], symbols: int) -> list[Tensor]:
    """Each sequence between two boundary symbols."""
    boundary = torch.tensor([symbols])
    return [torch.cat([boundary, sequence, boundary]) for sequence in sequences]


def collate(marked: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Padded inputs [start, y₁ … y_T] and targets [y₁ … y_T, end]."""
    padded = pad_sequence(list(marked), batch_first=True, padding_value=PADDING)
    return padded[:, :-1].clamp(min=0), padded[:, 1:]


@dataclass(frozen=True)
class Epoch:
    """Nats per target over an epoch, and what it took."""

    nats: float
    seconds: float


def train_plain(
    model: CharLSTM, marked: list[Tensor], epochs: int, batch_size: int, learning_rate: float
) -> list[Epoch]:
    """As a tutorial has it: a DataLoader that pads each batch, and Adam."""
    loader = DataLoader(marked, batch_size, shuffle=True, collate_fn=collate)  # type: ignore[arg-type]
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    return [train_epoch(model, optimiser, loader) for _ in range(epochs)]


def train_best(
    model: CharLSTM, marked: list[Tensor], epochs: int, batch_size: int, learning_rate: float
) -> list[Epoch]:
    """As fast as it gets by hand: padded once, batches of similar lengths cut from tensors, fused Adam."""
    inputs, targets = collate(marked)
    lengths = torch.tensor([len(sequence) - 1 for sequence in marked])
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    return [train_epoch(model, optimiser, buckets(inputs, targets, lengths, batch_size)) for _ in range(epochs)]


def buckets(inputs: Tensor, targets: Tensor, lengths: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of similar lengths, trimmed to their longest, in random order."""
    order = torch.randperm(len(lengths))
    batches = order[lengths[order].argsort(stable=True)].split(batch_size)
    for i in torch.randperm(len(batches)).tolist():
        width = int(lengths[batches[i][-1]])
        yield inputs[batches[i], :width], targets[batches[i], :width]


def train_epoch(model: CharLSTM, optimiser: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> Epoch:
    """One pass over the data."""
    begin, nats, count = time.perf_counter(), 0.0, 0
    for inputs, targets in batches:
        loss = cross_entropy(model, inputs, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        scored = int((targets != PADDING).sum())
        nats, count = nats + loss.item() * scored, count + scored
    return Epoch(nats / count, time.perf_counter() - begin)


@torch.no_grad()
def sample(model: CharLSTM, num_samples: int, max_length: int) -> tuple[Tensor, Tensor]:
    """Draws (b, t) and their lengths without the end; every row stays until all have ended."""
    boundary = model.symbols
    token = torch.full((num_samples, 1), boundary, device=model.project.weight.device)
    ended = torch.zeros_like(token, dtype=torch.bool)
    lengths = torch.zeros_like(token)
    state, columns = None, []
    for _ in range(max_length):
        logits, state = model(token, state)
        token = torch.multinomial(logits[:, -1].softmax(-1), 1)
        columns.append(token)
        ended |= token == boundary
        lengths += ~ended
        if ended.all():
            break
    return torch.cat(columns, 1), lengths.squeeze(1)

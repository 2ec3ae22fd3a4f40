"""What probseq is measured against: the code that a torch user writes by hand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

PADDING = -1
"""The target that cross-entropy ignores, and what stands beyond the end of a chorale."""


class CharLSTM(nn.Module):
    """Embedding, LSTM, linear. The symbol after the last letter is the start among inputs, the end among targets."""

    def __init__(self, symbols: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.symbols = symbols
        self.embedding = nn.Embedding(symbols + 1, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.project = nn.Linear(hidden, symbols + 1)

    def collate(self, sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Padded inputs [start, y₁ … y_T] and targets [y₁ … y_T, end]."""
        boundary = torch.tensor([self.symbols])
        marked = [torch.cat([boundary, sequence, boundary]) for sequence in sequences]
        padded = pad_sequence(marked, batch_first=True, padding_value=PADDING)
        return padded[:, :-1].clamp(min=0), padded[:, 1:]

    def nats(self, inputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """−log P of the targets that are not padding, by default their mean."""
        logits = self.project(self.lstm(self.embedding(inputs))[0])
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction=reduction)


class ChordLSTM(nn.Module):
    """LSTM over vectors of bits; at each step a coin for the end, then one for each bit."""

    def __init__(self, bits: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(bits))
        self.lstm = nn.LSTM(bits, hidden, batch_first=True)
        self.project = nn.Linear(hidden, bits)
        self.stop = nn.Linear(hidden, 1)

    def collate(self, sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Padded chords, after which there is room for the end, and whether each step is one."""
        ended = [F.pad(each.float(), (0, 0, 0, 1), value=PADDING) for each in sequences]
        padded = pad_sequence(ended, batch_first=True)
        lengths = torch.tensor([len(each) + 1 for each in sequences])
        return padded, torch.arange(padded.shape[1]) < lengths.unsqueeze(1)

    def nats(self, padded: Tensor, steps: Tensor, reduction: str = "mean") -> Tensor:
        """−log P, by default its mean over steps, ends counted in."""
        first = self.first.expand(len(padded), 1, -1)
        hidden = self.lstm(torch.cat([first, padded[:, :-1].clamp(min=0)], 1))[0][steps]
        targets = padded[steps]
        ends = targets[:, 0] < 0
        bits = F.binary_cross_entropy_with_logits(self.project(hidden), targets.clamp(min=0), reduction="none").sum(-1)
        stops = F.binary_cross_entropy_with_logits(self.stop(hidden).squeeze(-1), ends.float(), reduction="none")
        total = (stops + torch.where(ends, 0.0, bits)).sum()
        return total / len(targets) if reduction == "mean" else total


Hand = CharLSTM | ChordLSTM


def train_plain(model: Hand, sequences: list[Tensor], epochs: int, batch_size: int, rate: float) -> list[float]:
    """As a tutorial has it: a DataLoader that pads each batch, and Adam. Seconds of each epoch."""
    loader = DataLoader(sequences, batch_size, shuffle=True, collate_fn=model.collate)  # type: ignore[arg-type]
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    return [train_epoch(model, optimiser, loader) for _ in range(epochs)]


def train_best(model: Hand, sequences: list[Tensor], epochs: int, batch_size: int, rate: float) -> list[float]:
    """As fast as it gets by hand: padded once, batches of similar lengths cut from tensors, fused Adam."""
    padded = model.collate(sequences)
    lengths = torch.tensor([len(sequence) + 1 for sequence in sequences])
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    return [train_epoch(model, optimiser, buckets(padded, lengths, batch_size)) for _ in range(epochs)]


def buckets(padded: tuple[Tensor, Tensor], lengths: Tensor, batch_size: int) -> Iterator[list[Tensor]]:
    """Batches of similar lengths, trimmed to their longest, in random order."""
    order = torch.randperm(len(lengths))
    batches = order[lengths[order].argsort(stable=True)].split(batch_size)
    for i in torch.randperm(len(batches)).tolist():
        width = int(lengths[batches[i][-1]])
        yield [each[batches[i], :width] for each in padded]


def train_epoch(model: Hand, optimiser: torch.optim.Optimizer, batches: Iterable[Sequence[Tensor]]) -> float:
    """One pass over the data: seconds, in which the loss is looked at, as one does."""
    begin, total = time.perf_counter(), 0.0
    for batch in batches:
        loss = model.nats(batch[0], batch[1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
    return time.perf_counter() - begin


@torch.no_grad()
def sample(model: CharLSTM, num_samples: int, max_length: int) -> Tensor:
    """Lengths of draws without the end, as fast as it gets by hand: one cell a step, and rows that end leave."""
    device = model.project.weight.device
    weights = (model.lstm.weight_ih_l0, model.lstm.weight_hh_l0, model.lstm.bias_ih_l0, model.lstm.bias_hh_l0)
    drawn = torch.full((num_samples, max_length), PADDING, device=device)
    rows = torch.arange(num_samples, device=device)
    token = torch.full((num_samples,), model.symbols, device=device)
    h = c = torch.zeros(num_samples, model.lstm.hidden_size, device=device)
    for t in range(max_length):
        h, c = torch.lstm_cell(model.embedding(token), (h, c), *weights)  # type: ignore[arg-type]
        token = torch.multinomial(model.project(h).softmax(-1), 1).squeeze(1)
        going = (token != model.symbols).nonzero().squeeze(1)
        if len(going) < len(rows):
            rows, token, h, c = rows[going], token[going], h[going], c[going]
            if not len(rows):
                break
        drawn[rows, t] = token
    return (drawn != PADDING).sum(1)

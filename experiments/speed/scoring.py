"""Scoring and its gradient; a training step beside Pyro's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

import probseq as ps
from experiments.speed import machine
from experiments.speed.by_hand import PADDING, CharLSTM
from experiments.speed.models import EMBEDDING, letters, letters_by_hand
from experiments.speed.rows import OURS, Row, Run, alternate, compare, recurrent_flops

SYMBOLS = 27
PYRO = "Pyro, a site a step"


def batch(sequences: int, length: int, ragged: bool) -> ps.Sequences:
    """Random letters."""
    lengths = torch.randint(1, length + 1, (sequences,)) if ragged else torch.full((sequences,), length)
    lengths[0] = length
    return ps.Sequences(torch.randint(SYMBOLS, (sequences, length)), lengths)


def ours(model: ps.SequenceModel, y: ps.Sequences) -> Tensor:
    """−log P, and its gradient."""
    model.zero_grad()
    total = -model.log_prob(y).sum()
    total.backward()
    return total


def by_hand(model: CharLSTM, inputs: Tensor, targets: Tensor) -> Tensor:
    """The same."""
    model.zero_grad()
    total = model.nats(inputs, targets, "sum")
    total.backward()
    return total


def scoring(run: Run) -> Iterator[Row]:
    """log_prob and its gradient, on batches that are already padded on both sides."""
    sizes = ((4, 8, 16), (4, 2, 16)) if run.smoke else ((32, 128, 256), (32, 16, 256))
    for device, (sequences, length, hidden), ragged in product(run.limits, sizes, (False, True)):
        torch.manual_seed(run.seed)
        model = letters(SYMBOLS, hidden).to(device)
        hand, y = letters_by_hand(model), batch(sequences, length, ragged)
        inputs, targets = (tensor.to(device) for tensor in hand.collate(list(y)))
        sides = {"nn.LSTM by hand": partial(by_hand, hand, inputs, targets), OURS: partial(ours, model, y.to(device))}
        require_equal(model, hand, sides)
        calls = 1 if run.smoke else max(1, 256 // length)
        times = alternate(sides, device, 3 if run.smoke else 30, calls)
        work = recurrent_flops("LSTM", int(y.decisions.sum()), EMBEDDING, hidden, SYMBOLS + 1, backward=True)
        name = f"log_prob and gradient, {'ragged' if ragged else 'equal lengths'}, B={sequences} T={length} H={hidden}"
        at_most = None if ragged else 1.03
        yield compare(run, "scoring", name, device, times, "nn.LSTM by hand", work, at_most=at_most)


def require_equal(model: ps.SequenceModel, hand: Any, sides: dict[str, Any]) -> None:
    """Raise AssertionError unless both sides have the same value and gradients."""
    values = [side() for side in sides.values()]
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=0)
    pair = model.recurrence.network.weight_hh_l0.grad, hand.lstm.weight_hh_l0.grad
    torch.testing.assert_close(*pair, rtol=1e-2, atol=1e-3)


def teacher_forcing(run: Run) -> Iterator[Row]:
    """A language model's share of the machine's best rate; of its 128 steps one is the end's."""
    torch.manual_seed(run.seed)
    model, y = letters(SYMBOLS, 256, 128), batch(32, 127, ragged=False)

    def forward() -> None:
        with torch.no_grad():
            model.log_prob(y)

    both = partial(ours, model, y)
    sides = {"LSTM": machine.lstm("cpu"), "matmul": machine.product(2048, "cpu"), "forward": forward, "both": both}
    times = alternate(sides, "cpu", 2 if run.smoke else 15)
    work = {way: recurrent_flops("LSTM", 32 * 128, 128, 256, SYMBOLS + 1, way == "both") for way in ("forward", "both")}
    best = [
        max(machine.lstm_flops() / lstm, 2 * 2048**3 / matmul)
        for lstm, matmul in zip(times["LSTM"], times["matmul"], strict=True)
    ]
    for name, measure, at_least in (("forward", "forward", 0.85), ("both", "forward + backward", 0.6)):
        shares = [work[name] / seconds / rate for seconds, rate in zip(times[name], best, strict=True)]
        yield Row.of(
            "limit", f"teacher-forced LSTM (32, 128, 128, 256), {measure}", "cpu", "share of the best rate", shares,
            at_least=at_least, times={OURS: times[name]}, share=sorted(shares)[len(shares) // 2],
        )  # fmt: skip


class PyroLSTM(nn.Module):
    """A Pyro program with a site for each letter and the end."""

    def __init__(self, hand: CharLSTM) -> None:
        super().__init__()
        self.embedding, self.project = hand.embedding, hand.project
        self.cell = nn.LSTMCell(hand.lstm.input_size, hand.lstm.hidden_size)
        self.cell.load_state_dict({name.removesuffix("_l0"): w for name, w in hand.lstm.state_dict().items()})

    def forward(self, inputs: Tensor, targets: Tensor) -> None:
        pyro.module("model", self)
        state = None
        with pyro.plate("sequences", len(inputs)):
            for t in range(inputs.shape[1]):
                state = self.cell(self.embedding(inputs[:, t]), state)
                law = dist.Categorical(logits=self.project(state[0])).mask(targets[:, t] != PADDING)
                pyro.sample(f"y_{t}", law, obs=targets[:, t].clamp(min=0))


def training_step(run: Run) -> Iterator[Row]:
    """Loss, gradient and a step of Adam, against a program and `Trace_ELBO`; the loss is looked at on both sides."""
    sequences, length, hidden = (4, 8, 16) if run.smoke else (32, 64, 128)
    torch.manual_seed(run.seed)
    model, y = letters(SYMBOLS, hidden), batch(sequences, length - 1, ragged=True)
    hand = letters_by_hand(model)
    program, data, elbo = PyroLSTM(hand), hand.collate(list(y)), Trace_ELBO()
    losses = {
        PYRO: lambda: elbo.differentiable_loss(program, lambda *_: None, *data),
        OURS: lambda: -model.log_prob(y).sum(),
    }
    torch.testing.assert_close(*(loss() for loss in losses.values()), rtol=1e-4, atol=0)
    optimisers = {
        PYRO: torch.optim.Adam(program.parameters(), fused=True), OURS: torch.optim.Adam(model.parameters(), fused=True)
    }  # fmt: skip

    def step(side: str) -> float:
        optimisers[side].zero_grad()
        loss = losses[side]()
        loss.backward()
        optimisers[side].step()
        return loss.item()

    times = alternate({side: partial(step, side) for side in (PYRO, OURS)}, "cpu", 2 if run.smoke else 20)
    work = recurrent_flops("LSTM", int(y.decisions.sum()), EMBEDDING, hidden, SYMBOLS + 1, backward=True)
    name = f"training step, B={sequences} T={length} H={hidden}"
    yield compare(run, "pyro", name, "cpu", times, PYRO, work, at_least=4.2)

"""Parity and binary addition, a label for every step: what feeding the output back saves the network (10.2.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import probseq as ps
from experiments.chapter.common import figure, fit, model, save
from experiments.report import table

TRAINED, TESTED = 20, (20, 200)

KINDS = {
    "Memoryless": ps.Memoryless(32),
    "CausalConv, window 2": ps.CausalConv(32, window=2, layers=2),
    "Elman": ps.Elman(32),
    "LSTM": ps.LSTM(32),
}


def parity(bits: Tensor) -> Tensor:
    """yₜ = x₁ + … + xₜ modulo 2, for x (b, t, 1)."""
    return bits[..., 0].cumsum(1).remainder(2).long()


def addition(bits: Tensor) -> Tensor:
    """The bits of the sum of two numbers, x (b, t, 2), the least significant first; the last carry is dropped."""
    carry, digits = torch.zeros(len(bits)), []
    for column in bits.sum(-1).unbind(1):
        total = column + carry
        digits.append(total.remainder(2))
        carry = (total >= 2).to(total)
    return torch.stack(digits, 1).long()


TASKS = {"parity": (parity, 1), "addition": (addition, 2)}


def study(smoke: bool, seed: int) -> dict[str, Any]:
    """Every network on each task, with and without feedback."""
    rows = []
    kinds = {name: KINDS[name] for name in ("Memoryless", "Elman")} if smoke else KINDS
    for task, (solve, width) in TASKS.items():
        train = _draw(solve, width, 200 if smoke else 4_000, TRAINED, seed, ragged=True)
        validation = _draw(solve, width, 500, TRAINED, seed + 1, ragged=True)
        tests = {length: _draw(solve, width, 50 if smoke else 500, length, seed + 2) for length in TESTED}
        for name, kind in kinds.items():
            for feedback in (True, False):
                element = ps.Tokens(2, dim=4, feedback=feedback)
                network = model(seed, kind, ps.AlignedLength(), element, ps.Aligned(ps.Bits(width)))
                fit(network, train, validation, 1 if smoke else 15, seed)
                row: dict[str, Any] = {"task": task, "network": name, "feedback": feedback}
                for length, (y, x) in tests.items():
                    with torch.no_grad():
                        nats = -float(network.log_prob(y, x).mean()) / length
                    row |= {
                        f"nats_{length}": nats,
                        f"right_{length}": float((_argmax(network, y, x) == y.values).float().mean()),
                    }
                rows.append(row)
    print(f"\n10.2.1: parity and binary addition, learned from at most {TRAINED} steps")
    print("nats: per step, given the true outputs before; right: share of steps where it reads its own outputs\n")
    head = ("task", "network", "feedback", *(f"{what}, t = {t}" for t in TESTED for what in ("nats", "right")))
    keys = [f"{what}_{t}" for t in TESTED for what in ("nats", "right")]
    shown = [(row["task"], row["network"], "yes" if row["feedback"] else "no", *(row[k] for k in keys)) for row in rows]
    print(table(head, shown))
    return {"rows": rows}


def _draw(
    solve: Any, width: int, number: int, length: int, seed: int, ragged: bool = False
) -> tuple[ps.Sequences, ps.Sequences]:
    """y and x, of lengths 1 to `length` where `ragged`."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(2, (number, length, width), generator=generator).float()
    lengths = torch.randint(1, length + 1, (number,), generator=generator) if ragged else torch.full((number,), length)
    return ps.Sequences(solve(bits), lengths), ps.Sequences(bits, lengths)


@torch.no_grad()
def _argmax(network: ps.SequenceModel, y: ps.Sequences, x: ps.Sequences) -> Tensor:
    """The most probable output of each step, read back in as if it were true; (b, t)."""
    state, outputs = network.start(x), []
    for t in range(y.values.shape[1]):
        law: Any = network.emit(state.features, state.position, state.context).element
        outputs.append(law.logits.argmax(-1))
        if t + 1 < y.values.shape[1]:
            state = network.extend(state, outputs[-1].unsqueeze(1))[1]
    return torch.stack(outputs, 1)


def draw(results: dict[str, Any], folder: Path) -> None:
    """Steps that are right, by network, within and beyond the lengths of training."""
    drawn, axes = figure(2, 9.6)
    for each, task in zip(axes, TASKS, strict=True):
        rows = [row for row in results["rows"] if row["task"] == task]
        names = [f"{row['network']}, {'' if row['feedback'] else 'no '}feedback" for row in rows]
        places = torch.arange(len(rows))
        for i, length in enumerate(TESTED):
            right = [100 * row[f"right_{length}"] for row in rows]
            each.barh(places + 0.4 * i - 0.2, right, 0.4, label=f"t = {length}", color=("0.7", "C0")[i])
        each.axvline(50, color="black", ls="--", lw=0.8, label="chance")
        each.set_yticks(places, names, fontsize="small")
        each.invert_yaxis()
        each.set(xlabel="per cent of outputs that are right", title=task, xlim=(0, 101))
    drawn.legend(*axes[0].get_legend_handles_labels(), frameon=False, ncols=3, loc="outside lower center")
    save(drawn, folder / "tasks.png")

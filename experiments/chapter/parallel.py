"""Output-to-hidden recurrence against hidden-to-hidden (10.2.1): what parallel training saves, and what it loses."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import probseq as ps
from experiments.chapter.common import figure, fit, log_probs, mean_error, model, parameters, save
from experiments.report import table
from probseq.oracles import HMM

LENGTH = 512
TARGET = 0.25
"""The time of a step of `Memoryless` as a share of Elman's."""

EVEN = HMM([0.5, 0.5, 0.0], [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
"""Ones come in runs of even length: no finite window tells whether a run is half way through a pair."""


def study(smoke: bool, seed: int) -> dict[str, Any]:
    """Time for a training step, then nats on a source that needs memory."""
    return {"time": timing(smoke, seed), "memory": memory(smoke, seed)}


def timing(smoke: bool, seed: int) -> list[dict[str, Any]]:
    """Paired training steps of networks of one width on sequences of 512 elements."""
    rows = []
    for units in (64,) if smoke else (64, 256):
        for batch in (4,) if smoke else (4, 16, 64):
            y = ps.Sequences(
                torch.randint(2, (batch, LENGTH), generator=torch.Generator().manual_seed(seed)), [LENGTH] * batch
            )
            kinds = {"Memoryless": ps.Memoryless(units), "Elman": ps.Elman(units), "LSTM": ps.LSTM(units)}
            steps = {name: _step(model(seed, kind, ps.FixedLength(LENGTH)), y) for name, kind in kinds.items()}
            times = _race(steps, 2 if smoke else 15)
            ratio = statistics.median(a / b for a, b in zip(times["Memoryless"], times["Elman"], strict=True))
            medians = {name: 1_000 * statistics.median(found) for name, found in times.items()}
            rows.append(
                {"units": units, "batch": batch, "milliseconds": medians, "ratio": ratio, "met": ratio <= TARGET}
            )
    print(f"\n10.2.1: one training step (forward, backward, Adam) on sequences of {LENGTH} elements, milliseconds\n")
    head = ("units", "batch", "Memoryless", "Elman", "LSTM", "Memoryless / Elman", "≤ 1/4")
    shown = [(row["units"], row["batch"], *row["milliseconds"].values(), row["ratio"], row["met"]) for row in rows]
    print(table(head, shown))
    return rows


def _step(network: ps.SequenceModel, y: ps.Sequences) -> Any:
    """One step of training, as a function of nothing."""
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    y, _ = network.conform(y)

    def step() -> None:
        optimiser.zero_grad()
        (-network.log_prob(y, validate=False).mean() / LENGTH).backward()
        optimiser.step()

    return step


def _race(steps: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Seconds for each, taken in turns, so that what else the machine does falls on all alike; two to warm up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            if turn >= 2:
                times[name].append(time.perf_counter() - begin)
    return times


def memory(smoke: bool, seed: int) -> list[dict[str, Any]]:
    """Excess over the entropy of runs of even length, by how far back a network sees."""
    length = 16 if smoke else 64
    source = HMM(EVEN.log_initial.exp(), EVEN.log_transition.exp(), EVEN.log_emission.exp(), length)
    train, validation, test = (
        ps.sample(source, number, generator=10 * seed + i)
        for i, number in enumerate((200, 50, 200) if smoke else (2_000, 500, 2_000))
    )
    own = source.log_prob(test) / length
    windows = (1, 2) if smoke else (1, 2, 3, 4, 6, 8)
    kinds: list[tuple[str, int | None, Any]] = [("Memoryless", 1, ps.Memoryless(64))]
    kinds += [(f"CausalConv, window {k}", k, ps.CausalConv(64, window=k, layers=2)) for k in windows]
    kinds += [("Elman", None, ps.Elman(64)), ("LSTM", None, ps.LSTM(64))]
    rows = []
    for name, window, kind in kinds:
        network = model(seed, kind, ps.FixedLength(length))
        seconds = fit(network, train, validation, 2 if smoke else 10, seed)
        excess, error = mean_error(own - log_probs(network, test) / length)
        floor = 0.0 if window is None else markov_excess(source, window)
        rows.append(
            {"network": name, "window": window, "parameters": parameters(network), "excess": excess, "error": error,
             "floor": floor, "seconds": seconds}
        )  # fmt: skip
    entropy = float(exact_steps(source).mean())
    print(
        f"\nRuns of even length, {entropy:.4f} nats an element: held-out excess, and the least that a window allows\n"
    )
    head = ("network", "parameters", "excess", "±", "least", "seconds")
    print(
        table(
            head,
            [
                tuple(row[key] for key in ("network", "parameters", "excess", "error", "floor", "seconds"))
                for row in rows
            ],
        )
    )
    return rows


def exact_steps(source: HMM) -> Tensor:
    """H(yₜ | y₍<t₎) for each t, where the elements so far tell the hidden state: entropies of rows of transition."""
    law, transition = source.log_initial.exp(), source.log_transition.exp()
    steps = [torch.special.entr(law).sum()]
    for _ in range((source.length or 0) - 1):
        steps.append(law @ torch.special.entr(transition).sum(-1))
        law = law @ transition
    return torch.stack(steps)


def markov_excess(source: HMM, window: int) -> float:
    """What the best law given the last `window` elements loses, in nats an element.

    From step `window` on such a law does not see the start, so that it is one law for all these steps: that of the
    source averaged over them, whose conditional entropy is found by enumeration.
    """
    length = source.length or 0
    law, total = source.log_initial.exp(), torch.zeros_like(source.log_initial)
    for _ in range(length - window):
        total, law = total + law, law @ source.log_transition.exp()
    start = total / (length - window)
    conditional = _entropy(start, source, window + 1) - _entropy(start, source, window)
    exact = exact_steps(source)
    return (length - window) * conditional / length - float(exact[window:].sum()) / length


def _entropy(law: Tensor, source: HMM, length: int) -> float:
    """The entropy of `length` elements, `law` that of the first hidden state, by enumeration."""
    short = HMM(law, source.log_transition.exp(), source.log_emission.exp(), length)
    every = torch.cartesian_prod(*[torch.arange(source.element.size)] * length).reshape(-1, length)
    log_prob = short.log_prob(ps.Sequences(every, [length] * len(every)))
    return -float((log_prob.exp() * log_prob).nansum())


def draw(results: dict[str, Any], folder: Path) -> None:
    """Time by batch, and excess by window."""
    drawn, axes = figure(2, 9.6)
    for i, units in enumerate(dict.fromkeys(row["units"] for row in results["time"])):
        rows = [row for row in results["time"] if row["units"] == units]
        batches = [str(row["batch"]) for row in rows]
        axes[0].plot(batches, [row["ratio"] for row in rows], f"C{i}o-", label=f"{units} units")
    axes[0].axhline(TARGET, color="0.5", ls="--", lw=1, label="target")
    axes[0].set(xlabel="sequences in a batch", ylabel="time, Memoryless / Elman", ylim=(0, None))
    axes[0].set_title(f"A training step, {LENGTH} elements")
    rows = [row for row in results["memory"] if row["network"].startswith("CausalConv")]
    axes[1].semilogy(
        [row["window"] for row in rows], [row["floor"] for row in rows], "k--", lw=1, label="least possible"
    )
    axes[1].plot([row["window"] for row in rows], [row["excess"] for row in rows], "C0o", label="CausalConv")
    for color, name in (("C1", "Elman"), ("C2", "LSTM")):
        row = next(row for row in results["memory"] if row["network"] == name)
        axes[1].axhline(row["excess"], color=color, lw=1, label=name)
    axes[1].set(xlabel="elements that are seen", ylabel="excess, nats an element", ylim=(1e-4, None))
    axes[1].set_title("Runs of even length")
    for each in axes:
        each.legend(frameon=False)
    save(drawn, folder / "parallel.png")

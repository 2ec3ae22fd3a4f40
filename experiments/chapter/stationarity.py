"""Is the law the same at every step (10.2.3)? A network with and without the position as an input, on held-out data."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch

import probseq as ps
from experiments.chapter.common import figure, fit, log_probs, mean_error, model, save
from experiments.report import table
from probseq.oracles import HMM, Automaton

LENGTH = 20
SYMBOLS = "abc"


def sources() -> dict[str, Any]:
    """One law whose conditionals are the same at every step, and one with a law of its own for each."""
    stay = torch.full((3, 3), 0.05, dtype=torch.float64).fill_diagonal_(0.9)
    emission = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    return {
        "stationary (hidden Markov)": HMM([1 / 3, 1 / 3, 1 / 3], stay, emission, LENGTH),
        "position-dependent (Markov)": drifting(seed=5),
    }


def drifting(seed: int) -> Automaton:
    """A Markov chain whose every step has another transition, drawn from Dirichlet(½) ones. State 3 t + y − 2."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        laws = torch.distributions.Dirichlet(torch.full((LENGTH, 3, 3), 0.5, dtype=torch.float64)).sample()
    states: list[dict[str, tuple[float, int]]] = []
    for t, last in product(range(LENGTH), range(3)):
        if t or not last:
            law = laws[t, last].tolist()
            states.append({s: (p, 1 + 3 * t + y) for y, (s, p) in enumerate(zip(SYMBOLS, law, strict=True))})
    return Automaton(SYMBOLS, [*states, {}, {}, {}])


def study(smoke: bool, seed: int) -> dict[str, Any]:
    """Excess with and without the position, and the paired difference."""
    sizes = (100,) if smoke else (500, 5_000)
    runs = 1 if smoke else 3
    rows = []
    for (name, source), size in product(sources().items(), sizes):
        train, validation, test = (
            ps.sample(source, number, generator=100 * seed + i)
            for i, number in enumerate((size, max(50, size // 5), 200 if smoke else 5_000))
        )
        own = source.log_prob(test)
        found = {}
        for kind in ("LSTM", "Positional"):
            scores = []
            for run in range(runs):
                plain = ps.LSTM(16 if smoke else 32)
                recurrence = plain if kind == "LSTM" else ps.Positional(plain, positions=LENGTH, dim=8)
                network = model(seed + run, recurrence, ps.FixedLength(LENGTH), ps.Tokens(3, dim=4))
                epochs = 1 if smoke else 30 if size < 1_000 else 10
                fit(network, train, validation, epochs, seed + run, batch=32 if size < 1_000 else 64)
                scores.append(log_probs(network, test))
            found[kind] = torch.stack(scores)
        mean = {kind: scores.mean(0) for kind, scores in found.items()}
        gain, error = mean_error(mean["Positional"] - mean["LSTM"])
        gains = (found["Positional"] - found["LSTM"]).mean(1).tolist()
        excess = {kind: float((own - scores).mean()) for kind, scores in mean.items()}
        rows.append(
            {"source": name, "sequences": size, "entropy": -float(own.mean()), "excess": excess, "gain": gain,
             "gain_error": error, "gain_by_seed": gains}
        )  # fmt: skip
    print(f"\n10.2.3: the position as an input; {LENGTH} elements, mean of {runs} fits, nats per sequence")
    print("gain: of the position, a paired difference with its standard error over held-out sequences; then by fit\n")
    head = ("source", "sequences", "exact", "excess: LSTM", "Positional", "gain", "±", "from", "to")
    shown = [
        (row["source"], row["sequences"], row["entropy"], *row["excess"].values(), row["gain"], row["gain_error"],
         min(row["gain_by_seed"]), max(row["gain_by_seed"]))
        for row in rows
    ]  # fmt: skip
    print(table(head, shown))
    return {"rows": rows}


def draw(results: dict[str, Any], folder: Path) -> None:
    """The gain on each source."""
    drawn, (axes,) = figure(1, 6.4)
    rows = results["rows"]
    names = [f"{row['source']}\n{row['sequences']:,} sequences" for row in rows]
    axes.barh(names, [row["gain"] for row in rows], xerr=[2 * row["gain_error"] for row in rows], color="C0")
    for i, row in enumerate(rows):
        axes.plot(row["gain_by_seed"], [i] * len(row["gain_by_seed"]), "k.", ms=4)
    axes.axvline(0, color="black", lw=0.8)
    axes.invert_yaxis()
    axes.set(xlabel="nats per sequence that the position saves (dots: fits)", title="Is the law stationary?")
    save(drawn, folder / "stationarity.png")

"""The table of all conditionals against a network (10.2.3): parameters, and what they lose on few data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import probseq as ps
from experiments.chapter.common import figure, fit, log_probs, model, save
from experiments.report import table
from probseq.oracles import HMM, Table

SYMBOLS, UNITS = 3, 32


def study(smoke: bool, seed: int) -> dict[str, Any]:
    """Sequences of t elements from a hidden Markov model, learned from n of them by a table and by an Elman network."""
    lengths, sizes = ((2, 4), (100,)) if smoke else ((2, 4, 6, 8, 10), (100, 1_000, 10_000))
    rows = []
    for length in lengths:
        source = HMM.random(4, SYMBOLS, length, generator=3, concentration=0.2)
        every = torch.cartesian_prod(*[torch.arange(SYMBOLS)] * length)
        everything = ps.Sequences(every, [length] * len(every))
        exact = source.log_prob(everything)
        entropy = -float((exact.exp() * exact).nansum())
        drawn = ps.sample(source, max(sizes), generator=1_000 * seed + length)
        for size in sizes:
            train, validation = (
                drawn.select(list(r)) for r in (range(size - size // 10), range(size - size // 10, size))
            )
            found: dict[str, Any] = {"length": length, "sequences": size, "entropy": entropy}
            counted = _count(length, train, validation)
            network = _network(length, train, validation, seed, smoke)
            count = ps.graph.count_parameters(network, length)
            for name, learned, number in (
                ("table", counted, count.table),
                ("network", network, count.network),
            ):
                loss = exact.exp() * (exact - log_probs(learned, everything))
                found |= {f"{name}_parameters": number, f"{name}_excess": float(loss.nansum())}
            rows.append(found)
    print("\n10.2.3: a table of every conditional against an Elman network, on a hidden Markov model of 3 symbols")
    print("excess: KL(source ‖ model) in nats per sequence, summed over all 3^t sequences\n")
    head = ("t", "sequences", "entropy", "parameters: table", "network", "excess: table", "network")
    keys = (
        "length",
        "sequences",
        "entropy",
        "table_parameters",
        "network_parameters",
        "table_excess",
        "network_excess",
    )
    print(table(head, [tuple(row[key] for key in keys) for row in rows]))
    return {"rows": rows}


def _count(length: int, train: ps.Sequences, validation: ps.Sequences) -> Table:
    """The table whose pseudo-count the validation data prefer."""
    counts = [Table(SYMBOLS, length, fixed=True).fit(train, pseudo) for pseudo in (0.01, 0.03, 0.1, 0.3, 1.0)]
    return max(counts, key=lambda counted: float(counted.log_prob(validation).mean()))


def _network(length: int, train: ps.Sequences, validation: ps.Sequences, seed: int, smoke: bool) -> ps.SequenceModel:
    network = model(seed, ps.Elman(UNITS), ps.FixedLength(length), ps.Tokens(SYMBOLS, dim=4))
    batch = 16 if len(train) < 1_000 else 64
    steps = 20 if smoke else 600
    epochs = max(1 if smoke else 3, min(40, steps * batch // len(train)))
    fit(network, train, validation, epochs, seed, batch=batch)
    return network


def draw(results: dict[str, Any], folder: Path) -> None:
    """Parameters against t, and excess against the number of sequences."""
    drawn, axes = figure(2, 9.6)
    rows = results["rows"]
    lengths = sorted({row["length"] for row in rows})
    for name, style in (("table", "o-"), ("network", "s--")):
        first = [next(row for row in rows if row["length"] == length) for length in lengths]
        axes[0].semilogy(lengths, [row[f"{name}_parameters"] for row in first], style, label=name)
        for i, length in enumerate(lengths):
            own = [row for row in rows if row["length"] == length]
            axes[1].loglog(
                [row["sequences"] for row in own], [row[f"{name}_excess"] for row in own], style, color=f"C{i}",
                ms=4, label=f"t = {length}" if name == "table" else None,
            )  # fmt: skip
    axes[0].set(xlabel="length t", ylabel="parameters", title="Parameters")
    axes[1].set(xlabel="training sequences", ylabel="nats per sequence above the entropy")
    axes[1].set_title("What they lose (line: table, dashed: network)")
    for each in axes:
        each.legend(frameon=False)
    save(drawn, folder / "tables.png")

"""Ways to end (10.2.3) on the same words: what they score, how long their samples are, and which of them break off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import probseq as ps
from experiments.chapter.common import figure, fit, log_probs, mean_error, model, save
from experiments.report import table
from probseq.datasets import words
from probseq.oracles import NGram

LONGEST = 20
"""Longer words, about one in a thousand, are left out, so that all laws have one support."""

SUFFIX = 3
UNLIKELY = 0.01

STOPS = {
    "EndSymbol": ps.EndSymbol(),
    "BernoulliStop": ps.BernoulliStop(),
    "LengthStop": ps.LengthStop(LONGEST),
    "PlannedLength": ps.PlannedLength(LONGEST),
    "PlannedLength, not fed": ps.PlannedLength(LONGEST, remaining=False),
}


def study(smoke: bool, seed: int) -> dict[str, Any]:
    """One network, five ends."""
    data = words(seed)
    known = [word for word in [*data.train, *data.validation] if len(word) <= LONGEST]
    held_out = [word for word in data.test if len(word) <= LONGEST]
    known, held_out = (known[:3_000], held_out[:300]) if smoke else (known, held_out)
    few = known[:300] if smoke else known[:20_000]
    train, validation = data.alphabet.encode(few), data.alphabet.encode(known[-200 if smoke else -2_000 :])
    test = data.alphabet.encode(held_out)
    judge = NGram(3 if smoke else 6, len(data.alphabet), "kneser-ney").fit(data.alphabet.encode(known))
    endings = {word[-SUFFIX:] for word in known}

    rows = [{"stop": "held-out words", **_judged(data.alphabet.decode(test), test, judge, endings, test.lengths)}]
    for name, stop in STOPS.items():
        network = model(seed, ps.LSTM(8 if smoke else 96), stop, ps.Tokens(len(data.alphabet), dim=32))
        seconds = fit(network, train, validation, 1 if smoke else 8, seed, rate=5e-3, batch=128)
        log_prob = log_probs(network, test)
        drawn = _drawn(network, 100 if smoke else 10_000, seed)
        nats, error = mean_error(-log_prob)
        scores = {
            "nats_per_word": nats,
            "error": error,
            "nats_per_letter": -float(log_prob.sum() / test.decisions.sum()),
        }
        samples = data.alphabet.decode(drawn)
        judged = _judged(samples, drawn, judge, endings, test.lengths)
        rows.append({"stop": name, **scores, **judged, "seconds": seconds, "samples": samples[:12]})
    _show(rows, len(train), len(test))
    return {"rows": rows, "training_words": len(train)}


def _drawn(network: ps.SequenceModel, number: int, seed: int) -> ps.Sequences:
    """Words from the model. A planned length is drawn first: the mixture over it would cost as many networks."""
    if not network.stop.plans:
        # A cut word would be none: one in ten thousand goes on so long.
        return network.sample(number, max_length=60, generator=seed)
    law = network.stop.log_pmf(network.encode(None)).exp().detach().squeeze(0)
    lengths = torch.multinomial(law, number, replacement=True, generator=torch.Generator().manual_seed(seed))
    return network.sample(1, context=network.plan(lengths), generator=seed)


def _judged(texts: list[str], y: ps.Sequences, judge: NGram, endings: set[str], lengths: Tensor) -> dict[str, Any]:
    """How words end, by those that are known: new last letters, and the nats of the end under the 6-gram."""
    y = y.select(y.ended)
    end = ps.score(judge, y).stop.gather(1, y.lengths.unsqueeze(1)).squeeze(1)
    unlikely = (end.exp() < UNLIKELY).double()
    laws = [torch.bincount(found, minlength=80) / len(found) for found in (y.lengths, lengths)]
    share, share_error = mean_error(unlikely)
    surprise, surprise_error = mean_error(-end)
    return {
        "new_endings": sum(text[-SUFFIX:] not in endings for text in texts) / len(texts),
        "broken_off": share, "broken_off_error": share_error,
        "end_nats": surprise, "end_nats_error": surprise_error,
        "length_total_variation": 0.5 * float((laws[0] - laws[1]).abs().sum()),
        "length_law": laws[0][: LONGEST + 1].tolist(),
    }  # fmt: skip


def _show(rows: list[dict[str, Any]], trained: int, tested: int) -> None:
    print(f"\n10.2.3: ways to end; {trained:,} words to learn from, {tested:,} held out\n")
    print(f"new: the last {SUFFIX} letters end no known word. end: nats of the end under a 6-gram of the known words.")
    print(f"broken off: that end has a probability below {UNLIKELY}. lengths: total variation to the held-out ones.\n")
    head = ("stop", "nats a word", "±", "nats a letter", "broken off", "±", "end", "new", "lengths")
    keys = ("nats_per_word", "error", "nats_per_letter", "broken_off", "broken_off_error", "end_nats", "new_endings")
    print(
        table(head, [(row["stop"], *(row.get(key, "") for key in (*keys, "length_total_variation"))) for row in rows])
    )
    for row in rows[1:]:
        print(f"{row['stop']}: {', '.join(row['samples'])}")


def draw(results: dict[str, Any], folder: Path) -> None:
    """Words that break off, and lengths."""
    drawn, axes = figure(2, 10.4)
    rows = results["rows"]
    names = [row["stop"] for row in rows]
    axes[0].barh(names, [100 * row["broken_off"] for row in rows], color=["0.7", *["C0"] * (len(rows) - 1)],
                 xerr=[200 * row["broken_off_error"] for row in rows])  # fmt: skip
    axes[0].invert_yaxis()
    axes[0].set(xlabel=f"per cent of words whose end has a probability below {UNLIKELY}", title="Words that break off")
    for row in rows:
        style = {"color": "0.6", "lw": 4} if row is rows[0] else {"lw": 1.2}
        axes[1].plot(row["length_law"], label=row["stop"], **style)
    axes[1].set(xlabel="length (letters)", ylabel="probability", title="Lengths")
    axes[1].legend(frameon=False, fontsize="small")
    save(drawn, folder / "endings.png")

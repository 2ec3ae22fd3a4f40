"""Words with holes: how far the answers can be trusted, and what they cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import probseq as ps
from experiments import letters
from probseq.datasets.splits import Texts

KINDS = ("aeiouy", "lmnr", "bcdgkpqt", "fhjsvwxz", "'")
"""Five kinds of letters: vowels, sonorants, stops, fricatives, the apostrophe."""

PARTICLES = 256


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Args:
        small, large: the networks of kinds of letters and of letters.
        steps: of the training of a look ahead.
        queries: words that are asked about, for each size of the gap.
        repeats: of each estimate.
    """

    small: letters.Settings
    large: letters.Settings
    steps: int
    queries: int
    repeats: int


@dataclass(frozen=True)
class Asker:
    """A model with its look ahead, and the words that it is asked about."""

    model: ps.SequenceModel
    ahead: ps.LearnedLookahead
    seconds: dict[str, float]

    @staticmethod
    def of(data: Texts, settings: letters.Settings, steps: int, place: Path) -> Asker:
        """Train both, or read what was trained before."""
        if (place / "lookahead.safetensors").exists():
            return Asker(ps.load(place), ps.load_lookahead(place), {})
        trained = letters.train(data, settings, progress=False)
        begin = time.perf_counter()
        ahead = ps.train_lookahead(trained.model, steps=steps, seed=settings.seed, progress=False, accelerator="cpu")
        seconds = {"model": trained.seconds, "lookahead": time.perf_counter() - begin}
        ps.save(trained.model, place)
        ps.save_lookahead(ahead, place)
        return Asker(trained.model, ahead, seconds)


def in_kinds(data: Texts) -> Texts:
    """The words in kinds of letters, a to e."""
    kind = {letter: "abcde"[i] for i, members in enumerate(KINDS) for letter in members}

    def change(texts: list[str]) -> list[str]:
        return ["".join(kind[letter] for letter in text) for text in texts]

    alphabet = type(data.alphabet)("abcde")
    return Texts(alphabet, change(data.train), change(data.validation), change(data.test))


def hide(y: ps.Sequences, size: int, generator: torch.Generator) -> tuple[ps.Sequences, Tensor]:
    """Each sequence with a gap of `size` elements at a place of its own, and where something was observed."""
    first = (torch.rand(len(y), generator=generator) * (y.lengths - size + 1)).long().unsqueeze(1)
    at = torch.arange(y.values.shape[1])
    observed = (at < first) | (at >= first + size)
    return ps.Sequences(torch.where(observed, y.values, -1), y.lengths, y.ended), observed


def chosen(texts: list[str], data: Texts, low: int, high: int, count: int) -> ps.Sequences:
    """Words of low to high letters, the first so many."""
    return data.alphabet.encode([text for text in texts if low <= len(text) <= high][:count])


def accuracy(asker: Asker, data: Texts, scale: Scale, seed: int) -> dict[str, Any]:
    """Against enumeration: kinds of letters, gaps of one to five."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, dict[str, list[Tensor]]] = {"with": {}, "without": {}}
    for size in range(1, 6):
        y = chosen(data.test, data, 8, 14, scale.queries)
        pattern, observed = hide(y, size, generator)
        truth = ps.infill(asker.model, pattern, method="exact")
        for name, ahead in (("with", asker.ahead), ("without", None)):
            for repeat in range(scale.repeats):
                found = ps.infill(
                    asker.model, pattern, particles=PARTICLES, lookahead=ahead, method="smc", generator=repeat
                )
                low, high = found.interval()
                gap = 0.5 * (found.marginals - truth.marginals).abs().sum(-1)[~observed & y.mask()]
                inside = (low <= truth.log_evidence) & (truth.log_evidence <= high)
                ratio = (found.log_evidence - truth.log_evidence).exp()
                figures = {"ess": found.ess / PARTICLES, "distance": gap, "ratio": ratio, "inside": inside}
                for key, value in figures.items():
                    rows[name].setdefault(key, []).append(value.double())
    return {name: summary({key: torch.cat(parts) for key, parts in own.items()}) for name, own in rows.items()}


def summary(own: dict[str, Tensor]) -> dict[str, float]:
    """Of many queries and repeats."""
    ratio = own["ratio"]
    return {
        "ess_share_median": float(own["ess"].median()), "ess_share_worst": float(own["ess"].min()),
        "total_variation_median": float(own["distance"].median()),
        "relative_rmse": float((ratio - 1).square().mean().sqrt()), "mean_ratio": float(ratio.mean()),
        "mean_ratio_error": float(ratio.std() / len(ratio) ** 0.5), "coverage_95": float(own["inside"].mean()),
    }  # fmt: skip


def restored(asker: Asker, data: Texts, scale: Scale, seed: int) -> list[dict[str, Any]]:
    """Letters of held-out words: is the likeliest completion the word itself, and is its probability right?"""
    generator = torch.Generator().manual_seed(seed)
    y = chosen(data.test, data, 8, 14, scale.queries)
    rows = []
    for size in range(1, 6):
        pattern, _ = hide(y, size, generator)
        found = ps.infill(asker.model, pattern, particles=PARTICLES, lookahead=asker.ahead, generator=seed)
        plain = ps.infill(asker.model, pattern, particles=PARTICLES, method="smc", generator=seed)
        best = [found.ranked(row, 1) for row in range(len(y))]
        right = torch.tensor([torch.equal(own.values[0], y[row]) for row, (own, _) in enumerate(best)])
        drawn = ps.sample(asker.model, scale.queries * 4, generator=seed)
        drawn = drawn.select(((drawn.lengths >= 8) & drawn.ended).nonzero().squeeze(1)[: scale.queries])
        _, shown = hide(drawn, size, generator)
        low, high = ps.evidence_bounds(asker.model, drawn, shown, particles=PARTICLES, lookahead=asker.ahead)
        rows.append({
            "gap": size, "exact": bool(found.exact.all()), "right": float(right.double().mean()),
            "expected_right": float(torch.cat([p for _, p in best]).mean()),
            "ess_share": float((found.ess / found.draws).median()) if not bool(found.exact.all()) else 1.0,
            "ess_share_without": float((plain.ess / PARTICLES).median()),
            "reliable": float(found.reliable.double().mean()),
            "bounds_apart": float((high - low).mean()),
        })  # fmt: skip
    return rows


def cost(asker: Asker, data: Texts, seed: int) -> dict[str, float]:
    """Seconds of a 5-letter gap in a word of 12 letters, and of a hundred of them at once."""
    generator = torch.Generator().manual_seed(seed)
    y = chosen(data.test, data, 12, 12, 100)
    pattern, _ = hide(y, 5, generator)
    found = {}
    for name, part in (("one", pattern.select([0])), ("hundred", pattern)):
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            answer = ps.infill(asker.model, part, particles=PARTICLES, lookahead=asker.ahead, method="smc", generator=0)
            assert len(answer.verdicts) == len(part)
            times.append(time.perf_counter() - begin)
        found[name] = sorted(times)[2]
    return found


def show_words(asker: Asker, data: Texts, texts: list[str], seed: int) -> dict[str, list[tuple[str, float]]]:
    """The likeliest completions of some patterns."""
    found = ps.infill(asker.model, texts, particles=4096, lookahead=asker.ahead, max_length=14, generator=seed)
    listed = {}
    for row, text in enumerate(texts):
        y, probability = found.ranked(row, 6)
        listed[text] = list(zip(data.alphabet.decode(y), [round(float(p), 4) for p in probability], strict=True))
    return listed

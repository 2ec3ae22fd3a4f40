"""What the experiments from one sequence to another share: error rates, calibration, and their intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.text import edit_distance

from experiments.tagging import bootstrap

Symbols = Sequence[Hashable]
"""Phonemes, speakers, letters: whatever an answer is made of."""

FIRST = 0xE000
"""Symbols stand for characters of Unicode's private use area, so that any number of letters is one of them."""


@dataclass(frozen=True)
class Judged:
    """n answers beside their references.

    Shapes:
        right: whether one of the references is met, (n,).
        edits: insertions, deletions and substitutions to the nearest reference, (n,).
        length: of that reference, (n,).
    """

    right: Bool[Tensor, " n"]
    edits: Float[Tensor, " n"]
    length: Float[Tensor, " n"]


def judge(answers: Sequence[Symbols], references: Sequence[Sequence[Symbols]]) -> Judged:
    """Compare each answer with its own references, one at least; of equally near ones the first counts.

    Raises:
        ValueError: not as many lists of references as answers, or an empty list.
    """
    if len(answers) != len(references) or not all(map(len, references)):
        raise ValueError(
            f"judge() needs one reference or more for each of {len(answers)} answers; got {len(references)} lists, "
            f"{sum(not ways for ways in references)} of them empty."
        )
    number: dict[Hashable, str] = {}

    def text(symbols: Symbols) -> str:
        return "".join(number.setdefault(symbol, chr(FIRST + len(number))) for symbol in symbols)

    owner = [i for i, ways in enumerate(references) for _ in ways]
    said = [text(answers[i]) for i in owner]
    meant = [text(way) for ways in references for way in ways]
    nearest: dict[int, tuple[int, int]] = {}
    for i, edits, way in zip(owner, edit_distance(said, meant, reduction="none").tolist(), meant, strict=True):
        if i not in nearest or edits < nearest[i][0]:
            nearest[i] = edits, len(way)
    found = torch.tensor([nearest[i] for i in range(len(answers))], dtype=torch.float64).reshape(-1, 2)
    return Judged(found[:, 0] == 0, found[:, 0], found[:, 1])


def error_rates(judged: Judged, seed: int = 0, draws: int = 2000) -> dict[str, dict[str, float]]:
    """Two rates, each with a 95 % interval: bootstrap over the answers, percentiles.

    `sequence`: the share of answers that meet no reference (WER, where an answer is a word). `symbol`: all edits to
    the nearest references over their length (PER, where a symbol is a phoneme).
    """
    ones = torch.ones_like(judged.length)
    wrong = (~judged.right).to(ones)
    return {
        "sequence": interval(wrong, ones, seed, draws),
        "symbol": interval(judged.edits, judged.length, seed, draws),
    }


def interval(
    totals: Float[Tensor, " n"], counts: Float[Tensor, " n"], seed: int = 0, draws: int = 2000
) -> dict[str, float]:
    """Σ totals / Σ counts, with the 2.5 and 97.5 % points of its bootstrap over the n items."""
    drawn = bootstrap(totals.unsqueeze(0), counts, seed, draws)[0]
    low, high = drawn.quantile(drawn.new_tensor([0.025, 0.975])).tolist()
    return {"value": float(totals.sum() / counts.sum()), "low": low, "high": high}


def calibration(
    log_prob: Float[Tensor, " n"], right: Bool[Tensor, " n"], bins: int = 10, seed: int = 0, draws: int = 2000
) -> dict[str, Any]:
    """Whether answers of probability P are right in a share P of the cases.

    The expected calibration error is Σ n_k / n · |share right − mean P| over bins of equal width. It is above zero
    for a calibrated model too; `chance` is what such a model of the same P would show on average.

    Args:
        log_prob: of each answer, nats; exact and normalised, not a search score.
        right: whether the answer was right.

    Returns:
        bins: low, high, count, mean P, share right, and the standard error √(P (1 − P) / n) that a calibrated model
            has there; those without an answer left out.
        error: the expected calibration error, with a 95 % interval: bootstrap over answers.
        chance: see above.
    """
    generator = torch.Generator().manual_seed(seed)
    p, hit = log_prob.double().exp().clamp(max=1), right.double()
    place = (p * bins).long().clamp(max=bins - 1)
    rows = torch.randint(len(p), (draws, len(p)), generator=generator)
    drawn = _calibration_error(p[rows], hit[rows], place[rows], bins)
    tossed = (torch.rand(draws, len(p), dtype=p.dtype, generator=generator) < p).to(p)
    chance = _calibration_error(p.expand(draws, -1), tossed, place.expand(draws, -1), bins)
    low, high = drawn.quantile(drawn.new_tensor([0.025, 0.975])).tolist()
    value = float(_calibration_error(p[None], hit[None], place[None], bins))
    found = []
    for k in range(bins):
        own = place == k
        if own.any():
            count = int(own.sum())
            error = float((p[own] * (1 - p[own])).sum().sqrt() / count)
            found.append(
                {
                    "low": k / bins, "high": (k + 1) / bins, "count": count, "mean": float(p[own].mean()),
                    "right": float(hit[own].mean()), "error": error,
                }
            )  # fmt: skip
    return {"bins": found, "error": {"value": value, "low": low, "high": high}, "chance": float(chance.mean())}


def _calibration_error(p: Tensor, hit: Tensor, place: Tensor, bins: int) -> Tensor:
    """Of each of m samples (m, n): Σ over bins of |Σ right − Σ P| / n."""
    gap = p.new_zeros(len(p), bins).scatter_add(1, place, hit - p)
    return gap.abs().sum(-1) / p.shape[-1]

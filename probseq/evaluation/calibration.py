"""Tests that a model can fail: of its ranks, and of averages that must vanish given the past."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import special, stats
from torch import Tensor

from probseq.evaluation.streams import Streams

PER_COLUMN = 10
"""A moment is looked at where there are so many terms for each of them."""

EXPECTED = 5.0
"""Variance, in events, below which a cell of a table is left out."""

SYMBOLS = 40
"""More symbols than these are too many for a table of each after each."""


@dataclass(frozen=True)
class CalibrationTest:
    """One way to be wrong, and how surely it was not chance.

    Args:
        name: what was looked at.
        statistic: a χ², or a sum of squares.
        degrees: its degrees of freedom if the model is right.
        p_value: the probability of one as large, if the model is right.
    """

    name: str
    statistic: float
    degrees: float
    p_value: float


def every_test(found: Streams) -> tuple[list[CalibrationTest], dict[str, str]]:
    """All tests that apply, and why the others do not."""
    tests, skipped = [], {}
    for name, test in _tests(found):
        if isinstance(test, str):
            skipped[name] = test
        else:
            tests.append(test)
    return tests, skipped


def combine(p_values: Float[Tensor, " k"]) -> float:
    """One p-value of several that may depend on each other (Liu & Xie, Cauchy combination test, 2020).

    Values near 1 are drawn in to 0.99, so that one of them cannot outweigh all others.
    """
    if not len(p_values):
        return 1.0
    p = p_values.double().clamp(1e-15, 0.99)
    # 1 / (p π) is what the tangent is near 0, without its rounding.
    each = torch.where(p < 1e-12, 1 / (p * math.pi), torch.tan((0.5 - p) * math.pi))
    mean = float(each.mean())
    return 1 / (mean * math.pi) if mean > 1e12 else 0.5 - math.atan(mean) / math.pi


def _tests(found: Streams) -> Iterator[tuple[str, CalibrationTest | str]]:
    z = _normal(found.surprise)
    yield _moments("surprise: likely and unlikely elements come as often as they should", _legendre(found.surprise))
    yield _moments("coordinates: each has its law", _joined([_legendre(u) for u in found.coordinates.T]))
    if found.pairs.shape[1]:
        yield _moments(
            "pairs: coordinates hang together as they should", _joined([_legendre(u, 2) for u in found.pairs.T])
        )
    if len(z):
        yield _moments("past: no element depends on the one before in another way", _past(found, z))
        yield _moments("position: the law does not drift along the sequence", _position(found, z))
        yield _sequences(found, z)
    if found.laws is not None and found.laws.shape[1] <= SYMBOLS:
        yield _symbols(found)
    yield _hazard(found)
    yield _length(found)


def _normal(u: Tensor) -> Tensor:
    return torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))


def _legendre(u: Float[Tensor, " n"], degree: int = 4) -> Float[Tensor, "n k"]:
    """Polynomials in a uniform number, of mean 0 and variance 1, uncorrelated (Neyman's smooth test, 1937)."""
    x = (2 * u - 1).numpy()
    columns = [math.sqrt(2 * k + 1) * special.eval_legendre(k, x) for k in range(1, degree + 1)]
    return torch.from_numpy(np.stack(columns, -1)) if len(x) else torch.zeros(0, degree, dtype=torch.float64)


def _joined(blocks: list[Tensor]) -> Tensor:
    return torch.cat(blocks, -1) if blocks else torch.zeros(0, 0, dtype=torch.float64)


def _moments(name: str, terms: Float[Tensor, "n k"]) -> tuple[str, CalibrationTest | str]:
    """Sums of martingale differences, over the square root of their quadratic variation: χ² of k degrees."""
    n, k = terms.shape
    if not k or n < PER_COLUMN * k:
        return name, f"{n} terms for {k} moments; it needs {PER_COLUMN * max(k, 1)}."
    total, variation = terms.sum(0), terms.T @ terms
    values, vectors = torch.linalg.eigh(variation)
    kept = values > 1e-9 * max(float(values.max()), 1e-300)
    statistic = float(((total @ vectors[:, kept]).square() / values[kept]).sum())
    degrees = int(kept.sum())
    # In a sample of n the statistic is n R²: Hotelling's law is nearer to it than χ².
    share = min(statistic / n, 1 - 1e-12)
    p = float(stats.f.sf(share / (1 - share) * (n - degrees) / degrees, degrees, n - degrees))
    return name, CalibrationTest(name, statistic, degrees, p)


def _neighbours(found: Streams) -> tuple[Tensor, Tensor]:
    """Indices of elements that have another right before them in their sequence, and of that other."""
    order = (found.row * (int(found.column.max()) + 2) + found.column).argsort()
    row, column = found.row[order], found.column[order]
    after = (row[1:] == row[:-1]) & (column[1:] == column[:-1] + 1)
    at = after.nonzero().squeeze(-1)
    return order[at + 1], order[at]


def _past(found: Streams, z: Tensor) -> Tensor:
    """Ranks times what was known before: the ranks and the values of the element before, bounded."""
    now, before = _neighbours(found)
    if not len(now):
        return torch.zeros(0, 1, dtype=torch.float64)
    scores = torch.cat([z.unsqueeze(-1), _normal(found.coordinates)], -1)[:, : 1 + 4]
    blocks = [(scores[now, i] * scores[before, j]).unsqueeze(-1) for i in range(scores.shape[1]) for j in {0, i}]
    if found.laws is None:
        shown = found.values[before][:, :4]
        middle, width = shown.median(0).values, (shown - shown.median(0).values).abs().mean(0).clamp(min=1e-12)
        bounded = torch.tanh((shown - middle) / width)
        squares = scores[now].square() - 1
        for j in range(bounded.shape[1]):
            blocks.append(scores[now] * bounded[:, j : j + 1])
            blocks.append((squares * bounded[:, j : j + 1])[:, :1])
    return torch.cat(blocks, -1)


def _position(found: Streams, z: Tensor) -> Tensor:
    """Ranks times rising and falling functions of the position."""
    x = torch.log1p(found.column.double())
    x = (x - x.mean()) / x.std().clamp(min=1e-9) if len(x) > 1 else torch.zeros_like(x)
    if not bool((x != 0).any()):
        return torch.zeros(0, 1, dtype=torch.float64)
    scores = torch.cat([z.unsqueeze(-1), _normal(found.coordinates)[:, :4]], -1)
    return torch.cat([scores * x.unsqueeze(-1), (z.square() - 1).unsqueeze(-1) * x.unsqueeze(-1)], -1)


def _sequences(found: Streams, z: Tensor) -> tuple[str, CalibrationTest | str]:
    """Σ over sequences of (Σ z)² / n: χ² with a degree for each."""
    name = "sequences: none is surprising as a whole, and none too plain"
    sums = torch.zeros(int(found.row.max()) + 1, dtype=torch.float64)
    counts = sums.index_add(0, found.row, torch.ones_like(z))
    sums = sums.index_add(0, found.row, z)
    used = counts > 0
    statistic, degrees = float((sums[used].square() / counts[used]).sum()), int(used.sum())
    if degrees < PER_COLUMN:
        return name, f"{degrees} sequences; it needs {PER_COLUMN}."
    low = float(stats.chi2.cdf(statistic, degrees))
    return name, CalibrationTest(name, statistic, degrees, 2 * min(low, 1 - low))


def _symbols(found: Streams) -> tuple[str, CalibrationTest | str]:
    """Of each symbol after each symbol: how often it came, less how often it should have."""
    name = "symbols: each comes after each as often as it should"
    laws, symbols = found.laws, found.symbols
    assert laws is not None
    v = laws.shape[1]
    now, before = _neighbours(found) if len(found.row) else (found.row, found.row)
    previous = torch.full_like(symbols, v)
    previous[now] = symbols[before]
    statistic = degrees = 0.0
    came = torch.nn.functional.one_hot(symbols, v).double()
    for group in previous.unique().tolist():
        at = previous == group
        p = laws[at]
        # All symbols that are rarely due here are one.
        rare = (p * (1 - p)).sum(0) < EXPECTED
        kept = torch.eye(v, dtype=torch.float64)[:, ~rare]
        short = came[at] @ kept - p @ kept
        p = p @ kept
        total, variation = short.sum(0), torch.diag(p.sum(0)) - p.T @ p
        values, vectors = torch.linalg.eigh(variation) if len(variation) else (total, variation)
        real = values > 1e-6 * max(float(values.max()) if len(values) else 0.0, 1e-9)
        statistic += float(((total @ vectors[:, real]).square() / values[real]).sum()) if len(values) else 0.0
        degrees += int(real.sum())
    if not degrees:
        return name, f"no symbol is due {EXPECTED:.0f} times."
    return name, CalibrationTest(name, statistic, degrees, float(stats.chi2.sf(statistic, degrees)))


def _hazard(found: Streams) -> tuple[str, CalibrationTest | str]:
    """Ends less their hazards, by position and by the symbol before."""
    name = "ends: sequences stop where they should"
    d = found.stopped.double() - found.hazard
    variance = found.hazard * (1 - found.hazard)
    if float(variance.sum()) < EXPECTED:
        return name, f"no more than {float(variance.sum()):.1f} ends are uncertain; it needs {EXPECTED:.0f}."
    column = found.stop_column.double()
    rank = torch.log1p(column)
    features = [torch.ones_like(d), (rank - rank.mean()), torch.log(found.hazard / (1 - found.hazard)).clamp(-8, 8)]
    for symbol in found.last.unique().tolist() if len(found.last.unique()) <= SYMBOLS + 1 else []:
        at = (found.last == symbol).double()
        if float((variance * at).sum()) >= EXPECTED:
            features.append(at)
    x = torch.stack(features, -1)
    total, variation = (x * d.unsqueeze(-1)).sum(0), x.T @ (x * variance.unsqueeze(-1))
    values, vectors = torch.linalg.eigh(variation)
    real = values > 1e-6 * float(values.max())
    statistic = float(((total @ vectors[:, real]).square() / values[real]).sum())
    return name, CalibrationTest(name, statistic, int(real.sum()), float(stats.chi2.sf(statistic, int(real.sum()))))


def _length(found: Streams) -> tuple[str, CalibrationTest | str]:
    name = "lengths: short and long sequences come as often as they should"
    if found.length is None:
        return name, "no end is uncertain."
    return _moments(name, _legendre(found.length))

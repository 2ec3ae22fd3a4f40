"""Means over sequences with bootstrap intervals, and paired tests between models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of a confidence interval of 95 %; NaN bounds where one sequence is all there is."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"

    def map(self, function: Any) -> Interval:
        """A rising function of all three."""
        return Interval(function(self.value), function(self.low), function(self.high))


@torch.no_grad()
def bootstrap(values: Float[Tensor, " n"], weights: Float[Tensor, " n"], generator: Seed = None) -> Interval:
    """Σ values / Σ weights, with percentiles over sequences drawn with replacement (Efron, 1979)."""
    values, weights = values.double().cpu(), weights.double().cpu()
    n = len(values)
    with seeded(generator, torch.device("cpu")):
        # As many resamples at once as make a million numbers.
        pieces = torch.arange(RESAMPLES).split(max(1, (1 << 20) // n))
        drawn = (torch.randint(n, (len(piece), n)) for piece in pieces)
        found = torch.cat([values[index].sum(1) / weights[index].sum(1) for index in drawn])
    value = float(values.sum() / weights.sum())
    low, high = torch.nanquantile(found, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(value, low, high) if n > 1 else Interval(value, float("nan"), float("nan"))


@dataclass(frozen=True)
class Difference:
    """How many nats a sequence model `first` loses more than `second`.

    Args:
        p_value: two-sided, of no difference, by flipping signs; adjusted (Holm, 1979) for all pairs.
    """

    first: str
    second: str
    nats: Interval
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """Models on the same sequences.

    Args:
        nats: −log P of a sequence, by model.
        differences: of every pair of models.
    """

    sequences: int
    nats: Mapping[str, Interval]
    differences: tuple[Difference, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each model, the best first, with what it loses to the best."""
        order = sorted(self.nats, key=lambda name: self.nats[name].value)
        best = order[0]
        found = []
        for name in order:
            row = {
                "model": name,
                "nats": self.nats[name].value,
                "low": self.nats[name].low,
                "high": self.nats[name].high,
            }
            pair = next((each for each in self.differences if {each.first, each.second} == {name, best}), None)
            behind: dict[str, Any] = {"behind": 0.0, "behind_low": None, "behind_high": None, "p_value": None}
            if pair is not None:
                lost = pair.nats if pair.first == name else Interval(-pair.nats.value, -pair.nats.high, -pair.nats.low)
                behind = {
                    "behind": lost.value, "behind_low": lost.low, "behind_high": lost.high, "p_value": pair.p_value,
                }  # fmt: skip
            found.append({**row, **behind})
        return found


@checked
@torch.no_grad()
def compare(models: Mapping[str, Autoregressive], data: Any, generator: Seed = None) -> Comparison:
    """Which of several models gives held-out sequences more probability, and whether chance could have done it.

    Args:
        models: by name, each with `log_prob`.
        data: Sequences, or a pair (Sequences, context).
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: no models, no sequences, or data that do not fit one of the models.

    >>> import probseq as ps
    >>> make = lambda: ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> y = ps.Sequences.of([[0, 2, 1], [1], []] * 10)
    >>> found = ps.compare({"one": make(), "other": make()}, y, generator=0)
    >>> [(each.first, each.second) for each in found.differences]
    [('one', 'other')]
    """
    y, context = data if isinstance(data, tuple) else (data, None)
    return paired({name: log_probs(model, y, context) for name, model in models.items()}, generator)


@checked
@torch.no_grad()
def paired(log_prob: Mapping[str, Float[Tensor, " n"]], generator: Seed = None) -> Comparison:
    """The same from log P of each sequence under each model, (n,), in nats.

    The test flips the sign of each sequence's difference (Fisher, 1935): exact for n ≤ 12, else by 9,999 draws; with
    differences of ∞, where a model finds a sequence impossible, the models are told apart by that alone.

    Raises:
        ValueError: no models, no sequences, or not the same number of them.
    """
    sizes = {len(each) for each in log_prob.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"compare needs models and the same sequences, one at least, for each; got {sorted(sizes)}.")
    nats = {name: -each.double().cpu() for name, each in log_prob.items()}
    names, ones = list(nats), torch.ones(sizes.pop(), dtype=torch.float64)
    with seeded(generator, torch.device("cpu")):
        means = {name: bootstrap(each, ones) for name, each in nats.items()}
        found = []
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                gap = torch.where(nats[first] == nats[second], 0.0, nats[first] - nats[second])
                found.append(Difference(first, second, bootstrap(gap, ones), sign_flip(gap)))
    return Comparison(len(ones), means, _holm(found))


def sign_flip(gap: Float[Tensor, " n"]) -> float:
    """The p-value, two-sided, of a mean of 0 of a law that is symmetric about it."""
    if not bool(torch.isfinite(gap).all()):
        lost, won = bool((gap == torch.inf).any()), bool((gap == -torch.inf).any())
        return 0.0 if lost != won else 1.0
    n, gap = len(gap), gap.double()
    if n <= 12:
        signs = 1 - 2.0 * ((torch.arange(2**n).unsqueeze(1) >> torch.arange(n)) & 1).double()
        drawn = (signs @ gap).abs()
        return float((drawn >= gap.sum().abs() * (1 - 1e-12)).double().mean())
    drawn = torch.cat([(2.0 * torch.randint(2, (101, n)) - 1).double() @ gap for _ in range(99)]).abs()
    return (1 + int((drawn >= gap.sum().abs() * (1 - 1e-12)).sum())) / (1 + len(drawn))


def _holm(found: list[Difference]) -> tuple[Difference, ...]:
    """The same with p-values that all hold together (Holm, 1979)."""
    order = sorted(range(len(found)), key=lambda i: found[i].p_value)
    adjusted, least = dict.fromkeys(order, 0.0), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, found[i].p_value * (len(found) - rank)))
        adjusted[i] = least
    return tuple(Difference(each.first, each.second, each.nats, adjusted[i]) for i, each in enumerate(found))


def log_probs(model: Any, y: Sequences, context: Any) -> Float[Tensor, " n"]:
    """log P of each sequence, in double precision, in one batch after the other."""
    from probseq.rows import select_rows

    if not len(y):
        raise ValueError("there are no sequences to evaluate on. Pass at least one.")
    whole = []
    for index in torch.arange(len(y)).split(512):
        given = None if context is None else select_rows(context, index)
        whole.append(model.log_prob(y.select(index).trim(), given).double().cpu())
    return torch.cat(whole)

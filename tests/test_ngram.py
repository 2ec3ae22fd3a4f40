"""n-grams are their definitions, written out slowly."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import pytest
import torch

import probseq as ps
from probseq.oracles import NGram
from tests.helpers import close, corpus

BOUNDARY, END = "boundary", "end"
DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)


def grams(y: ps.Sequences, order: int) -> dict[tuple, Counter]:
    """Context → counts of what follows it, for contexts of every length below `order`."""
    counts: dict[tuple, Counter] = defaultdict(Counter)
    for tokens, ended in zip(y, y.ended.tolist(), strict=True):
        padded = [BOUNDARY] * (order - 1) + tokens.tolist() + ([END] if ended else [])
        for i in range(order - 1, len(padded)):
            for size in range(order):
                counts[tuple(padded[i - size : i])][padded[i]] += 1
    return counts


def slow_witten_bell(counts: dict[tuple, Counter], outcomes: int, history: tuple, word) -> float:
    lower = slow_witten_bell(counts, outcomes, history[1:], word) if history else 1 / outcomes
    after = counts.get(history, Counter())
    if not after:
        return lower
    return (after[word] + len(after) * lower) / (after.total() + len(after))


class SlowKneserNey:
    """Interpolated modified Kneser–Ney, from the definition."""

    def __init__(self, y: ps.Sequences, order: int, outcomes: int) -> None:
        self.outcomes, raw = outcomes, grams(y, order)
        self.counts: dict[tuple, Counter] = {}
        for context, after in raw.items():
            if len(context) == order - 1 or (context and context[0] == BOUNDARY):
                self.counts[context] = after
                continue
            before = {(longer[0], word) for longer in raw if longer[1:] == context and longer for word in raw[longer]}
            self.counts[context] = Counter(word for _, word in before)
        sizes = range(order)
        pooled = {n: [c for h, after in self.counts.items() if len(h) == n for c in after.values()] for n in sizes}
        self.discounts = {n: self.estimate(pooled[n]) for n in sizes}

    def estimate(self, counts: list[int]) -> tuple[float, float, float]:
        n1, n2, n3, n4 = (counts.count(k) for k in (1, 2, 3, 4))
        if not n1 * n2 * n3 * n4:
            return DEFAULT_DISCOUNTS
        share = n1 / (n1 + 2 * n2)
        found = 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3
        return found if all(0 < d <= k for k, d in enumerate(found, 1)) else DEFAULT_DISCOUNTS

    def __call__(self, history: tuple, word) -> float:
        lower = self(history[1:], word) if history else 1 / self.outcomes
        after = self.counts.get(history, Counter())
        if not after:
            return lower
        discount = {c: self.discounts[len(history)][min(c, 3) - 1] for c in after.values()}
        kept = after[word] - discount[after[word]] if word in after else 0.0
        return (kept + sum(discount[c] for c in after.values()) * lower) / after.total()


def slow_log_prob(law, y: ps.Sequences, order: int) -> torch.Tensor:
    totals = []
    for tokens, ended in zip(y, y.ended.tolist(), strict=True):
        padded = [BOUNDARY] * (order - 1) + tokens.tolist() + ([END] if ended else [])
        steps = range(order - 1, len(padded))
        totals.append(sum(math.log(law(tuple(padded[i - order + 1 : i]), padded[i])) for i in steps))
    return torch.tensor(totals, dtype=torch.float64)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_witten_bell_is_its_definition(order):
    train, test = corpus(4, 80, seed=1), corpus(4, 40, longest=9, seed=2)
    counts = grams(train, order)
    expected = slow_log_prob(lambda history, word: slow_witten_bell(counts, 5, history, word), test, order)
    assert close(NGram(order, 4).fit(train).log_prob(test), expected, 1e-11)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_kneser_ney_is_its_definition(order):
    train, test = corpus(4, 80, seed=1), corpus(4, 40, longest=9, seed=2)
    slow = SlowKneserNey(train, order, 5)
    assert close(NGram(order, 4, "kneser-ney").fit(train).log_prob(test), slow_log_prob(slow, test, order), 1e-11)


def test_kneser_ney_is_checked_with_estimated_and_with_default_discounts():
    discounts = SlowKneserNey(corpus(4, 80, seed=1), 5, 5).discounts.values()
    assert 0 < sum(found == DEFAULT_DISCOUNTS for found in discounts) < len(discounts)


def test_an_ngram_fitted_to_nothing_is_uniform():
    for smoothing in ("witten-bell", "kneser-ney"):
        model = NGram(3, 4, smoothing).fit(ps.Sequences.of([], dtype=torch.int64))
        log_prob = float(model.log_prob(ps.Sequences.of([[0, 3]])))
        assert math.isclose(log_prob, -3 * math.log(5), rel_tol=1e-12)


def test_ngram_errors_name_the_cure():
    with pytest.raises(ValueError, match="Call fit"):
        NGram(2, 3).log_prob(ps.Sequences.of([[0]]))
    with pytest.raises(ValueError, match="Lower the order"):
        NGram(40, 27)

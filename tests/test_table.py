"""The table of 10.2.3 keeps the contract, and is the empirical distribution of what it counted."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats
import torch

import probseq as ps
from probseq.oracles import NGram, Table
from tests.helpers import close


def corpus(symbols: int, length: int, fixed: bool = False, open_ones: bool = False) -> ps.Sequences:
    """Skewed random sequences; unless `fixed`, of every length from 0 on."""
    rng = np.random.default_rng(0)
    law = 0.5 ** np.arange(1, symbols + 1)
    sizes = np.full(80, length) if fixed else rng.integers(0, length + 1, 80)
    items = [rng.choice(symbols, size, p=law / law.sum()) for size in sizes]
    return ps.Sequences.of(items, rng.random(80) < 0.8 if open_ones else True, torch.int64)


TABLES = {
    "not fitted": lambda: Table(2, 3),
    "maximum likelihood": lambda: Table(3, 4).fit(corpus(3, 4)),
    "smoothed": lambda: Table(3, 4).fit(corpus(3, 4, open_ones=True), pseudo_count=0.5),
    "one symbol": lambda: Table(1, 4).fit(corpus(1, 4)),
    "nothing but the empty sequence": lambda: Table(2, 0),
    "fixed": lambda: Table(2, 4, fixed=True).fit(corpus(2, 4, fixed=True)),
    "fixed and smoothed": lambda: Table(3, 3, fixed=True).fit(corpus(3, 3, fixed=True), pseudo_count=1),
}
every = pytest.mark.parametrize("make", TABLES.values(), ids=TABLES.keys())


def by_hand(y: ps.Sequences, table: Table, pseudo_count: float, item: tuple[int, ...]) -> float:
    """P(item, then the end), counted history by history."""
    texts = [tuple(row.tolist()) for row in y]
    probability = 1.0
    for t, outcome in enumerate([*item, "end"]):
        if t == table.length:
            continue
        after = Counter(text[t] for text in texts if text[:t] == item[:t] and len(text) > t)
        after["end"] = sum(text == item[:t] and ended for text, ended in zip(texts, y.ended.tolist(), strict=True))
        if table.fixed:
            del after["end"]
        outcomes = table.symbols + (not table.fixed)
        total = after.total() + pseudo_count * outcomes
        probability *= (after[outcome] + pseudo_count) / total if total else 1 / outcomes
    return probability


# The contract


@every
def test_a_table_is_autoregressive(make):
    assert isinstance(make(), ps.Autoregressive)


@every
def test_split_law(make):
    model = make()
    y = torch.randint(model.symbols, (4, 6), generator=torch.Generator().manual_seed(0))
    whole, end = model.unroll(None, y)
    for cut in range(y.shape[1] + 1):
        first, middle = model.unroll(None, y[:, :cut])
        second, after = model.extend(middle, y[:, cut:])
        assert torch.equal(torch.cat([first, second], 1), whole)
        assert torch.equal(after.features, end.features)


@every
def test_stop_and_go_are_a_pair(make):
    model = make()
    y = torch.randint(model.symbols, (5, model.length), generator=torch.Generator().manual_seed(0))
    features, state = model.unroll(None, y)
    step = model.emit(features, torch.arange(features.shape[1]), state.context)
    assert close(step.log_stop.exp() + step.log_go.exp(), torch.ones(features.shape[:2], dtype=torch.float64))
    assert step.log_stop[:, -1].tolist() == [0.0] * 5
    assert step.log_go[:, -1].tolist() == [-math.inf] * 5


@every
def test_probabilities_of_all_sequences_sum_to_one(make):
    model = make()
    for length in range(1, model.length + 2):
        assert abs(float(ps.exact(model, length).log_mass.exp()) - 1) < 1e-10


@every
def test_samples_follow_the_enumerated_law(make):
    model, draws = make(), 4000
    law = ps.exact(model, model.length + 1)
    texts = [tuple(row.tolist()) for row in law.sequences]
    seen = Counter(tuple(row.tolist()) for row in model.sample(draws, generator=1))
    expected = draws * law.log_prob.exp().numpy()
    assert set(seen) <= {text for text, mass in zip(texts, expected, strict=True) if mass > 0}
    observed, common = np.array([seen[text] for text in texts]), expected >= 5
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    kept = expected > 1e-9
    if kept.sum() > 1:
        assert scipy.stats.chisquare(observed[kept], expected[kept] * draws / expected[kept].sum()).pvalue > 1e-4


# Counting


@pytest.mark.parametrize("fixed", [False, True])
def test_a_fitted_table_is_the_empirical_distribution(fixed):
    y = corpus(3, 4, fixed)
    table = Table(3, 4, fixed).fit(y)
    frequency = Counter(tuple(row.tolist()) for row in y)
    for length in range(5):
        items = list(itertools.product(range(3), repeat=length))
        expected = torch.tensor([frequency[item] / len(y) for item in items], dtype=torch.float64)
        assert close(table.log_prob(ps.Sequences.of(items, dtype=torch.int64)).exp(), expected)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("pseudo_count", [0.0, 0.3])
def test_a_table_is_its_definition(fixed, pseudo_count):
    y = corpus(3, 3, fixed, open_ones=True)
    table = Table(3, 3, fixed).fit(y, pseudo_count)
    for length in range(4):
        items = list(itertools.product(range(3), repeat=length))
        expected = [0.0 if fixed and length < 3 else by_hand(y, table, pseudo_count, item) for item in items]
        got = table.log_prob(ps.Sequences.of(items, dtype=torch.int64)).exp()
        assert close(got, torch.tensor(expected, dtype=torch.float64))


def test_no_law_that_shares_parameters_gives_the_counted_sequences_more():
    y = corpus(3, 4)
    best = Table(3, 4).fit(y).log_prob(y).sum()
    for order in (1, 2, 3):
        assert NGram(order, 3).fit(y).log_prob(y).sum() < best


def test_a_fit_replaces_what_was_counted_before():
    once, twice = Table(2, 3).fit(corpus(2, 3)), Table(2, 3).fit(ps.Sequences.of([[1, 1, 1]])).fit(corpus(2, 3))
    assert torch.equal(once.log_prob(corpus(2, 3)), twice.log_prob(corpus(2, 3)))


@pytest.mark.parametrize(("symbols", "length"), [(1, 5), (2, 6), (3, 4), (10, 3)])
def test_the_parameters_are_as_many_as_the_sequences_but_one(symbols, length):
    assert Table(symbols, length).parameters == sum(symbols**t for t in range(length + 1)) - 1
    assert Table(symbols, length, fixed=True).parameters == symbols**length - 1


# Errors


def test_table_errors_name_the_cure():
    with pytest.raises(ValueError, match="symbols ≥ 1 and length ≥ 0; got 0, 3"):
        Table(0, 3)
    for length in (6, 10**9):
        with pytest.raises(ValueError, match=r"expected 16777216 probabilities at most\. Lower the length"):
            Table(27, length)
    with pytest.raises(ValueError, match=r"sequence 1 has 3 elements; the table takes at most 2\."):
        Table(2, 2).fit(ps.Sequences.of([[0], [1, 1, 1]]))
    with pytest.raises(ValueError, match=r"sequence 0 has 1 elements; the table takes exactly 2\."):
        Table(2, 2, fixed=True).fit(ps.Sequences.of([[0], [1, 1]]))
    with pytest.raises(ValueError, match="pseudo_count must be ≥ 0; got -1"):
        Table(2, 2).fit(ps.Sequences.of([[0]]), pseudo_count=-1)
    with pytest.raises(ValueError, match="sequence 0, position 0: got 2"):
        Table(2, 2).fit(ps.Sequences.of([[2]]))

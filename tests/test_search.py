"""Search finds what enumeration finds, and says of every sequence what the model says of it."""

import importlib
import itertools
from collections import Counter
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torchmetrics.functional.text.helper import _edit_distance

import probseq as ps
from probseq.inference.search.penalties import Ranking
from probseq.oracles import HMM, Automaton, NGram, Reber, Table
from probseq.oracles.stepwise import Stepwise
from probseq.rows import select_rows
from tests.parts import ENUMERABLE, TABLE, build, model, x

beam_module = importlib.import_module("probseq.inference.search.beam")
walk_module = importlib.import_module("probseq.inference.search.walk")
enumerable = pytest.mark.parametrize("parts", ENUMERABLE.values(), ids=ENUMERABLE)
SOME = ["Tokens, GRU, EndSymbol, both", "Tokens, LSTM, LengthStop, input", "Tokens, GRU, BernoulliStop(), reals"]
SOME += ["Tokens, GRU, AlignedLength(), bidirectional", "Bits, LSTM, BernoulliStop", "Bits, LSTM, FixedLength"]
SOME += ["Tokens, GRU, EndSymbol(), source from both ends", "Tokens, LSTM, PlannedLength, input"]
some = pytest.mark.parametrize("name", SOME)


def letters(stop=None, context=None, seed=0, symbols=3, recurrence=None):
    element = ps.Tokens(symbols, dim=4)
    return model(element, recurrence or ps.GRU(5), ps.Categorical(), stop or ps.EndSymbol(), context, seed)


def key(sequence, ended):
    return tuple(sequence.flatten().tolist()), bool(ended)


def keys(hypotheses):
    return [key(y, ended) for y, ended in zip(hypotheses.sequences, hypotheses.sequences.ended, strict=True)]


def listed(law, score=None, possible=None):
    """What is listed by score, ended sequences before open ones: (key, score)."""
    score = law.log_prob if score is None else score
    rows = [
        (key(y, ended), float(s))
        for i, (y, ended, s) in enumerate(zip(law.sequences, law.sequences.ended, score, strict=True))
        if s > -torch.inf and (possible is None or possible(law.sequences[i].tolist()))
    ]
    return sorted(rows, key=lambda row: (not row[0][1], -row[1]))


def assert_found(found, expected):
    """The same scores in the same order, and the same sequences where the scores tell them apart."""
    assert len(found) == len(expected)
    scores = found.search_score.tolist()
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=0, atol=1e-10)
    assert len(set(keys(found))) == len(found)
    for own, (other, score) in zip(keys(found), expected, strict=True):
        assert own == other or sum(abs(score - s) < 1e-9 for _, s in expected) > 1


def assert_rescored(m, found, context=None, tolerance=1e-12):
    context = context if context is None else select_rows(context, found.rows)
    own = m.log_prob(found.sequences, context).detach()
    torch.testing.assert_close(found.log_prob, own, rtol=0, atol=tolerance)


@enumerable
def test_a_beam_as_wide_as_the_space_finds_what_enumeration_finds(parts):
    for seed in range(2):
        m, c = model(*parts, seed=seed), build(parts, batch=1)[1]
        law = ps.exact(m, 4, c)
        found = ps.beam(m, c, width=10_000, n_best=12, max_length=4)
        expected = listed(law)
        assert_found(found, expected[: min(12, len(expected))])
        y, log_prob = law.mode() if bool(law.sequences.ended.any()) and expected[0][0][1] else (None, None)
        if y is not None:
            assert abs(float(found.log_prob[0]) - log_prob) < 1e-12
            gap = expected[0][1] - expected[1][1] if len(expected) > 1 and expected[1][0][1] else 1
            assert gap < 1e-9 or torch.equal(found.best()[0], y)
        assert_rescored(m, found, c)


@some
def test_every_hypothesis_has_the_probability_that_the_model_gives_it(name):
    m, c = build(TABLE[name], batch=5)
    for engine in (
        lambda n: ps.beam(n, c, width=3, n_best=4, length_penalty=0.7, max_length=7),
        lambda n: ps.beam(n, c, width=4, n_best=4, groups=2, diversity=0.5, max_length=7),
        lambda n: ps.greedy(n, c, max_length=7),
        lambda n: ps.tempered(n, 6, c, temperature=1.4, top_p=0.9, max_length=7, generator=0),
    ):
        assert_rescored(m, engine(m), c)
    m = m.float()
    assert_rescored(m, ps.beam(m, c, width=3, n_best=3, max_length=7), c, 1e-5)
    assert_rescored(m, ps.tempered(m, 6, c, max_length=7, generator=0), c, 1e-5)


def test_hypotheses_are_sorted_and_all_different():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 6)
    found = ps.beam(m, c, width=6, n_best=9, max_length=8)
    assert found.rows.tolist() == sorted(found.rows.tolist())
    for row in range(6):
        own = found.of(row)
        rank = [(not e, -s) for e, s in zip(own.sequences.ended.tolist(), own.search_score.tolist(), strict=True)]
        assert rank == sorted(rank)
        assert len(set(keys(own))) == len(own) == 9
        assert torch.equal(found.best()[row], own.sequences[0])
    assert torch.equal(found.search_score, found.log_prob)
    assert found.proposal_log_prob is None


@some
@pytest.mark.parametrize("every", [1, 3, 8])
def test_sources_searched_together_give_what_each_gives_alone(name, every, monkeypatch):
    m, c = build(TABLE[name], batch=5)
    engines = (
        lambda c: ps.beam(m, c, width=3, n_best=2, max_length=6, length_penalty=1.0),
        lambda c: ps.beam(m, c, width=6, n_best=3, groups=3, diversity=1.0, max_length=6),
        lambda c: ps.greedy(m, c, max_length=6),
    )
    alone = [[engine(None if c is None else select_rows(c, torch.tensor([i]))) for i in range(5)] for engine in engines]
    for module in (beam_module, walk_module):
        monkeypatch.setitem(module.COMPACT_EVERY, "cpu", every)
    monkeypatch.setattr(beam_module, "WORTH_LEAVING", 2)
    for engine, each in zip(engines, alone, strict=True):
        together = engine(ps.Context.none(5) if c is None else c)
        for row, own in enumerate(each):
            assert keys(together.of(row)) == keys(own)
            torch.testing.assert_close(together.of(row).search_score, own.search_score, rtol=0, atol=1e-12)


@torch.no_grad()
def reference(m, context, width, n_best, length, factor, prefix=(), allowed=None):
    """Beam search of one source as one would write it down, without stopping early: (key, score)."""
    live, ended = [((), 0.0, m.start(ps.Context.none(1) if context is None else context))], []
    for t in range(length):
        onward = []
        for y, total, state in live:
            step = m.emit(state.features, state.position, state.context)
            if t >= len(prefix):
                ended.append(((y, True), (total + float(step.log_stop)) / factor(t + 1)))
            for v in range(m.element.size):
                if (v == prefix[t]) if t < len(prefix) else (allowed is None or v in allowed):
                    log_prob = float(step.log_go + step.element.log_prob(torch.tensor([v])))
                    onward.append(((*y, v), total + log_prob, state))
        best = sorted((row for row in onward if row[1] > -np.inf), key=lambda row: -row[1])[:width]
        live = [(y, total, m.extend(state, torch.tensor([[y[-1]]]))[1]) for y, total, state in best]
    certain = m.max_length == length
    ended += [((y, certain), total / factor(length + certain)) for y, total, _ in live]
    ended = [row for row in ended if row[1] > -np.inf]
    return sorted(ended, key=lambda row: (not row[0][1], -row[1]))[:n_best]


PENALTIES = {
    "none": (0.0, lambda n: 1),
    "GNMT": (0.8, lambda n: ((5 + n) / 6) ** 0.8),
    "against length": (-1.0, lambda n: 6 / (5 + n)),
    "mean": (ps.LengthNormalisation(), lambda n: n),
    "half way": (ps.LengthNormalisation(0.5), lambda n: n**0.5),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.BernoulliStop(), ps.LengthStop(5), ps.PlannedLength(5, dim=2)])
def test_a_narrow_beam_that_stops_early_finds_what_one_finds_that_does_not(penalty, stop):
    given, factor = PENALTIES[penalty]
    for seed, width in itertools.product(range(2), (1, 3)):
        m = letters(stop, ps.Vector(2), seed)
        c = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = ps.beam(m, c, width, n_best=3, max_length=5, length_penalty=given)
        for row in range(3):
            assert_found(found.of(row), reference(m, c[row : row + 1], width, 3, 5, factor))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_stopping_early_changes_nothing(penalty, monkeypatch):
    m, c = letters(context=ps.Vector(2), symbols=5), torch.randn(20, 2, dtype=torch.float64)
    with torch.no_grad():
        m.likelihood.project.bias[-1] += 2

    def search():
        return ps.beam(m, c, width=3, n_best=3, max_length=40, length_penalty=PENALTIES[penalty][0])

    calls = []
    extend = m.extend
    monkeypatch.setattr(m, "extend", lambda state, y: calls.append(len(y)) or extend(state, y))
    early, steps = search(), sum(calls)
    calls.clear()
    monkeypatch.setattr(
        Ranking, "bound", lambda self, log_prob, least, most: torch.where(log_prob > -torch.inf, torch.inf, log_prob)
    )
    late = search()
    assert keys(early) == keys(late)
    assert steps < sum(calls)


def test_what_ended_waits_for_those_that_its_score_may_favour_later():
    chain = [{"a": (1.0, i)} for i in range(2, 7)]
    long = Automaton("a", [{"a": (0.35, 1)}, *chain, {}])
    assert keys(ps.beam(long)) == [((), True)]
    assert keys(ps.beam(long, length_penalty=ps.LengthNormalisation(), max_length=20)) == [((0,) * 6, True)]
    short = Automaton("a", [{"a": (0.6, 1)}, {}])
    assert keys(ps.beam(short, length_penalty=-1.0, max_length=20)) == [((0,), True)]


def test_a_forced_prefix_gives_the_best_of_those_that_begin_so():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 4)
    prefix = ps.Sequences.of([[], [2], [0, 1], [1, 1, 1]])
    found = ps.beam(m, c, width=500, n_best=5, max_length=4, prefix=prefix)
    narrow = ps.beam(m, c, width=2, n_best=2, max_length=4, prefix=prefix)
    for row, begin in enumerate(prefix):
        law = ps.exact(m, 4, c[row : row + 1])
        expected = listed(law, possible=lambda y, begin=begin: y[: len(begin)] == begin.tolist())
        assert_found(found.of(row), expected[:5])
        assert_found(narrow.of(row), reference(m, c[row : row + 1], 2, 2, 4, lambda n: 1, begin.tolist()))
    assert_rescored(m, found, c)


def test_a_prefix_as_long_as_it_may_be_is_the_only_answer():
    found = ps.beam(letters(), prefix=ps.Sequences.of([[0, 1], [2, 2]]), max_length=2)
    assert keys(found) == [((0, 1), False), ((2, 2), False)]


def test_a_prefix_of_bits():
    m = model(ps.Bits(2), ps.GRU(4), ps.Bernoulli(), ps.BernoulliStop())
    prefix = ps.Sequences.of([[[0, 1], [1, 0]]])
    found = ps.beam(m, width=4, n_best=4, prefix=prefix, banned=[[1, 1]], max_length=5)
    for y in found.sequences:
        assert torch.equal(y[:2], prefix.values[0].to(y))
        assert not bool((y == 1).all(-1).any())
    assert_rescored(m, found)


@pytest.mark.parametrize(
    "given", [{"banned": [1]}, {"allowed": [0, 2]}, {"banned": torch.tensor([False, True, False])}], ids=str
)
def test_banned_symbols_are_not_used_and_nothing_is_renormalised(given):
    m = letters(seed=3)
    expected = listed(ps.exact(m, 5), possible=lambda y: 1 not in y)
    found = ps.beam(m, width=500, n_best=7, max_length=5, **given)
    assert_found(found, expected[:7])
    assert_rescored(m, found)
    narrow = ps.beam(m, width=2, n_best=3, max_length=5, **given)
    assert_found(narrow, reference(m, None, 2, 3, 5, lambda n: 1, allowed=(0, 2)))


def test_a_mask_may_ban_other_symbols_for_each_source():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 3)
    mask = ~torch.eye(3, dtype=torch.bool)
    found = ps.beam(m, c, width=3, n_best=3, max_length=5, allowed=mask)
    for row, y in zip(found.rows.tolist(), found.sequences, strict=True):
        assert row not in y.tolist()


def test_groups_without_diversity_are_one_beam_each():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 4)
    one = ps.beam(m, c, width=2, n_best=3, max_length=6)
    three = ps.beam(m, c, width=6, n_best=3, groups=3, max_length=6)
    assert keys(one) == keys(three)


def test_the_first_group_is_a_plain_beam_and_later_ones_avoid_it():
    m, c = letters(symbols=6, context=ps.Vector(3)), x(ps.Vector(3), 5)
    plain = ps.beam(m, c, width=2, max_length=6)
    apart = ps.beam(m, c, width=6, n_best=3, groups=3, diversity=20.0, max_length=6)
    assert len(apart) == 15
    for row in range(5):
        own = apart.of(row)
        assert keys(plain.of(row))[0] in keys(own)
        firsts = [y.tolist()[:1] for y in own.sequences if len(y)]
        assert len({tuple(first) for first in firsts}) == len(firsts)
    assert torch.equal(apart.search_score, apart.log_prob)
    assert_rescored(m, apart, c)


def test_diverse_groups_by_hand():
    """Two groups of one: the second gives up the likeliest symbol where that costs less than the penalty."""
    m = Table(2, 2, fixed=True).fit(ps.Sequences.of([[0, 0]] * 6 + [[0, 1]] * 2 + [[1, 1]] * 3 + [[1, 0]]))
    assert keys(ps.beam(m, width=2, n_best=2, groups=2, diversity=0.5)) == [((0, 0), True)]
    found = ps.beam(m, width=2, n_best=2, groups=2, diversity=1.0)
    assert keys(found) == [((0, 0), True), ((1, 1), True)]
    torch.testing.assert_close(found.log_prob.exp(), torch.tensor([6 / 12, 3 / 12], dtype=torch.float64))


@pytest.mark.parametrize("width", [1, 2, 50])
def test_a_beam_wider_than_the_space_returns_what_there_is(width):
    m = Automaton("ab", [{"a": (1.0, 1)}, {"a": (0.3, 2), "b": (0.2, 2)}, {}])
    found = ps.beam(m, width=width, n_best=50)
    assert set(keys(found)) <= {((0,), True), ((0, 0), True), ((0, 1), True)}
    assert len(found) == len(set(keys(found))) == min(width, 2) + 1
    assert bool((found.log_prob > -torch.inf).all())


def test_what_is_cut_is_said_to_be_open_and_stands_behind_what_ended():
    m = letters(seed=1)
    with torch.no_grad():
        m.likelihood.project.bias[-1] -= 8
    found = ps.beam(m, width=2, n_best=6, max_length=3)
    ended = found.sequences.ended.tolist()
    assert ended == sorted(ended, reverse=True)
    assert not all(ended)
    assert bool((found.sequences.lengths[~found.sequences.ended] == 3).all())
    assert_rescored(m, found)
    for engine in (ps.greedy(m, max_length=3), ps.tempered(m, 20, max_length=3, generator=0)):
        assert torch.equal(engine.sequences.ended, engine.sequences.lengths < 3)
    for certain in (ps.FixedLength(3), ps.LengthStop(3)):
        m = letters(certain)
        assert ps.beam(m, width=3, n_best=3).sequences.ended.all()
        assert ps.greedy(m).sequences.ended.all()
    assert keys(ps.beam(letters(), max_length=0)) == [((), False)]
    assert keys(ps.beam(letters(ps.FixedLength(0)))) == [((), True)]


def test_best_takes_what_ended_before_what_is_likelier_and_open():
    y = ps.Sequences.of([[0], [1, 1], [2]], [False, True, True])
    numbers = torch.tensor([-0.1, -2.0, -1.0])
    assert ps.Hypotheses(y, numbers, numbers, torch.tensor([0, 0, 0])).best().values.tolist() == [[2]]


def test_no_sources_have_no_hypotheses():
    m, none = letters(context=ps.Vector(3)), torch.zeros(0, 3, dtype=torch.float64)
    for found in (ps.beam(m, none), ps.greedy(m, none), ps.tempered(m, 2, none), ps.beam(m, none, 4, 2, groups=2)):
        assert len(found) == len(found.best()) == len(ps.minimum_bayes_risk(found)) == 0


def test_greedy_by_hand():
    m = Automaton("ab", [{"a": (0.5, 1), "b": (0.3, 0)}, {"a": (0.2, 0), "b": (0.45, 2)}, {"a": (0.4, 2)}])
    found = ps.greedy(m)
    assert keys(found) == [((0, 1), True)]
    torch.testing.assert_close(found.log_prob.exp(), torch.tensor([0.5 * 0.45 * 0.6], dtype=torch.float64))


def test_engines_need_the_contract_alone():
    hmm = HMM.random(3, 3, stop=0.2, generator=0)
    counted = NGram(2, 3).fit(ps.Sequences.of([[0, 1, 2], [0, 1], [2, 2, 0]]))
    for m in (hmm, counted, HMM.random(3, 3, length=4, generator=1)):
        expected = listed(ps.exact(m, 5 if m.max_length is None else 4))
        found = ps.beam(m, width=10_000, n_best=5, max_length=5 if m.max_length is None else None)
        assert_found(found, expected[:5])
        assert_rescored(m, found)
        drawn = ps.tempered(m, 50, max_length=6, generator=0)
        torch.testing.assert_close(drawn.log_prob, drawn.proposal_log_prob)
    reber = ps.beam(Reber(), width=8, n_best=2, max_length=30)
    assert sorted(Reber().text(reber.sequences)) == ["BPVVE", "BTXSE"]


class Attending(Stepwise):
    """Random laws by the last symbol, and an attention that goes with them, 0 on what the source does not have."""

    def __init__(self, symbols, seed):
        draw = torch.Generator().manual_seed(seed)
        self.logits = 2 * torch.randn(symbols + 1, symbols + 1, generator=draw, dtype=torch.float64)
        self.looks = 2 * torch.randn(symbols + 1, 4, generator=draw, dtype=torch.float64)
        self.symbols, self.element, self.max_length, self.seen = symbols, ps.Tokens(symbols), None, None

    def first(self):
        return torch.full((1,), float(self.symbols), dtype=torch.float64)

    def read(self, features, y):
        return y.to(features).unsqueeze(-1)

    def emit(self, features, position, context):
        law = self.logits[features.squeeze(-1).long()].log_softmax(-1)
        element = dist.Categorical(logits=law[..., :-1], validate_args=False)
        return ps.NextStep(element, law[..., -1], law[..., :-1].logsumexp(-1))

    def weights(self, features, context):
        looks = self.looks[features.squeeze(-1).long()]
        beyond = torch.arange(looks.shape[1]) >= context.source_lengths.unsqueeze(1)
        return looks.masked_fill(beyond, -torch.inf).softmax(-1)

    @contextmanager
    def attention(self):
        self.seen = []
        yield self.seen
        self.seen = None

    def start(self, context=None):
        return self._watched(super().start(context))

    def extend(self, state, y):
        features, after = super().extend(state, y)
        return features, self._watched(after)

    def _watched(self, state):
        if self.seen is not None:
            self.seen.append(self.weights(state.features, state.context).unsqueeze(1))
        return state


def sources(lengths):
    batch = len(lengths)
    return ps.Context(torch.empty(batch, 0), source=torch.zeros(batch, 4, 1), source_lengths=torch.tensor(lengths))


def coverage(m, y, ended, context):
    """Σ_s log min(Σ_t a_ts, 1), the end's attention counted, by walking along one sequence."""
    state = m.start(context)
    total = m.weights(state.features, context)
    for symbol in y.tolist():
        state = m.extend(state, torch.tensor([[symbol]]))[1]
        total = total + m.weights(state.features, context)
    return float(total.clamp(max=1).log()[:, : int(context.source_lengths[0])].sum())


def test_coverage_is_a_score_and_leaves_the_probability_alone():
    for seed in range(5):
        m, lengths = Attending(2, seed), [4, 1, 3]
        found = ps.beam(m, sources(lengths), width=200, n_best=4, coverage=0.7, length_penalty=0.5, max_length=4)
        for row, length in enumerate(lengths):
            c, law = sources([length]), ps.exact(m, 4)
            score = [
                float(p) / ((5 + len(y) + ended) / 6) ** 0.5 + 0.7 * coverage(m, y, ended, c)
                for y, ended, p in zip(law.sequences, law.sequences.ended.tolist(), law.log_prob, strict=True)
            ]
            assert_found(found.of(row), listed(law, torch.tensor(score, dtype=torch.float64))[:4])
        torch.testing.assert_close(found.log_prob, m.log_prob(found.sequences), rtol=0, atol=1e-12)
        narrow = ps.beam(m, sources(lengths), width=2, n_best=2, coverage=0.7, max_length=6)
        for row, length in enumerate(lengths):
            alone = ps.beam(m, sources([length]), width=2, n_best=2, coverage=0.7, max_length=6)
            assert keys(narrow.of(row)) == keys(alone)


class Changed(Stepwise):
    """Another model's law at each step, changed as a textbook would: the law that `tempered` says it draws from."""

    def __init__(self, base, temperature=1.0, top_k=None, top_p=None):
        self.base, self.element, self.max_length = base, base.element, base.max_length
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p

    def first(self):
        raise NotImplementedError

    def read(self, features, y):
        raise NotImplementedError

    def start(self, context=None):
        return self.base.start(context)

    def extend(self, state, y):
        return self.base.extend(state, y)

    def emit(self, features, position, context):
        step = self.base.emit(features, position, context)
        joint = torch.cat([step.log_stop.unsqueeze(-1), step.element.logits + step.log_go.unsqueeze(-1)], -1)
        law = torch.tensor(np.array([self.change(row) for row in joint.exp().tolist()]))
        element = dist.Categorical(probs=torch.where(law[:, 1:].sum(-1, True) > 0, law[:, 1:], 1.0))
        return ps.NextStep(element, law[:, 0].log(), law[:, 1:].sum(-1).log())

    def change(self, p):
        p = np.array(p) ** (1 / self.temperature)
        p /= p.sum()
        order = list(np.argsort(-p))
        kept = order[: self.top_k]
        if self.top_p is not None:
            share = p[kept].cumsum() / p[kept].sum()
            kept = kept[: int((share < self.top_p - 1e-12).sum()) + 1]
        q = np.zeros_like(p)
        q[kept] = p[kept] / p[kept].sum()
        return q


CHANGES = [{"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 2}, {"top_p": 0.7}]
CHANGES += [{"temperature": 1.5, "top_k": 3, "top_p": 0.8}, {}]


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.LengthStop(4)])
def test_draws_follow_the_law_that_their_proposal_probability_says(change, stop):
    m = letters(stop, seed=2)
    law = ps.exact(Changed(m, **change), 4)
    assert abs(float(law.log_mass.exp()) - 1) < 1e-10
    expected = {k: np.exp(s) for k, s in listed(law)}
    drawn = ps.tempered(m, 6_000, max_length=4, generator=1, **change)
    for k, log_q in zip(keys(drawn), drawn.proposal_log_prob.tolist(), strict=True):
        assert abs(np.log(expected[k]) - log_q) < 1e-9
    assert_rescored(m, drawn)
    times = Counter(keys(drawn))
    cells = [k for k, p in expected.items() if p * len(drawn) >= 5]
    observed, mean = [times[k] for k in cells], [expected[k] * len(drawn) for k in cells]
    rest = len(drawn) - sum(mean)
    if rest >= 1:
        observed, mean = [*observed, len(drawn) - sum(observed)], [*mean, rest]
    assert stats.chisquare(observed, np.array(mean) * sum(observed) / sum(mean)).pvalue > 1e-4
    if not change:
        torch.testing.assert_close(drawn.log_prob, drawn.proposal_log_prob, rtol=0, atol=1e-12)


def test_the_likeliest_outcome_alone_is_greedy():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 4)
    drawn = ps.tempered(m, 3, c, top_k=1, max_length=6)
    assert keys(drawn) == [k for k in keys(ps.greedy(m, c, 6)) for _ in range(3)]
    assert drawn.proposal_log_prob.tolist() == [0.0] * 12
    assert drawn.rows.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert keys(ps.tempered(m, 3, c, top_p=1e-9, max_length=6)) == keys(drawn)


def test_draws_are_reproduced_by_their_seed():
    m = letters()
    a, b = (ps.tempered(m, 20, temperature=1.5, generator=7) for _ in range(2))
    assert keys(a) == keys(b)
    assert len(ps.tempered(m, 0)) == 0


def levenshtein(a, b):
    @lru_cache(None)
    def distance(i, j):
        if not i or not j:
            return i + j
        last = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, last)

    return distance(len(a), len(b))


def test_the_edit_distance_is_levenshteins():
    draw = torch.Generator().manual_seed(0)
    for symbols, size in ((2, ()), (4, ()), (2, (2,))):
        a, b = (
            ps.Sequences(
                torch.randint(symbols, (300, 9, *size), generator=draw), torch.randint(10, (300,), generator=draw)
            )
            for _ in range(2)
        )
        found = ps.edit_distance(a, b).tolist()
        pairs = [tuple([str(element) for element in y.tolist()] for y in pair) for pair in zip(a, b, strict=True)]
        assert found == [_edit_distance(*pair) for pair in pairs]
        assert found == [levenshtein(*map(tuple, pair)) for pair in pairs]
    empty = ps.Sequences.of([[], []])
    assert ps.edit_distance(empty, ps.Sequences.of([[1], []])).tolist() == [1, 0]
    assert ps.edit_distance(empty, empty).tolist() == [0, 0]


def brute_risk(candidates, evidence, weight):
    """The risk of each different candidate of each row, least first: (row, key, risk)."""
    rows = []
    for row in sorted(set(candidates.rows.tolist())):
        ys, zs = candidates.of(row), evidence.of(row)
        own = [w for w, r in zip(weight, evidence.rows.tolist(), strict=True) if r == row]
        risks = {
            k: sum(w * levenshtein(k[0], tuple(z.tolist())) for w, z in zip(own, zs.sequences, strict=True)) / sum(own)
            for k in keys(ys)
        }
        rows += [(row, k, risk) for k, risk in sorted(risks.items(), key=lambda item: (not item[0][1], item[1]))]
    return rows


def assert_risks(chosen, expected):
    np.testing.assert_allclose(chosen.search_score.tolist(), [-risk for _, _, risk in expected], rtol=0, atol=1e-10)
    assert chosen.rows.tolist() == [row for row, _, _ in expected]
    assert Counter(keys(chosen)) == Counter(k for _, k, _ in expected)


def test_minimum_bayes_risk_against_all_pairs(monkeypatch):
    monkeypatch.setattr(importlib.import_module("probseq.inference.search.risk"), "PAIRS", 7)
    m, c = letters(context=ps.Vector(3), seed=1), x(ps.Vector(3), 3)
    found = ps.beam(m, c, width=6, n_best=6, max_length=5)
    drawn = ps.tempered(m, 12, c, temperature=1.3, max_length=5, generator=0)
    chosen = ps.minimum_bayes_risk(found)
    assert_risks(chosen, brute_risk(found, found, found.log_prob.exp().tolist()))
    assert_rescored(m, chosen, c)
    equal = ps.minimum_bayes_risk(found, evidence=drawn, weights="equal")
    assert_risks(equal, brute_risk(found, drawn, [1.0] * len(drawn)))
    ratio = (drawn.log_prob - drawn.proposal_log_prob).exp().tolist()
    weighed = ps.minimum_bayes_risk(drawn, weights="importance")
    assert_risks(weighed, brute_risk(drawn, drawn, ratio))


def test_the_least_risk_over_all_sequences_is_that_of_the_model():
    """With every sequence as evidence the risk is the model's own expectation."""
    m = letters(ps.LengthStop(3), seed=4)
    every = ps.beam(m, width=100, n_best=100)
    law = ps.exact(m, 3)
    chosen = ps.minimum_bayes_risk(every)
    for y, score in list(zip(chosen.sequences, chosen.search_score.tolist(), strict=True))[:5]:
        risk = law.expectation(lambda ys, y=y: ps.edit_distance(ps.Sequences.of([y] * len(ys)), ys).to(torch.float64))
        assert abs(float(risk) + score) < 1e-10


def test_with_a_loss_of_all_or_nothing_the_mode_has_least_risk():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 5)
    found = ps.beam(m, c, width=8, n_best=8, max_length=8)
    chosen = ps.minimum_bayes_risk(found, loss=lambda a, b: (ps.edit_distance(a, b) > 0).float())
    best = found.select(found.sequences.ended)
    assert [y.tolist() for y in chosen.best()] == [y.tolist() for y in best.best()]


def test_what_cannot_be_searched_says_so():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 3)
    reals = ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.BernoulliStop())
    for name, engine in (("beam", ps.beam), ("greedy", ps.greedy), ("tempered", ps.tempered)):
        with pytest.raises(ValueError, match=rf"{name}\(\) needs a discrete element; got Reals\(dim=2\). Use sample"):
            engine(reals)
    sizes = ({"width": 0}, {"n_best": 0}, {"width": 5, "groups": 2}, {"max_length": -1})
    for bad in (*sizes, {"coverage": -1.0}, {"coverage": float("nan")}):
        with pytest.raises(ValueError, match="got"):
            ps.beam(m, c, **bad)
    with pytest.raises(ValueError, match="attends to nothing"):
        ps.beam(m, c, coverage=0.2)
    for bad in ({"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"num_samples": -1}):
        with pytest.raises(ValueError, match="got"):
            ps.tempered(m, context=c, **bad)


def test_constraints_that_leave_nothing_name_the_source():
    m, c = letters(context=ps.Vector(3)), x(ps.Vector(3), 3)
    with pytest.raises(ValueError, match="prefix has 2 sequences, the context 3 rows"):
        ps.beam(m, c, prefix=ps.Sequences.of([[0], [1]]))
    with pytest.raises(ValueError, match="prefix of source 1 has 3 elements; expected 2"):
        ps.beam(m, c, prefix=ps.Sequences.of([[0], [1, 1, 1], []]), max_length=2)
    with pytest.raises(ValueError, match="prefix: sequence 1, position 0: got 7"):
        ps.beam(m, c, prefix=ps.Sequences.of([[0], [7], []]))
    with pytest.raises(ValueError, match=r"banned: .*got 5; expected a token"):
        ps.beam(m, c, banned=[5])
    with pytest.raises(ValueError, match=r"allowed: a mask must have shape \(3,\) or \(3, 3\)"):
        ps.beam(m, c, allowed=torch.ones(2, 3, dtype=torch.bool))
    fixed = letters(ps.FixedLength(2), ps.Vector(3))
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="source 1 has no sequence of positive probability"):
        ps.beam(fixed, c, allowed=mask)
    impossible = Automaton("ab", [{"a": (0.5, 0)}])
    with pytest.raises(ValueError, match="the forced prefix of source 1 has probability 0"):
        ps.beam(impossible, prefix=ps.Sequences.of([[0], [0, 1]]), max_length=5)
    with pytest.raises(ValueError, match="importance weights need evidence that was drawn"):
        ps.minimum_bayes_risk(ps.beam(m, c), weights="importance")
    with pytest.raises(ValueError, match="source 2 has candidates but no evidence"):
        ps.minimum_bayes_risk(ps.beam(m, c), evidence=ps.beam(m, c[:2]))

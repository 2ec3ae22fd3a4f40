"""Draws without replacement and quasi-random draws keep the model's law, and the mode is proven."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

import probseq as ps
from probseq.context import Context
from probseq.inference.decode.arithmetic import _decode
from probseq.inference.decode.replacement import below, below_best
from probseq.oracles import HMM, Automaton
from probseq.rows import select_rows
from tests.parts import DISCRETE, STOPS, TABLE, build, model

RUNS = 4000
WITHOUT = {"stochastic beam": ps.decode.stochastic_beam, "distinct": ps.decode.distinct}
without = pytest.mark.parametrize("engine", WITHOUT.values(), ids=WITHOUT)
SOME = [
    "Tokens, GRU, EndSymbol, both",
    "Tokens, LSTM, LengthStop, input",
    "Tokens, GRU, AlignedLength(), bidirectional",
]
SOME += ["Bits, LSTM, BernoulliStop", "Bits, LSTM, FixedLength", "Tokens, LSTM, PlannedLength, input"]
some = pytest.mark.parametrize("name", SOME)


def letters(stop=None, seed=0, symbols=2, context=None, recurrence=None):
    element = ps.Tokens(symbols, dim=4)
    return model(element, recurrence or ps.GRU(5), ps.Categorical(), stop or ps.EndSymbol(), context, seed)


def key(y, ended):
    return tuple(y.flatten().tolist()), bool(ended)


def keys(found):
    return [key(y, ended) for y, ended in zip(found.sequences, found.sequences.ended, strict=True)]


def numbered(m, found, length, context=None):
    """The place of each sequence in the enumeration, and the enumerated probabilities."""
    law = ps.exact(m, length, context)
    names = {key(y, e): i for i, (y, e) in enumerate(zip(law.sequences, law.sequences.ended, strict=True))}
    return np.array([names[each] for each in keys(found)]), law.log_prob.exp().detach().numpy()


def fits(observed, expected):
    """Pearson's χ²: the p-value, small cells put together."""
    large = expected >= 5
    observed = np.append(observed[large], observed[~large].sum())
    expected = np.append(expected[large], expected[~large].sum())
    keep = expected > 1
    return stats.chisquare(observed[keep], expected[keep] * observed[keep].sum() / expected[keep].sum()).pvalue


# Without replacement


@without
def test_the_first_draws_have_the_law_of_drawing_without_putting_back(engine):
    m = letters()
    drawn = engine(m, 3, Context.none(RUNS), max_length=2, generator=0)
    place, p = numbered(m, drawn.hypotheses, 2)
    place = place.reshape(RUNS, 3)
    pairs = p[:, None] * p[None, :] / (1 - p)[:, None]
    np.fill_diagonal(pairs, 0)
    observed = np.zeros_like(pairs)
    np.add.at(observed, (place[:, 0], place[:, 1]), 1)
    assert fits(observed.flatten(), RUNS * pairs.flatten()) > 1e-3
    # The third, whatever the first two were.
    third = np.zeros_like(p)
    for i, j in itertools.permutations(range(len(p)), 2):
        rest = np.delete(np.arange(len(p)), [i, j])
        third[rest] += pairs[i, j] * p[rest] / p[rest].sum()
    assert fits(np.bincount(place[:, 2], minlength=len(p)), RUNS * third) > 1e-3


@without
@pytest.mark.parametrize("name", ["Tokens, GRU, EndSymbol, both", "Bits, LSTM, BernoulliStop"])
def test_inclusion_frequencies_are_those_of_enumeration(engine, name):
    m, c = build(TABLE[name], batch=1)
    rows = c.expand(RUNS, -1) if c is not None else Context.none(RUNS)
    place, p = numbered(m, engine(m, 2, rows, max_length=2, generator=1).hypotheses, 2, c)
    # Closed form: first, or second after another one.
    inclusion = p * (1 + (p / (1 - p)).sum() - p / (1 - p))
    assert abs(inclusion.sum() - 2) < 1e-9
    observed = np.bincount(place, minlength=len(p))
    # Each run includes two, so the cells are not independent: one at a time.
    z = (observed - RUNS * inclusion) / np.sqrt(RUNS * inclusion * (1 - inclusion) + 1e-12)
    assert 2 * stats.norm.sf(np.abs(z).max()) * len(p) > 1e-3


def test_inclusion_of_two_of_three_by_hand():
    m = Automaton("ab", [{"a": (0.5, 1), "b": (0.3, 1)}, {}])
    for engine in WITHOUT.values():
        found = engine(m, 2, Context.none(RUNS), generator=2).hypotheses
        counts = np.array([sum(k == want for k in keys(found)) for want in (((0,), True), ((1,), True), ((), True))])
        p = np.array([0.5, 0.3, 0.2])
        left_out = np.array(
            [sum(p[i] * p[j] / (1 - p[i]) for i, j in ((j, k), (k, j))) for j, k in ((1, 2), (0, 2), (0, 1))]
        )
        assert abs(left_out.sum() - 1) < 1e-12
        assert fits(RUNS - counts, RUNS * left_out) > 1e-3


@without
def test_the_scores_are_the_largest_perturbed_log_probabilities(engine):
    """Against Gumbel noise drawn for each sequence of the enumeration."""
    m, n = letters(seed=1), 3
    drawn = engine(m, n, Context.none(RUNS), max_length=3, generator=3)
    scores = torch.cat([drawn.hypotheses.search_score.view(RUNS, n), drawn.log_threshold.unsqueeze(1)], 1)
    assert bool((scores[:, :-1] >= scores[:, 1:]).all())
    law = ps.exact(m, 3)
    noise = np.random.default_rng(0).gumbel(size=(RUNS, len(law.log_prob)))
    expected = np.sort(law.log_prob.detach().numpy() + noise, 1)[:, ::-1][:, : n + 1]
    for k in range(n + 1):
        assert stats.ks_2samp(scores[:, k].numpy(), expected[:, k]).pvalue > 1e-3
    assert stats.kstest(scores[:, 0].numpy(), stats.gumbel_r.cdf).pvalue > 1e-3
    # Gaps depend on both, so their joint law is looked at as well.
    assert stats.ks_2samp((scores[:, 0] - scores[:, n]).numpy(), expected[:, 0] - expected[:, n]).pvalue > 1e-3


@without
@some
def test_draws_without_replacement_differ_and_have_the_models_probability(engine, name):
    m, c = build(TABLE[name], batch=3)
    drawn = engine(m, 7, c, max_length=5, generator=0)
    found = drawn.hypotheses
    assert found.rows.tolist() == sorted(found.rows.tolist())
    own = m.log_prob(found.sequences, select_rows(c, found.rows)).detach()
    torch.testing.assert_close(found.log_prob, own, rtol=0, atol=1e-12)
    for row in range(len(drawn.log_threshold)):
        mine = found.of(row)
        assert len(set(keys(mine))) == len(mine) == min(7, len(mine) if drawn.log_threshold[row] == -torch.inf else 7)
        assert bool((mine.search_score[:-1] >= mine.search_score[1:]).all())


@without
def test_a_space_that_is_smaller_is_drawn_whole(engine):
    m = Automaton("ab", [{"a": (0.5, 1), "b": (0.3, 1)}, {}])
    drawn = engine(m, 10, generator=0)
    assert {k for k, _ in keys(drawn.hypotheses)} == {(), (0,), (1,)}
    assert drawn.log_threshold.tolist() == [-torch.inf]
    assert drawn.log_inclusion.tolist() == [0.0] * 3
    torch.testing.assert_close(drawn.log_weights.exp().sum(), torch.ones(()).double())
    lengths = drawn.expectation(lambda y: y.lengths)
    torch.testing.assert_close(lengths, torch.tensor([0.8]).double())
    exactly = engine(m, 3, generator=0)
    assert exactly.log_threshold.tolist() == [-torch.inf]
    certain = engine(m, 1, max_length=0, generator=0)
    assert keys(certain.hypotheses) == [((), False)]
    assert certain.log_threshold.tolist() == [-torch.inf]


@without
def test_weights_by_the_chance_of_inclusion_are_unbiased(engine):
    """E[Σ P / P(G > κ) f] = E[f]: what makes the normalised estimate consistent."""
    m, n = letters(seed=2, symbols=3), 5
    drawn = engine(m, n, Context.none(RUNS), max_length=4, generator=5)
    weight = (drawn.hypotheses.log_prob - drawn.log_inclusion).exp().view(RUNS, n)
    lengths = drawn.hypotheses.sequences.lengths.view(RUNS, n)
    truth = float(ps.exact(m, 4).expectation(lambda y: y.lengths.double()))
    for value, expected in ((weight.sum(1), 1.0), ((weight * lengths).sum(1), truth)):
        assert abs(float(value.mean()) - expected) < 4 * float(value.std()) / RUNS**0.5


@without
def test_the_normalised_estimate_comes_nearer_with_more_draws_and_beats_independent_ones(engine):
    m, runs = letters(seed=2, symbols=3), 300
    law = ps.exact(m, 4)
    truth = float(law.expectation(lambda y: y.lengths.double()))
    second = float(law.expectation(lambda y: y.lengths.double() ** 2))
    errors = []
    for n in (4, 16, 64):
        found = engine(m, n, Context.none(runs), max_length=4, generator=n).expectation(lambda y: y.lengths)
        errors.append(float((found - truth).square().mean() ** 0.5))
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]
    assert errors[2] < ((second - truth**2) / 64) ** 0.5


def test_an_expectation_has_the_shape_of_its_function():
    m, c = letters(context=ps.Vector(2)), torch.randn(3, 2, dtype=torch.float64)
    drawn = ps.decode.stochastic_beam(m, 4, c, max_length=3, generator=0)
    assert drawn.expectation(lambda y: torch.ones(len(y), 2, 5)).shape == (3, 2, 5)
    torch.testing.assert_close(drawn.expectation(lambda y: torch.ones(len(y))), torch.ones(3).double())


def test_drawing_goes_on_where_it_was_left():
    m = letters()
    drawer = ps.decode.Distinct(m, Context.none(RUNS), max_length=2)
    drawer.draw(1, generator=0)
    place, p = numbered(m, drawer.draw(1, generator=1).hypotheses, 2)
    pairs = p[:, None] * p[None, :] / (1 - p)[:, None]
    np.fill_diagonal(pairs, 0)
    observed = np.zeros_like(pairs)
    np.add.at(observed, tuple(place.reshape(RUNS, 2).T), 1)
    assert fits(observed.flatten(), RUNS * pairs.flatten()) > 1e-3
    assert torch.equal(drawer.draw(0).hypotheses.sequences.values, drawer.draw(0).hypotheses.sequences.values)


def test_drawing_on_ends_when_all_was_drawn():
    m = letters(symbols=3)
    law = ps.exact(m, 4)
    drawer = ps.decode.Distinct(m, max_length=4)
    scores = []
    for n in (1, 5, 30, 1000):
        drawn = drawer.draw(n, generator=n)
        scores.append(float(drawn.log_threshold))
        assert len(set(keys(drawn.hypotheses))) == len(drawn)
    assert len(drawn) == len(law.sequences)
    assert scores[-1] == -torch.inf
    assert scores == sorted(scores, reverse=True)
    torch.testing.assert_close(drawn.hypotheses.log_prob.exp().sum(), torch.ones(()).double())
    truth = law.expectation(lambda y: y.lengths.double()).detach()
    torch.testing.assert_close(drawn.expectation(lambda y: y.lengths)[0], truth)


def test_a_seed_makes_draws_again_and_leaves_the_global_state():
    m = letters(symbols=3)
    for engine in (*WITHOUT.values(), ps.decode.arithmetic):
        state = torch.get_rng_state()
        one, other = (engine(m, 5, max_length=5, generator=3) for _ in range(2))
        assert torch.equal(torch.get_rng_state(), state)
        one, other = (each if isinstance(each, ps.Hypotheses) else each.hypotheses for each in (one, other))
        assert keys(one) == keys(other)


def test_gumbel_variables_below_a_bound_have_their_law():
    torch.manual_seed(0)
    top = torch.full((RUNS,), 0.3, dtype=torch.float64)
    drawn = below(torch.full_like(top, -1.0), top).numpy()
    law = stats.gumbel_r(loc=-1)
    assert stats.kstest(drawn, lambda g: law.cdf(g) / law.cdf(0.3)).pvalue > 1e-3
    log_prob = torch.tensor([[-1.0, -torch.inf, -0.5]], dtype=torch.float64).expand(RUNS, -1)
    several = below_best(log_prob, top)
    torch.testing.assert_close(several.amax(1), top)
    assert bool((several[:, 1] == -torch.inf).all())
    share = float((several[:, 2] == several.amax(1)).double().mean())
    expected = float(torch.tensor([-1.0, -0.5]).softmax(0)[1])
    assert abs(share - expected) < 4 * (expected * (1 - expected) / RUNS) ** 0.5
    assert bool((below_best(log_prob[:1], top[:1] - torch.inf) == -torch.inf).all())


# Arithmetic sampling


@some
def test_each_arithmetic_draw_alone_has_the_models_law(name):
    m, c = build(TABLE[name], batch=1)
    rows = Context.none(RUNS) if c is None else select_rows(c, torch.zeros(RUNS, dtype=torch.int64))
    drawn = ps.decode.arithmetic(m, 3, rows, max_length=3, generator=0)
    assert torch.equal(drawn.proposal_log_prob, drawn.log_prob)
    own = m.log_prob(drawn.sequences, select_rows(rows, drawn.rows) if c is not None else None).detach()
    torch.testing.assert_close(drawn.log_prob, own, rtol=0, atol=1e-12)
    place, p = numbered(m, drawn, 3, c)
    for which in range(3):
        assert fits(np.bincount(place[which::3], minlength=len(p)), RUNS * p) > 1e-3


def test_a_sequence_comes_as_often_as_its_probability_says_up_to_one():
    m, n = letters(symbols=3), 200
    for seed in range(20):
        place, p = numbered(m, ps.decode.arithmetic(m, n, max_length=3, generator=seed), 3)
        count = np.bincount(place, minlength=len(p))
        assert (count >= np.floor(n * p - 1e-9)).all()
        assert (count <= np.ceil(n * p + 1e-9)).all()


def test_means_over_arithmetic_draws_vary_less_than_over_independent_ones():
    m, n, runs = letters(seed=3, symbols=3), 16, 2000
    law = ps.exact(m, 5)
    for f in (lambda y: y.lengths.double(), lambda y: (y.pad(1).values[:, 0] == 1).double() * (y.lengths > 0)):
        mean = ps.decode.arithmetic(m, n, Context.none(runs), max_length=5, generator=0)
        mean = f(mean.sequences).view(runs, n).mean(1)
        truth = float(law.expectation(f))
        independent = (float(law.expectation(lambda y, f=f: f(y) ** 2)) - truth**2) / n
        assert abs(float(mean.mean()) - truth) < 4 * float(mean.std()) / runs**0.5
        assert float(mean.var()) < 0.8 * independent


def test_long_sequences_do_not_run_out_of_digits():
    """200 fair coins are 200 bits, a code has 53."""
    m = HMM([1.0], [[1.0]], [[0.5, 0.5]], length=200)
    drawn = ps.decode.arithmetic(m, 400, generator=0).sequences.values.double()
    assert len(torch.unique(drawn, dim=0)) == 400
    late = drawn[:, 100:]
    assert abs(float(late.mean()) - 0.5) < 4 * 0.5 / late.numel() ** 0.5
    assert abs(float(late.mean(0).std()) - 0.5 / 20) < 0.01


def test_codes_at_the_edges_choose_what_is_possible():
    log_prob = torch.tensor([[-torch.inf, 0.0, -torch.inf]], dtype=torch.float64).expand(2, -1)
    outcome, code = _decode(log_prob, torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64))
    assert outcome.tolist() == [1, 1]
    assert bool(((code >= 0) & (code < 1)).all())


# The mode


def enumerated_mode(m, length, context=None):
    """The most probable sequence and its log-probability, certain if nothing longer can be more probable."""
    law = ps.exact(m, length, context)
    y, log_prob = law.mode()
    rest = law.log_prob[~law.sequences.ended]
    return y, log_prob, not len(rest) or float(rest.max()) < log_prob


def test_the_mode_is_that_of_enumeration_for_500_of_500_laws():
    """LSTM and GRU, each stop law, 20 networks: each row of a context is a law of its own."""
    element, likelihood = DISCRETE["Tokens"]
    right = asked = empty = 0
    parts = itertools.cycle(itertools.product((ps.LSTM(5), ps.GRU(5)), STOPS.values()))
    for seed, (recurrence, stop) in enumerate(parts):
        if asked >= 500:
            break
        m = model(element, recurrence, likelihood, stop, ps.Vector(3), seed)
        c = 2 * torch.randn(30, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = ps.decode.mode(m, c)
        for row in range(30):
            y, log_prob, certain = enumerated_mode(m, 5 if m.max_length is None else m.max_length, c[row : row + 1])
            # A longer one may be more probable than all that were listed: then nothing is known.
            if not certain or asked == 500:
                continue
            asked += 1
            mine = found.hypotheses.sequences[row]
            right += torch.equal(mine, y) and abs(float(found.hypotheses.log_prob[row]) - log_prob) < 1e-10
            assert bool(found.proven[row])
            assert float(found.gap[row]) == 0
            empty += not len(y)
    assert right == asked == 500
    assert 0 < empty < 500


@some
def test_the_mode_of_each_row_is_found_and_has_the_models_probability(name):
    m, c = build(TABLE[name], batch=4)
    found = ps.decode.mode(m, c, max_length=None if m.max_length else 9, budget=20_000)
    own = found.hypotheses
    torch.testing.assert_close(
        own.log_prob, m.log_prob(own.sequences, select_rows(c, own.rows)).detach(), rtol=0, atol=1e-10
    )
    for row in range(len(own)):
        _, log_prob, certain = enumerated_mode(m, 6, select_rows(c, torch.tensor([row])))
        assert own.log_prob[row] >= log_prob - 1e-10
        if certain and found.proven[row]:
            assert abs(own.log_prob[row] - log_prob) < 1e-10


def test_the_bound_is_never_below_the_most_probable_sequence():
    for seed in range(40):
        m = letters(seed=seed, symbols=3, recurrence=ps.LSTM(5))
        _, log_prob, _ = enumerated_mode(m, 6)
        for budget in (1, 2, 5):
            found = ps.decode.mode(m, budget=budget, width=1, max_length=20)
            assert float(found.log_bound) >= log_prob - 1e-10
            assert bool(found.proven) == (float(found.gap) == 0)
            assert not bool(found.proven) or abs(float(found.hypotheses.log_prob) - log_prob) < 1e-10
        assert int(found.prefixes) >= 1


def test_a_beam_misses_what_the_mode_finds():
    # The first symbol leads to many sequences, the second to one.
    m = Automaton("abcd", [{"a": (0.6, 1), "b": (0.4, 2)}, dict.fromkeys("abcd", (0.25, 2)), {}])
    assert ps.decode.greedy(m).sequences[0].tolist() == [0, 0]
    found = ps.decode.mode(m, width=1)
    assert found.hypotheses.best()[0].tolist() == [1]
    assert found.proven.tolist() == [True]
    assert int(found.prefixes) <= 3


def test_the_empty_sequence_is_a_candidate_like_any_other():
    m = Automaton("ab", [{"a": (0.3, 1), "b": (0.3, 1)}, {}])
    found = ps.decode.mode(m)
    assert found.hypotheses.sequences.lengths.tolist() == [0]
    assert abs(float(found.hypotheses.log_prob.exp()) - 0.4) < 1e-12
    certain = ps.decode.mode(Automaton("ab", [{}]))
    assert certain.hypotheses.sequences.lengths.tolist() == [0]
    assert certain.proven.tolist() == [True]


def test_what_never_ends_has_no_mode_but_a_bound():
    m = Automaton("a", [{"a": (1.0, 0)}])
    found = ps.decode.mode(m, max_length=4)
    assert found.proven.tolist() == [False]
    assert found.gap.tolist() == [torch.inf]
    assert found.log_bound.tolist() == [0.0]
    assert keys(found.hypotheses) == [((0, 0, 0, 0), False)]


def test_an_hmm_of_fixed_length_has_its_mode_proven():
    m = HMM.random(2, 2, 8, generator=3, concentration=0.3)
    y, log_prob = ps.exact(m, 8).mode()
    found = ps.decode.mode(m)
    assert abs(float(found.hypotheses.log_prob) - log_prob) < 1e-10
    assert found.proven.tolist() == [True]
    assert torch.equal(found.hypotheses.sequences[0], y)


# Bad input


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: ps.decode.stochastic_beam(m, 0), "num_samples must be 1 or more; got 0"),
        (lambda m: ps.decode.distinct(m, 0), "num_samples must be 1 or more; got 0"),
        (lambda m: ps.decode.arithmetic(m, -1), "num_samples must be 0 or more; got -1"),
        (lambda m: ps.decode.mode(m, budget=0), "budget must be 1 or more; got 0"),
        (lambda m: ps.decode.mode(m, max_length=-1), "max_length must be 0 or more; got -1"),
        (lambda m: ps.decode.Distinct(m).draw(-2), "num_samples must be 0 or more; got -2"),
    ],
)
def test_bad_sizes_are_told(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(letters())


def test_real_elements_cannot_be_listed():
    m = ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.BernoulliStop())
    for engine in (*WITHOUT.values(), ps.decode.arithmetic):
        with pytest.raises(ValueError, match="needs a discrete element"):
            engine(m, 2)
    with pytest.raises(ValueError, match=r"mode\(\) needs a discrete element"):
        ps.decode.mode(m)


def test_a_context_without_rows_has_no_draws():
    m, none = letters(context=ps.Vector(2)), torch.zeros(0, 2)
    assert len(ps.decode.stochastic_beam(m, 3, none)) == len(ps.decode.distinct(m, 3, none)) == 0
    assert len(ps.decode.arithmetic(m, 3, none)) == len(ps.decode.mode(m, none).hypotheses) == 0


def test_one_draw_is_a_draw():
    m = letters(symbols=3)
    for engine in WITHOUT.values():
        drawn = engine(m, 1, Context.none(RUNS), max_length=2, generator=0)
        place, p = numbered(m, drawn.hypotheses, 2)
        assert fits(np.bincount(place, minlength=len(p)), RUNS * p) > 1e-3
    assert len(ps.decode.arithmetic(m, 0)) == 0

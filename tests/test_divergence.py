"""Comparisons between models: divergence, entropy, and tests of two samples."""

import math
from itertools import pairwise

import pyro.distributions as dist
import pytest
import scipy.stats
import torch

import probseq as ps
from probseq.oracles import HMM, Automaton, LinearGaussianAR, LinearGaussianStateSpace, NGram
from tests.parts import TABLE, build
from tests.parts import model as random_model

SOURCE = Automaton("abc", [{"a": (0.5, 1), "b": (0.3, 0)}, {"b": (0.2, 1), "c": (0.5, 0)}])


def letters(seed, recurrence=None, stop=None):
    return random_model(
        ps.Tokens(3, dim=4), recurrence or ps.GRU(6), ps.Categorical(), stop or ps.EndSymbol(), seed=seed
    )


@torch.no_grad()
def true_kl(p, q, length, context=None):
    law = ps.exact(p, length, context)
    rows = None if context is None else context.expand(len(law.sequences), *context.shape[1:])
    return float((law.log_prob.exp() * (law.log_prob - q.log_prob(law.sequences, rows))).sum())


@torch.no_grad()
@pytest.mark.parametrize("stops", [(ps.EndSymbol(), ps.EndSymbol()), (ps.LengthStop(4), ps.BernoulliStop())])
def test_both_estimates_are_unbiased(stops):
    """One long run: within three standard errors of the enumerated divergence, each."""
    p, q = letters(1, stop=stops[0]), letters(2, ps.LSTM(4), stop=stops[1])
    found = ps.kl(p, q, 20_000, max_length=4, generator=0)
    truth = true_kl(p, q, 4)
    assert abs(found.estimate - truth) <= 3 * found.standard_error
    assert abs(found.plain - truth) <= 3 * found.plain_error
    assert found.method == "sum"


def test_the_standard_errors_are_the_spread_over_runs():
    p, q = letters(1), letters(2)
    runs = [ps.kl(p, q, 50, max_length=4, generator=seed) for seed in range(100)]
    for estimate, error in (("estimate", "standard_error"), ("plain", "plain_error")):
        spread = torch.tensor([getattr(run, estimate) for run in runs]).std()
        said = torch.tensor([getattr(run, error) for run in runs]).mean()
        assert 0.75 < spread / said < 1.3


def test_what_each_position_adds_is_the_whole():
    found = ps.kl(letters(1), letters(2), 100, max_length=6, generator=0)
    errors = found.by_position_error.sum() + found.standard_error
    assert abs(float(found.by_position.sum()) - found.estimate) <= 3 * errors
    assert (found.by_position >= 0).all()
    few = ps.kl(letters(1), letters(2), 10, max_length=6, generator=0)  # too few for control variates
    assert float(few.by_position.sum()) == pytest.approx(few.estimate, rel=1e-12)
    assert found.rows.tolist() == pytest.approx([found.estimate])


def trained(seed, y, epochs):
    model = ps.SequenceModel(ps.Tokens(3, dim=4), ps.GRU(8), ps.Categorical(), ps.EndSymbol())
    ps.fit(
        model, y, max_epochs=epochs, batch_tokens=256, learning_rate=1e-2, seed=seed, progress=False, accelerator="cpu"
    )
    return model.double()


def test_three_quarters_of_the_variance_at_least_are_gone():
    """The median over pairs of random and of trained models, at equal samples."""
    y = SOURCE.sample(100, max_length=12, generator=0)
    fitted = [trained(seed, y, epochs) for seed, epochs in enumerate((2, 4, 8))]
    pairs = [(letters(seed), letters(seed + 50)) for seed in range(8)]
    pairs += [*pairwise(fitted), (SOURCE, fitted[2]), (SOURCE, fitted[0])]
    ratios = []
    for p, q in pairs:
        found = ps.kl(p, q, 400, max_length=12, generator=1)
        ratios.append((found.standard_error / found.plain_error) ** 2)
    assert torch.tensor(ratios).median() <= 0.25
    assert max(ratios) <= 1


def test_a_model_is_no_distance_from_itself():
    p = letters(0)
    found = ps.kl(p, p, 50, max_length=6)
    assert (found.estimate, found.standard_error, found.plain) == (0, 0, 0)


def test_what_is_excluded_is_infinitely_far():
    """The second excludes a symbol, then a length: infinite, whether it was drawn or not, and never NaN."""
    fair = Automaton("ab", [{"a": (0.999999, 1), "b": (1e-6, 1)}, {}])
    never_b = Automaton("ab", [{"a": (1.0, 1)}, {}])
    found = ps.kl(fair, never_b, 10, generator=0)
    assert found.estimate == math.inf
    assert found.standard_error == 0
    assert not torch.isnan(found.by_position).any()
    assert ps.kl(never_b, fair, 10).estimate == pytest.approx(1e-6, rel=1e-3)
    longer, shorter = letters(0, stop=ps.LengthStop(6)), letters(1, stop=ps.LengthStop(2))
    found = ps.kl(longer, shorter, 200, generator=0)
    assert found.estimate == math.inf
    assert torch.isinf(found.by_position).tolist()[:3] == [False, False, True]
    assert math.isfinite(ps.kl(shorter, longer, 200, generator=0).estimate)


def test_each_row_of_x_has_its_own_divergence():
    context = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5]]).double()
    p, q = (
        random_model(ps.Tokens(3), ps.GRU(5), ps.Categorical(), ps.EndSymbol(), ps.Vector(3, enters="both"), seed=seed)
        for seed in (1, 2)
    )
    found = ps.kl(p, q, 5_000, context, max_length=4, generator=0)
    for row in range(2):
        assert float(found.rows[row]) == pytest.approx(true_kl(p, q, 4, context[row : row + 1]), rel=0.05)
    assert float(found.rows.mean()) == pytest.approx(found.estimate)
    told = ps.kl(p, letters(3), 100, context, q_context=ps.Context.none(2), max_length=4)
    assert told.estimate > 0


def test_gaussian_series_have_the_divergence_of_their_joint_laws():
    """AR(1) against AR(1), and state spaces in two dimensions, by the normal laws of the whole series."""
    p, q = LinearGaussianAR([0.8], 1.0, 6), LinearGaussianAR([0.3], 1.5, 6)
    found = ps.kl(p, q, 4_000, generator=0)
    truth = torch.distributions.kl_divergence(joint_ar(p), joint_ar(q))
    assert found.method == "closed form"
    assert abs(found.estimate - truth) <= 3 * found.standard_error
    assert found.standard_error < found.plain_error / 2
    spaces = [
        LinearGaussianStateSpace([[a]], [[1.0]], [[1.0], [0.5]], [[1.0, r], [r, 1.0]], [0.0], [[1.0]], 4)
        for a, r in ((0.9, 0.3), (0.5, 0.0))
    ]
    found = ps.kl(*spaces, 4_000, generator=0)
    assert abs(found.estimate - found.plain) <= 3 * found.plain_error
    assert found.standard_error < found.plain_error


def joint_ar(model):
    """The law of a whole AR(1) series."""
    n = model.length
    inverse = torch.linalg.inv(torch.eye(n).double() - torch.diag(model.coefficients.expand(n - 1), -1))
    return torch.distributions.MultivariateNormal(
        torch.zeros(n).double(), model.scale**2 * inverse @ inverse.T + 1e-12 * torch.eye(n).double()
    )


def test_without_a_formula_the_log_ratio_stands_in():
    """A Gaussian against a Student t has no closed form: the estimate is unbiased all the same."""
    p, q = (
        random_model(ps.Reals(1), ps.GRU(4), likelihood, ps.LengthStop(3), seed=seed)
        for seed, likelihood in ((1, ps.Gaussian()), (2, ps.Parametric(dist.StudentT)))
    )
    found = ps.kl(p, q, 5_000, generator=0)
    assert found.method == "log-ratio"
    assert abs(found.estimate - found.plain) <= 3 * (found.plain_error + found.standard_error)


def test_many_bits_have_a_closed_form():
    p, q = (random_model(ps.Bits(20), ps.GRU(4), ps.Bernoulli(), ps.FixedLength(3), seed=seed) for seed in (1, 2))
    found = ps.kl(p, q, 2_000, generator=0)
    assert found.method == "closed form"
    assert abs(found.estimate - found.plain) <= 3 * (found.plain_error + found.standard_error)


def test_planned_lengths_and_empty_sequences_are_compared():
    p, q = letters(0, stop=ps.PlannedLength(4, dim=2)), letters(1, stop=ps.FixedLength(0))
    assert ps.kl(p, q, 50, generator=0).estimate == math.inf
    found = ps.kl(q, p, 2)
    assert found.estimate == pytest.approx(-p.log_prob(ps.Sequences.of([[]])).item())


@pytest.mark.parametrize("name", list(TABLE)[::14])
def test_every_assembly_is_compared(name):
    p, x = build(TABLE[name], 3)
    q, _ = build(TABLE[name], 3, seed=5)
    found = ps.kl(p, q, 100, x, max_length=4, generator=0)
    assert abs(found.estimate - found.plain) <= 4 * (found.plain_error + found.standard_error) + 1e-9
    rate = ps.entropy_rate(p, 100, x, max_length=4, generator=0)
    surprise = -p.log_prob(p.sample(100, x, 4, generator=1), _repeated(p, x, 100)).detach()
    assert abs(rate.entropy - surprise.mean()) <= 4 * (rate.entropy_error + surprise.std() / math.sqrt(len(surprise)))


def _repeated(model, x, times):
    encoded = model.encode(x)
    return encoded.select(torch.arange(encoded.batch).repeat_interleave(times))


def test_models_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="of one alphabet"):
        ps.kl(letters(0), Automaton("ab", [{"a": (0.5, 0)}]))
    with pytest.raises(ValueError, match="2 or more"):
        ps.kl(letters(0), letters(1), 1)
    with pytest.raises(ValueError, match="batch 1, that of q 3"):
        ps.kl(letters(0), letters(1), 5, q_context=ps.Context.none(3))


def test_the_entropy_of_an_automaton_is_found():
    found = ps.entropy_rate(SOURCE, 4_000, generator=0)
    assert abs(found.entropy - SOURCE.entropy()) <= 3 * found.entropy_error
    truth = SOURCE.entropy() / (SOURCE.mean_length() + 1)
    assert abs(found.rate - truth) <= 3 * found.standard_error
    assert abs(found.decisions - SOURCE.mean_length() - 1) < 0.2
    assert found.truncated == 0


def test_the_entropy_of_other_models_is_minus_the_mean_log_probability():
    markov = HMM([0.6, 0.4], [[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], length=5)
    counted = NGram(2, 3).fit(SOURCE.sample(200, generator=0))
    for model, length in ((markov, 5), (counted, 5), (letters(0), 5)):
        law = ps.exact(model, length)
        truth = float(torch.special.entr(law.log_prob.exp()).sum())
        found = ps.entropy_rate(model, 4_000, max_length=length, generator=0)
        assert abs(found.entropy - truth) <= 3 * found.entropy_error
    rate = ps.entropy_rate(markov, 100)
    assert rate.decisions == 5  # the end is certain, and no decision


@pytest.mark.parametrize("likelihood", [ps.Gaussian(), ps.Parametric(dist.VonMises), ps.Parametric(dist.Poisson)])
def test_entropies_of_real_elements(likelihood):
    """By formula (normal), or by the surprise of the draw (von Mises, Poisson)."""
    model = random_model(ps.Reals(2), ps.GRU(4), likelihood, ps.BernoulliStop(), seed=3)
    found = ps.entropy_rate(model, 3_000, max_length=4, generator=0)
    y = ps.sample(model, 3_000, max_length=4, generator=1)
    surprise = -model.log_prob(y).detach()
    error = float(surprise.std()) / math.sqrt(len(y))
    assert abs(found.entropy - float(surprise.mean())) <= 3 * (error + found.entropy_error)


def test_a_model_that_is_the_truth_does_not_drift():
    y = SOURCE.sample(3_000, max_length=10, generator=0)
    meter = ps.entropy_drift(SOURCE, y, generator=1)
    seen = meter.given_counts > 100
    assert (meter.drift[seen].abs() <= 4 * meter.drift_error[seen] + 1e-12).all()
    error = (meter.loss_error.square() + meter.given_error.square()).sqrt()
    assert ((meter.loss - meter.given)[seen].abs() <= 4 * error[seen]).all()
    assert meter.given_counts[0] == 3_000


def test_a_model_that_is_led_astray_by_itself_drifts():
    """It is sure of a and rarely draws z, after which anything may come: data of a alone never show that."""
    model = Automaton("az", [{"a": (0.85, 0), "z": (0.1, 1)}, {"a": (0.45, 1), "z": (0.5, 1)}])
    y = ps.Sequences(torch.zeros(400, 10, dtype=torch.int64), [10] * 400, False)
    meter = ps.entropy_drift(model, y, num_samples=5, generator=0)
    assert (meter.drift[5:10] > 3 * meter.drift_error[5:10]).all()
    assert float(meter.drift[0]) == pytest.approx(0, abs=1e-12)


def test_p_values_are_uniform_where_the_laws_are_one():
    drawn = [SOURCE.sample(20, max_length=8, generator=seed) for seed in range(200)]
    values = [
        ps.two_sample(a, b, permutations=99, generator=i).p_value
        for i, (a, b) in enumerate(zip(drawn[::2], drawn[1::2], strict=True))
    ]
    assert scipy.stats.kstest(values, "uniform").pvalue > 1e-3


def test_a_difference_is_found():
    other = Automaton("abc", [{"a": (0.2, 1), "b": (0.6, 0)}, {"b": (0.2, 1), "c": (0.5, 0)}])
    a, b = SOURCE.sample(200, generator=0), other.sample(200, generator=1)
    found = ps.two_sample(a, b, generator=2)
    assert found.p_value <= 0.005
    assert found.p_values["n-grams"] == pytest.approx(0.001)


def test_order_alone_is_seen_by_n_grams_alone():
    """The same lengths and the same number of each symbol, but in another order."""
    generator = torch.Generator().manual_seed(0)
    runs = torch.rand(200, 10, generator=generator).argsort(1) % 2
    found = ps.two_sample(
        ps.Sequences(runs[:100], [10] * 100), ps.Sequences(runs[100:].sort(1).values, [10] * 100), generator=1
    )
    assert found.p_values["length"] == found.p_values["symbols"] == 1
    assert found.p_values["n-grams"] == pytest.approx(0.001)
    assert found.p_value <= 0.005


def test_the_statistic_of_lengths_is_that_of_scipy():
    a, b = SOURCE.sample(40, generator=0), SOURCE.sample(25, max_length=3, generator=1)
    found = ps.two_sample(a, b, permutations=1)
    truth = scipy.stats.energy_distance(a.lengths.numpy(), b.lengths.numpy()) ** 2
    assert found.statistics["length"] == pytest.approx(truth, rel=1e-9)


def test_series_of_reals_are_told_apart_by_their_correlation():
    a = LinearGaussianAR([0.0], 1.0, 12).sample(150, generator=0)
    b = LinearGaussianAR([0.6], 0.8, 12).sample(150, generator=1)
    found = ps.two_sample(a, b, generator=2)
    assert found.p_value <= 0.005
    assert found.p_values["pairs"] == pytest.approx(0.001)
    same = ps.two_sample(a, LinearGaussianAR([0.0], 1.0, 12).sample(150, generator=3), generator=4)
    assert same.p_value > 0.01
    more = ps.two_sample(a, b, features=lambda y: y.values[:, :1, 0], permutations=99, generator=2)
    assert set(more.p_values) == {"length", "values", "pairs", "features"}


def test_samples_that_cannot_be_compared_are_refused():
    a = SOURCE.sample(5, generator=0)
    with pytest.raises(ValueError, match="2 sequences in each"):
        ps.two_sample(a, a.select([0]))
    with pytest.raises(ValueError, match="the same elements"):
        ps.two_sample(a, LinearGaussianAR([0.5], 1.0, 3).sample(5))
    with pytest.raises(ValueError, match="NaN"):
        ps.two_sample(ps.Sequences.of([[1.0], [math.nan]]), ps.Sequences.of([[1.0], [2.0]]))
    empty = ps.Sequences.of([[], []])
    assert ps.two_sample(empty, empty, permutations=9).p_value == 1

"""Values that are missing inside sequences."""

import itertools
import math

import pyro.distributions as dist
import pytest
import torch

import probseq as ps
from probseq.inference.partial import complete
from probseq.mixed import Listed, Mixed
from probseq.oracles import HMM, Automaton, LinearGaussianAR, LinearGaussianStateSpace
from tests.parts import TABLE, build
from tests.parts import model as random_model


def marginal(model, y, context=None, particles=64, threshold=0.5, generator=None):
    return ps.infill(model, y, context, particles, method="smc", threshold=threshold, generator=generator)


SOURCE = Automaton("abc", [{"a": (0.5, 1), "b": (0.3, 0)}, {"b": (0.2, 2), "c": (0.5, 0)}, {"c": (0.9, 0)}])


def letters(seed=0, stop=None, context=None):
    return random_model(ps.Tokens(3, dim=4), ps.GRU(6), ps.Categorical(), stop or ps.EndSymbol(), context, seed=seed)


def fillings(row, symbols=3):
    """Every sequence that agrees with what is observed of one, −1 being missing."""
    return list(itertools.product(*[range(symbols) if v < 0 else [v] for v in row]))


@torch.no_grad()
def true_marginal(model, rows, ended=True):
    return torch.stack(
        [model.log_prob(ps.Sequences.of([list(f) for f in fillings(row)], ended)).logsumexp(0) for row in rows]
    )


def bits(weights):
    values = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3))).double()
    return values, torch.tensor(weights).double()


LISTED = Listed(torch.linspace(-1, 1, 8).double(), bits([0.0])[0])
BERNOULLI = dist.Bernoulli(torch.tensor([0.2, 0.7, 0.4]).double()).to_event(1)
COMPONENTS = dist.Bernoulli(torch.tensor([[0.2, 0.7, 0.4], [0.9, 0.1, 0.6]]).double()).to_event(1)
MIXTURE = dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.3, 0.7]).double()), COMPONENTS)
MIXED = Mixed(torch.tensor([0.4, 0.6]).double().log(), [BERNOULLI, MIXTURE])


@pytest.mark.parametrize("law", [LISTED, BERNOULLI, MIXTURE, MIXED], ids=["listed", "bits", "mixture", "mixed"])
def test_a_law_of_bits_is_completed_as_enumeration_says(law):
    torch.manual_seed(0)
    values = bits([0.0])[0]
    for pattern in itertools.product([True, False], repeat=3):
        observed = torch.tensor(pattern)
        given = torch.where(observed, torch.tensor([1.0, 0.0, 1.0]).double(), torch.nan)
        agree = ((values == given) | ~observed).all(-1)
        joint = law.log_prob(values).masked_fill(~agree, -torch.inf)
        many = law.expand((4_000,))
        filled, log_prob = complete(many, given.expand(4_000, 3), observed.expand(4_000, 3))
        torch.testing.assert_close(log_prob, joint.logsumexp(0).expand(4_000))
        drawn = (filled.unsqueeze(1) == values).all(-1).double().mean(0)
        assert (drawn - joint.softmax(0)).abs().max() < 5 * 0.5 / math.sqrt(4_000)


@pytest.mark.parametrize("low_rank", [False, True])
def test_a_normal_law_is_completed_by_regression(low_rank):
    torch.manual_seed(0)
    root = torch.randn(3, 2).double()
    covariance, loc = root @ root.T + 0.3 * torch.eye(3).double(), torch.tensor([1.0, -1.0, 0.5]).double()
    law = dist.MultivariateNormal(loc, covariance)
    if low_rank:
        law = dist.LowRankMultivariateNormal(loc, root, torch.full((3,), 0.3).double())
    given = torch.tensor([0.2, torch.nan, 1.5]).double()
    n = 20_000
    filled, log_prob = complete(law.expand((n,)), given.expand(n, 3), torch.tensor([True, False, True]).expand(n, 3))
    o = torch.tensor([0, 2])
    block = covariance[o][:, o]
    truth = torch.distributions.MultivariateNormal(loc[o], block).log_prob(given[o])
    torch.testing.assert_close(log_prob, truth.expand(n))
    gain = torch.linalg.solve(block, covariance[o, 1])
    mean, variance = loc[1] + gain @ (given[o] - loc[o]), covariance[1, 1] - gain @ covariance[o, 1]
    assert abs(filled[:, 1].mean() - mean) < 4 * (variance / n).sqrt()
    assert abs(filled[:, 1].var() / variance - 1) < 0.05
    assert torch.equal(filled[:, o], given[o].expand(n, 2))
    _, log_prob = complete(law, loc + 1, torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(log_prob, law.log_prob(loc + 1))
    assert complete(law, loc, torch.zeros(3, dtype=torch.bool))[1] == 0


@pytest.mark.parametrize(
    "law",
    [
        dist.Gamma(torch.tensor([2.0, 3.0]).double(), 1.5).to_event(1),
        dist.StudentT(torch.tensor([4.0, 5.0]).double()).to_event(1),
        dist.Uniform(torch.tensor([0.0, 1.0]).double(), torch.tensor([2.0, 3.0]).double()).to_event(1),
        dist.Dirichlet(torch.tensor([2.0, 3.0]).double()),
    ],
)
def test_elements_that_are_whole_or_missing_are_scored_whole_under_any_law(law):
    y = law.sample((4,))
    observed = torch.tensor([True, False, True, False]).unsqueeze(1).expand(4, 2)
    filled, log_prob = complete(law.expand((4,)), torch.where(observed, y, torch.nan), observed)
    torch.testing.assert_close(log_prob, torch.where(observed[:, 0], law.log_prob(y), 0.0))
    assert torch.isfinite(law.log_prob(filled)).all()
    assert torch.equal(filled[observed], y[observed])


def test_an_impossible_part_has_probability_0():
    law = dist.Uniform(torch.zeros(2).double(), 1.0).to_event(1)
    _, log_prob = complete(law, torch.tensor([2.0, torch.nan]).double(), torch.tensor([True, False]))
    assert log_prob == -torch.inf


def test_a_law_that_cannot_be_conditioned_says_so():
    law = dist.Dirichlet(torch.ones(3))
    with pytest.raises(ValueError, match="partly missing, and Dirichlet cannot"):
        complete(law, torch.ones(3), torch.tensor([True, False, False]))


ROWS = [[0, -1, 2, -1, 1], [-1, -1, -1, -1, 2], [1, 2, 0], [2, -1], [-1], []]


@pytest.mark.parametrize("threshold", [0, 0.5, 1])
@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.LengthStop(6), ps.PlannedLength(6, dim=2)])
def test_the_estimate_is_unbiased(stop, threshold):
    """E[Ẑ] = P within three standard errors over 500 runs, against enumeration; exact where nothing is missing."""
    model = letters(stop=stop)
    y = ps.Sequences.of(ROWS)
    truth = true_marginal(model, ROWS)
    runs = ps.Sequences.cat([y] * 500)
    found = marginal(model, runs, particles=8, threshold=threshold, generator=0)
    ratio = (found.log_evidence.reshape(500, -1) - truth).exp()
    error = ratio.std(0) / math.sqrt(500)
    assert ((ratio.mean(0) - 1).abs() <= 3 * error + 1e-12).all()
    assert (error[[2, 5]] < 1e-12).all()
    assert (found.died == -1).all()


def test_an_open_sequence_is_one_that_goes_on():
    model, rows = letters(), [[0, -1, -1, 2]]
    found = marginal(model, ps.Sequences.of(rows, ended=False), particles=20_000, generator=0)
    assert float(found.log_evidence) == pytest.approx(float(true_marginal(model, rows, False)), abs=0.05)


def test_intervals_cover_as_often_as_they_say():
    model, row = letters(3), [[-1, 0, -1, -1, 2, 1]]
    runs = ps.Sequences.of(row * 500)
    for threshold, least in ((0, 0.92), (0.5, 0.92)):
        found = marginal(model, runs, particles=128, threshold=threshold, generator=0)
        ratio = (found.log_evidence - true_marginal(model, row)).exp()
        covered = ((ratio - 1).abs() <= 1.96 * found.standard_error * ratio).double().mean()
        assert least <= covered <= 0.99
        assert ((found.ess >= 1) & (found.ess <= 128)).all()


def test_a_hidden_markov_model_with_gaps_is_scored_as_the_forward_algorithm_does():
    """A missing symbol is one whose emission is 1 in every state."""
    transition, emission = (
        torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double(),
        torch.tensor([[0.8, 0.2], [0.1, 0.9]]).double(),
    )
    model = HMM([0.5, 0.5], transition, emission, length=60)
    y = model.sample(1, generator=0).values.clone()
    y[0, 5:45:2] = -1
    belief = torch.tensor([0.5, 0.5]).double()
    truth = 0.0
    for symbol in y[0].tolist():
        seen = belief * (emission[:, symbol] if symbol >= 0 else 1)
        truth += float(seen.sum().log())
        belief = (seen / seen.sum()) @ transition
    found = marginal(model, ps.Sequences(y, [60]), particles=2_000, generator=0)
    assert abs(float(found.log_evidence) - truth) <= 3 * float(found.standard_error) + 1e-3
    assert float(found.standard_error) < 0.2


def observed_normal(cov, y):
    """log N(what is observed of y; 0, its block of the covariance)."""
    seen = ~torch.isnan(y)
    return torch.distributions.MultivariateNormal(torch.zeros(int(seen.sum())).double(), cov[seen][:, seen]).log_prob(
        y[seen]
    )


def test_a_gaussian_series_with_gaps_is_scored_as_the_kalman_filter_does():
    """AR(1), whose joint law is normal: E[Ẑ] = P over 500 runs."""
    n, model = 6, LinearGaussianAR([0.7], 1.0, 6)
    inverse = torch.linalg.inv(torch.eye(n).double() - torch.diag(model.coefficients.expand(n - 1), -1))
    y = torch.tensor([0.5, torch.nan, torch.nan, -1.0, torch.nan, 2.0]).double()
    truth = observed_normal(inverse @ inverse.T, y)
    runs = ps.Sequences(y.reshape(1, n, 1).expand(500, n, 1), [n] * 500)
    found = marginal(model, runs, particles=32, generator=0)
    ratio = (found.log_evidence - truth).exp()
    assert abs(ratio.mean() - 1) <= 3 * ratio.std() / math.sqrt(500)


def test_vectors_that_are_missing_in_part_are_scored_by_their_other_part():
    """A state space of two channels, each with its own gaps."""
    n, a = 4, 0.8
    model = LinearGaussianStateSpace([[a]], [[1.0]], [[1.0], [0.5]], [[0.5, 0.2], [0.2, 1.0]], [0.0], [[1.0]], n)
    noise = torch.linalg.inv(torch.eye(n).double() - torch.diag(torch.full((n - 1,), a).double(), -1))
    loading = torch.tensor([[1.0], [0.5]]).double()
    cov = torch.kron(noise @ noise.T, loading @ loading.T) + torch.kron(torch.eye(n).double(), model.emission_cov)
    y = torch.tensor([[0.5, torch.nan], [torch.nan, torch.nan], [torch.nan, 1.0], [1.5, -0.5]]).double()
    truth = observed_normal(cov, y.flatten())
    found = marginal(model, ps.Sequences(y.expand(500, n, 2), [n] * 500), particles=32, generator=0)
    ratio = (found.log_evidence - truth).exp()
    assert abs(ratio.mean() - 1) <= 3 * ratio.std() / math.sqrt(500)


def test_contradictions_have_probability_0_and_say_where():
    model = Automaton("ab", [{"a": (1.0, 1)}, {"a": (0.5, 1), "b": (0.2, 1)}])
    found = marginal(model, ps.Sequences.of([[1, -1], [-1, -1, 0], [1, 0], [0, -1]]), particles=4)
    assert found.died.tolist() == [0, -1, 0, -1]
    assert found.log_evidence.isinf().tolist() == [True, False, True, False]
    assert not torch.isnan(torch.cat([found.log_evidence, found.standard_error, found.ess])).any()
    late = Automaton("ab", [{"a": (0.9, 0)}])
    found = marginal(late, ps.Sequences.of([[-1, 0, 0, 1, 0], [-1, 1, -1]]), particles=3)
    assert found.died.tolist() == [3, 1]


def test_one_particle_has_no_error_to_tell_and_none_is_refused():
    model, y = letters(), ps.Sequences.of([[-1, 2], [1]])
    found = marginal(model, y, particles=1)
    assert found.standard_error.tolist() == [math.inf, 0]
    with pytest.raises(ValueError, match="particles ≥ 1"):
        marginal(model, y, particles=0)
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        marginal(model, y, threshold=2)
    with pytest.raises(ValueError, match="position 1: got 7"):
        marginal(model, ps.Sequences.of([[-1, 7]]))
    with pytest.raises(ValueError, match="batch 3, but there are 2 patterns"):
        marginal(model, y, ps.Context.none(3))
    assert len(marginal(model, y.select([])).log_evidence) == 0


def test_where_nothing_is_observed_the_length_is_scored():
    model = random_model(ps.Reals(2), ps.GRU(3), ps.Parametric(dist.Dirichlet), ps.LengthStop(4))
    y = ps.Sequences(torch.full((1, 3, 2), math.nan).double(), [3])
    found = marginal(model, y, particles=5)
    assert found.log_evidence.item() == pytest.approx(model.stop.log_pmf(ps.Context.none(1))[0, 3].item())


def test_x_and_batches_do_not_mix_rows():
    """Rows are reordered inside: each must keep its own x."""
    model = letters(context=ps.Vector(3, enters="both"))
    x = torch.randn(4, 3).double()
    y = ps.Sequences.of([[-1, 0], [1, 2, 0], [0, -1, -1, 1], [2]])
    found = marginal(model, y, x, particles=4_000, generator=0)
    for i in range(4):
        alone = marginal(model, y.select([i]), x[i : i + 1], particles=4_000, generator=1)
        assert float(found.log_evidence[i]) == pytest.approx(float(alone.log_evidence), abs=0.1)


def value_and_gradient(model, objective, y, context=None):
    model.zero_grad()
    losses = objective.loss(model, y, context, 0.0)
    losses.sum().backward()
    return losses.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_with_nothing_missing_the_objective_is_teacher_forcing():
    model = letters(stop=ps.PlannedLength(5, dim=2), context=ps.Vector(3, enters="both"))
    x, y = torch.randn(3, 3).double(), ps.Sequences.of([[0, 1], [], [2, 2, 1]])
    for ended in (True, torch.tensor([True, False, True])):
        each = ps.Sequences(y.values, y.lengths, ended)
        for (value, gradient), (true_value, true_gradient) in [
            [value_and_gradient(model, objective, each, x) for objective in (ps.MissingValues(), ps.TeacherForcing())]
        ]:
            assert torch.equal(value, true_value)
            assert torch.equal(gradient, true_gradient)


def test_the_value_is_a_lower_bound_that_closes():
    """E[log Ẑ] ≤ log P, and the more particles the closer."""
    model = letters(2)
    rows = [[0, -1, 2, -1, 1], [-1, -1, 0]]
    truth = true_marginal(model, rows)
    y = ps.Sequences.cat([ps.Sequences.of(rows)] * 1_000)
    torch.manual_seed(0)
    with torch.no_grad():
        means = [-ps.MissingValues(k).loss(model, y, None, 0.0).reshape(1_000, 2).mean(0) for k in (1, 8, 64)]
    gaps = [truth - mean for mean in means]
    assert (gaps[0] > gaps[1]).all()
    assert (gaps[1] > gaps[2]).all()
    assert (gaps[2] > -0.02).all()
    assert (gaps[2] < 0.05).all()


@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.PlannedLength(6, dim=2)])
def test_the_gradient_is_that_of_the_exact_marginal(stop):
    """Fisher's identity, with so many particles that its bias is below the noise."""
    model = letters(2, stop=stop)
    rows = [[0, -1, 2, -1, 1]]
    model.zero_grad()
    every = model.log_prob(ps.Sequences.of([list(f) for f in fillings(rows[0])])).logsumexp(0)
    every.backward()
    truth = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.manual_seed(0)
    value, found = value_and_gradient(model, ps.MissingValues(20_000), ps.Sequences.of(rows))
    assert value.item() == pytest.approx(-every.item(), abs=0.03)
    assert (found + truth).norm() < 0.05 * truth.norm()


@pytest.mark.parametrize("name", list(TABLE)[::14])
def test_every_assembly_takes_gaps(name):
    """A first element that is missing is summed out: nothing is less probable without it than with it."""
    model, x = build(TABLE[name], 3)
    y = model.sample(1, x, 4, generator=0)
    values = y.values.clone()
    values[:, :1] = math.nan if values.is_floating_point() else -1
    gaps = ps.Sequences(values, y.lengths, y.ended)
    found = marginal(model, gaps, x, particles=500, generator=0)
    if "vector" not in name and "scalar" not in name:
        assert (found.log_evidence >= model.log_prob(y, x) - 4 * found.standard_error - 1e-9).all()
    objective = ps.MissingValues(4)
    value, gradient = value_and_gradient(model, objective, *objective.conform(model, gaps, x))
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


def test_impossible_data_have_an_infinite_loss_and_no_gradient():
    model = random_model(ps.Reals(1), ps.GRU(3), ps.Parametric(dist.Pareto), ps.BernoulliStop())
    y = ps.Sequences.of([[[1e-6], [math.nan]]]).to(dtype=torch.float64)
    value, gradient = value_and_gradient(model, ps.MissingValues(3), y)
    assert value == torch.inf
    assert torch.isfinite(gradient).all()


def with_gaps(y, share, seed, mark=-1):
    lost = torch.rand(y.values.shape, generator=torch.Generator().manual_seed(seed)) < share
    return ps.Sequences(torch.where(lost, mark, y.values), y.lengths, y.ended)


quiet = {"progress": False, "accelerator": "cpu", "batch_tokens": 512, "learning_rate": 1e-2}


def test_a_source_is_learned_from_sequences_with_gaps():
    """30 % missing at random: nearer to the source than without incomplete sequences, or with a constant for them."""
    truth, test = SOURCE.sample(200, max_length=12, generator=0), SOURCE.sample(1_000, max_length=12, generator=1)
    gaps = with_gaps(truth, 0.3, 2)
    complete_ = (gaps.values != -1).logical_or(~gaps.mask()).all(1)
    filled = ps.Sequences(gaps.values.clamp(min=0), gaps.lengths, gaps.ended)
    nats = {}
    for name, y, objective in (
        ("missing", gaps, ps.MissingValues(8)),
        ("dropped", gaps.select(complete_), None),
        ("constant", filled, None),
    ):
        torch.manual_seed(0)
        model = ps.SequenceModel(ps.Tokens(3, dim=8), ps.GRU(16), ps.Categorical(), ps.EndSymbol())
        # The others have as many steps, and stop at their best on the test data.
        validation = None if name == "missing" else test
        ps.fit(model, y, validation, objective=objective, max_epochs=30 * len(gaps) // len(y), **quiet)
        nats[name] = -model.log_prob(test).mean().item()
    source = -SOURCE.log_prob(test).mean().item()
    excess = {name: value - source for name, value in nats.items()}
    assert excess["missing"] < 0.5 * excess["dropped"]
    assert excess["missing"] < 0.5 * excess["constant"]


def test_a_series_of_vectors_is_learned_from_parts_of_it():
    """Two correlated channels of a series, each lost at random; held-out data with gaps are scored too."""
    source = LinearGaussianStateSpace([[0.8]], [[0.5]], [[1.0], [-1.0]], [[0.2, 0.0], [0.0, 0.2]], [0.0], [[1.0]], 8)
    y, test = source.sample(300, generator=0), source.sample(500, generator=1)
    gaps, held_out = with_gaps(y, 0.3, 2, math.nan), with_gaps(source.sample(100, generator=3), 0.3, 4, math.nan)
    torch.manual_seed(0)
    model = ps.SequenceModel(ps.Reals(2), ps.GRU(16), ps.Parametric(dist.MultivariateNormal), ps.FixedLength(8))
    result = ps.fit(model, gaps, held_out, objective=ps.MissingValues(4), max_epochs=20, **quiet)
    zeros = ps.SequenceModel(ps.Reals(2), ps.GRU(16), ps.Parametric(dist.MultivariateNormal), ps.FixedLength(8))
    ps.fit(zeros, ps.Sequences(gaps.values.nan_to_num(), gaps.lengths), max_epochs=20, **quiet)
    truth, ours, theirs = (-m.log_prob(test).mean().item() for m in (source, model, zeros))
    assert ours - truth < 0.5 * (theirs - truth)
    assert result.nats == min(epoch["validation_nats"] for epoch in result.history)


def test_fit_takes_missing_values_by_this_objective_alone():
    gaps = ps.Sequences.of([[0, -1, 2], [1]])
    with pytest.raises(ValueError, match="got -1"):
        ps.fit(letters(), gaps, max_epochs=1, **quiet)
    with pytest.raises(ValueError, match="got 5"):
        ps.fit(letters(), ps.Sequences.of([[0, -1, 5]]), objective=ps.MissingValues(), max_epochs=1, **quiet)
    with pytest.raises(ValueError, match="particles ≥ 1"):
        ps.MissingValues(0)

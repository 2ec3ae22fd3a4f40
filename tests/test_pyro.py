"""A model inside Pyro."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, SVI, Importance, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

import probseq as ps
from probseq import testing
from tests.parts import model


@pytest.fixture
def letters():
    return model(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())


@pytest.fixture
def conditioned():
    return model(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.BernoulliStop(), ps.Vector(2))


@pytest.fixture
def series():
    return model(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.BernoulliStop(), ps.Vector(1))


def test_the_truncated_law_sums_to_one(letters):
    values = ps.exact(letters, 3).sequences.dense(3)
    assert letters(max_length=3).log_prob(values).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_a_value_of_any_width_is_scored_alike(letters):
    p = letters(max_length=6)
    y = torch.tensor([1, 0, 2])
    padded = torch.tensor([1, 0, 2, -1, -1, -1])
    assert p.log_prob(y) == p.log_prob(padded) == letters.log_prob(ps.Sequences.of([y]))


def test_an_open_sequence_is_not_scored_as_ended(letters):
    p = letters(max_length=3)
    with pytest.raises(ValueError, match=r"an open sequence of fewer than max_length = 3 elements has no dense form"):
        p.log_prob(ps.Sequences.of([[1, 2]], ended=False))
    full = ps.Sequences.of([[1, 2, 0]], ended=False)
    assert p.log_prob(full) == letters.log_prob(full)


def test_data_that_look_like_padding_are_data():
    bytes_ = model(ps.Tokens(256), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    y = ps.Sequences.of([[1, 255]]).to(dtype=torch.uint8)
    torch.testing.assert_close(bytes_(max_length=5).log_prob(y), bytes_.log_prob(y))
    reals = model(ps.Reals(1), ps.GRU(4), ps.Gaussian(), ps.BernoulliStop())
    z = ps.Sequences.of([[[2], [-1]]])
    torch.testing.assert_close(reals(max_length=5).log_prob(z), reals.log_prob(z), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="expected values that are floats"):
        reals(max_length=5).log_prob(z.values)


def test_an_expanded_law_still_checks_its_values(letters):
    with pytest.raises(ValueError, match="time ≤ 3"):
        letters(max_length=3).expand([2]).log_prob(torch.zeros(2, 5, dtype=torch.int64))


def test_the_program_has_finite_gradients_where_zero_is_outside_the_support():
    positive = model(ps.Reals(1), ps.GRU(4), ps.Parametric(dist.LogNormal), ps.BernoulliStop())
    y = ps.Sequences.of([[[1.0], [2.0]], [[0.5]]])
    program_ = positive.program(2)
    trace = pyro.poutine.trace(pyro.condition(program_, data=program_.data(y))).get_trace(None, 2)
    trace.log_prob_sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in positive.parameters())


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("draws", [(), (5,), (2, 1)])
def test_shapes(conditioned, batch, draws):
    p = conditioned(torch.randn(*batch, 2, dtype=torch.float64), max_length=7)
    assert p.batch_shape == batch
    assert p.event_shape == (7,)
    value = p.sample(draws)
    assert value.shape == (*draws, *batch, 7)
    assert p.log_prob(value).shape == (*draws, *batch)
    assert bool(p.support.check(value).all())
    assert p.expand((3, *batch)).sample().shape == (3, *batch, 7)


def test_each_place_of_the_batch_has_its_own_context(conditioned):
    x = torch.randn(2, 3, 2, dtype=torch.float64)
    p = conditioned(x, max_length=5)
    value = p.sample((4,))
    y = ps.Sequences.from_dense(value.reshape(-1, 5), 5)
    alone = conditioned.log_prob(y, x.expand(4, 2, 3, 2).reshape(-1, 2)).reshape(4, 2, 3)
    torch.testing.assert_close(p.log_prob(value), alone)
    expanded = p.expand((4, 2, 3))
    torch.testing.assert_close(expanded.log_prob(value), alone)


def test_samples_of_a_batch_follow_the_context_of_their_place(conditioned):
    x = torch.tensor([[3.0, 0.0], [-3.0, 0.0]], dtype=torch.float64)
    pyro.set_rng_seed(0)
    first = conditioned(x, max_length=3).sample((20_000,))[..., 0]
    for place in range(2):
        law = ps.exact(conditioned, 1, x[place : place + 1])
        expected = law.log_prob.exp()
        observed = torch.stack([(first[:, place] == k).double().mean() for k in (-1, 0, 1, 2)])
        error = (expected * (1 - expected) / 20_000).sqrt()
        assert bool(((observed - expected).abs() < 5 * error).all())


def test_real_values_pad_with_nan(series):
    p = series(torch.zeros(3, 1), max_length=5)
    value = p.sample((100,))
    assert value.shape == (100, 3, 5, 2)
    assert value.isnan().any()
    assert p.log_prob(value).isfinite().all()
    assert bool(p.support.check(value).all())


def program(m, y=None, size=6):
    z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=torch.float64), 1).to_event(1))
    with pyro.plate("data", size):
        return pyro.sample("y", m(z, max_length=6), obs=y)


def test_condition_scale_and_mask(conditioned):
    y = conditioned.sample(1, torch.randn(6, 2, dtype=torch.float64), max_length=6).dense(6)
    z = torch.randn(2, dtype=torch.float64)
    conditioned_program = pyro.condition(program, data={"z": z, "y": y})
    plain = pyro.poutine.trace(conditioned_program).get_trace(conditioned)
    full = conditioned.log_prob(ps.Sequences.from_dense(y, 6), z.expand(6, 2)).sum()
    torch.testing.assert_close(plain.log_prob_sum(lambda name, site: name == "y"), full)
    scaled = pyro.poutine.trace(pyro.poutine.scale(conditioned_program, 0.5)).get_trace(conditioned)
    torch.testing.assert_close(scaled.log_prob_sum(lambda name, site: name == "y"), 0.5 * full)
    mask = torch.tensor([True, False, True, True, False, True])
    masked = pyro.poutine.trace(pyro.poutine.mask(conditioned_program, mask)).get_trace(conditioned)
    part = conditioned.log_prob(ps.Sequences.from_dense(y, 6), z.expand(6, 2))[mask].sum()
    torch.testing.assert_close(masked.log_prob_sum(lambda name, site: name == "y"), part)
    drawn = pyro.poutine.trace(program).get_trace(conditioned)
    replayed = pyro.poutine.replay(program, trace=drawn)
    assert torch.equal(replayed(conditioned), drawn.nodes["y"]["value"])


@pytest.mark.parametrize("parallel", [True, False])
def test_predictive(conditioned, parallel):
    drawn = Predictive(program, num_samples=5, parallel=parallel)(conditioned)
    assert drawn["y"].shape == (5, 6, 6)


def test_importance_gives_the_evidence(letters):
    """One latent bit chooses a truncation; the evidence is a sum of two terms."""

    def choose(y):
        pick = pyro.sample("pick", dist.Bernoulli(0.3))
        pyro.sample("y", letters(max_length=3 if pick == 0 else 6), obs=y)

    y = torch.tensor([1, 2, 0])
    pyro.set_rng_seed(0)
    estimate = Importance(choose, num_samples=4_000).run(y).get_log_normalizer().exp().item()
    open_, ended = (letters.log_prob(ps.Sequences.of([y], ended=e)).exp().item() for e in (False, True))
    exact, spread = 0.7 * open_ + 0.3 * ended, (0.21**0.5) * abs(open_ - ended)
    assert abs(estimate - exact) < 5 * spread / 4_000**0.5


def test_svi_trains_the_model_and_a_guide(conditioned):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    y = conditioned.sample(1, torch.ones(6, 2, dtype=torch.float64), max_length=6).dense(6)

    def trained(y):
        pyro.module("network", conditioned)
        return program(conditioned, y)

    before = [p.detach().clone() for p in conditioned.parameters()]
    svi = SVI(trained, AutoNormal(trained), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    losses = [svi.step(y) for _ in range(150)]
    assert sum(losses[-20:]) < sum(losses[:20])
    assert any(not torch.equal(a, b) for a, b in zip(before, conditioned.parameters(), strict=True))


def test_nuts_over_a_context_matches_quadrature(series):
    """The posterior mean of a scalar context, given an observed sequence, against a grid."""
    y = ps.Sequences.of([[[0.3, -0.2], [0.1, 0.4], [-0.5, 0.2]]] * 4)
    dense = y.dense(6).double()

    def observe():
        z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=torch.float64), 1).to_event(1))
        with pyro.plate("data", 4):
            pyro.sample("y", series(z.expand(4, 1), max_length=6), obs=dense)

    grid = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    with torch.no_grad():
        one = series.log_prob(y.to(dtype=torch.float64).select([0] * 2001), grid.unsqueeze(-1))
    weight = (4 * one - grid**2 / 2).softmax(0)
    mean = (weight * grid).sum()
    spread = (weight * (grid - mean) ** 2).sum().sqrt()
    pyro.set_rng_seed(0)
    chain = MCMC(NUTS(observe), num_samples=300, warmup_steps=100, disable_progbar=True)
    chain.run()
    drawn = chain.get_samples()["z"].squeeze(-1)
    # 300 draws of NUTS are worth a third of that at the least.
    assert abs(drawn.mean() - mean) < 4 * spread / 10
    assert abs(drawn.std() / spread - 1) < 0.4


@pytest.mark.parametrize("recurrence", [ps.Elman(4), ps.GRU(4), ps.LSTM(4, layers=2), ps.Unrolled(ps.GRU(4))])
def test_weights_with_priors_are_bound(recurrence):
    one, other = (model(ps.Tokens(3), recurrence, ps.Categorical(), ps.EndSymbol(), seed=s) for s in (0, 1))
    y = other.sample(5, max_length=6, generator=0)
    weights = {name: p.detach().clone().requires_grad_() for name, p in other.named_parameters()}
    p = one.bind(weights)(max_length=6)
    torch.testing.assert_close(p.log_prob(y.dense(6)), other(max_length=6).log_prob(y.dense(6)))
    gradients = torch.autograd.grad(p.log_prob(y.dense(6)).sum(), list(weights.values()))
    expected = torch.autograd.grad(other(max_length=6).log_prob(y.dense(6)).sum(), list(other.parameters()))
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted)
    assert not torch.equal(one.log_prob(y), other.log_prob(y))


def test_some_weights_are_bound_and_the_rest_are_shared(letters):
    prior = torch.zeros_like(letters.likelihood.project.bias)
    bound = letters.bind({"likelihood.project.bias": prior})
    assert bound.first is letters.first
    assert bound.likelihood.project.bias is prior
    with pytest.raises(ValueError, match=r"cannot bind nothing of shape \(3,\); expected one of"):
        letters.bind({"nothing": torch.zeros(3)})


def test_render_model(letters):
    pyro.render_model(lambda: pyro.sample("y", letters(max_length=3)))


def test_the_program_draws_from_the_law(letters):
    pyro.set_rng_seed(0)
    drawn = letters.program(3)(batch=20_000)
    law = ps.exact(letters, 3)
    for sequence, log_prob in zip(law.sequences, law.log_prob.tolist(), strict=True):
        rows = [row.tolist() == sequence.tolist() for row in drawn]
        p = float(torch.tensor(log_prob).exp())
        assert abs(sum(rows) / 20_000 - p) < 5 * (p * (1 - p) / 20_000) ** 0.5 + 1e-9


def test_the_program_of_a_conditioned_batch(conditioned):
    x = torch.randn(3, 2, dtype=torch.float64)
    program_ = conditioned.program(4)
    y = conditioned.sample(1, x, max_length=4)
    trace = pyro.poutine.trace(pyro.condition(program_, data=program_.data(y))).get_trace(x)
    torch.testing.assert_close(trace.log_prob_sum(), conditioned(x, max_length=4).log_prob(y.dense(4)).sum())


def test_the_program_refuses_what_it_cannot_stand_for(letters):
    with pytest.raises(ValueError, match="the program has 2 steps"):
        letters.program(2).data(ps.Sequences.of([[0, 1, 2]]))
    with pytest.raises(ValueError, match="an open sequence must fill"):
        letters.program(2).data(ps.Sequences.of([[0]], ended=False))


def test_unfolding_at_length_zero(letters):
    testing.check_unfolded(letters, 1)
    assert len(letters.program(0)(batch=2)) == 2

"""The oracles keep the contract, and their laws are what they claim, found another way."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pyro
import pytest
import scipy.linalg
import scipy.stats
import torch

import probseq as ps
from probseq.oracles import HMM, Automaton, LinearGaussianAR, LinearGaussianStateSpace, NGram, Reber
from tests.helpers import close, corpus, within_errors

SPARSE = {
    "initial": [0.0, 0.0, 1.0],
    "transition": [[0.1, 0.9, 0.0], [0.5, 0.0, 0.5], [0.2, 0.3, 0.5]],
    "emission": [[0.7, 0.3], [0.0, 1.0], [1.0, 0.0]],
}
"""An HMM that cannot begin with a 1."""


def state_space(length: int = 6) -> LinearGaussianStateSpace:
    return LinearGaussianStateSpace(
        transition=[[0.9, 0.2], [-0.3, 0.7]],
        transition_cov=[[0.5, 0.1], [0.1, 0.3]],
        emission=[[1.0, 0.0], [0.5, -1.0], [0.2, 0.4]],
        emission_cov=[[0.4, 0.1, 0.0], [0.1, 0.6, 0.2], [0.0, 0.2, 0.5]],
        initial_mean=[1.0, -0.5],
        initial_cov=[[1.0, 0.0], [0.0, 0.0]],
        length=length,
        transition_offset=[0.3, -0.1],
    )


def hazard_automaton() -> Automaton:
    return Automaton("ab", [{"a": (0.5, 1), "b": (0.3, 0)}, {"b": (1.0, 2)}, {"a": (0.6, 0)}])


DISCRETE = {
    "hmm of fixed length": lambda: HMM.random(3, 2, 5, generator=1),
    "hmm with a hazard": lambda: HMM.random(3, 2, generator=2, stop=0.2),
    "hmm with zeros": lambda: HMM(**SPARSE, stop=0.1),
    "witten-bell 1": lambda: NGram(1, 3).fit(corpus()),
    "witten-bell 4": lambda: NGram(4, 3).fit(corpus()),
    "kneser-ney 1": lambda: NGram(1, 3, "kneser-ney").fit(corpus()),
    "kneser-ney 4": lambda: NGram(4, 3, "kneser-ney").fit(corpus()),
    "automaton": hazard_automaton,
    "reber": Reber,
    "embedded reber": lambda: Reber(embedded=True),
}
CONTINUOUS = {
    "ar": lambda: LinearGaussianAR([0.6, -0.3, 0.2], 0.7, 6),
    "white noise": lambda: LinearGaussianAR([], 0.7, 3),
    "state space": state_space,
}
EVERY = DISCRETE | CONTINUOUS


def over(models: dict):
    return pytest.mark.parametrize("make", models.values(), ids=models.keys())


def values_of(model, batch: int = 4, time: int = 5) -> torch.Tensor:
    """Any elements, impossible ones too."""
    generator = seeded(0)
    if model.element.discrete:
        return torch.randint(model.element.size, (batch, time), generator=generator)
    return torch.randn(batch, time, *model.element.shape, generator=generator, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The contract


@over(EVERY)
def test_every_oracle_is_autoregressive(make):
    assert isinstance(make(), ps.Autoregressive)


@over(EVERY)
def test_split_law(make):
    model = make()
    y = values_of(model)
    whole, end = model.extend(model.start(ps.Context.none(4)), y)
    for cut in range(y.shape[1] + 1):
        first, middle = model.extend(model.start(ps.Context.none(4)), y[:, :cut])
        second, after = model.extend(middle, y[:, cut:])
        assert close(torch.cat([first, second], 1), whole)
        assert close(after.features, end.features)
        assert torch.equal(after.position, end.position)


@over(EVERY)
def test_unroll_is_start_and_extend(make):
    model = make()
    y = values_of(model)
    start = model.start(ps.Context.none(4))
    features, state = model.extend(start, y)
    unrolled, end = model.unroll(ps.Context.none(4), y)
    assert close(unrolled, torch.cat([start.features.unsqueeze(1), features], 1))
    assert close(end.features, state.features)
    assert end.position.tolist() == [y.shape[1]] * 4


@over(EVERY)
def test_selected_rows_go_on_as_they_were(make):
    model = make()
    y, index = values_of(model), torch.tensor([2, 0, 0, 3, 1])
    state = model.extend(model.start(ps.Context.none(4)), y[:, :2])[1].select(index)
    features = model.extend(state, y[index, 2:])[0]
    assert close(features, model.unroll(ps.Context.none(4), y)[0][index, 3:])


@over(EVERY)
def test_stop_and_go_are_a_pair(make):
    model = make()
    features, state = model.unroll(ps.Context.none(4), values_of(model))
    step = model.emit(features, torch.arange(features.shape[1]), state.context)
    assert step.log_stop.shape == step.log_go.shape == features.shape[:2]
    assert close(step.log_stop.exp() + step.log_go.exp(), torch.ones(features.shape[:2], dtype=torch.float64))


@over(EVERY)
def test_padding_and_neighbours_do_not_matter(make):
    model = make()
    y = model.sample(6, max_length=5, generator=3).pad(7)
    garbage = -1 if model.element.discrete else math.nan
    together = model.log_prob(y.filled(garbage))
    alone = torch.cat([model.log_prob(y.select([i])) for i in range(len(y))])
    assert close(together, alone)
    assert bool(torch.isfinite(together).all())


@over(EVERY)
def test_distribution_and_program_agree_with_the_score(make):
    model = make()
    length = 5 if model.max_length is None else model.max_length
    law = model.distribution(max_length=length)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        value = law.sample((7,))
    y = ps.Sequences.from_dense(value, length, len(model.element.shape))
    # A sequence as long as the model's longest is complete; the dense form calls it open, at no cost.
    log_prob = law.log_prob(value)
    assert close(log_prob, model.log_prob(y))
    program = model.program(length)
    trace = pyro.poutine.trace(pyro.condition(program, program.data(y))).get_trace(batch=7)
    assert math.isclose(float(trace.log_prob_sum()), float(log_prob.sum()), abs_tol=1e-10)


@over(EVERY)
def test_a_context_is_refused(make):
    with pytest.raises(ValueError, match="has no context"):
        make().start(ps.Context(torch.zeros(2, 3)))


# Normalisation and sampling of discrete oracles


@over(DISCRETE)
def test_probabilities_of_all_sequences_sum_to_one(make):
    model = make()
    for length in range(1, 6 if model.element.size < 7 else 5):
        assert abs(float(ps.exact(model, length).log_mass.exp()) - 1) < 1e-10


def test_an_hmm_of_fixed_length_ends_there():
    law = ps.exact(HMM.random(3, 2, 4, generator=1), 5)
    probability = law.log_prob.exp()
    assert abs(float(probability[law.sequences.ended & (law.sequences.lengths == 4)].sum()) - 1) < 1e-10


@over(DISCRETE)
def test_samples_follow_the_enumerated_law(make):
    model, draws, length = make(), 4000, 5 if make().element.size < 7 else 4
    law = ps.exact(model, length)
    y = model.sample(draws, max_length=length, generator=11)
    seen = Counter(tuple(row) for row in y.dense(length).tolist())
    rows = [tuple(row) for row in law.sequences.dense(length).tolist()]
    expected = draws * law.log_prob.exp().numpy()
    assert set(seen) <= {row for row, mass in zip(rows, expected, strict=True) if mass > 0}
    observed = np.array([seen[row] for row in rows])
    common = expected >= 5
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    kept = expected > 1e-9
    assert scipy.stats.chisquare(observed[kept], expected[kept] * draws / expected[kept].sum()).pvalue > 1e-4


# The hidden Markov model


def by_hidden_paths(model: HMM, y: list[int]) -> float:
    """P(y₁ … yₜ), as the sum over all hidden paths."""
    initial, transition, emission = (
        table.exp().numpy() for table in (model.log_initial, model.log_transition, model.log_emission)
    )
    total = 0.0
    for path in itertools.product(range(len(initial)), repeat=len(y)):
        moves = [initial[path[0]], *(transition[i, j] for i, j in itertools.pairwise(path))]
        total += math.prod(moves) * math.prod(emission[state, symbol] for state, symbol in zip(path, y, strict=True))
    return total


@pytest.mark.parametrize("stop", [0.0, 0.3])
def test_hmm_sums_over_hidden_paths(stop):
    for model in (HMM.random(3, 2, generator=5, stop=stop), HMM(**SPARSE, stop=stop)):
        items = list(itertools.product(range(2), repeat=5))
        expected = [(1 - stop) ** 5 * by_hidden_paths(model, list(item)) for item in items]
        got = model.log_prob(ps.Sequences.of(items, ended=False)).exp()
        assert close(got, torch.tensor(expected, dtype=torch.float64), 1e-14)
        assert close(model.log_prob(ps.Sequences.of(items)).exp(), got * stop, 1e-14)


def test_hmm_is_exact_over_long_sequences():
    model = HMM.random(5, 4, 200, generator=6, concentration=0.5)
    y = model.sample(3, generator=7)
    tables = (model.log_initial, model.log_transition, model.log_emission)
    initial, transition, emission = (table.exp().numpy() for table in tables)
    for tokens, log_prob in zip(y, model.log_prob(y).tolist(), strict=True):
        forward = initial * emission[:, tokens[0]]
        for token in tokens[1:]:
            forward = (forward @ transition) * emission[:, token]
        assert math.isclose(log_prob, math.log(forward.sum()), rel_tol=1e-12)


def test_hmm_keeps_beliefs_that_floats_cannot_hold():
    # Every 0 makes the second state 1e-8 times as likely; after 100 of them only that state can give a 1.
    model = HMM([0.5, 0.5], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1e-8, 1 - 1e-8]])
    log_prob = float(model.log_prob(ps.Sequences.of([[0] * 100 + [1]], ended=False)))
    assert math.isclose(log_prob, math.log(0.5) + 100 * math.log(1e-8) + math.log1p(-1e-8), rel_tol=1e-12)


def test_hmm_has_gradients():
    logits = torch.randn(3, 4, dtype=torch.float64, generator=seeded(0)).requires_grad_()
    model = HMM([0.2, 0.3, 0.5], torch.eye(3) * 0.7 + 0.1, logits.softmax(-1), length=20)
    model.log_prob(model.sample(2, generator=0)).sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert bool((logits.grad != 0).any())


def test_laws_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match=r"emission must hold probabilities .* 1\.1"):
        HMM([1.0], [[1.0]], [[0.5, 0.6]])
    with pytest.raises(ValueError, match="transition must be finite numbers of shape"):
        HMM([0.5, 0.5], [[1.0]], [[1.0], [1.0]])
    with pytest.raises(ValueError, match="not both"):
        HMM([1.0], [[1.0]], [[1.0]], length=3, stop=0.5)


# Linear-Gaussian series


def ar_joint(model: LinearGaussianAR) -> tuple[np.ndarray, np.ndarray]:
    """The mean and covariance of the whole series, from (I − A) y = scale · ε."""
    t, coefficients = model.length, model.coefficients.numpy()
    system = np.eye(t)
    for lag, coefficient in enumerate(coefficients, 1):
        system -= np.diag(np.full(t - lag, coefficient), -lag)
    root = np.linalg.inv(system) * model.scale
    return np.zeros(t), root @ root.T


def state_space_joint(model: LinearGaussianStateSpace) -> tuple[np.ndarray, np.ndarray]:
    """The mean and covariance of the whole series, flat: z is a linear map of independent noises."""
    t, a, c = model.length, model.transition.numpy(), model.emission.numpy()
    d, e = c.shape[1], c.shape[0]
    noises = [model.initial_cov.numpy()] + [model.transition_cov.numpy()] * (t - 1)
    means = [model.initial_mean.numpy()] + [model.transition_offset.numpy()] * (t - 1)
    lift = np.zeros((t * d, t * d))
    for i in range(t):
        for j in range(i + 1):
            lift[i * d : i * d + d, j * d : j * d + d] = np.linalg.matrix_power(a, i - j)
    reads = np.kron(np.eye(t), c) @ lift
    cov = reads @ scipy.linalg.block_diag(*noises) @ reads.T + np.kron(np.eye(t), model.emission_cov.numpy())
    return reads @ np.concatenate(means), cov.reshape(t * e, t * e)


def joint(model) -> tuple[np.ndarray, np.ndarray]:
    return ar_joint(model) if isinstance(model, LinearGaussianAR) else state_space_joint(model)


@over(CONTINUOUS)
def test_series_have_the_density_of_the_joint_normal(make):
    model = make()
    mean, cov = joint(model)
    y = 2 * torch.randn(20, model.length, *model.element.shape, dtype=torch.float64, generator=seeded(1))
    expected = scipy.stats.multivariate_normal(mean, cov).logpdf(y.flatten(1).numpy())
    log_prob = model.log_prob(ps.Sequences(y, [model.length] * 20))
    assert close(log_prob, torch.from_numpy(expected), 1e-9)


@over(CONTINUOUS)
def test_open_series_have_the_density_of_the_marginal(make):
    model, cut = make(), 2
    mean, cov = joint(model)
    y = torch.randn(8, cut, *model.element.shape, dtype=torch.float64, generator=seeded(2))
    size = y[0].numel()
    expected = scipy.stats.multivariate_normal(mean[:size], cov[:size, :size]).logpdf(y.flatten(1).numpy())
    assert close(model.log_prob(ps.Sequences(y, [cut] * 8, False)), torch.from_numpy(expected), 1e-9)


@over(CONTINUOUS)
def test_sampled_series_are_white_after_whitening(make):
    model = make()
    mean, cov = joint(model)
    y = model.sample(2000, generator=4)
    assert y.lengths.tolist() == [model.length] * 2000
    white = np.linalg.solve(np.linalg.cholesky(cov), (y.values.flatten(1).numpy() - mean).T)
    assert scipy.stats.kstest(white.ravel(), "norm").pvalue > 1e-4
    # Σ² of the off-diagonal sample correlations of white noise, times n, is χ² to leading order.
    correlations = np.atleast_2d(np.corrcoef(white))[np.triu_indices(len(white), 1)]
    assert scipy.stats.chi2.sf(2000 * (correlations**2).sum(), len(correlations)) > 1e-4


def test_the_known_state_space_costs_3_0820_nats_a_step():
    # z₀ = 0, zₜ ~ N(zₜ₋₁ + 0.05, 10), xₜ ~ N(0.5 zₜ, 20), T = 25: z₁ has mean 0.05 and variance 10.
    model = LinearGaussianStateSpace([[1.0]], [[10.0]], [[0.5]], [[20.0]], [0.05], [[10.0]], 25, [0.05])
    y = model.sample(2000, generator=5)
    features, state = model.unroll(ps.Context.none(len(y)), y.values)
    step = model.emit(features[:, :25], torch.arange(25), state.context)
    nats = (0.5 * torch.log(2 * math.pi * math.e * step.element.variance)).mean(1)
    assert close(nats, torch.full_like(nats, 3.0820), 5e-5)
    joint_entropy = scipy.stats.multivariate_normal(*state_space_joint(model)).entropy() / 25
    assert math.isclose(float(nats[0]), joint_entropy, rel_tol=1e-10)
    assert within_errors(-model.log_prob(y) / 25, joint_entropy)


def test_a_covariance_that_is_none_is_refused():
    with pytest.raises(ValueError, match="emission_cov must be symmetric and positive definite"):
        LinearGaussianStateSpace([[1.0]], [[1.0]], [[1.0]], [[0.0]], [0.0], [[1.0]], 3)
    one, skewed = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]]
    with pytest.raises(ValueError, match="no symmetry"):
        LinearGaussianStateSpace(one, skewed, [[1.0, 0.0]], [[1.0]], [0.0, 0.0], one, 3)

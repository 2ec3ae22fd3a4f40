"""Forecasts follow the model's law, see only the past, and are scored as the closed forms say."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import probseq as ps
from probseq.inference.forecasting import read_each
from probseq.oracles import LinearGaussianAR
from tests.parts import model

A, NOISE, LAST, HORIZON = 0.8, 0.5, 2.0, 6
AR = LinearGaussianAR([A], NOISE, 40)
HISTORY = ps.Sequences.of([[[0.3], [-1.0], [LAST]], [[LAST]]], ended=False, dtype=torch.float64)
MEAN = LAST * A ** np.arange(1, HORIZON + 1)
DEVIATION = NOISE * np.sqrt(np.cumsum(A ** (2 * np.arange(HORIZON))))
SERIES = ps.Sequences.of([torch.arange(20.0).sin().unsqueeze(1), torch.arange(17.0).cos().unsqueeze(1)], ended=False)


@pytest.fixture(scope="module")
def found():
    return ps.forecast(AR, HISTORY, HORIZON, num_samples=20_000, generator=0)


def test_paths_of_an_autoregression_follow_its_law(found):
    """Normal at each step, and correlated as the closed form says; the same for both histories, which end alike."""
    for paths in found.paths.squeeze(-1).numpy():
        for t in range(HORIZON):
            assert stats.kstest(paths[:, t], stats.norm(MEAN[t], DEVIATION[t]).cdf).pvalue > 1e-4
        slope = np.polyfit(paths[:, 0], paths[:, 3], 1)[0]
        assert abs(slope - A**3) < 5 * DEVIATION[2] / (NOISE * math.sqrt(20_000))


def test_quantiles_are_those_of_the_law(found):
    levels = (0.1, 0.5, 0.9)
    quantiles = found.quantiles(levels).squeeze(-1).numpy()
    for q, level in enumerate(levels):
        law = stats.norm(MEAN, DEVIATION)
        exact = law.ppf(level)
        error = math.sqrt(level * (1 - level) / 20_000) / law.pdf(exact)
        assert (abs(quantiles[:, q] - exact) < 5 * error).all()
    assert (abs(found.mean.squeeze(-1).numpy() - MEAN) < 5 * DEVIATION / math.sqrt(20_000)).all()


def ideal(histories, count=1_000):
    """Paths that lie at each step where evenly spaced quantiles of the law do."""
    paths = stats.norm(MEAN, DEVIATION).ppf((np.arange(count)[:, None] + 0.5) / count)
    return ps.Forecast(torch.as_tensor(paths)[None, ..., None].expand(histories, -1, -1, -1))


def test_scores_are_those_of_the_closed_forms():
    """CRPS of a normal law; the pinball loss of its quantiles."""
    rng = np.random.default_rng(0)
    actual = MEAN + DEVIATION * rng.standard_normal((2, HORIZON))
    scores = ps.forecast_scores(ideal(2), torch.as_tensor(actual).unsqueeze(-1))
    z = (actual - MEAN) / DEVIATION
    crps = DEVIATION * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert scores.crps == pytest.approx(crps.mean(), rel=0.005)
    for level, loss in scores.quantile_loss.items():
        off = actual - stats.norm(MEAN, DEVIATION).ppf(level)
        expected = 2 * np.maximum(level * off, (level - 1) * off).sum() / abs(actual).sum()
        assert loss == pytest.approx(expected, rel=0.005)
    assert scores.mean_quantile_loss == pytest.approx(np.mean(list(scores.quantile_loss.values())))


def test_coverage_counts_what_lies_within_the_central_interval():
    levels = np.linspace(0.025, 0.975, 20)
    actual = torch.as_tensor(stats.norm(MEAN, DEVIATION).ppf(levels[:, None]))
    scores = ps.forecast_scores(ideal(20), actual.unsqueeze(-1), intervals=(0.5, 0.8))
    assert scores.coverage == pytest.approx({0.5: 0.5, 0.8: 0.8})


def test_the_energy_of_one_number_is_its_crps(found):
    actual = torch.tensor([[[1.0]], [[3.0]]])
    scores = ps.forecast_scores(ps.Forecast(found.paths[:, :300, :1]), actual)
    assert scores.energy == pytest.approx(scores.crps, rel=1e-6)


def test_what_is_not_known_is_not_scored(found):
    actual = torch.full((2, HORIZON, 1), torch.nan)
    actual[0] = 1.0
    first = ps.Forecast(found.paths[:1, :200])
    both, one = ps.forecast_scores(ps.Forecast(found.paths[:, :200]), actual), ps.forecast_scores(first, actual[:1])
    assert (both.crps, both.energy, both.quantile_loss) == (one.crps, one.energy, one.quantile_loss)


def test_histories_of_different_lengths_are_read_each_to_its_end():
    one = model(ps.Reals(1), ps.Lagged(ps.LSTM(3), (1, 3)), ps.Gaussian(), ps.BernoulliStop())
    y = ps.Sequences.of([torch.randn(n, 1).double() for n in (4, 0, 7, 4, 1)], ended=False)
    state = read_each(one, y)
    for i, own in enumerate(y):
        alone = one.unroll(None, own.unsqueeze(0))[1]
        torch.testing.assert_close(state.features[i], alone.features[0], rtol=0, atol=1e-12)
    assert state.position.tolist() == y.lengths.tolist()


def test_covariates_known_beforehand_reach_the_future():
    one = model(ps.Reals(1), ps.GRU(3), ps.Gaussian(0.01), ps.AlignedLength(), ps.Aligned(ps.Reals(1)))
    x = torch.zeros(2, 8, 1, dtype=torch.float64)
    x[1, 6] = 5.0
    history = ps.Sequences.of([[[1.0], [2.0]]] * 2, ended=False, dtype=torch.float64)
    mean = ps.forecast(one, history, 6, x, 200, 0).mean
    moved = (mean[0] - mean[1]).abs().flatten()
    assert moved[:4].max() < 0.05 < moved[4]


def test_paths_that_end_hold_nan_after_their_end():
    one = model(ps.Reals(1), ps.GRU(3), ps.Gaussian(), ps.BernoulliStop())
    history = ps.Sequences.of([[[1.0]]], ended=False, dtype=torch.float64)
    paths = ps.forecast(one, history, 5, num_samples=4_000, generator=0).paths[0, :, :, 0]
    state = one.unroll(None, history.values)[1]
    stops = one.emit(state.features, state.position, state.context).log_stop.exp().item()
    ended = torch.isnan(paths)
    assert abs(float(ended[:, 0].double().mean()) - stops) < 5 * math.sqrt(stops * (1 - stops) / 4_000)
    assert bool((ended[:, 1:] >= ended[:, :-1]).all())
    with pytest.raises(ValueError, match="end before the horizon"):
        ps.forecast_scores(ps.Forecast(paths[None, ..., None]), torch.zeros(1, 5, 1))


def test_a_backtest_sees_only_the_past():
    """What comes after an origin moves neither its forecast nor the scale it is made with."""
    one = ps.recipes.forecaster(size=4, lags=(1, 3), length=30, scaling=ps.PerSeries())
    later = SERIES.values.clone()
    later[0, 16:], later[1, 13:] = 50.0, -50.0
    changed = ps.Sequences(later, SERIES.lengths, False)
    windows, others = (
        ps.backtest(one, y, 4, windows=3, stride=2, context=ps.SeriesScale.of, num_samples=5, generator=0)
        for y in (SERIES, changed)
    )
    assert all(bool(torch.equal(a.forecast.paths, b.forecast.paths)) for a, b in zip(windows, others, strict=True))
    torch.testing.assert_close(windows[0].log_prob, others[0].log_prob)
    assert not torch.equal(windows[1].log_prob, others[1].log_prob)
    assert [window.actual[0, 0, 0].item() for window in windows] == [SERIES[0][i].item() for i in (12, 14, 16)]


def test_a_backtest_scores_each_element_given_all_before_it():
    (window,) = ps.backtest(AR, HISTORY.select([0]), 2, num_samples=2, generator=0)
    expected = stats.norm(A * np.array([0.3, -1.0]), NOISE).logpdf([-1.0, LAST])
    np.testing.assert_allclose(window.log_prob[0], expected)


def test_the_recipe_conditions_on_what_is_asked_for():
    one = ps.recipes.forecaster(
        2, 4, covariates=4, categories=3, layers=2, lags=(1, 2), likelihood=ps.Gaussian(min_scale=0.01),
        scaling=(ps.Log(), ps.PerSeries()),
    )  # fmt: skip
    past = ps.Sequences.of([torch.rand(6, 2) + 0.1, torch.rand(5, 2) + 0.1], ended=False)
    logs = ps.Sequences(past.values.clamp(min=0.1).log(), past.lengths, False)
    features = ps.cycles(torch.arange(10))
    x = (features.expand(2, -1, -1), torch.tensor([0, 2]), ps.SeriesScale.of(logs))
    assert bool((ps.forecast(one, past, 4, x, 3).paths > 0).all())
    assert one.log_prob(past, x).shape == (2,)


def test_cycles_repeat_after_their_period():
    hours = torch.arange(169) + 474_000
    found = ps.cycles(hours, (24, 168))
    torch.testing.assert_close(found[0], found[168])
    torch.testing.assert_close(found[0, :2], found[24, :2])
    torch.testing.assert_close(found.unflatten(-1, (2, 2)).square().sum(-1), torch.ones(169, 2))
    with pytest.raises(ValueError, match="periods above 0"):
        ps.cycles(hours, (0,))


def test_symbols_have_paths_and_no_numbers():
    model = ps.recipes.language_model(3, size=4)
    found = ps.forecast(model, ps.Sequences.of([[1, 2], [0]], ended=False), 4, num_samples=3, generator=0)
    assert found.paths.shape == (2, 3, 4)
    scores = (lambda: found.mean, lambda: found.quantiles([0.5]), lambda: ps.forecast_scores(found, torch.zeros(2, 4)))
    for ask in scores:
        with pytest.raises(ValueError, match="a forecast of symbols"):
            ask()


def test_what_cannot_be_forecast_is_refused(found):
    with pytest.raises(ValueError, match="history 1 has ended"):
        ps.forecast(AR, ps.Sequences(HISTORY.values, HISTORY.lengths, [False, True]), 2)
    with pytest.raises(ValueError, match=r"history 0 has 3 elements.*horizon of 38"):
        ps.forecast(AR, HISTORY, 38)
    with pytest.raises(ValueError, match="horizon and num_samples"):
        ps.forecast(AR, HISTORY, 0)
    with pytest.raises(ValueError, match=r"series 1 has 1 elements.*take 2"):
        ps.backtest(AR, HISTORY, 1, windows=2)
    with pytest.raises(ValueError, match="levels in"):
        found.quantiles([1.5])
    with pytest.raises(ValueError, match="of the shape of what came"):
        ps.forecast_scores(found, torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="a known value"):
        ps.forecast_scores(found, torch.full((2, HORIZON, 1), torch.nan))


def test_levels_of_quantiles_are_a_list():
    model = ps.SequenceModel(ps.Reals(1), ps.GRU(2), ps.Gaussian(), ps.FixedLength(3))
    found = ps.forecast(model, ps.Sequences.of([[[0.0]]], ended=False), 2, num_samples=3, generator=0)
    for levels in ([[0.1], [0.9]], 0.5):
        with pytest.raises((ValueError, TypeError), match="levels"):
            found.quantiles(levels)

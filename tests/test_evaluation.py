"""Tests that reject wrong models, and right ones as often as they say."""

import json
import math

import pytest
import torch
from scipy import stats

import probseq as ps
from probseq.evaluation.calibration import combine
from probseq.evaluation.intervals import bootstrap, sign_flip
from probseq.evaluation.streams import streams
from probseq.oracles import HMM
from tests.parts import TABLE, build
from tests.typecheck import unchecked


def network(seed=0, **changes):
    torch.manual_seed(seed)
    parts = {
        "element": ps.Tokens(4), "recurrence": ps.GRU(8), "likelihood": ps.Categorical(), "stop": ps.EndSymbol(),
    } | changes  # fmt: skip
    model = ps.SequenceModel(**parts).double().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith(("recurrence", "likelihood")):
                weight.mul_(2)
    return model


def uniform(numbers, level=1e-4):
    return stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > level


LAWS = {
    "symbols": {},
    "reals": {"element": ps.Reals(2), "likelihood": ps.Gaussian(covariance="full"), "stop": ps.BernoulliStop()},
    "counts": {"element": ps.Reals(1), "likelihood": ps.Poisson(), "stop": ps.BernoulliStop()},
    "bits": {"element": ps.Bits(3), "likelihood": ps.Bernoulli(), "stop": ps.LengthStop(6)},
    "heavy tails": {"element": ps.Reals(1), "likelihood": ps.StudentT(), "stop": ps.PlannedLength(5)},
}


@pytest.mark.parametrize("law", LAWS)
def test_ranks_of_a_models_own_draws_are_uniform_and_its_differences_have_mean_0(law):
    model = network(**LAWS[law])
    found = streams(model, model.sample(3000, generator=1), generator=2)
    assert uniform(found.surprise)
    assert all(uniform(column) for column in [*found.coordinates.T, *found.pairs.T])
    assert found.length is None or uniform(found.length)
    d, v = found.stopped.double() - found.hazard, found.hazard * (1 - found.hazard)
    assert abs(float(d.sum())) < 4.5 * float(v.sum()) ** 0.5


def test_ranks_are_uniform_given_the_past_by_enumeration():
    """P(rank ≤ r) = r for each law of a symbol: with the ties drawn, the rank of y lies evenly in y's own share."""
    model = HMM([0.6, 0.4], [[0.9, 0.1], [0.3, 0.7]], [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], length=2)
    y = ps.Sequences.of([[a, b] for a in range(3) for b in range(3)])
    lows, highs = torch.ones(9, 2).double(), torch.zeros(9, 2).double()
    for seed in range(400):
        found = streams(model, y, generator=seed)
        at = found.row, found.column
        lows[at], highs[at] = torch.minimum(lows[at], found.surprise), torch.maximum(highs[at], found.surprise)
    first = {int(y.values[row, 0]): (float(lows[row::1][0, 0]), row) for row in (0, 3, 6)}
    p = ps.score(model, y).element.exp()
    shares = {symbol: float(p[row, 0]) for symbol, (_, row) in first.items()}
    assert sum(shares.values()) == pytest.approx(1)
    # The likeliest symbol has the lowest ranks, and each as many as it has probability.
    order = sorted(shares, key=lambda symbol: -shares[symbol])
    begin = 0.0
    for symbol in order:
        rows = slice(3 * symbol, 3 * symbol + 3)
        assert float(lows[rows, 0].min()) >= begin - 1e-9
        assert float(highs[rows, 0].max()) <= begin + shares[symbol] + 1e-9
        assert float(highs[rows, 0].max() - lows[rows, 0].min()) > 0.97 * shares[symbol]
        begin += shares[symbol]


def test_a_model_that_is_right_is_rejected_as_seldom_as_the_level_says():
    model = network()
    with unchecked():
        found = [ps.evaluate(model, model.sample(60, generator=2 * i), generator=2 * i + 1) for i in range(150)]
    for name in {test.name for each in found for test in each.tests}:
        own = [test.p_value <= 0.05 for each in found for test in each.tests if test.name == name]
        assert stats.binom.sf(sum(own) - 1, len(own), 0.05) > 1e-4, name
    assert stats.binom.sf(sum(each.rejected for each in found) - 1, len(found), 0.05) > 1e-4


@pytest.mark.parametrize("law", LAWS)
def test_another_model_is_rejected(law):
    model, other = network(**LAWS[law]), network(1, **LAWS[law])
    found = ps.evaluate(model, other.sample(400, generator=0), generator=0)
    assert found.rejected
    assert found.p_value < 1e-4


def test_a_wrong_law_of_the_end_alone_is_found_by_the_tests_of_the_end():
    model = network(stop=ps.BernoulliStop())
    other = network(stop=ps.BernoulliStop())
    with torch.no_grad():
        other.get_parameter("stop.project.bias").add_(1.0)
    found = ps.evaluate(model, other.sample(500, generator=0), generator=0)
    p = {test.name.split(":")[0]: test.p_value for test in found.tests}
    assert p["ends"] < 1e-4
    assert p["lengths"] < 1e-4
    assert p["surprise"] > 1e-3


def test_a_mixture_of_two_kinds_of_sequences_is_found_where_each_element_is_right_on_average():
    """Each sequence keeps a coin of its own, 0.2 or 0.8: every symbol is due half of the time."""
    fair = ps.SequenceModel(
        ps.Tokens(2, feedback=False), ps.Memoryless(1), ps.Categorical(), ps.FixedLength(20), ps.Vector(1, "input")
    ).double()
    with torch.no_grad():
        for weight in fair.parameters():
            weight.zero_()
    coin = torch.where(torch.arange(300) % 2 == 0, 0.2, 0.8).unsqueeze(1)
    y = ps.Sequences((torch.rand(300, 20, generator=torch.Generator().manual_seed(0)) < coin).long(), [20] * 300)
    found = {
        test.name.split(":")[0]: test.p_value for test in ps.evaluate(fair, (y, torch.zeros(300, 1)), generator=0).tests
    }
    assert found["coordinates"] > 1e-3
    assert found["symbols"] < 1e-4 or found["past"] < 1e-4


@pytest.mark.parametrize("name", TABLE)
def test_every_assembly_can_be_evaluated(name):
    with unchecked():
        model, x = build(TABLE[name], 6)
        y = model.sample(6 if x is None else 1, x, max_length=6, generator=0)
        found = ps.evaluate(model, y if x is None else (y, x), generator=0)
    assert math.isfinite(found.nats.value)
    assert 0 <= found.p_value <= 1
    assert len(found.tests) + len(found.skipped) >= 5
    assert json.dumps(found.to_dict())
    assert "all together" in str(found)


def test_nats_are_those_of_the_model_and_a_decision_is_an_element_or_an_uncertain_end():
    model = network()
    y = model.sample(50, generator=0)
    found = ps.evaluate(model, y, generator=0)
    total = -model.log_prob(y).sum().item()
    assert found.nats.value == pytest.approx(total / 50)
    assert found.decisions == int(y.decisions.sum())
    assert found.nats_per_decision.value == pytest.approx(total / found.decisions)
    assert found.bits_per_decision.value == pytest.approx(found.nats_per_decision.value / math.log(2))
    assert found.nats.low < found.nats.value < found.nats.high


def test_open_and_empty_sequences_and_a_single_one():
    model = network(**LAWS["reals"])
    y = model.sample(80, generator=0)
    cut = ps.evaluate(model, model.sample(80, max_length=2, generator=0), generator=0)
    assert math.isfinite(cut.p_value)
    empty = ps.evaluate(model, ps.Sequences(torch.zeros(5, 0, 2).double(), [0] * 5), generator=0)
    assert empty.decisions == 5
    one = ps.evaluate(model, y.select([0]), generator=0)
    assert math.isnan(one.nats.low)


def test_wrong_arguments_are_named():
    model = network()
    with pytest.raises(ValueError, match="no sequences"):
        ps.evaluate(model, model.sample(0))
    with pytest.raises(TypeError, match="Sequences"):
        ps.evaluate(model, [[0, 1]])
    with pytest.raises(ValueError, match="level"):
        ps.evaluate(model, model.sample(3), level=2.0)


def test_reliability_counts_every_probability_and_chance_explains_the_error_of_the_right_model():
    model = network()
    y = model.sample(2000, generator=0)
    found = ps.evaluate(model, y, generator=0).reliability
    assert int(found.count.sum()) == 4 * int(y.lengths.sum())
    z = (found.frequency - found.probability) / found.deviation
    assert bool((z[found.count > 100].abs() < 4.5).all())
    assert found.error < 3 * found.chance


def test_one_step_scores_are_those_of_scoringrules_own_closed_form():
    pytest.importorskip("scoringrules")
    model = network(element=ps.Reals(1), likelihood=ps.Gaussian(scale=1.0), stop=ps.FixedLength(3))
    y = model.sample(4000, generator=0)
    # The CRPS of a standard normal law under itself is 1 / √π.
    assert ps.evaluate(model, y, generator=0).scores["CRPS"] == pytest.approx(1 / math.pi**0.5, rel=0.05)


def test_comparison_is_paired_and_antisymmetric():
    model, other = network(), network(1)
    y = model.sample(200, generator=0)
    found = ps.compare({"a": model, "b": other}, y, generator=0)
    mirrored = ps.compare({"b": other, "a": model}, y, generator=0)
    (gap,), (back,) = found.differences, mirrored.differences
    assert gap.nats.value == pytest.approx(-back.nats.value)
    assert gap.nats.value == pytest.approx(found.nats["a"].value - found.nats["b"].value)
    assert gap.p_value < 0.001
    assert found.rows()[0]["model"] == "a"
    same = ps.compare({"a": model, "again": model}, y, generator=0).differences[0]
    assert same.nats.value == 0
    assert same.p_value == 1


def test_the_sign_flip_test_is_exact_for_few():
    assert sign_flip(torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    assert sign_flip(torch.full((12,), 0.3)) == pytest.approx(2 / 2**12)
    assert sign_flip(torch.tensor([math.inf, 1.0])) == 0
    many = sign_flip(torch.randn(400, generator=torch.Generator().manual_seed(0)))
    assert 0.001 < many <= 1


def test_holm_keeps_three_models_that_are_equal_from_being_told_apart():
    values = torch.randn(3, 300, generator=torch.Generator().manual_seed(3))
    found = ps.paired({str(i): row for i, row in enumerate(values)}, generator=0)
    single = [sign_flip(-(values[i] - values[j]).double()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert all(each.p_value >= p - 0.02 for each, p in zip(found.differences, single, strict=True))


def test_the_bootstrap_interval_has_the_width_of_the_standard_error():
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)).double()
    found = bootstrap(values, torch.ones(500), generator=0)
    width = 2 * 1.96 * float(values.std()) / 500**0.5
    assert found.high - found.low == pytest.approx(width, rel=0.1)


def test_p_values_together_are_one_that_is_itself_and_small_if_one_is_very_small():
    assert combine(torch.tensor([0.3])) == pytest.approx(0.3)
    assert combine(torch.tensor([1e-20, 0.9, 0.99999])) < 1e-13
    assert combine(torch.tensor([])) == 1
    together = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0))
    found = torch.tensor([combine(row) for row in together])
    assert abs(float((found <= 0.05).double().mean()) - 0.05) < 0.015


def test_a_dull_sequence_is_an_anomaly_although_it_is_the_likeliest():
    model = ps.SequenceModel(
        ps.Tokens(2, feedback=False), ps.Memoryless(1), ps.Categorical(), ps.FixedLength(100), ps.Vector(1, "input")
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.get_parameter("likelihood.project.bias").copy_(torch.tensor([1.0, 0.0]))
    x = torch.zeros(500, 1)
    dull, own = ps.Sequences(torch.zeros(1, 100, dtype=torch.int64), [100]), model.sample(1, x, generator=0)
    found, usual = ps.anomaly(model, dull, x[:1]), ps.anomaly(model, own, x)
    assert bool((found.log_prob > usual.log_prob.max()).all())
    assert float(found.score) < -5
    assert float(found.p_value) < 1e-6
    assert float(usual.score.std()) == pytest.approx(1, abs=0.15)
    p = torch.tensor([1.0, 0.0]).softmax(0).double()
    entropy = -(p * p.log()).sum() * 100
    assert float(found.expected) == pytest.approx(-float(entropy), rel=1e-5)

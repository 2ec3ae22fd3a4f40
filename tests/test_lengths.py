"""Survival curves against enumeration and closed forms; certificates of tightness against exact survival."""

from __future__ import annotations

import math

import pytest
import torch

import probseq as ps
from probseq.oracles import Endless
from tests import parts

SURE = {
    "LengthStop": ps.LengthStop(5),
    "FixedLength": ps.FixedLength(4),
    "PlannedLength not fed": ps.PlannedLength(4, remaining=False),
}
"""Laws of the length that the elements cannot change."""


def network(stop, recurrence=None, context=None, seed=0):
    return parts.model(ps.Tokens(3, dim=4), recurrence or ps.GRU(5), ps.Categorical(), stop, context, seed)


def enumerated(model, longest, context=None):
    """P(length ≥ t), t = 0…longest + 1."""
    law = ps.exact(model, longest + 1, context)
    ended = law.sequences.ended
    at = law.sequences.lengths.masked_fill(~ended, longest + 1)
    pmf = torch.zeros(longest + 2, dtype=torch.float64).index_add(0, at, law.log_prob.exp())
    return pmf.flip(0).cumsum(0).flip(0)


@pytest.mark.parametrize("stop", SURE.values(), ids=SURE.keys())
def test_the_curve_is_exact_where_the_length_is_known_beforehand(stop):
    model = network(stop)
    found = ps.lengths(model, 6, num_samples=3, generator=0)
    torch.testing.assert_close(found.survival[0], enumerated(model, 6), rtol=0, atol=1e-10)
    assert float(found.standard_error.max()) <= 1e-12


@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.PlannedLength(4, dim=3)], ids=["EndSymbol", "PlannedLength"])
def test_a_curve_that_depends_on_the_elements_is_within_its_errors(stop):
    models = [network(stop, seed=seed) for seed in range(10)]
    found = [ps.lengths(model, 5, num_samples=2000, generator=1) for model in models]
    scores = [
        (own.survival[0] - enumerated(model, 5))[1:] / own.standard_error[0, 1:].clamp(min=1e-12)
        for model, own in zip(models, found, strict=True)
    ]
    assert float(torch.stack(scores).abs().max()) <= 5
    assert float(torch.stack(scores).square().mean()) <= 2


def test_it_needs_fewer_draws_than_counting_does():
    model = network(ps.EndSymbol())
    found = ps.lengths(model, 5, num_samples=500, generator=0)
    truth = enumerated(model, 5)
    assert (found.standard_error[0, 1:] <= (truth * (1 - truth) / 500).sqrt()[1:] + 1e-12).all()


def test_rows_of_the_context_have_curves_of_their_own():
    model = network(ps.BernoulliStop(), context=ps.Vector(3, enters="both"))
    x = 3 * parts.x(ps.Vector(3), 2)
    found = ps.lengths(model, 4, x, num_samples=4000, generator=0)
    for row in range(2):
        torch.testing.assert_close(found.survival[row], enumerated(model, 4, x[row : row + 1]), rtol=0, atol=0.02)
    assert not torch.allclose(found.survival[0], found.survival[1], atol=0.02)


def test_the_pmf_the_mean_and_what_is_cut_agree_with_the_curve():
    found = ps.lengths(network(ps.LengthStop(5)), 3, num_samples=2)
    torch.testing.assert_close(found.pmf.sum(1) + found.truncated[0], torch.ones(1, dtype=torch.float64))
    at = torch.arange(4, dtype=torch.float64)
    torch.testing.assert_close(found.mean, found.pmf @ at + 4 * found.truncated[0])


def test_continuous_models_have_curves_too():
    model = parts.model(ps.Reals(1), ps.GRU(4), ps.Gaussian(), ps.LengthStop(4))
    pmf = model.stop.log_pmf(model.encode(None)).exp()
    torch.testing.assert_close(ps.lengths(model, num_samples=2).pmf, pmf.detach(), rtol=0, atol=1e-12)


def test_mass_lost_to_endless_sequences_is_reported():
    model = Endless(0.711)
    found = ps.lengths(model, 255, num_samples=2)
    lost, error = found.truncated
    assert abs(float(1 - lost) - 0.711) <= 0.01
    assert float(error) <= 1e-12
    torch.testing.assert_close(found.survival[0], model.survival(255), rtol=0, atol=1e-12)
    assert str(ps.tightness(model)) == "none"
    assert ps.tightness(model).bound(10**6) == 1.0


def step_law(model, depth):
    """The least P(stop) over all prefixes of up to `depth` elements, and P(length ≥ t), t = 0…depth + 1."""
    state, log_mass = model.start(None), torch.zeros(1, dtype=torch.float64)
    least, survival = math.inf, [1.0]
    symbols = torch.arange(model.element.size)
    for _ in range(depth + 1):
        step = model.emit(state.features, state.position, state.context)
        least = min(least, float(step.log_stop.exp().min()))
        onward = log_mass.unsqueeze(1) + step.log_go.unsqueeze(1) + step.element.logits
        survival.append(float(onward.exp().sum()))
        rows = torch.arange(len(log_mass)).repeat_interleave(len(symbols))
        log_mass = onward.flatten()
        state = model.extend(state.select(rows), symbols.repeat(len(onward)).unsqueeze(1))[1]
    return least, survival


RECURRENT = {
    "Elman": lambda: ps.Elman(3),
    "GRU": lambda: ps.GRU(3, layers=2),
    "LSTM": lambda: ps.LSTM(3),
    "Leaky": lambda: ps.Leaky(3),
    "Memoryless": lambda: ps.Memoryless(3),
    "CausalConv": lambda: ps.CausalConv(3, window=2),
    "Stack": lambda: ps.Stack((ps.LSTM(3), ps.GRU(2)), skip=True),
    "Unrolled": lambda: ps.Unrolled(ps.LSTM(3)),
    "Positional": lambda: ps.Positional(ps.GRU(3), 3, dim=2),
    "SharedDropout": lambda: ps.SharedDropout(ps.Elman(3), 0.1, 0.1),
}
ENDS = {
    "EndSymbol": (ps.Categorical(), ps.EndSymbol()),
    "tied": (ps.Categorical(tied=True), ps.EndSymbol()),
    "BernoulliStop": (ps.Categorical(), ps.BernoulliStop()),
}


@torch.no_grad()
@pytest.mark.parametrize("make", RECURRENT.values(), ids=RECURRENT.keys())
def test_the_certificate_is_never_violated(make):
    """100 random networks of each kind, with weights small and large: 1,000 in all."""
    for seed in range(100):
        likelihood, stop = list(ENDS.values())[seed % 3]
        torch.manual_seed(seed)
        model = ps.SequenceModel(ps.Tokens(2, dim=3), make(), likelihood, stop).double()
        scale = 10 ** (float(torch.rand(())) * 1.5 - 0.5)
        for parameter in model.parameters():
            parameter.mul_(scale)
        found = ps.tightness(model)
        least, survival = step_law(model, 3)
        assert found.certified
        assert 0 < found.least_stop <= least
        # A sum of 16 probabilities is 1 to rounding only.
        assert all(p <= found.bound(t - 1) + 1e-14 for t, p in enumerate(survival) if t)


@torch.no_grad()
def test_the_certificate_can_be_met():
    """A saturated unit that always says the worst."""
    model = ps.SequenceModel(ps.Tokens(2, dim=2), ps.Elman(1), ps.Categorical(), ps.EndSymbol()).double()
    model.recurrence.network.bias_ih_l0.fill_(50.0)
    model.likelihood.project.weight.copy_(torch.tensor([[0.5], [0.5], [-1.0]]))
    torch.testing.assert_close(ps.tightness(model).least_stop, step_law(model, 2)[0], rtol=1e-6, atol=0)


@torch.no_grad()
def test_what_attends_and_copies_has_a_certificate():
    source = ps.Source(ps.Tokens(3, dim=2), ps.Bidirectional(ps.LSTM(2)))
    model = parts.model(ps.Tokens(3, dim=4), ps.Attentive(ps.LSTM(4), copies=3), ps.Pointer(), ps.EndSymbol(), source)
    least = ps.tightness(model).least_stop
    y = model.sample(50, parts.x(source, 3), max_length=6, generator=0)
    features, state = model.unroll(
        model.encode(parts.x(source, 3)).select(torch.arange(3).repeat_interleave(50)), y.values
    )
    step = model.emit(features, torch.arange(features.shape[1]), state.context)
    assert 0 < least <= float(step.log_stop.exp().min())


def test_a_start_without_bound_has_no_certificate_where_it_could_last():
    starts = {"both": None, "input": "found"}
    for enters, expected in starts.items():
        model = network(ps.EndSymbol(), context=ps.Vector(2, enters=enters))
        assert (ps.tightness(model).least_stop is None) == (expected is None)
    assert ps.tightness(network(ps.EndSymbol(), ps.LSTM(3), ps.Vector(2, enters="both"))).certified


def test_a_bounded_length_is_a_certificate():
    found = ps.tightness(network(ps.LengthStop(5)))
    assert found.certified
    assert found.longest == 5
    assert found.bound(5) == 0
    assert "5" in str(found)
    aligned = ps.Aligned(ps.Tokens(3, dim=2))
    model, x = network(ps.AlignedLength(), context=aligned), parts.x(aligned, 2)
    assert not ps.tightness(model).certified
    assert ps.tightness(model, x).longest == int(x.lengths.max())


def test_a_mixture_is_as_tight_as_its_least_member():
    models = [network(ps.EndSymbol(), seed=seed) for seed in range(2)]
    bounds = [ps.tightness(model).least_stop for model in models]
    assert ps.tightness(ps.Mixture(models)).least_stop == min(bounds)
    assert ps.tightness(ps.Mixture([models[0], Endless(0.5, 3)])).least_stop is None


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="num_samples"):
        ps.lengths(network(ps.EndSymbol()), num_samples=1)
    with pytest.raises(ValueError, match="length"):
        ps.lengths(network(ps.EndSymbol()), -1)

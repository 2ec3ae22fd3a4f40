"""Densities are in the data's own units, whatever units a model works in."""

import math

import pyro.distributions as dist
import pytest
import torch

import probseq as ps
from probseq.inference.partial import complete
from tests.parts import model

GAUSSIAN = (ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.BernoulliStop())
Y = ps.Sequences.of([[[1.0, 200.0], [4.0, 100.0], [2.0, 90.0]], [[3.0, 150.0]], torch.zeros(0, 2)], dtype=torch.float64)


def scaled(scaling, context=None, parts=GAUSSIAN):
    """A model, and the same one without its scaling."""
    return model(*parts, context, scaling=scaling), model(*parts)


def mapped(y, function):
    return ps.Sequences(function(y.values), y.lengths, y.ended)


@pytest.mark.parametrize(
    ("scaling", "inverse", "log_slope"),
    [
        (ps.Affine((1.0, 100.0), (2.0, 50.0)), lambda y: (y - torch.tensor([1.0, 100.0])) / torch.tensor([2.0, 50.0]),
         lambda y: -math.log(100.0) * torch.ones(y.shape[:-1])),
        (ps.Log(0.5), lambda y: (y + 0.5).log(), lambda y: -(y + 0.5).log().sum(-1)),
        ((ps.Log(), ps.Affine(3.0, 2.0)), lambda y: (y.clamp(min=1e-9).log() - 3) / 2,
         lambda y: -2 * math.log(2.0) - y.clamp(min=1e-9).log().sum(-1)),
    ],
    ids=["affine", "logarithmic", "chained"],
)  # fmt: skip
def test_a_scaled_density_is_that_of_scaled_data_and_the_slope(scaling, inverse, log_slope):
    one, plain = scaled(scaling)
    slope = torch.where(Y.mask(), log_slope(Y.values), 0.0).sum(-1)
    expected = plain.log_prob(mapped(Y, inverse)) + slope
    torch.testing.assert_close(one.log_prob(Y), expected, rtol=1e-6, atol=1e-6)


def test_the_scale_of_each_series_is_its_own():
    known = torch.tensor([[[1.0, 100.0], [2.0, 50.0]], [[0.0, 0.0], [1.0, 10.0]], [[0.0, 0.0], [1.0, 1.0]]])
    one, plain = scaled(ps.PerSeries(), ps.SeriesScale(2))
    found = one.log_prob(Y, known)
    for i in range(len(Y)):
        loc, scale = known[i].double()
        expected = plain.log_prob(mapped(Y.select([i]), lambda y, loc=loc, scale=scale: (y - loc) / scale))
        torch.testing.assert_close(found[i], (expected - int(Y.lengths[i]) * scale.log().sum())[0])


def test_a_change_of_units_adds_its_logarithm_and_leaves_the_samples_alone():
    """Series and scales in metres, or in millimetres."""
    one, _ = scaled(ps.PerSeries(), ps.SeriesScale(2))
    known = ps.SeriesScale.of(Y.select([0, 0]))
    y = Y.select([0, 1])
    small, large = one.log_prob(y, known), one.log_prob(mapped(y, lambda v: 1000 * v), 1000 * known)
    torch.testing.assert_close(large, small - y.lengths * 2 * math.log(1000))
    draws = [one.sample(3, x, max_length=4, generator=0).values for x in (known, 1000 * known)]
    torch.testing.assert_close(draws[1], 1000 * draws[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_values_of_any_size_have_finite_scores_and_gradients(dtype, size):
    y = mapped(Y, lambda v: size * v.to(dtype))
    one = ps.SequenceModel(*GAUSSIAN, scaling=ps.Affine.of(y)).to(dtype)
    reference = ps.SequenceModel(*GAUSSIAN, scaling=ps.Affine.of(y)).double()
    reference.load_state_dict(one.state_dict())
    found = one.log_prob(y)
    found.sum().backward()
    torch.testing.assert_close(found.double(), reference.log_prob(y.to(dtype=torch.float64)), rtol=1e-4, atol=1e-4)
    assert all(bool(torch.isfinite(p.grad).all()) for p in one.parameters())


def test_a_positive_law_integrates_to_one():
    one = model(ps.Reals(1), ps.GRU(3), ps.Gaussian(), ps.FixedLength(2), scaling=(ps.Log(1.0), ps.Affine(0.2, 0.7)))
    state = one.extend(one.start(None), torch.tensor([[[2.0]]], dtype=torch.float64))[1]
    law = one.emit(state.features, state.position, state.context).element
    u = torch.linspace(-30, 25, 20_001, dtype=torch.float64)
    y = u.exp() - 1
    mass = torch.trapezoid((law.log_prob(y.reshape(-1, 1, 1)).squeeze(-1).detach() + u).exp(), u)
    assert abs(float(mass) - 1) < 1e-8


def test_missing_dimensions_are_drawn_and_left_out_under_a_scaling():
    """Of a normal law scaled, the part that is observed is the scaled part; no NaN reaches a gradient."""
    loc = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    covariance = torch.tensor([[2.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    factor = torch.tensor([3.0, 10.0], dtype=torch.float64, requires_grad=True)
    base = dist.MultivariateNormal(loc, covariance)
    law = dist.TransformedDistribution(base, [dist.transforms.AffineTransform(5.0, factor)])
    values = torch.tensor([[7.0, torch.nan]], dtype=torch.float64)
    filled, log_prob = complete(law, values, torch.tensor([[True, False]]))
    expected = dist.Normal(5 + 3 * loc[0, 0], 3 * covariance[0, 0].sqrt()).log_prob(values[0, 0])
    torch.testing.assert_close(log_prob[0], expected)
    (gradient,) = torch.autograd.grad(log_prob.sum(), factor)
    assert bool(torch.isfinite(gradient).all())
    assert gradient[0] != 0
    assert float(filled[0, 0]) == 7.0
    torch.manual_seed(0)
    many, _ = complete(law.expand((20_000,)), values.expand(20_000, 2), torch.tensor([True, False]).expand(20_000, 2))
    z = (7.0 - 5) / 3
    mean, variance = 2 + 0.8 / 2 * (z - 1), 1 - 0.8**2 / 2
    drawn = (many[:, 1].detach() - 5) / 10
    assert abs(float(drawn.mean()) - mean) < 5 * math.sqrt(variance / 20_000)
    assert abs(float(drawn.var()) / variance - 1) < 0.06


def test_what_is_missing_is_scored_under_a_scaling():
    y = ps.Sequences.of([[[1.0, 200.0], [torch.nan, 100.0], [2.0, torch.nan]]])
    one = ps.SequenceModel(*GAUSSIAN, scaling=ps.Affine.of(y))
    result = ps.fit(one, y, objective=ps.MissingValues(4), max_epochs=1, progress=False)
    assert math.isfinite(result.nats)


def test_scales_are_found_in_the_past():
    past = ps.Sequences.of([[[1.0], [3.0], [torch.nan]], [[-5.0], [7.0]]])
    torch.testing.assert_close(ps.SeriesScale.of(past), torch.tensor([[[2.0], [1.0]], [[1.0], [6.0]]]))
    torch.testing.assert_close(ps.SeriesScale.of(past, centre=False)[:, 1], torch.tensor([[2.0], [6.0]]))
    affine = ps.Affine.of(past)
    assert affine.loc == (1.5,)
    assert affine.scale[0] == pytest.approx(torch.tensor([1.0, 3, -5, 7]).std(correction=0).item())


def test_a_constant_series_is_named():
    flat = ps.Sequences.of([[[1.0], [3.0]], [[2.0], [2.0]]])
    with pytest.raises(ValueError, match=r"series 1 is constant \(scale 0\).*floor"):
        ps.SeriesScale.of(flat)
    assert ps.SeriesScale.of(flat, floor=0.1)[1, 1] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="series 1 has no value"):
        ps.SeriesScale.of(ps.Sequences.of([[[1.0]], [[torch.nan]]]), floor=1.0)
    with pytest.raises(ValueError, match="dimension 0 of the data is constant"):
        ps.Affine.of(flat.select([1]))
    one = model(ps.Reals(1), *GAUSSIAN[1:], ps.SeriesScale(1), scaling=ps.PerSeries())
    with pytest.raises(ValueError, match=r"series 1 .*scale \[0.0\]"):
        one.log_prob(flat, torch.tensor([[[1.0], [1.0]], [[2.0], [0.0]]]))


def test_a_context_without_scales_is_refused():
    one = model(ps.Reals(1), *GAUSSIAN[1:], ps.SeriesScale(1), scaling=ps.PerSeries())
    with pytest.raises(ValueError, match="0 scales"):
        one.log_prob(ps.Sequences.of([[[1.0]]]), ps.Context.none(1))


def test_a_negative_value_under_a_logarithm_is_named():
    one, _ = scaled(ps.Log())
    with pytest.raises(ValueError, match=r"sequence 1, position 0: .*scaling"):
        one.log_prob(ps.Sequences.of([[[1.0, 2.0]], [[1.0, -2.0]]]))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((ps.Reals(1), ps.GRU(2), ps.Gaussian(), ps.FixedLength(2), None, ps.PerSeries()), r"SeriesScale\(1\)"),
        ((ps.Reals(1), ps.GRU(2), ps.Gaussian(), ps.FixedLength(2), ps.SeriesScale(1)), "PerSeries"),
        ((ps.Reals(2), ps.GRU(2), ps.Gaussian(), ps.FixedLength(2), ps.SeriesScale(1), ps.PerSeries()), "go together"),
        ((ps.Tokens(2), ps.GRU(2), ps.Categorical(), ps.FixedLength(2), None, ps.Affine()), "real vectors"),
        ((ps.Bits(2), ps.GRU(2), ps.Bernoulli(), ps.FixedLength(2), None, ps.Affine()), "real vectors"),
        ((ps.Reals(1), ps.GRU(2), ps.Parametric("Gamma"), ps.FixedLength(2), None, ps.Affine()), "all real numbers"),
        ((ps.Reals(1), ps.GRU(2), ps.Gaussian(), ps.FixedLength(2), None, (ps.Affine(), ps.Log())), "all real numbers"),
        ((ps.Reals(1), ps.GRU(2), ps.Gaussian(), ps.FixedLength(2), None, ps.Affine((1.0, 2.0))), "1 dimensions"),
    ],
)
def test_what_does_not_go_together_is_refused(parts, said):
    with pytest.raises(ValueError, match=said):
        ps.SequenceModel(*parts)


@pytest.mark.parametrize("make", [lambda: ps.Affine(0.0, 0.0), lambda: ps.Log(-1.0), lambda: ps.Chain(()),
                                  lambda: ps.Chain((ps.GRU(2),)), lambda: ps.SeriesScale(0)])  # fmt: skip
def test_choices_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_the_graph_knows_that_scales_reach_every_element():
    """x → yₜ directly, and by what is read of the elements before."""
    one = ps.SequenceModel(
        ps.Reals(1), ps.Memoryless(3), ps.Gaussian(), ps.BernoulliStop(), ps.SeriesScale(1), ps.PerSeries()
    )
    edges = set(ps.graph.unfold(one, 2).edges)
    assert {("x", "y_1"), ("x", "y_2"), ("x", "h_2"), ("y_1", "h_2")} <= edges
    assert not edges & {("x", "h_1"), ("x", "stop_1"), ("x", "stop_2")}

"""Each law of one element, against quadrature, enumeration and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import probseq as ps
from probseq import testing
from probseq.inference.partial import complete
from tests.parts import model

VECTORS = {
    "full Gaussian": ps.Gaussian(covariance="full"),
    "low-rank Gaussian": ps.Gaussian(covariance="low-rank", rank=1),
    "StudentT": ps.StudentT(),
    "VonMises": ps.VonMises(),
    "MixtureOf full Gaussian": ps.MixtureOf(ps.Gaussian(covariance="full"), 3),
    "MixtureOf MixtureOf StudentT": ps.MixtureOf(ps.MixtureOf(ps.StudentT(), 2), 2, min_weight=0.05),
    "affine Flow": ps.Flow("affine", hidden=(8,)),
    "spline Flow": ps.Flow(hidden=(8,), bins=4),
}
NORMAL = {name: likelihood for name, likelihood in VECTORS.items() if "Flow" not in name and "Mises" not in name}
COUNTS = {
    "Poisson": ps.Poisson(),
    "NegativeBinomial": ps.NegativeBinomial(),
    "ZeroInflated": ps.ZeroInflated(ps.Poisson()),
    "MixtureOf ZeroInflated": ps.MixtureOf(ps.ZeroInflated(ps.NegativeBinomial()), 2),
    "DiscretisedLogistic": ps.DiscretisedLogistic(3, levels=30),
    "MixtureOf DiscretisedLogistic": ps.MixtureOf(ps.DiscretisedLogistic(1, levels=30), 2),
}
SYMBOLS = {
    "Ordinal": ps.Ordinal(),
    "DiscretisedLogistic": ps.DiscretisedLogistic(3),
    "MixtureOf Ordinal": ps.MixtureOf(ps.Ordinal(), 2),
}
EVERY = [
    *[(likelihood, ps.Reals(2)) for likelihood in (*VECTORS.values(), *COUNTS.values())],
    *[(likelihood, ps.Tokens(6)) for likelihood in SYMBOLS.values()],
]
NAMES = [*VECTORS, *COUNTS, *(f"{name} of symbols" for name in SYMBOLS)]
every = pytest.mark.parametrize(("likelihood", "element"), EVERY, ids=NAMES)


def built(likelihood, element, dtype=torch.float64, seed=0):
    """A part by itself, over 4 features, and features for 3 steps."""
    torch.manual_seed(seed)
    part, element = likelihood.fresh(), element.fresh()
    element.build()
    part.build(4, element)
    return part.to(dtype), torch.randn(3, 4, dtype=dtype)


def axis(likelihood, points):
    """Places on one axis, and the log of the weight of each for the trapezoid rule."""
    if isinstance(likelihood, ps.VonMises):
        at = u = torch.linspace(-math.pi, math.pi, points, dtype=torch.float64)
        slope = torch.zeros_like(at)
    else:
        reach = 8 if "Student" in likelihood.describe() else 3.5
        u = torch.linspace(-reach, reach, points, dtype=torch.float64)
        at, slope = u.sinh(), u.cosh().log()
    log_weight = slope + math.log(float(u[1] - u[0]))
    log_weight[[0, -1]] -= math.log(2)
    return at, log_weight


@pytest.mark.parametrize("likelihood", VECTORS.values(), ids=VECTORS)
@torch.no_grad()
def test_a_density_in_two_dimensions_integrates_to_one_and_is_what_is_sampled(likelihood):
    """By the Rosenblatt transform: F(y₁) and F(y₂ | y₁) of draws are uniform, and independent."""
    part, features = built(likelihood, ps.Reals(2))
    law = part(features[:1])
    at, log_weight = axis(likelihood, 301)
    joint = torch.stack([law.log_prob(torch.stack([a.expand_as(at), at], -1).unsqueeze(1)).squeeze(1) for a in at])
    marginal = (joint + log_weight).logsumexp(1) + log_weight
    assert abs(float(marginal.logsumexp(0).exp()) - 1) < 1e-4
    torch.manual_seed(0)
    y = law.sample((400,)).squeeze(1)
    given = torch.stack([y[:, :1].expand(-1, len(at)), at.expand(len(y), -1)], -1)
    conditional = law.log_prob(given.reshape(-1, 1, 2)).reshape(len(y), -1) + log_weight
    first = np.interp(y[:, 0], at, middle(marginal.exp()))
    second = np.array([np.interp(b, at, row) for b, row in zip(y[:, 1], middle(conditional.softmax(1)), strict=True)])
    for uniform in (first, second, (first + second) % 1):
        assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def middle(mass):
    """What lies to the left of the middle of each cell."""
    return (mass.cumsum(-1) - mass / 2).numpy()


def test_the_density_of_splines_integrates_to_one_in_one_dimension():
    """Its slope jumps at each knot, so that quadrature is less exact than elsewhere."""
    m = model(ps.Reals(1), ps.GRU(4), ps.Flow(hidden=(4,)), ps.BernoulliStop())
    testing.check_density(m, tolerance=1e-4)


@pytest.mark.parametrize("likelihood", COUNTS.values(), ids=COUNTS)
@torch.no_grad()
def test_probabilities_of_counts_sum_to_one_and_are_what_is_sampled(likelihood):
    part, features = built(likelihood, ps.Reals(2))
    law = part(features[:1])
    values = torch.arange(30.0 if "Discretised" in likelihood.describe() else 300.0, dtype=torch.float64)
    pairs = torch.cartesian_prod(values, values)
    probability = law.log_prob(pairs.unsqueeze(1)).squeeze(1).exp()
    assert abs(float(probability.sum()) - 1) < 1e-4
    torch.manual_seed(0)
    drawn = law.sample((4_000,)).squeeze(1)
    index = (drawn[:, 0] * len(values) + drawn[:, 1]).long()
    observed = torch.bincount(index, minlength=len(pairs)).double()
    goodness(observed, probability * len(drawn))


def goodness(observed, expected):
    """Pearson's χ², cells of few pooled."""
    few = expected < 5
    observed = torch.cat([observed[~few], observed[few].sum().reshape(1)])
    expected = torch.cat([expected[~few], expected[few].sum().reshape(1)])
    assert stats.chisquare(observed.numpy(), (expected * observed.sum() / expected.sum()).numpy()).pvalue > 1e-3


@every
def test_mixed_laws_have_the_sum_of_the_probabilities(likelihood, element):
    part, features = built(likelihood, element)
    log_weights = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64).log()
    law = part.mix(features.unsqueeze(0), log_weights)
    torch.manual_seed(1)
    y = law.sample((5,))
    each = torch.stack([part.log_prob(row.expand(5, -1), y[:, 0]) for row in features])
    torch.testing.assert_close(law.log_prob(y).squeeze(1), (each + log_weights.T).logsumexp(0))


@every
def test_a_law_can_be_expanded_and_masked_as_pyro_does(likelihood, element):
    part, features = built(likelihood, element)
    law = part(features)
    y = law.sample()
    many = law.expand((2, 3))
    assert many.sample((4,)).shape == (4, 2, 3, *element.shape)
    torch.testing.assert_close(many.log_prob(y), law.log_prob(y).expand(2, 3))
    masked = law.mask(torch.tensor([True, False, True])).log_prob(y)
    torch.testing.assert_close(masked, law.log_prob(y) * torch.tensor([1, 0, 1]))


@every
def test_low_precision_stops_at_the_projection(likelihood, element):
    part, features = built(likelihood, element, torch.float32)
    y = part(features).sample()
    with torch.autocast("cpu", torch.bfloat16):
        found = part.log_prob(features, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, part.log_prob(features, y), rtol=0.1, atol=0.1)


@every
def test_no_projection_however_large_ends_in_nan(likelihood, element):
    """Weights from a bad start, or the law of data that never change."""
    part, features = built(likelihood, element, torch.float32)
    y = part(features).sample()
    start = parameters_to_vector(part.parameters()).detach()
    for _ in range(3):
        vector_to_parameters(start + 10 * torch.randn(len(start)), part.parameters())
        log_prob = part.log_prob(features, y)
        assert log_prob.isfinite().all()
        part.zero_grad()
        log_prob.sum().backward()
        assert all(p.grad.isfinite().all() for p in part.parameters())


@pytest.mark.parametrize(
    "likelihood", [VECTORS[name] for name in VECTORS if "Flow" not in name and "Mises" not in name]
)
def test_data_that_never_change_meet_the_floor(likelihood):
    """Maximum likelihood of a constant has no maximum; the floor is one."""
    part, features = built(likelihood, ps.Reals(2), torch.float32)
    y, optimiser = torch.tensor([[3.0, 3.0]]).expand(3, 2), torch.optim.Adam(part.parameters(), 0.1)
    bound = 3 * 2 * (math.log(1e4) - 0.5 * math.log(2 * math.pi))
    start = best = float(part.log_prob(features, y).sum().detach())
    for _ in range(60):
        optimiser.zero_grad()
        log_prob = part.log_prob(features, y).sum()
        (-log_prob).backward()
        assert log_prob.isfinite()
        assert all(p.grad.isfinite().all() for p in part.parameters())
        optimiser.step()
        best = max(best, float(log_prob.detach()))
    assert start < best <= bound


def test_the_components_of_a_mixture_part():
    """Two heaps, and one scale of 0.3 each: a mixture that kept its components together could not tell."""
    torch.manual_seed(0)
    y = torch.where(torch.arange(500).unsqueeze(1) < 150, -2.0, 2.0) + 0.3 * torch.randn(500, 1)
    part, _ = built(ps.MixtureOf(ps.Gaussian(), 2), ps.Reals(1), torch.float32)
    features, optimiser = torch.zeros(500, 4), torch.optim.Adam(part.parameters(), 0.1)
    for _ in range(300):
        optimiser.zero_grad()
        (-part.log_prob(features, y).mean()).backward()
        optimiser.step()
    with torch.no_grad():
        law = part(features[:1])
    assert sorted(float(each.base_dist.loc) for each in law.laws) == pytest.approx([-2, 2], abs=0.1)
    assert float(law.log_weights.exp().min()) == pytest.approx(0.3, abs=0.03)


@torch.no_grad()
def test_no_weight_goes_below_its_floor():
    part, features = built(ps.MixtureOf(ps.Gaussian(), 4, min_weight=0.1), ps.Reals(2))
    weights = part.log_weights(1e4 * features).exp()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3).double())
    assert float(weights.min()) == pytest.approx(0.1)


@pytest.mark.parametrize("rank", [1, 2])
@torch.no_grad()
def test_covariances_are_what_they_are_made_of(rank):
    part, features = built(ps.Gaussian(covariance="low-rank", rank=rank, min_scale=0.3), ps.Reals(3))
    loc, raw, factor = part.project(features).split([3, 3, 3 * rank], -1)
    scale, factor = 0.3 + torch.log1p((math.e - 1) * raw.exp()), factor.reshape(3, 3, rank)
    covariance = torch.diag_embed(scale**2) + factor @ factor.mT
    law = part(features)
    torch.testing.assert_close(law.covariance_matrix, covariance)
    y = torch.randn(3, 3, dtype=torch.float64)
    exact = torch.distributions.MultivariateNormal(loc, covariance).log_prob(y)
    torch.testing.assert_close(law.log_prob(y), exact)
    full, features = built(ps.Gaussian(covariance="full", min_scale=0.3), ps.Reals(3))
    lower = full(features).scale_tril
    assert torch.equal(lower, lower.tril())
    assert float(lower.diagonal(dim1=-2, dim2=-1).min()) > 0.3


@pytest.mark.parametrize("likelihood", NORMAL.values(), ids=NORMAL)
@torch.no_grad()
def test_an_element_may_be_known_in_part(likelihood):
    """log P of what is known is an integral over the rest, which is drawn from its law given the known."""
    part, features = built(likelihood, ps.Reals(2))
    law = part(features[:1])
    at, log_weight = axis(likelihood, 2001)
    y = torch.tensor([[0.7, torch.nan]], dtype=torch.float64)
    torch.manual_seed(0)
    filled, log_prob = complete(law.expand((1_000,)), y.expand(1_000, 2), ~y.isnan().expand(1_000, 2))
    joint = law.log_prob(torch.stack([torch.full_like(at, 0.7), at], -1).unsqueeze(1)).squeeze(1) + log_weight
    torch.testing.assert_close(log_prob, joint.logsumexp(0).expand(1_000), rtol=0, atol=1e-4)
    uniform = np.interp(filled[:, 1], at, middle(joint.softmax(0)))
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("likelihood", [ps.Gaussian(covariance="full"), ps.Gaussian(covariance="low-rank", rank=2)])
def test_a_nearly_singular_covariance_may_be_known_in_part_in_float32(likelihood):
    part, features = built(likelihood, ps.Reals(3), torch.float32)
    with torch.no_grad():
        part.project.weight.zero_()
        scales = torch.tensor([0.0, -30.0, -30.0])
        part.project.bias.copy_(torch.cat([torch.zeros(3), scales, torch.ones(part.widths[2])]))
    law = part(features)
    y = torch.tensor([[0.5, 0.5, torch.nan]]).expand(3, 3)
    filled, log_prob = complete(law, y, ~y.isnan())
    lower = law.scale_tril[0].detach().double().numpy()
    covariance = (lower @ lower.T)[:2, :2]
    square = y[0, :2].double().numpy() @ np.linalg.solve(covariance, y[0, :2].double().numpy())
    exact = -0.5 * (square + np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert filled.dtype == log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob.detach(), torch.full((3,), float(exact)), rtol=1e-4, atol=0)


@torch.no_grad()
def test_the_moments_of_a_student_law_and_the_bounds_of_its_freedom():
    part, features = built(ps.StudentT(min_scale=0.5, min_df=3.0, max_df=9.0), ps.Reals(2))
    law = part(1e6 * features).base_dist
    assert float(law.df.min()) == pytest.approx(3)
    assert float(law.df.max()) == pytest.approx(9)
    assert float(law.scale.min()) == 0.5
    assert law.variance.isfinite().all()


def test_an_angle_wraps():
    part, features = built(ps.VonMises(), ps.Reals(1))
    law = part(features)
    ends = law.log_prob(torch.tensor([[[-math.pi]], [[math.pi]]], dtype=torch.float64).expand(2, 3, 1))
    torch.testing.assert_close(ends[0], ends[1])
    # The mean turns past π without a jump in the density.
    with torch.no_grad():
        part.project.weight.zero_()
        part.project.bias.copy_(torch.tensor([-1.0, 1e-9, 0.0]))
        above = part(features).log_prob(torch.full((3, 1), 3.0, dtype=torch.float64))
        part.project.bias[1] = -1e-9
        below = part(features).log_prob(torch.full((3, 1), 3.0, dtype=torch.float64))
    torch.testing.assert_close(above, below, rtol=0, atol=1e-8)


def test_counts_have_the_mean_and_the_variance_that_are_said():
    part, features = built(ps.NegativeBinomial(), ps.Reals(1))
    raw, dispersion = part.project(features).chunk(2, -1)
    mean, dispersion = 1e-6 + raw.exp(), 1e-4 + torch.log1p((math.e - 1) * dispersion.exp())
    values = torch.arange(2_000.0, dtype=torch.float64)
    probability = part(features).log_prob(values.reshape(-1, 1, 1)).exp()
    first = (probability * values.unsqueeze(1)).sum(0)
    torch.testing.assert_close(first, mean.squeeze(1))
    second = (probability * (values.unsqueeze(1) - first).square()).sum(0)
    torch.testing.assert_close(second, (mean + dispersion * mean.square()).squeeze(1))


def test_zeros_are_inflated():
    part, features = built(ps.ZeroInflated(ps.Poisson()), ps.Reals(2))
    gate, base = torch.sigmoid(part.project(features)), part.likelihood(features).base_dist
    y = torch.tensor([[0.0, 2.0]], dtype=torch.float64).expand(3, 2)
    by_hand = ((1 - gate) * base.log_prob(y).exp() + gate * (y == 0)).log().sum(-1)
    torch.testing.assert_close(part.log_prob(features, y), by_hand)


def test_grades_are_what_the_cumulative_logit_says():
    part, features = built(ps.Ordinal(), ps.Tokens(5))
    torch.testing.assert_close(part.logits(0 * features).exp(), torch.full((3, 5), 0.2).double())
    with torch.no_grad():
        part.gaps.add_(torch.randn(3))
        cuts = part.lowest + torch.cat([torch.zeros(1), (1e-4 + part.gaps.exp().log1p()).cumsum(0)])
        below = torch.sigmoid(cuts - part.project(features))
        by_hand = torch.cat([below, torch.ones(3, 1)], 1) - torch.cat([torch.zeros(3, 1), below], 1)
        torch.testing.assert_close(part.logits(features).exp(), by_hand)


def test_levels_are_cut_out_of_logistic_laws():
    part, features = built(ps.DiscretisedLogistic(2, levels=8), ps.Reals(1))
    loc, scale, log_weights = (each.squeeze(1).detach().unsqueeze(-1).numpy() for each in part.parameters_of(features))
    edges = np.concatenate([[-np.inf], np.arange(7) + 0.5, [np.inf]])
    mass = np.diff(stats.logistic.cdf(edges, loc, scale), axis=-1)
    by_hand = torch.tensor((np.exp(log_weights) * mass).sum(1))
    values = torch.arange(8.0, dtype=torch.float64).reshape(8, 1, 1).expand(8, 3, 1)
    torch.testing.assert_close(part(features).log_prob(values).exp().T, by_hand)

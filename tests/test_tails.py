"""Far out and at every scale, in float32: values and gradients against scipy in float64."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln, logsumexp

import probseq as ps

SCALES = (1e-6, 1.0, 1e6)


def softplus(raw):
    return np.logaddexp(0, raw + math.log(math.e - 1))


def raw_of(above):
    """What `softplus` takes to come to `above`."""
    return above + math.log(-math.expm1(-above)) - math.log(math.e - 1)


def normal(raw, y):
    return stats.norm.logpdf(y, raw[0], 1e-12 + softplus(raw[1])).sum()


def student(raw, y):
    df = 2 * 50 ** (1 / (1 + np.exp(-raw[2])))
    return stats.t.logpdf(y, df, raw[0], 1e-12 + softplus(raw[1])).sum()


def mixture(raw, y):
    """The biases of the first component, of the second, of the weights."""
    each = np.array([normal(raw[:2], y), normal(raw[2:4], y)])
    return logsumexp(each + raw[4:] - logsumexp(raw[4:]))


def full(raw, y):
    lower = np.diag(1e-12 + softplus(raw[2:4]))
    lower[1, 0] = raw[4]
    return multivariate(raw[:2], lower @ lower.T, y)


def low_rank(raw, y):
    scale, factor = 1e-12 + softplus(raw[2:4]), raw[4:].reshape(2, 1)
    return multivariate(raw[:2], np.diag(scale**2) + factor @ factor.T, y)


def multivariate(loc, covariance, y):
    # In units of its own scale: scipy takes small eigenvalues for none.
    unit = np.sqrt(covariance[0, 0])
    return stats.multivariate_normal.logpdf((y - loc) / unit, cov=covariance / unit**2) - len(y) * np.log(unit)


def poisson(raw, y):
    return stats.poisson.logpmf(y, 1e-12 + np.exp(raw[0])).sum()


def negative_binomial(raw, y):
    mean, dispersion = 1e-12 + np.exp(raw[0]), 1e-4 + softplus(raw[1])
    # scipy.stats asks for a probability near 1, and takes log Γ from log Γ: Γ(y + r) / Γ(r) is a product.
    rising = gammaln(y[0] + 1 / dispersion) - gammaln(1 / dispersion) + y[0] * np.log(dispersion)
    rising = np.log1p(dispersion * np.arange(y[0])).sum() if y[0] < 1e6 else rising
    return rising + y[0] * np.log(mean) - gammaln(y[0] + 1) - (y[0] + 1 / dispersion) * np.log1p(dispersion * mean)


def levels(raw, y):
    """One logistic law over 0 … 255, by log survival functions, of which the right tail does not cancel."""
    law = stats.logistic(127.5 + 128 * raw[0], 1e-12 + 32 * softplus(raw[1]))
    nearer, farther = law.logsf(y - 0.5), law.logsf(y + 0.5)
    return (nearer + np.log(-np.expm1(farther - nearer))).sum()


def angle(raw, y):
    return stats.vonmises.logpdf(y, (1e-12 + softplus(raw[2])) ** -2, np.arctan2(raw[1], raw[0])).sum()


def affine(raw, y):
    """Three affine maps of one number: their shifts and log-scales."""
    z, log_det = y[0], 0.0
    for shift, raw_scale in raw.reshape(3, 2):
        log_scale = raw_scale / (1 + abs(raw_scale / math.log(1e-3)))
        z, log_det = z * np.exp(log_scale) + shift, log_det + log_scale
    return stats.norm.logpdf(z) + log_det


def cases():
    """Name, part, its biases, y, and what scipy says of the biases and y."""
    for s in SCALES:
        loc, raw = 0.7 * s, raw_of(s)
        yield f"Gaussian, {s:g}", ps.Gaussian(min_scale=1e-12), [loc, raw], [loc + 30 * s], normal
        yield f"StudentT, {s:g}", ps.StudentT(min_scale=1e-12), [loc, raw, 0.4], [loc - 30 * s], student
        part = ps.MixtureOf(ps.Gaussian(min_scale=1e-12), 2)
        yield f"MixtureOf, {s:g}", part, [loc, raw, -loc, raw, 1.0, -0.5], [loc + 30 * s], mixture
        part = ps.Gaussian(min_scale=1e-12, covariance="full")
        yield f"full, {s:g}", part, [loc, loc, raw, raw, 0.8 * s], [loc + 30 * s, -20 * s], full
        part = ps.Gaussian(min_scale=1e-12, covariance="low-rank", rank=1)
        yield f"low-rank, {s:g}", part, [loc, loc, raw, raw, 0.8 * s, s], [loc + 30 * s, -20 * s], low_rank
        mean, out = math.log(1.1 * s), max(1.0, float(round(s + 30 * math.sqrt(s))))
        yield f"Poisson, {s:g}", ps.Poisson(min_mean=1e-12), [mean], [out], poisson
        for dispersion in (-9.0, 0.5):
            name, wide = f"NegativeBinomial, {s:g}, {dispersion:g}", 1e-4 + softplus(dispersion)
            out = max(1.0, float(round(s + 30 * math.sqrt(s + wide * s * s))))
            yield name, ps.NegativeBinomial(min_mean=1e-12), [mean, dispersion], [out], negative_binomial
        part = ps.DiscretisedLogistic(1, levels=256, min_scale=1e-12)
        place = (200 - 30 * max(s, 1.0) - 127.5) / 128
        yield f"levels, {s:g}", part, [place, raw_of(s / 32), 0.3], [200.0], levels
        part, away = ps.VonMises(min_scale=1e-12), 0.5 + min(30 * s, 2.5)
        yield f"VonMises, {s:g}", part, [math.cos(0.5), math.sin(0.5), raw], [away], angle
        bent = -math.log(1.3 * s) / 3
        bent = bent / (1 - abs(bent / math.log(1e-3)))
        yield f"Flow, {s:g}", ps.Flow("affine", transforms=3, hidden=(2,)), [0.3, bent] * 3, [30.1 * s], affine


CASES = {name: rest for name, *rest in cases()}


@pytest.mark.parametrize(("part", "raw", "y", "oracle"), CASES.values(), ids=CASES)
def test_far_out_values_and_gradients_are_those_of_scipy(part, raw, y, oracle):
    torch.manual_seed(0)
    part.build(1, ps.Reals(len(y)))
    for parameter in part.parameters():
        torch.nn.init.zeros_(parameter)
    ends = [p for name, p in part.named_parameters() if name.endswith("bias") and "hyper.0" not in name]
    raw, y = torch.tensor(raw), torch.tensor(y, requires_grad=True)
    with torch.no_grad():
        for parameter, value in zip(ends, raw.split([p.numel() for p in ends]), strict=True):
            parameter.copy_(value)
    value = part.log_prob(torch.zeros(1, 1), y.unsqueeze(0))
    gradient = torch.autograd.grad(value, [*ends, y])
    assert value.dtype == torch.float32
    point = np.concatenate([raw.double().numpy(), y.detach().double().numpy()])
    near(value, [oracle(point[: len(raw)], point[len(raw) :])])
    count = len(raw) if part(torch.zeros(1, 1)).support.is_discrete else len(point)
    slopes = [slope(lambda p: oracle(p[: len(raw)], p[len(raw) :]), point, i) for i in range(count)]
    by_hand, noise = zip(*slopes, strict=True)
    near(torch.cat([g.flatten() for g in gradient])[:count], by_hand, noise)


def near(found, expected, noise=0.0):
    """Within 1e-4, but for what the difference quotient itself does not know."""
    found, expected = found.detach().double().numpy(), np.array(expected)
    assert np.isfinite(found).all()
    off = np.abs(found - expected)
    assert (off <= 1e-4 * np.abs(expected) + np.array(noise) + 1e-9).all(), (found, expected, noise)


def slope(function, point, i):
    """A central difference of fourth order, and its error by rounding."""
    step = 1e-4 * abs(point[i])
    moved = [point + k * step * np.eye(len(point))[i] for k in (-2, -1, 1, 2)]
    a, b, c, d = (function(each) for each in moved)
    return (a - 8 * b + 8 * c - d) / (12 * step), 1e-14 * abs(a) / step


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6])
def test_what_a_low_rank_factor_explains_does_not_drown_the_rest(ratio):
    """Three dimensions that all but agree: by Woodbury's identity in float32, 1e-4 is off by more than a nat."""
    part = ps.Gaussian(min_scale=1e-9, covariance="low-rank", rank=2)
    part.build(1, ps.Reals(3))
    raw = torch.tensor([0.0] * 3 + [raw_of(ratio)] * 3 + [1.0, 0.5, 1.0, 0.5, 1.0, 0.4])
    with torch.no_grad():
        part.project.weight.zero_()
        part.project.bias.copy_(raw)
    y = torch.tensor([[1.0, 1.0 + 30 * ratio, 1.0]])
    exact = raw.double().numpy()
    scale, factor = 1e-9 + softplus(exact[3:6]), exact[6:].reshape(3, 2)
    covariance = np.diag(scale**2) + factor @ factor.T
    off = y[0].double().numpy()
    by_hand = -0.5 * (off @ np.linalg.solve(covariance, off) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    torch.testing.assert_close(part.log_prob(torch.zeros(1, 1), y).item(), by_hand, rtol=1e-4, atol=0)

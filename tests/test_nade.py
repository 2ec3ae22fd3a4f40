"""Vectors whose dimensions depend on each other."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

import probseq as ps
from probseq.mixed import Mixed

FEATURES = 3


def built(element, nade, dtype=torch.float64, seed=0):
    """The likelihood and features of batch (2, 3), with dependence strong enough that a wrong factor shows."""
    torch.manual_seed(seed)
    element, nade = element.fresh(), nade.fresh()
    element.build()
    nade.build(FEATURES, element)
    nade = nade.to(dtype)
    with torch.no_grad():
        for parameter in nade.parameters():
            parameter.mul_(2)
    return nade, torch.randn(2, 3, FEATURES, dtype=dtype)


def parameters_of(nade, features, y, place):
    """The parameters of the law of the dimension that comes `place`-th, for one vector, as the formula says."""
    raw = nade.project(features)
    order, sizes = nade.each.forth.tolist(), getattr(nade.each, "sizes", None)
    hidden = raw[: nade.size]
    for i in range(place):
        value = y[order[i]]
        if sizes is None:
            hidden = hidden + nade.each.inputs[i] * value
        else:
            hidden = hidden + nade.each.inputs[int(sizes[:i].sum()) + int(value)]
    own = raw[nade.size :].reshape(len(order), -1)[place]
    return own + torch.sigmoid(hidden) @ nade.each.outputs[place]


def by_hand(nade, features, y, factor):
    """log P(y) of one vector, a dimension at a time."""
    order = nade.each.forth.tolist()
    return sum(
        factor(parameters_of(nade, features, y, place).detach().numpy(), float(y[j]), j)
        for place, j in enumerate(order)
    )


def bit(raw, y, j):
    return float(stats.bernoulli.logpmf(y, 1 / (1 + math.exp(-raw[0]))))


def normals(components, floor):
    def factor(raw, y, j):
        loc, scale, logits = np.split(raw, [components, 2 * components])
        weights = np.exp(np.append(0.0, logits))
        scale = floor + np.logaddexp(0, scale + math.log(math.e - 1))
        return math.log((weights / weights.sum() * stats.norm.pdf(y, loc, scale)).sum())

    return factor


def symbol(sizes):
    def factor(raw, y, j):
        p = np.exp(raw[: sizes[j]])
        return math.log(p[int(y)] / p.sum())

    return factor


SIZES = (2, 4, 3)
CASES = {
    "bits": (ps.Bits(4), ps.NADE(5), bit),
    "bits, descending": (ps.Bits(4), ps.NADE(5, order="descending"), bit),
    "bits, in an order": (ps.Bits(4), ps.NADE(5, order=(2, 0, 3, 1)), bit),
    "choices": (ps.Choices(SIZES), ps.NADE(5), symbol(SIZES)),
    "choices, in an order": (ps.Choices(SIZES), ps.NADE(5, order=(2, 0, 1)), symbol(SIZES)),
    "reals": (ps.Reals(3), ps.NADE(5, min_scale=0.1), normals(1, 0.1)),
    "reals, mixed, in an order": (ps.Reals(3), ps.NADE(5, order=(1, 2, 0), components=3), normals(3, 1e-4)),
    "bits, independent": (ps.Bits(4), ps.NADE(0), bit),
}
cases = pytest.mark.parametrize(("element", "nade", "factor"), CASES.values(), ids=CASES)
DISCRETE = {name: case[:2] for name, case in CASES.items() if not name.startswith("reals")}
discrete = pytest.mark.parametrize(("element", "nade"), DISCRETE.values(), ids=DISCRETE)


@cases
def test_one_pass_is_a_loop_over_the_dimensions(element, nade, factor):
    nade, features = built(element, nade)
    law = nade(features)
    y = law.sample((2,))
    found = law.log_prob(y).detach()
    assert found.shape == (2, 2, 3)
    for i, j, k in itertools.product(range(2), range(2), range(3)):
        expected = by_hand(nade, features[j, k], y[i, j, k], factor)
        assert float(found[i, j, k]) == pytest.approx(expected, abs=1e-10)


@discrete
def test_the_listed_values_are_all_and_their_probabilities_sum_to_one(element, nade):
    nade, features = built(element, nade)
    law = nade(features)
    values = law.enumerate_support()
    assert values.shape == (element.cardinality, 2, 3, *element.shape)
    assert len(law.enumerate_support(expand=False).flatten(0, 2).unique(dim=0)) == element.cardinality
    assert bool(law.support.check(values).all())
    torch.testing.assert_close(law.log_prob(values).logsumexp(0), torch.zeros(2, 3).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(law.log_prob(law.enumerate_support(expand=False)), law.log_prob(values))


@discrete
def test_samples_follow_the_law(element, nade):
    nade, features = built(element, nade)
    law, draws = nade(features[0, 0]), 20_000
    torch.manual_seed(1)
    drawn = law.sample((draws,))
    values = law.enumerate_support()
    expected = law.log_prob(values).exp().detach() * draws
    observed = (drawn.unsqueeze(1) == values).all(-1).sum(0)
    assert int(observed.sum()) == draws
    large = expected >= 5
    pooled = [torch.cat([each[large], each[~large].sum().reshape(1)]).numpy() for each in (observed, expected)]
    keep = pooled[1] > 0
    assert stats.chisquare(pooled[0][keep], pooled[1][keep]).pvalue > 1e-3


def test_samples_of_reals_follow_the_law_by_their_rosenblatt_transform():
    nade, features = built(ps.Reals(3), ps.NADE(5, order=(1, 2, 0), components=2))
    law = nade(features[0, 0])
    torch.manual_seed(1)
    drawn = law.sample((5_000,))
    y = drawn[:, nade.each.forth]
    raw = law.visible + nade.each.raw(law.hidden.expand(len(y), -1), y)
    uniform = nade.each.law(raw).cdf(y).detach().numpy()
    for column in uniform.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    # Nor does a dimension depend on another, once it is transformed.
    assert all(stats.spearmanr(a, b).pvalue > 1e-3 for a, b in itertools.combinations(uniform.T, 2))


def test_the_density_of_reals_integrates_to_one():
    nade, features = built(ps.Reals(2), ps.NADE(4, components=2, min_scale=0.1))
    u = torch.linspace(-6, 6, 801, dtype=torch.float64)
    grid = u.sinh()
    points = torch.cartesian_prod(grid, grid).reshape(801, 801, 2)
    weights = u.cosh()
    density = nade(features[0, 0]).log_prob(points).exp() * weights * weights.unsqueeze(-1)
    mass = torch.trapezoid(torch.trapezoid(density, u), u)
    assert float(mass.detach()) == pytest.approx(1, abs=1e-4)


def test_a_dimension_depends_on_those_before_it_in_the_order_and_on_no_other():
    for order in ("ascending", "descending", (1, 3, 0, 2)):
        nade, features = built(ps.Reals(4), ps.NADE(5, order=order))
        before = nade.each.forth.tolist()
        y = torch.randn(4, dtype=torch.float64, requires_grad=True)
        hidden, visible = nade(features[0, 0]).hidden, nade(features[0, 0]).visible
        raw = visible + nade.each.raw(hidden, y[nade.each.forth])
        for place, j in enumerate(before):
            moved = torch.autograd.grad(raw[place].sum(), y, retain_graph=True)[0].nonzero().flatten().tolist()
            assert moved == sorted(before[:place]), f"{order}: dimension {j}"


def test_a_size_of_zero_is_independence():
    nade, features = built(ps.Bits(3), ps.NADE(0))
    y = nade(features).sample()
    bits = torch.nn.functional.logsigmoid((2 * y - 1) * nade.project(features))
    torch.testing.assert_close(nade(features).log_prob(y), bits.sum(-1))


@cases
def test_gradients_are_finite_in_single_precision_and_reach_every_weight(element, nade, factor):
    nade, features = built(element, nade, torch.float32)
    features.requires_grad_()
    law = nade(features)
    assert law.log_prob(law.sample()).dtype == torch.float32
    law.log_prob(law.sample()).sum().backward()
    for parameter in [features, *nade.parameters()]:
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
        assert not parameter.numel() or bool((parameter.grad != 0).any())


def test_values_far_out_have_finite_log_probabilities_and_gradients():
    nade, features = built(ps.Reals(2), ps.NADE(4, components=2), torch.float32)
    for scale in (1e-6, 1.0, 30.0, 1e6):
        value = nade.log_prob(features[0], scale * torch.tensor([1.0, -1.0]).expand(3, 2))
        gradients = torch.autograd.grad(value.sum(), list(nade.parameters()))
        assert all(bool(torch.isfinite(each).all()) for each in (value, *gradients))


def test_all_zeros_and_all_ones_are_scored():
    nade, features = built(ps.Bits(4), ps.NADE(5))
    for y in (torch.zeros(3, 4), torch.ones(3, 4)):
        expected = by_hand(nade, features[1, 2], y[2], bit)
        assert nade.log_prob(features[1], y.double())[2].item() == pytest.approx(expected, abs=1e-10)
    assert nade.log_prob(features[0, :0], torch.zeros(0, 4).double()).shape == (0,)


@cases
def test_a_mixture_is_the_sum_of_its_laws(element, nade, factor):
    nade, features = built(element, nade)
    log_weights = torch.randn(2, 3, dtype=torch.float64).log_softmax(-1)
    mixed = nade.mix(features, log_weights)
    other = Mixed(log_weights, [nade(features[:, k]) for k in range(3)])
    y = mixed.sample((4,))
    assert y.shape == (4, 2, *element.shape)
    torch.testing.assert_close(mixed.log_prob(y), other.log_prob(y))


def test_an_expanded_law_is_the_same_law():
    nade, features = built(ps.Choices(SIZES), ps.NADE(5))
    law = nade(features[0, 0])
    wide = law.expand((4, 2))
    y = wide.sample()
    assert (wide.batch_shape, y.shape) == ((4, 2), (4, 2, 3))
    torch.testing.assert_close(wide.log_prob(y), law.log_prob(y))


@pytest.mark.parametrize(("size", "nats"), [(0, math.log(4)), (8, math.log(2))])
def test_of_two_equal_symbols_one_tells_the_other_unless_they_are_independent(size, nats):
    nade, features = built(ps.Choices((2, 2)), ps.NADE(size))
    optimiser = torch.optim.Adam(nade.parameters(), 0.1)
    y = torch.tensor([[0, 0], [1, 1]])
    for _ in range(100):
        optimiser.zero_grad()
        loss = -nade.log_prob(features[0, :1].expand(2, -1), y).mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) == pytest.approx(nats, abs=0.01)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.0, 1.0]], "choices are integers; got torch.float32"),
        ([[0, 3]], r"sequence 0, position 0: got \[0, 3\]; expected symbols below \[2, 3\]"),
        ([[1, 1], [-1, 0]], r"sequence 0, position 1: got \[-1, 0\]"),
        ([[0, 1, 2]], r"Choices\(sizes=\(2, 3\)\) reads elements of shape \(2,\); got \(3,\)"),
    ],
)
def test_choices_outside_their_alphabets_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ps.Choices((2, 3)).conform(ps.Sequences.of([values]))


def test_each_position_of_choices_has_an_embedding_of_its_own():
    element = ps.Choices((2, 3), dim=4)
    element.build()
    weight = element.embedding.weight
    read = element.read(torch.tensor([[[1, 0], [0, 2]]]))
    torch.testing.assert_close(read[0], torch.stack([weight[1] + weight[2], weight[0] + weight[4]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ps.NADE(-1), "NADE needs size ≥ 0; got -1"),
        (lambda: ps.NADE(components=0), "components ≥ 1; got 0"),
        (lambda: ps.NADE(min_scale=0.0), "min_scale must be positive; got 0.0"),
        (lambda: ps.NADE(order="random"), "order must be 'ascending', 'descending'.*got 'random'"),
        (lambda: ps.NADE(order=(0, 2)), r"every dimension's number once; got \(0, 2\)"),
        (lambda: built(ps.Bits(3), ps.NADE(4, order=(1, 0))), "has 3 dimensions, but order names 2"),
        (lambda: built(ps.Bits(3), ps.NADE(4, components=2)), r"Bits\(dim=3\) has no use for 2"),
        (lambda: built(ps.Tokens(3), ps.NADE(4)), "needs a vector element.*For Tokens use Categorical"),
        (lambda: ps.Choices(()), r"Choices needs sizes, all ≥ 1, and dim ≥ 1; got \(\)"),
        (lambda: ps.Choices((2, 0)), r"got \(2, 0\)"),
        (lambda: ps.Choices((2,), dropout=1.0), r"dropout must lie in \[0, 1\); got 1.0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_cannot_be_listed_says_so():
    for element, message in ((ps.Bits(17), "65,536 at most; this has 131,072"), (ps.Reals(2), "discrete element")):
        model = ps.SequenceModel(element, ps.GRU(2), ps.NADE(2), ps.FixedLength(1))
        with pytest.raises(ValueError, match=message):
            ps.exact(model, 1)

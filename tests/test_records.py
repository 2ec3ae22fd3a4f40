"""Elements made of several, and their likelihoods."""

import pyro.distributions as dist
import pytest
import torch

import probseq as ps
from probseq.inference.missing import conform_observed, draw_missing
from probseq.inference.partial import complete
from probseq.mixed import Chained, Concatenated
from tests.parts import RECORDS, model

ELEMENT = ps.Record((ps.Reals(2), ps.Tokens(3, dim=2)))
BESIDE = ps.Product((ps.Gaussian(), ps.Categorical()))
CHAINED = ps.Product((ps.Gaussian(), ps.Categorical()), chained=True)


def strokes(likelihood=BESIDE, element=ELEMENT):
    return model(element, ps.GRU(4), likelihood, ps.BernoulliStop())


def features(made, *shape):
    return torch.randn(
        *shape, made.recurrence.features, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.0, 3.0], r"member 1, Tokens\(size=3, dim=2\): sequence 1, position 1: got 3; expected a token in 0…2"),
        ([0.5, 0.0, 0.5], r"member 1, .*sequence 1, position 1: got \[0.5, 0.0, 0.5\]; expected a whole number"),
        ([0.5, 0.0, float("nan")], r"member 1, .*position 1: .*expected a whole number"),
        ([float("inf"), 0.0, 1.0], r"member 0, Reals\(dim=2\): sequence 1, position 1: .*expected finite numbers"),
    ],
)
def test_a_bad_value_is_named_by_member_sequence_and_position(row, message):
    y = ps.Sequences.of([[[0.0, 0.0, 1.0]], [[0.0, 0.0, 2.0], row]])
    with pytest.raises(ValueError, match=message):
        strokes().log_prob(y)


def test_elements_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"reads elements of shape \(3,\); got \(2,\)"):
        strokes().log_prob(ps.Sequences.of([[[0.0, 1.0]]]))


def test_a_members_support_is_its_own():
    made = strokes(ps.Product((ps.Parametric(dist.LogNormal), ps.Categorical())))
    with pytest.raises(ValueError, match=r"member 0, .*sequence 0, position 0: got \[1.0, -1.0\]"):
        made.log_prob(ps.Sequences.of([[[1.0, -1.0, 0.0]]]))
    assert torch.isfinite(made.log_prob(ps.Sequences.of([[[1.0, 2.0, 0.0]], []]))).all()


def test_integers_and_doubles_are_taken_by_a_model_in_single_precision():
    made = strokes(CHAINED).float()
    whole = ps.Sequences.of([[[1, 0, 2], [0, 1, 1]], []])
    torch.testing.assert_close(made.log_prob(whole), made.log_prob(whole.to(dtype=torch.float64)).float())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: ps.Record(()), "one element at least"),
        (lambda: ps.Record((ps.GRU(3),)), r"needs elements such as .*; got GRU\(size=3\)"),
        (lambda: ps.Product(()), "one likelihood at least"),
        (lambda: ps.Product((ps.Gaussian(), ps.Pointer())), r"got Pointer\(\)"),
        (lambda: strokes(ps.Gaussian()), r"a law for each member: Product"),
        (lambda: strokes(ps.Product((ps.Gaussian(),))), "needs a Record of 1 members"),
        (lambda: strokes(BESIDE, ps.Reals(3)), r"needs a Record of 2 members; got Reals\(dim=3\)"),
        (
            lambda: strokes(CHAINED, ps.Record((ps.Reals(2, feedback=False), ps.Tokens(3)))),
            "chained=True needs members that are read back in",
        ),
        (lambda: ps.SequenceModel(ELEMENT, ps.GRU(4), BESIDE, ps.EndSymbol()), "adds a symbol to the alphabet"),
    ],
)
def test_parts_that_do_not_go_together(parts, message):
    with pytest.raises(ValueError, match=message):
        parts()


def test_beside_each_other_the_members_have_the_product_of_their_laws():
    made = strokes()
    h = features(made, 7)
    y = made.likelihood(h).sample((5,))
    reals, tokens = made.likelihood.likelihoods
    expected = reals(h).log_prob(y[..., :2]) + tokens(h).log_prob(y[..., 2].long())
    torch.testing.assert_close(made.likelihood(h).log_prob(y), expected, rtol=0, atol=1e-12)


def test_chained_each_member_has_its_law_given_those_before():
    made = strokes(CHAINED)
    h = features(made, 7)
    y = made.likelihood(h).sample((5,))
    reals, tokens = made.likelihood.likelihoods
    joint = torch.cat([h.expand(5, 7, -1), y[..., :2]], -1)
    expected = reals(h).log_prob(y[..., :2]) + tokens(joint).log_prob(y[..., 2].long())
    torch.testing.assert_close(made.likelihood(h).log_prob(y), expected, rtol=0, atol=1e-12)
    every = torch.cat([y[..., :2].expand(3, 5, 7, 2), torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 5, 7, 1)], -1)
    torch.testing.assert_close(
        made.likelihood(h).log_prob(every).logsumexp(0), reals(h).log_prob(y[..., :2]), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("chained", [False, True])
def test_the_mass_over_a_token_and_a_real_is_one(chained):
    likelihood = ps.Product((ps.Categorical(), ps.Gaussian()), chained)
    made = strokes(likelihood, ps.Record((ps.Tokens(2, dim=2), ps.Reals(1))))
    grid = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    y = torch.stack(torch.broadcast_tensors(torch.arange(2.0).double().reshape(2, 1), grid), -1).unsqueeze(-2)
    density = made.likelihood(features(made, 3)).log_prob(y).exp()
    mass = torch.trapezoid(density, grid, dim=1).sum(0)
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("element", "likelihood"), RECORDS.values(), ids=RECORDS)
def test_laws_expand_and_know_their_support(element, likelihood):
    law = strokes(likelihood, element).likelihood
    h = torch.zeros(3, 4, dtype=torch.float64)
    wide = law(h).expand((2, 3))
    y = wide.sample((5,))
    assert y.shape == (5, 2, 3, *element.shape)
    torch.testing.assert_close(wide.log_prob(y), law(h).log_prob(y), rtol=0, atol=1e-12)
    assert bool(wide.support.check(y).all())
    assert not bool(wide.support.check(y + 0.5 - 4.0).any())


@pytest.mark.parametrize("likelihood", [BESIDE, CHAINED], ids=["beside", "chained"])
def test_a_mixture_of_products_sums_joint_probabilities(likelihood):
    made = strokes(likelihood)
    h, log_weights = features(made, 5, 3), torch.randn(5, 3, dtype=torch.float64).log_softmax(-1)
    mixed = made.likelihood.mix(h, log_weights)
    y = mixed.sample()
    each = made.likelihood(h).log_prob(y.unsqueeze(1).expand(5, 3, 3))
    torch.testing.assert_close(mixed.log_prob(y), (each + log_weights).logsumexp(-1), rtol=0, atol=1e-12)


def test_members_that_are_observed_are_scored_and_the_others_drawn():
    made = strokes()
    law = made.likelihood(features(made, 4))
    assert isinstance(law, Concatenated)
    y, observed = law.sample(), torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 1, 0]]).bool()
    filled, log_prob = complete(law, torch.where(observed, y, torch.nan), observed)
    assert bool(law.support.check(filled).all())
    assert torch.equal(filled[observed], y[observed])
    reals, tokens = law.laws
    each = reals.base_dist.log_prob(y[:, :2])
    marks = tokens.log_prob(y[:, 2].long())
    expected = torch.where(observed, torch.cat([each, marks.unsqueeze(-1)], -1), 0.0).sum(-1)
    torch.testing.assert_close(log_prob, expected, rtol=0, atol=1e-12)


def test_a_mixture_of_whole_elements_weighs_its_parts_by_the_observed_members():
    made = strokes(ps.MixtureOf(BESIDE, 2))
    law = made.likelihood(features(made, 1))
    y = law.sample()
    for token in range(3):
        filled, log_prob = complete(
            law, torch.tensor([[torch.nan, torch.nan, token]]), torch.tensor([[False, False, True]])
        )
        each = torch.stack([part.laws[1].log_prob(torch.tensor([token])) for part in law.laws], -1)
        torch.testing.assert_close(log_prob, (each + law.log_weights).logsumexp(-1), rtol=0, atol=1e-12)
        assert float(filled[0, 2]) == token
    filled, log_prob = complete(law, y, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(log_prob, law.log_prob(y), rtol=0, atol=1e-12)


def test_chained_members_are_observed_or_missing_together():
    made = strokes(CHAINED)
    law = made.likelihood(features(made, 2))
    assert isinstance(law, Chained)
    y = law.sample()
    filled, log_prob = complete(law, y, torch.tensor([[True] * 3, [False] * 3]))
    assert torch.equal(filled[0], y[0])
    torch.testing.assert_close(log_prob, torch.stack([law.log_prob(y)[0], y.new_zeros(())]), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="an element is partly missing, and Chained cannot"):
        complete(law, y, torch.tensor([[True, True, False]] * 2))


def test_what_is_missing_of_whole_sequences_is_drawn():
    made = strokes()
    nan = float("nan")
    y = ps.Sequences.of([[[0.1, 0.2, nan], [nan, 0.4, 1.0], [0.5, nan, 2.0]], [[0.3, 0.3, 0.0]]])
    checked, observed = conform_observed(made, y)
    drawn, log_q = draw_missing(made, made.encode(None, 2), checked, observed)
    assert torch.equal(drawn.values[observed], checked.values[observed])
    assert torch.isfinite(made.log_prob(drawn)).all()
    assert torch.isfinite(log_q).all()


def test_models_of_other_members_are_not_mixed():
    turned = ps.Record((ps.Tokens(3, dim=2), ps.Reals(2)))
    other = strokes(ps.Product((ps.Categorical(), ps.Gaussian())), turned)
    ps.Mixture([strokes(), strokes(CHAINED)])
    with pytest.raises(ValueError, match="element"):
        ps.Mixture([strokes(), other])

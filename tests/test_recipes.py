"""What each recipe makes is a model like any other."""

import math

import pytest
import torch

import probseq as ps
from probseq import recipes, testing

N = 24


def ragged(symbols, seed=0, longest=5):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(symbols, (N, longest), generator=generator)
    return ps.Sequences(values, torch.arange(N) % longest + 1)


def reals(length, dim, seed=0):
    return torch.randn(N, length, dim, generator=torch.Generator().manual_seed(seed))


def along(x, symbols):
    """y of the lengths of x."""
    return ps.Sequences(ragged(symbols, seed=1).values, x.lengths)


X = ragged(4)
RECIPES = {
    "language_model": (lambda: recipes.language_model(5, size=8, layers=2, dropout=0.2), ragged(5), None),
    "tagger": (lambda: recipes.tagger(4, 3, size=8, dropout=0.2), along(X, 3), X),
    "causal tagger": (lambda: recipes.tagger(4, 3, size=8, bidirectional=False), along(X, 3), X),
    "independent tagger": (lambda: recipes.tagger(4, 3, size=8, feedback=False), along(X, 3), X),
    "tagger of vectors": (
        lambda: recipes.tagger(ps.Reals(2), 3, size=8),
        ps.Sequences(torch.ones(N, 6, dtype=torch.int64), [6] * N),
        reals(6, 2),
    ),
    "image_model": (lambda: recipes.image_model(2, 3, size=8), ps.raster(reals(6, 1).reshape(N, 2, 3, 1).gt(0)), None),
    "classifier": (lambda: recipes.classifier(4, 3, size=8, dropout=0.2), ps.Sequences.single(torch.arange(N) % 3), X),
    "classifier of vectors": (
        lambda: recipes.classifier(ps.Reals(2), 3, size=8),
        ps.Sequences.single(torch.arange(N) % 3),
        reals(6, 2),
    ),
    "regressor": (lambda: recipes.regressor(4, 2, size=8), ps.Sequences.single(reals(1, 2)[:, 0]), X),
    "forecaster": (lambda: recipes.forecaster(2, size=8), ps.Sequences(reals(6, 2), torch.arange(N) % 6 + 1), None),
    "forecaster with covariates": (
        lambda: recipes.forecaster(1, size=8, covariates=2),
        ps.Sequences(reals(6, 1), [6] * N),
        reals(6, 2, seed=1),
    ),
    "forecaster of a fixed length": (
        lambda: recipes.forecaster(1, size=8, length=6, dropout=0.2),
        ps.Sequences(reals(6, 1), [6] * N),
        None,
    ),
}
every = pytest.mark.parametrize(("make", "y", "x"), RECIPES.values(), ids=RECIPES)


@every
def test_a_recipe_trains_scores_samples_and_is_saved(make, y, x, tmp_path):
    torch.manual_seed(0)
    model = make()
    before = float(model.log_prob(y, x).sum().detach())
    data = y if x is None else (y, x)
    ps.fit(model, data, max_epochs=4, learning_rate=1e-2, progress=False)
    after = model.log_prob(y, x)
    assert float(after.sum().detach()) > before
    drawn = model.sample(2, x, max_length=6, generator=0)
    assert len(drawn) == (2 if x is None else 2 * N)
    assert torch.equal(ps.load(ps.save(model, tmp_path / "model")).log_prob(y, x), after)


@every
def test_a_recipe_keeps_the_laws(make, y, x):
    torch.manual_seed(0)
    model, rows = make().double(), torch.arange(5)
    context = None if x is None else x.select(rows) if isinstance(x, ps.Sequences) else x[rows].double()
    for check in (testing.check_split, testing.check_causal, testing.check_batch_invariant, testing.check_gradients):
        check(model, context)


def test_a_classifier_is_a_softmax_over_its_classes():
    torch.manual_seed(0)
    model = recipes.classifier(4, 3, size=8).double()
    x = ps.Sequences.of([[0, 3, 1], [2], []])
    table = torch.stack([model.log_prob(ps.Sequences.single(torch.full((3,), c)), x) for c in range(3)], 1)
    torch.testing.assert_close(table.exp().sum(1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
    state = model.start(x)
    logits = model.likelihood.project(state.features)
    torch.testing.assert_close(table, logits.log_softmax(-1), rtol=0, atol=1e-12)
    assert math.isclose(float(ps.exact(model, 2, x.select([0])).log_mass), 0, abs_tol=1e-12)


def test_the_class_of_a_sequence_depends_on_all_of_it():
    model = recipes.classifier(ps.Reals(2), 3, size=8).double()
    x = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)
    model.log_prob(ps.Sequences.single(torch.tensor([1])), x).sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(-1) > 0).all()


def test_a_regressor_is_normal_given_its_summary():
    model = recipes.regressor(4, 2, size=8).double()
    x, value = ps.Sequences.of([[0, 3, 1]]), torch.randn(1, 2, dtype=torch.float64)
    state = model.start(x)
    law = model.emit(state.features, state.position, state.context).element
    by_hand = torch.distributions.Normal(law.mean, law.variance.sqrt()).log_prob(value).sum(-1)
    torch.testing.assert_close(model.log_prob(ps.Sequences.single(value), x), by_hand)


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_tagger_gives_one_tag_for_each_element(feedback, bidirectional):
    model = recipes.tagger(4, 3, size=6, bidirectional=bidirectional, feedback=feedback)
    x = ps.Sequences.of([[0, 3, 1], [], [2]])
    assert model.sample(2, x, generator=0).lengths.tolist() == [3, 3, 0, 0, 1, 1]


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_tag_sees_what_comes_later_where_the_tagger_is_bidirectional(bidirectional):
    model = recipes.tagger(4, 3, size=6, bidirectional=bidirectional).double()
    y = ps.Sequences.of([[0, 1, 2]])
    first, other = (model.log_prob_steps(y, ps.Sequences.of([x])).element[0, 0] for x in ([0, 3, 1], [0, 3, 2]))
    assert bool(first != other) == bidirectional


def test_tags_of_another_length_than_what_they_tag():
    model = recipes.tagger(4, 3, size=6)
    with pytest.raises(ValueError, match=r"sequence 1 has 1 elements, but its x .* has 2"):
        model.log_prob(ps.Sequences.of([[0], [1]]), ps.Sequences.of([[0], [1, 2]]))


def test_a_label_that_is_no_class():
    model = recipes.classifier(4, 3, size=6)
    with pytest.raises(ValueError, match=r"sequence 0, position 0: got 3; expected a token in 0…2"):
        model.log_prob(ps.Sequences.single(torch.tensor([3])), ps.Sequences.of([[0]]))


def test_one_number_is_no_batch_of_labels():
    with pytest.raises(ValueError, match=r"single\(\) takes values \(batch, \*element\); got one number, 3"):
        ps.Sequences.single(torch.tensor(3))


def test_recipes_out_of_their_range():
    with pytest.raises(ValueError, match=r"covariates, whose length is that of the series, or a length; got 2 and 9"):
        recipes.forecaster(covariates=2, length=9)
    for make in (
        lambda: recipes.language_model(0),
        lambda: recipes.language_model(3, dropout=1.0),
        lambda: recipes.tagger(0, 3),
        lambda: recipes.tagger(ps.Gaussian(), 3),
        lambda: recipes.classifier(3, 0),
        lambda: recipes.regressor(3, dim=0),
        lambda: recipes.forecaster(covariates=0),
        lambda: recipes.forecaster(length=-1),
    ):
        with pytest.raises(ValueError, match=r"needs|must"):
            make()

"""An output layer that shares the embedding of its element: one set of weights in two places."""

import copy

import pytest
import torch

import probseq as ps
from tests import parts
from tests.test_fit import corpus, quiet, weights

END = ps.EndSymbol()


def tied(size=4, stop=END, dim=4):
    return parts.model(ps.Tokens(3, dim=dim), ps.LSTM(size), ps.Categorical(tied=True), stop)


def test_the_rows_of_the_symbols_are_their_embedding():
    model, features = tied(), torch.randn(5, 4, dtype=torch.float64)
    embedding = model.element.embedding.weight
    projection = model.likelihood.project
    logits = model.likelihood.logits(features)
    torch.testing.assert_close(logits[:, :3], features @ embedding.T + projection.bias[:3])
    torch.testing.assert_close(logits[:, 3:], features @ projection.ends.T + projection.bias[3:])


def test_another_width_is_mapped_to_that_of_the_embedding():
    model, features = tied(size=6), torch.randn(5, 6, dtype=torch.float64)
    hidden = features @ model.likelihood.project.match.weight.T
    logits = model.likelihood.logits(features)
    bias = model.likelihood.project.bias
    torch.testing.assert_close(logits[:, :3], hidden @ model.element.embedding.weight.T + bias[:3])


@pytest.mark.parametrize("dim", [2, 4])
@pytest.mark.parametrize("stop", [END, ps.BernoulliStop()])
def test_shared_weights_are_counted_once(dim, stop):
    model = tied(stop=stop, dim=dim)
    plain = parts.model(ps.Tokens(3, dim=dim), ps.LSTM(4), ps.Categorical(), stop)
    names = dict(model.named_parameters())
    counts = [sum(p.numel() for p in each.parameters()) for each in (plain, model)]
    # A row of 4 weights for each symbol and the end, against one of dim for the end and a map where dim is not 4.
    outcomes = 3 + stop.symbols
    assert counts[0] - counts[1] == 4 * outcomes - dim * stop.symbols - (0 if dim == 4 else 4 * dim)
    assert [name for name in names if "embedding" in name] == ["element.embedding.weight"]
    assert list(model.state_dict()) == list(names)
    assert ps.graph.count_parameters(model, 3).network == counts[1]


def test_the_gradient_of_the_embedding_is_that_of_both_its_places():
    model, y = tied(), ps.Sequences.of([[0, 2, 1], [1]])
    apart = parts.model(ps.Tokens(3, dim=4), ps.LSTM(4), ps.Categorical(), END)
    apart.load_state_dict(model.state_dict(), strict=False)
    projection = model.likelihood.project
    with torch.no_grad():
        apart.likelihood.project.weight.copy_(torch.cat([model.element.embedding.weight, projection.ends]))
        apart.likelihood.project.bias.copy_(projection.bias)
    for each in (model, apart):
        each.log_prob(y).sum().backward()
    torch.testing.assert_close(model.log_prob(y), apart.log_prob(y))
    both = apart.element.embedding.weight.grad + apart.likelihood.project.weight.grad[:3]
    torch.testing.assert_close(model.element.embedding.weight.grad, both)


def _still_tied(model):
    assert model.likelihood.project.shared[0] is model.element.embedding
    y = ps.Sequences.of([[0, 2, 1]])
    before = model.log_prob(y)
    with torch.no_grad():
        model.element.embedding.weight.mul_(2.0)
    features = torch.ones(1, model.recurrence.features).to(before)
    hidden = model.likelihood.project.match(features)
    expected = hidden @ model.element.embedding.weight.T + model.likelihood.project.bias[:3]
    torch.testing.assert_close(model.likelihood.logits(features)[:, :3], expected)
    assert not torch.equal(model.log_prob(y), before)


@pytest.mark.parametrize("size", [4, 6])
def test_they_stay_one_when_copied_cast_saved_and_averaged(size, tmp_path):
    model = tied(size)
    y = ps.Sequences.of([[0, 2, 1]])
    loaded = ps.load(ps.save(model, tmp_path / "model"))
    assert torch.equal(loaded.log_prob(y), model.log_prob(y))
    original = model.element.embedding.weight.clone()
    for made in (copy.deepcopy(model), loaded, ps.average([model, tied(size)]), copy.deepcopy(model).float()):
        _still_tied(made)
    assert torch.equal(model.element.embedding.weight, original)


def test_a_bound_embedding_is_bound_in_both_places():
    model, y = tied(), ps.Sequences.of([[0, 2, 1]])
    other = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    bound = model.bind({"element.embedding.weight": other})
    changed = tied()
    with torch.no_grad():
        changed.element.embedding.weight.copy_(other)
    torch.testing.assert_close(bound.log_prob(y), changed.log_prob(y))
    (gradient,) = torch.autograd.grad(bound.log_prob(y).sum(), other)
    (expected,) = torch.autograd.grad(changed.log_prob(y).sum(), changed.element.embedding.weight)
    torch.testing.assert_close(gradient, expected)


def test_training_keeps_them_one_and_resumes_to_the_bit(tmp_path):
    def fresh():
        torch.manual_seed(0)
        return ps.SequenceModel(ps.Tokens(3, dim=8), ps.LSTM(12), ps.Categorical(tied=True), ps.EndSymbol())

    once, twice, train = fresh(), fresh(), corpus()
    common = {**quiet, "average": 0.9, "batch_tokens": 256}
    before = once.log_prob(train).mean()
    ps.fit(once, train, train, max_epochs=4, directory=tmp_path / "a", **common)
    ps.fit(twice, train, train, max_epochs=2, directory=tmp_path / "b", **common)
    ps.fit(twice, train, train, max_epochs=4, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(twice))
    assert once.log_prob(train).mean() > before
    _still_tied(once)


def test_what_has_no_embedding_cannot_be_tied():
    with pytest.raises(ValueError, match=r"Categorical\(tied=True\) shares the embedding of its element, but Tokens"):
        ps.SequenceModel(
            ps.Tokens(3, feedback=False), ps.GRU(4), ps.Categorical(tied=True), END, ps.Vector(2, enters="input")
        )
    with pytest.raises(ValueError, match="needs a Tokens element; got Bits"):
        ps.SequenceModel(ps.Bits(3), ps.GRU(4), ps.Categorical(tied=True), ps.BernoulliStop())

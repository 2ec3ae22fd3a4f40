"""Laws of the end, each against its closed form."""

import pytest
import torch

import probseq as ps
from probseq.context import Context
from probseq.likelihoods import Categorical
from probseq.stops import StopPart, reached
from tests.typecheck import unchecked


def step(model, features, position, context=None):
    context = Context.none(len(features)) if context is None else context
    return model.stop.emit(model.likelihood, features, position, context)


def model(stop, context=None, **changes):
    torch.manual_seed(0)
    parts = {"element": ps.Tokens(3), "recurrence": ps.GRU(4), "likelihood": ps.Categorical()} | changes
    made = ps.SequenceModel(stop=stop, context=context, **parts).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, dtype=torch.float64))
    return made


def test_most_laws_have_nothing_of_their_own_beside_the_hazard():
    stop = StopPart()
    assert stop.feed_width == 0
    assert stop.feed(Context.none(2), torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 0)
    assert stop.log_prob(Categorical(), torch.zeros(1, 2, 3), ps.Sequences.of([[0]])) is None
    assert stop.max_length is None


def test_the_end_symbol_is_one_outcome_of_a_softmax():
    made = model(ps.EndSymbol())
    features = torch.randn(2, 5, 4).double()
    found = step(made, features, torch.arange(5))
    law = made.likelihood.logits(features).softmax(-1)
    torch.testing.assert_close(found.log_stop.exp(), law[..., -1])
    torch.testing.assert_close(found.log_go.exp(), law[..., :-1].sum(-1))
    joint = found.log_go.unsqueeze(-1) + found.element.logits
    torch.testing.assert_close(joint.exp(), law[..., :-1])


def test_the_end_symbols_score_is_that_of_the_softmax():
    made = model(ps.EndSymbol())
    y = ps.Sequences.of([[0, 2], [], [1, 1]], ended=[True, True, False])
    features = torch.randn(3, 3, 4).double()
    found = made.stop.log_prob(made.likelihood, features, y)
    law = made.likelihood.logits(features).log_softmax(-1)
    expected = [law[0, 0, 0] + law[0, 1, 2] + law[0, 2, 3], law[1, 0, 3], law[2, 0, 1] + law[2, 1, 1]]
    torch.testing.assert_close(found, torch.stack(expected))


class Later(ps.EndSymbol):
    """An end symbol with a hazard of its own has no faster score."""

    def emit(self, likelihood, features, position, context):
        return super().emit(likelihood, features, position, context)


class Sooner(ps.BernoulliStop):
    def emit(self, likelihood, features, position, context):
        return super().emit(likelihood, features, position, context)


def test_what_overrides_the_hazard_loses_what_was_made_for_it():
    made = model(Later())
    y = ps.Sequences.of([[0]])
    assert made.stop.log_prob(made.likelihood, torch.zeros(1, 2, 4).double(), y) is None
    assert made.stop.least(made.likelihood, 1.0) == 0.0
    other = model(Sooner())
    assert other.stop.least(other.likelihood, 1.0) == 0.0


@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.BernoulliStop()])
@pytest.mark.parametrize("bound", [0.5, 1.0, 3.0])
def test_the_least_hazard_is_below_every_hazard(stop, bound):
    made = model(stop)
    least = made.stop.least(made.likelihood, bound)
    corners = torch.cartesian_prod(*[torch.tensor([-bound, bound]).double()] * 4)
    inside = (2 * torch.rand(2000, 4).double() - 1) * bound
    hazards = (
        step(made, torch.cat([corners, inside]), torch.zeros(1, dtype=torch.int64).expand(2016)).log_stop.exp().detach()
    )
    assert 0 < least <= float(hazards.min()) * (1 + 1e-12)
    if isinstance(stop, ps.BernoulliStop):
        assert float(hazards.min()) == pytest.approx(least)


def test_an_end_symbol_without_a_known_bound_has_none():
    class Unknown:
        pass

    with unchecked():
        assert ps.EndSymbol().least(Unknown(), 1.0) == 0.0


def test_a_coin_stops_with_the_logistic_of_its_logit():
    made = model(ps.BernoulliStop())
    features = torch.randn(2, 3, 4).double()
    found = step(made, features, torch.arange(3))
    p = torch.sigmoid(features @ made.stop.project.weight[0] + made.stop.project.bias)
    torch.testing.assert_close(found.log_stop.exp(), p)
    torch.testing.assert_close(found.log_go.exp(), 1 - p)


@pytest.mark.parametrize("context", [None, ps.Vector(2)])
def test_hazards_of_lengths_multiply_to_their_law(context):
    made = model(ps.LengthStop(3), context)
    x = Context(torch.randn(2, 2).double()) if context else Context.none(2)
    pmf = made.stop.log_pmf(x).exp().expand(2, -1)
    torch.testing.assert_close(pmf.sum(-1), torch.ones(2).double())
    found = step(made, torch.zeros(2, 6, 4).double(), torch.arange(6), x)
    survival = 1.0
    for t in range(4):
        torch.testing.assert_close(survival * found.log_stop[:, t].exp(), pmf[:, t])
        survival = survival * found.log_go[:, t].exp()
    assert survival.tolist() == [0.0, 0.0]
    assert found.log_stop[:, 3:].abs().max() < 1e-12
    assert bool((found.log_go[:, 3:] == -torch.inf).all())
    one = step(made, torch.zeros(2, 4).double(), torch.tensor([1, 2]), x)
    torch.testing.assert_close(one.log_stop, torch.stack([found.log_stop[0, 1], found.log_stop[1, 2]]))
    assert made.stop.log_pmf(x).shape == ((2, 4) if context else (1, 4))


def test_lengths_are_a_table_and_a_linear_map_of_the_context():
    fresh = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.LengthStop(3), ps.Vector(2))
    assert fresh.stop.log_pmf(Context(torch.zeros(1, 2))).exp().tolist() == [[0.25] * 4]
    made = model(ps.LengthStop(3), ps.Vector(2))
    x = torch.randn(5, 2).double()
    logits = made.stop.weight + x @ made.stop.conditional.weight.T
    torch.testing.assert_close(made.stop.log_pmf(Context(x)), logits.log_softmax(1))


def test_a_fixed_length_is_certain():
    made = model(ps.FixedLength(2))
    found = step(made, torch.zeros(1, 4, 4).double(), torch.arange(4))
    assert found.log_stop.tolist() == [[-torch.inf, -torch.inf, 0.0, 0.0]]
    assert found.log_go.tolist() == [[0.0, 0.0, -torch.inf, -torch.inf]]
    assert made.max_length == made.stop.max_length == 2
    assert made.stop.certain


def test_a_length_that_is_known_is_reached_at_it():
    features = torch.zeros(2, 3, 4)
    assert reached(torch.tensor([1, 3]), features, torch.arange(3)).tolist() == [[False, True, True], [False] * 3]
    assert reached(torch.tensor([1, 3]), features[:, 0], torch.tensor([1, 2])).tolist() == [True, False]
    with pytest.raises(ValueError, match="says nothing of the length"):
        reached(None, features, torch.arange(3))


@pytest.mark.parametrize("remaining", [True, False])
def test_a_planned_length_is_fed_as_what_remains(remaining):
    made = model(ps.PlannedLength(3, dim=2, remaining=remaining))
    assert made.stop.feed_width == (2 if remaining else 0)
    planned = made.plan([2, 3])
    fed = made.stop.feed(planned, torch.arange(4).expand(2, 4))
    if not remaining:
        assert fed.shape == (2, 4, 0)
        assert made.stop.embedding is None
        known = step(made, torch.zeros(2, 4, 4).double(), torch.arange(4), planned)
        assert known.log_stop.exp().tolist() == [[0, 0, 1, 1], [0, 0, 0, 1]]
        law = step(made, torch.zeros(1, 4, 4).double(), torch.arange(4))
        plain = model(ps.LengthStop(3))
        plain.stop.weight.data.copy_(made.stop.weight.data)
        torch.testing.assert_close(law.log_stop, step(plain, torch.zeros(1, 4, 4).double(), torch.arange(4)).log_stop)
        return
    rows = made.stop.embedding.weight
    assert rows.shape == (4, 2)
    torch.testing.assert_close(fed[0], rows[[2, 1, 0, 0]])
    torch.testing.assert_close(fed[1], rows[[3, 2, 1, 0]])
    assert made.stop.feed(Context.none(2), torch.arange(4).expand(2, 4)).shape == (2, 4, 0)
    given = step(made, torch.zeros(2, 4, 4).double(), torch.arange(4), planned)
    assert given.log_stop.exp().tolist() == [[0, 0, 1, 1], [0, 0, 0, 1]]


def test_a_window_closes_where_the_last_wait_would_go_beyond():
    made = ps.SequenceModel(
        ps.Reals(1), ps.Clock(ps.GRU(4)), ps.Waiting(), ps.Window(10.0)
    ).double()  # fmt: skip
    features = torch.randn(4, 5).double()
    # The last is beyond the edge by a rounding of the sum of the waits.
    features[:, -1] = torch.tensor([0.0, 4.0, 10.0, 10.0 * (1 + 32 * torch.finfo(torch.float64).eps)]).double()
    features[3, :-1] = features[2, :-1]
    found = made.stop.emit(made.likelihood, features, torch.zeros(4, dtype=torch.int64), Context.none(4))
    assert float(found.log_stop[2]) == pytest.approx(0, abs=1e-6)
    assert float(found.log_stop[3]) == pytest.approx(0, abs=1e-6)
    assert -float("inf") < float(found.log_go[3]) <= float(found.log_go[2])
    assert bool((found.log_stop[:2] < 0).all())
    torch.testing.assert_close(found.log_stop.exp() + found.log_go.exp(), torch.ones(4).double())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ps.LengthStop(-1), "LengthStop needs max_length ≥ 0; got -1"),
        (lambda: ps.FixedLength(-1), "FixedLength needs length ≥ 0; got -1"),
        (lambda: ps.PlannedLength(-1), "PlannedLength needs max_length ≥ 0; got -1"),
        (lambda: ps.PlannedLength(2, dim=0), "PlannedLength needs dim ≥ 1; got 0"),
        (lambda: ps.Window(0.0), "finite end > 0"),
        (lambda: ps.Window(float("inf")), "finite end > 0"),
    ],
)
def test_laws_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_smallest_laws_are_laws():
    for stop in (ps.LengthStop(0), ps.FixedLength(0), ps.PlannedLength(0, dim=1), ps.LengthStop(1), ps.FixedLength(1)):
        made = model(stop)
        assert float(ps.exact(made, 2).log_mass) == pytest.approx(0, abs=1e-10)
    assert model(ps.LengthStop(0)).sample(3).lengths.tolist() == [0, 0, 0]
    assert ps.Window(1e-3).end == 1e-3

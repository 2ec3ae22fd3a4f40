"""Answers about a sequence's future, against enumeration, the forward algorithm and closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

import probseq as ps
from probseq import events
from probseq.inference.queries.answer import quantile
from probseq.oracles import HMM, Automaton, LinearGaussianAR, NGram
from tests import parts

STEPS = 4
EVENTS = {
    "FirstAt": events.FirstAt([1], 3),
    "FirstTime": events.FirstTime([1], STEPS),
    "Within": events.Within([0, 2], 3),
    "Before": events.Before([1], [2], STEPS),
    "At": events.At(3),
    "Count": events.Count([0], STEPS),
    "Length": events.Length(3),
}


def asked(event, y: list[int]) -> list[float] | float:
    """What the event says of one sequence, written out anew."""
    inside = [element in getattr(event, "symbols", []) for element in y]
    first = inside.index(True) + 1 if True in inside else math.inf
    match event:
        case events.FirstAt():
            return float(first == event.step)
        case events.Within():
            return float(first <= event.steps)
        case events.Before():
            others = [element in event.others for element in y]
            return float(first < (others.index(True) + 1 if True in others else math.inf) and first <= event.steps)
        case events.FirstTime():
            found = first - 1 if first <= event.steps else event.steps
            return [float(i == found) for i in range(event.steps + 1)]
        case events.At():
            found = y[event.step - 1] if len(y) >= event.step else 3
            return [float(i == found) for i in range(4)]
        case events.Count():
            return [float(i == sum(inside[: event.steps])) for i in range(event.steps + 1)]
        case events.Length():
            found = len(y) if len(y) <= event.longest else event.longest + 1
            return [float(i == found) for i in range(event.longest + 2)]
    raise AssertionError(event)


@dataclass(frozen=True)
class Listed:
    """All sequences of a model, as `ps.exact` lists them, and what is asked of those that begin so."""

    law: ps.Enumeration

    @staticmethod
    def of(model, context=None, prefix=0):
        return Listed(ps.exact(model, STEPS + prefix, context))

    def answer(self, event, prefix=()):
        prefix, sequences = list(prefix), [y.tolist() for y in self.law.sequences]
        rows = [i for i, y in enumerate(sequences) if y[: len(prefix)] == prefix and len(y) >= len(prefix)]
        said = [asked(event, sequences[i][len(prefix) :]) for i in rows]
        weights = self.law.log_prob[rows].exp()
        return weights @ torch.tensor(said, dtype=torch.float64) / weights.sum()


def network(stop=None, seed=0, size=3, recurrence=None, context=None):
    return parts.model(
        ps.Tokens(size, dim=4), recurrence or ps.GRU(5), ps.Categorical(), stop or ps.EndSymbol(), context, seed
    )


def peaked(seed, size=5):
    """A network of long sequences whose laws depend on what was read."""
    torch.manual_seed(seed)
    model = ps.SequenceModel(ps.Tokens(size, dim=8), ps.GRU(16), ps.Categorical(), ps.EndSymbol()).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
        model.likelihood.project.bias[-1] -= 1.5
    return model


def some_event(generator, size, steps):
    """A random question."""
    draw = [int(i) for i in torch.randint(10**6, (4,), generator=generator)]
    a = draw[0] % size
    b = (a + 1 + draw[1] % (size - 1)) % size
    k = steps - draw[2] % 2
    return [
        events.FirstAt([a], k),
        events.Within([a], k),
        events.Before([a], [b], k),
        events.At(k - 1),
        events.Count([a], k - 1),
        events.FirstTime([a], k),
        events.Length(k - 1),
    ][draw[3] % 7]


MODELS = {
    "EndSymbol": lambda: network(),
    "BernoulliStop": lambda: network(ps.BernoulliStop()),
    "LengthStop": lambda: network(ps.LengthStop(5)),
    "LengthStop, shorter": lambda: network(ps.LengthStop(2)),
    "FixedLength, shorter": lambda: network(ps.FixedLength(2)),
    "PlannedLength": lambda: network(ps.PlannedLength(5, dim=3)),
    "Unrolled Stack": lambda: network(recurrence=ps.Unrolled(ps.LSTM(3))),
    "hmm": lambda: HMM.random(3, 3, generator=1, stop=0.2),
    "automaton": lambda: Automaton("abc", [{"a": (0.5, 1), "b": (0.3, 0)}, {"b": (0.5, 2), "c": (0.5, 0)}, {}]),
    "mixture": lambda: ps.Mixture([network(seed=1), network(ps.LengthStop(3), seed=2)]),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_the_exact_answer_is_that_of_enumeration(make, event):
    model = make()
    truth = Listed.of(model).answer(event)
    for method in ("exact", "hybrid"):
        found = ps.query(model, event, method=method)
        assert bool(found.exact)
        assert float(found.standard_error.max()) == 0
        torch.testing.assert_close(found.estimate[0], truth, rtol=0, atol=1e-10)
        assert ((found.lower <= truth) & (truth <= found.upper)).all()
        assert float((found.upper - found.lower).max()) <= 1e-10


@pytest.mark.parametrize("method", ["hybrid", "importance", "naive"])
@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_every_method_is_unbiased_and_its_errors_are_true(method, event):
    """600 answers, each of so few draws that a bias would show."""
    model, runs = network(), 600
    truth = Listed.of(model).answer(event).reshape(-1)
    found = ps.query(model, event, ps.Context.none(runs), method=method, budget=20, generator=1)
    estimate, error = found.estimate.reshape(runs, -1), found.standard_error.reshape(runs, -1)
    if bool(found.exact.all()):
        return
    spread = estimate.std(0)
    score = (estimate.mean(0) - truth).abs() / (spread / runs**0.5).clamp(min=1e-9)
    assert float(score.max()) <= 4
    seen = spread > 1e-3
    ratio = error.square().mean(0)[seen] / spread[seen].square()
    assert bool(((ratio > 0.6) & (ratio < 1.6)).all())


def test_the_bounds_contain_the_truth_of_1000_random_questions():
    """50 networks, 4 questions each, 5 laws by context."""
    generator, context, runs = torch.Generator().manual_seed(0), ps.Vector(3, enters="both"), 0
    for seed in range(50):
        model = network([ps.EndSymbol(), ps.BernoulliStop(), ps.LengthStop(6)][seed % 3], seed, context=context)
        x = 2 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
        laws = [Listed.of(model, x[row : row + 1]) for row in range(5)]
        for _ in range(4):
            event, budget = some_event(generator, 3, STEPS), int(torch.randint(1, 20, (), generator=generator))
            found = ps.query(model, event, x, budget=budget, generator=seed)
            truth = torch.stack([law.answer(event) for law in laws])
            assert ((found.lower <= truth) & (truth <= found.upper)).all(), (seed, event)
            assert ((found.lower <= found.estimate) & (found.estimate <= found.upper)).all()
            runs += len(x)
    assert runs == 1000


def test_a_search_before_the_draws_halves_the_error_at_equal_cost():
    """The median over 50 questions of hybrid over importance sampling, by enumeration; both beat simulation."""
    generator, hybrid, naive, inside = torch.Generator().manual_seed(1), [], [], []
    for seed in range(50):
        model, event, rows = peaked(seed), some_event(generator, 5, 6), ps.Context.none(8)
        truth = ps.query(model, event, method="exact").estimate
        answers = {
            method: ps.query(model, event, rows, method=method, budget=600, generator=seed)
            for method in ("hybrid", "importance", "naive")
        }
        rmse = {name: float((own.estimate - truth).square().mean().sqrt()) for name, own in answers.items()}
        hybrid.append(rmse["hybrid"] / rmse["importance"])
        naive.append(rmse["importance"] / rmse["naive"])
        low, high = answers["hybrid"].interval()
        inside.append(((low - 1e-12 <= truth) & (truth <= high + 1e-12)).double().mean())
        assert int(answers["hybrid"].cell_steps.max()) <= 660
    assert torch.tensor(hybrid).median() <= 0.5
    assert torch.tensor(naive).median() <= 0.5
    assert 0.92 <= torch.stack(inside).mean() <= 0.99


LONG = {
    "FirstAt": events.FirstAt([0], 12),
    "Within": events.Within([5], 12),
    "Before": events.Before([1], [2], 200),
    "At": events.At(200),
    "Count": events.Count([0], 200),
}


@pytest.mark.parametrize("event", LONG.values(), ids=LONG.keys())
def test_200_steps_of_a_hidden_markov_model_agree_with_the_forward_algorithm(event):
    model = HMM.random(4, 6, length=200, generator=0, concentration=0.5)
    truth = model.query(event)
    truth = truth.squeeze(0) if event.scalar else truth
    for method in ("hybrid", "importance"):
        found = ps.query(model, event, ps.Context.none(4), method=method, budget=6000, generator=0)
        assert ((found.lower <= truth) & (truth <= found.upper)).all()
        low, high = found.interval(1 - 1e-5)
        assert float(((low - 1e-12 <= truth) & (truth <= high + 1e-12)).double().mean()) >= 0.99


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_the_forward_algorithm_agrees_with_enumeration(event):
    model = HMM.random(3, 3, generator=3, stop=0.3)
    truth = Listed.of(model).answer(event).reshape(-1)
    torch.testing.assert_close(model.query(event), truth, rtol=0, atol=1e-12)


def test_models_of_finitely_many_states_are_exact_at_any_horizon():
    """Prefixes that nothing can tell apart are one: the tree of 5²⁰⁰ is a path of few nodes."""
    weather = Automaton("ab", [{"a": (0.6, 0), "b": (0.3, 1)}, {"a": (0.5, 0), "b": (0.4, 1)}])
    found = ps.query(weather, events.Length(199), budget=4000)
    moves, start = torch.tensor([[0.6, 0.3], [0.5, 0.4]], dtype=torch.float64), torch.tensor([1.0, 0.0]).double()
    assert bool(found.exact)
    assert int(found.cell_steps) <= 4000
    expected = (start @ torch.matrix_power(moves, 200)).sum()
    torch.testing.assert_close(found.estimate[0, -1], expected, rtol=1e-9, atol=0)
    gram = NGram(2, 3).fit(ps.Sequences.of([[0, 1, 2, 0, 1], [2, 2, 1], [0, 0, 1, 1]]))
    assert bool(ps.query(gram, events.Before([0], [1], 60), budget=20_000).exact)


def test_a_question_can_be_asked_after_a_beginning():
    model = network()
    law = Listed.of(model, prefix=3)
    begins = [[], [2], [0, 1, 1], [2, 0]]
    for event in EVENTS.values():
        found = ps.query(model, event, prefix=ps.Sequences.of(begins))
        truth = torch.stack([law.answer(event, begin) for begin in begins])
        torch.testing.assert_close(found.estimate, truth, rtol=0, atol=1e-10)


def test_every_row_of_the_context_has_an_answer_of_its_own():
    context = ps.Vector(3, enters="both")
    model, x = network(context=context), 2 * parts.x(context, 3)
    event = events.Count([1], 3)
    found = ps.query(model, event, x, prefix=ps.Sequences.of([[1], [], [0, 2]]))
    for row, begin in enumerate([[1], [], [0, 2]]):
        truth = Listed.of(model, x[row : row + 1], 2).answer(event, begin)
        torch.testing.assert_close(found.estimate[row], truth, rtol=0, atol=1e-10)


def test_models_that_attend_are_asked_like_others():
    source = parts.SOURCES["source from both ends"]
    model = network(context=source, recurrence=ps.Attentive(ps.LSTM(4), feed=True))
    x = parts.x(source, 2)
    found = ps.query(model, EVENTS["Before"], x)
    for row in range(2):
        truth = Listed.of(model, x.select([row])).answer(EVENTS["Before"])
        torch.testing.assert_close(found.estimate[row], truth, rtol=0, atol=1e-10)


def test_symbols_may_be_letters_masks_and_predicates():
    model = parts.model(ps.Tokens(3, dim=4, symbols="xyz"), ps.GRU(5), ps.Categorical(), ps.EndSymbol())
    answers = [
        ps.query(model, events.Within(symbols, 3), prefix="yx").estimate
        for symbols in ("xz", [0, 2], torch.tensor([True, False, True]), lambda y: y != 1)
    ]
    for answer in answers[1:]:
        assert torch.equal(answer, answers[0])
    rows = ps.query(model, events.Within("x", 3), prefix=["", "zz"])
    assert rows.estimate.shape == (2,)


def test_vectors_of_bits_are_symbols_too():
    model = parts.model(ps.Bits(2), ps.LSTM(4), ps.Bernoulli(), ps.BernoulliStop())
    law = ps.exact(model, 2)
    both = law.expectation(lambda y: ((y.values[:, :2] == 1).all(-1) & y.mask()).any(1).double())
    found = ps.query(model, events.Within([[1, 1]], 2)).estimate[0]
    torch.testing.assert_close(found, both, rtol=0, atol=1e-10)
    assert ps.query(model, events.At(1)).estimate.shape == (1, 5)


def test_expectations_are_those_of_enumeration():
    model = network()

    def function(y):
        return torch.stack([y.lengths.double(), y.values[:, :1].sum(1).double(), y.ended.double()], 1)

    for steps in (1, 3):
        event = events.Expectation(function, steps)
        found = ps.query(model, event)
        truth = ps.exact(model, steps).expectation(function)
        assert bool(found.exact)
        torch.testing.assert_close(found.estimate[0], truth, rtol=0, atol=1e-10)
        drawn = ps.query(model, event, method="naive", budget=20_000, generator=0)
        assert bool(((drawn.estimate - truth).abs() <= 5 * drawn.standard_error + 1e-12).all())


def test_expectations_see_what_was_known():
    model = network(ps.LengthStop(4))
    event = events.Expectation(lambda y: y.lengths.double(), 6)
    begins = ps.Sequences.of([[], [1, 2], [0, 0, 1, 1]])
    pmf = model.stop.log_pmf(model.encode(None)).exp().detach()[0]
    for method in ("hybrid", "naive"):
        found = ps.query(model, event, prefix=begins, method=method, generator=0)
        for row, known in enumerate(begins.lengths.tolist()):
            at = torch.arange(5, dtype=torch.float64)[known:]
            truth = (pmf[known:] * at).sum() / pmf[known:].sum()
            assert abs(float(found.estimate[row] - truth)) <= 5 * float(found.standard_error[row]) + 1e-9


def test_what_is_open_at_the_horizon_lies_between_the_bounds():
    """Neither a nor b may come for ever: the estimate leaves that out, and the upper bound has it."""
    model = Automaton("abc", [{"a": (0.1, 1), "b": (0.1, 1), "c": (0.8, 0)}, {}])
    found = ps.query(model, events.Before([0], [1]), budget=2000)
    open_ = 0.8**256
    torch.testing.assert_close(found.estimate, torch.tensor([0.5 * (1 - open_)], dtype=torch.float64))
    assert float(found.upper - found.lower) >= open_
    later = HMM([1.0], [[1.0]], [[0.01, 0.01, 0.98]])
    found = ps.query(later, events.Before([0], [1]), budget=2000)
    torch.testing.assert_close(found.upper - found.lower, torch.tensor([0.98**256]).double(), rtol=1e-6, atol=1e-10)


class Counting:
    """A model that counts what it reads."""

    def __init__(self, model):
        self.model, self.read = model, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def extend(self, state, y):
        self.read += y.shape[0] * y.shape[1]
        return self.model.extend(state, y)


@pytest.mark.parametrize("method", ["hybrid", "importance", "naive", "exact"])
def test_the_cost_is_what_the_model_read(method):
    for event in [EVENTS["Before"], EVENTS["At"], events.Expectation(lambda y: y.lengths, 3)]:
        if method == "importance" and isinstance(event, events.Expectation):
            continue
        model = Counting(network())
        found = ps.query(model, event, ps.Context.none(3), method=method, budget=25, generator=0)
        spare = model.read - int(found.cell_steps.sum())
        assert 0 <= spare <= (3 * 25 if isinstance(event, events.Expectation) else 0)


def test_a_tolerance_stops_early_and_is_kept():
    model, event = peaked(0), events.Within([1], 8)
    truth = ps.query(model, event, method="exact").estimate
    spent = []
    for tolerance in (0.05, 0.005):
        for method in ("hybrid", "importance", "naive"):
            found = ps.query(model, event, method=method, budget=200_000, tolerance=tolerance, generator=0)
            assert float(found.cell_steps) < 200_000
            assert float((found.estimate - truth).abs()) <= 2 * tolerance
            spent.append(float(found.cell_steps))
    assert spent[0] <= spent[3]
    assert spent[2] <= spent[5]


def test_the_same_seed_gives_the_same_answer():
    model, event = peaked(1), events.Count([0], 7)
    answers = [ps.query(model, event, budget=300, generator=5) for _ in range(2)]
    assert torch.equal(answers[0].estimate, answers[1].estimate)


def test_single_precision_and_many_rows_are_answered_alike():
    model = peaked(2)
    event = events.FirstAt([1], 5)
    truth = ps.query(model, event, method="exact").estimate
    found = ps.query(model.float(), event, ps.Context.none(30), budget=40_000, generator=0)
    assert found.estimate.shape == (30,)
    torch.testing.assert_close(found.estimate, truth.expand(30), rtol=0, atol=1e-5)
    assert ((found.lower <= truth) & (truth <= found.upper)).all()


def test_impossible_and_certain_events_are_so():
    model = network(ps.FixedLength(2))
    assert float(ps.query(model, events.FirstAt([0], 3)).estimate) == 0
    torch.testing.assert_close(ps.query(model, events.Within([0, 1, 2], 1)).estimate, torch.ones(1).double())
    assert float(ps.query(model, events.Within([], 4)).estimate) == 0
    for method in ("importance", "naive"):
        assert float(ps.query(model, events.Within([], 4), method=method).estimate) == 0


def test_a_continuous_model_is_simulated():
    model = LinearGaussianAR([], 1.0, 4)
    above = 0.5 * math.erfc(1 / math.sqrt(2))
    questions = {
        events.Within(lambda y: y[:, 0] > 1, 3): 1 - (1 - above) ** 3,
        events.FirstAt(lambda y: y[:, 0] > 1, 2): above * (1 - above),
        events.Before(lambda y: y[:, 0] > 1, lambda y: y[:, 0] <= 1, 4): above,
        events.Expectation(lambda y: y.values[:, :3, 0].square().sum(1), 3): 3.0,
    }
    for event, truth in questions.items():
        found = ps.query(model, event, method="naive", budget=20_000, generator=0)
        assert abs(float(found.estimate) - truth) <= 4 * float(found.standard_error)
        assert 0 < float(found.standard_error) < 0.05


def test_a_monitor_of_your_own_is_an_event():
    """Whether the number of zeros among four is even."""

    @dataclass(frozen=True)
    class Even:
        scalar = True
        sets = ([0],)

        def monitor(self, classes, longest):
            return ps.Monitor.of([[0, 1], [1, 0]], [1, 0], [1, 0], STEPS, [[0.0], [1.0]])

    model = network()
    count = ps.query(model, events.Count([0], STEPS)).estimate
    torch.testing.assert_close(ps.query(model, Even()).estimate, count[:, ::2].sum(1), rtol=0, atol=1e-10)


def test_intervals_are_within_the_bounds_and_by_student():
    found = ps.query(peaked(0), events.Count([0], 7), ps.Context.none(3), budget=200, generator=0)
    low, high = found.interval()
    assert ((found.lower <= low) & (low <= found.estimate) & (found.estimate <= high) & (high <= found.upper)).all()
    undrawn = ps.query(peaked(0), events.Within([0], 8), budget=3000, tolerance=0.5)
    assert int(undrawn.draws) == 0
    assert undrawn.interval() == (undrawn.lower, undrawn.upper)
    for degrees, expected in {3: 3.182446, 10: 2.228139, 60: 2.000298, math.inf: 1.959964}.items():
        got = float(quantile(0.975, torch.tensor([float(degrees)]).double()))
        assert got == pytest.approx(expected, rel=0.01)


BAD = {
    "method": (lambda m: ps.query(m, events.At(1), method="best"), "method"),
    "budget": (lambda m: ps.query(m, events.At(1), budget=0), "budget"),
    "tolerance": (lambda m: ps.query(m, events.At(1), tolerance=-1.0), "tolerance"),
    "step": (lambda m: events.FirstAt([1], 0), "counts steps from 1"),
    "longest": (lambda m: events.Length(-1), "longest"),
    "symbol": (lambda m: ps.query(m, events.Within([3], 2)), "Within.*0…2"),
    "letters": (lambda m: ps.query(m, events.Within("a", 2)), "declares none"),
    "mask": (lambda m: ps.query(m, events.Within(torch.ones(2, dtype=torch.bool), 2)), r"\(3,\)"),
    "prefix": (lambda m: ps.query(m, events.At(1), prefix=ps.Sequences.of([[5]])), "prefix.*0…2"),
    "batch": (lambda m: ps.query(m, events.At(1), ps.Context.none(2), prefix=ps.Sequences.of([[1]])), "batch 2"),
    "large": (lambda m: ps.query(m, events.At(40), method="exact"), "leave the question open.*hybrid"),
    "function": (lambda m: ps.query(m, events.Expectation(lambda y: y.lengths[:1], 2)), "must map"),
    "importance": (lambda m: ps.query(m, events.Expectation(len, 2), method="importance"), "naive"),
    "level": (lambda m: ps.query(m, events.At(1)).interval(1.0), "level"),
}


@pytest.mark.parametrize(("ask", "named"), BAD.values(), ids=BAD.keys())
def test_bad_questions_say_what_is_wrong(ask, named):
    with pytest.raises(ValueError, match=named):
        ask(network())


def test_a_beginning_of_probability_0_is_refused():
    model = Automaton("ab", [{"a": (1.0, 1)}, {"a": (0.5, 1)}])
    with pytest.raises(ValueError, match="prefix 1 has probability 0"):
        ps.query(model, events.At(1), prefix=ps.Sequences.of([[0], [1]]))


def test_continuous_models_are_told_what_they_can_be_asked():
    model = LinearGaussianAR([0.5], 1.0, 4)
    with pytest.raises(ValueError, match='method="naive"'):
        ps.query(model, events.Within(lambda y: y[:, 0] > 1, 3))
    with pytest.raises(ValueError, match="predicate"):
        ps.query(model, events.Within([1.0], 3), method="naive")
    with pytest.raises(ValueError, match="infinitely many"):
        ps.query(model, events.At(1), method="naive")

"""Label smoothing: against sums written out by hand, outcome by outcome."""

import math

import pyro.distributions as dist
import pytest
import torch

import probseq as ps
from probseq.stops import EndSymbol
from tests.parts import ALIGNED
from tests.test_fit import corpus, letters, quiet
from tests.test_signals import PARTS, gradients, ragged_batch

SMOOTHED = {name: parts for name, parts in PARTS.items() if name not in ("Gaussian",)} | {
    "BernoulliStop by Parametric": (ps.Tokens(3), ps.GRU(4), ps.Parametric(dist.Categorical), ps.BernoulliStop()),
    "aligned, EndSymbol": (ps.Tokens(3, dim=4), ps.GRU(5), ps.Categorical(), ps.EndSymbol(), ALIGNED["reals"]),
    "Binomial": (ps.Reals(1), ps.GRU(5), ps.Parametric(dist.Binomial, {"total_count": 3}), ps.BernoulliStop()),
}
smoothed = pytest.mark.parametrize("parts", SMOOTHED.values(), ids=SMOOTHED)


def batch_of(parts):
    """A model, sequences, some of them open where a length is not planned, and what they are conditioned on."""
    model, y, context = ragged_batch(parts)
    return model, ps.Sequences(y.values, y.lengths, y.ended | model.stop.plans), context


def values_of(model):
    """Every value of one element."""
    if isinstance(model.element, ps.Tokens):
        return torch.arange(model.element.size)
    if isinstance(model.element, ps.Bits):
        return torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    return torch.arange(4, dtype=torch.float64).unsqueeze(-1)


def by_hand(model, y, context, share):
    """One sequence, one decision and one outcome at a time."""
    encoded, log_given = model.given(y, model.encode(context, len(y)))
    totals = []
    for row, (sequence, ended) in enumerate(zip(y, y.ended.tolist(), strict=True)):
        state, total = model.start(encoded.select(torch.tensor([row]))), -log_given[row]
        for t in range(len(sequence) + ended):
            step = model.emit(state.features, state.position, state.context)
            outcomes = {"stop": step.log_stop[0]}
            for value in values_of(model):
                outcomes[str(value.tolist())] = (step.log_go + step.element.log_prob(value.unsqueeze(0)))[0]
            true = "stop" if t == len(sequence) else str(sequence[t].tolist())
            finite = [-log_prob for log_prob in outcomes.values() if log_prob > -torch.inf]
            total = total - (1 - share) * outcomes[true] + share * sum(finite) / len(finite)
            if t < len(sequence):
                state = model.extend(state, sequence[t].reshape(1, 1, *sequence[t].shape))[1]
        totals.append(total)
    return torch.stack(totals)


@smoothed
def test_the_smoothed_loss_is_the_sum_over_decisions_and_outcomes(parts):
    model, y, context = batch_of(parts)
    loss, expected = ps.LabelSmoothing(0.1).loss(model, y, context, 0.0), by_hand(model, y, context, 0.1)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(model, loss), gradients(model, expected), rtol=1e-8, atol=1e-10)


@smoothed
@pytest.mark.parametrize("share", [0.0, 1e-13])
def test_without_smoothing_it_is_teacher_forcing(parts, share):
    model, y, context = batch_of(parts)
    smooth, plain = ps.LabelSmoothing(share), ps.TeacherForcing()
    loss, expected = (signal.loss(model, y, context, 0.0) for signal in (smooth, plain))
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(model, loss), gradients(model, expected), rtol=1e-8, atol=1e-10)
    assert plain.is_likelihood
    assert smooth.is_likelihood == (share == 0)


@smoothed
def test_what_stands_in_the_padding_of_a_smoothed_batch_does_not_matter(parts):
    model, y, context = batch_of(parts)
    garbage = -7 if model.element.discrete else float("nan")
    columns = torch.full_like(y.values[:, :2], garbage)
    padded = ps.Sequences(torch.cat([y.filled(torch.tensor(garbage, dtype=y.values.dtype)).values, columns], 1),
                          y.lengths, y.ended)  # fmt: skip
    conformed, x = model.conform(padded, context)
    loss = ps.LabelSmoothing(0.2).loss(model, conformed, x, 0.0)
    torch.testing.assert_close(loss, ps.LabelSmoothing(0.2).loss(model, y, context, 0.0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("context", [None, ps.Vector(3)])
def test_one_softmax_over_all_outcomes_is_the_same_as_outcome_by_outcome(context):
    model, y, x = ragged_batch((ps.Tokens(3), ps.LSTM(5), ps.Categorical(), ps.EndSymbol(), context))

    class Slow(EndSymbol):
        def emit(self, *arguments):
            return super().emit(*arguments)

    fast = ps.LabelSmoothing(0.3).loss(model, y, x, 0.0)
    model.stop.__class__ = Slow
    slow = ps.LabelSmoothing(0.3).loss(model, y, x, 0.0)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(model, fast), gradients(model, slow), rtol=1e-10, atol=1e-12)


def test_open_sequences_of_no_elements_have_no_decision():
    model = letters()
    y = ps.Sequences(torch.zeros(2, 0, dtype=torch.int64), [0, 0], False)
    loss = ps.LabelSmoothing(0.1).loss(model, y, None, 0.0)
    assert loss.tolist() == [0.0, 0.0]
    loss.sum().backward()


def test_the_smoothed_optimum_is_the_smoothed_law():
    """One decision among three symbols: the best law gives the true one 1 − ε + ε/3."""
    model = letters(stop=ps.FixedLength(1)).double()
    y = ps.Sequences.of([[1]])
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=1e-16
    )

    def closure():
        optimiser.zero_grad()
        loss = ps.LabelSmoothing(0.3).loss(model, y, None, 0.0).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert model.log_prob(y).exp().item() == pytest.approx(1 - 0.3 + 0.3 / 3, abs=1e-6)


def test_held_out_data_are_scored_by_the_likelihood():
    model, y = letters(), corpus()
    result = ps.fit(model, y, y, objective=ps.LabelSmoothing(0.2), max_epochs=2, **quiet)
    nats = -model.log_prob(y).sum().item() / int(y.decisions.sum())
    assert result.nats == pytest.approx(nats, rel=1e-6)
    assert "train_objective" in result.history[0]


def test_what_cannot_be_smoothed_is_refused():
    for share in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"share in \[0, 1\)"):
            ps.LabelSmoothing(share)
    model, y, context = ragged_batch(PARTS["Gaussian"])
    with pytest.raises(ValueError, match=r"LabelSmoothing needs a discrete element.*Use TeacherForcing"):
        ps.LabelSmoothing(0.1).loss(model, y, context, 0.0)
    wide = ps.SequenceModel(ps.Bits(88), ps.GRU(4), ps.Bernoulli(), ps.BernoulliStop())
    y = ps.Sequences(torch.zeros(1, 1, 88), [1])
    with pytest.raises(ValueError, match="LabelSmoothing lists the values of one element"):
        ps.LabelSmoothing(0.1).loss(wide, y, None, 0.0)

"""The chain rule, factor by factor."""

import pytest
import torch

import probseq as ps
from probseq.context import Context
from probseq.inference.score import check, check_batch, check_context, check_lengths, score_features


def model(stop=None, **changes):
    torch.manual_seed(0)
    parts = {"element": ps.Tokens(3), "recurrence": ps.GRU(4), "likelihood": ps.Categorical()} | changes
    return ps.SequenceModel(stop=stop or ps.BernoulliStop(), **parts).double()


def by_hand(made, row, ended, x=None):
    """Every factor of one sequence, one element at a time."""
    state = made.start(x)
    elements, stops = [], []
    for value in row:
        step = made.emit(state.features, state.position, state.context)
        elements.append(float(step.element.log_prob(value.unsqueeze(0)).detach()))
        stops.append(float(step.log_go.detach()))
        _, state = made.extend(state, value.reshape(1, 1, *value.shape))
    if ended:
        stops.append(float(made.emit(state.features, state.position, state.context).log_stop.detach()))
    return elements, stops


ROWS = ps.Sequences.of([[0, 2, 1], [], [1], [2, 2]], ended=[True, True, False, False])


@pytest.mark.parametrize("stop", [ps.BernoulliStop(), ps.EndSymbol(), ps.LengthStop(4), ps.PlannedLength(4)])
def test_every_factor_is_that_of_a_walk(stop):
    made = model(stop)
    found = ps.score(made, ROWS.pad(5))
    assert found.element.shape == (4, 3)
    assert found.stop.shape == (4, 4)
    for row in range(4):
        elements, stops = by_hand(made, ROWS[row], bool(ROWS.ended[row]))
        n = len(elements)
        assert found.element[row].tolist() == pytest.approx(elements + [0.0] * (3 - n), abs=1e-12)
        assert found.stop[row].tolist() == pytest.approx(stops + [0.0] * (4 - len(stops)), abs=1e-12)
        assert float(found.log_prob[row]) == pytest.approx(sum(elements) + sum(stops), abs=1e-12)


def test_a_piece_of_longer_sequences_is_scored_at_its_own_positions():
    made = model(ps.LengthStop(5))
    y = ps.Sequences.of([[0, 1, 2, 0, 1]])
    features, state = made.unroll(None, y.values)
    whole = ps.score(made, y)
    piece = score_features(made, features[:, 2:], state.context, ps.Sequences(y.values[:, 2:], [3]), offset=2)
    torch.testing.assert_close(piece.element, whole.element[:, 2:])
    torch.testing.assert_close(piece.stop, whole.stop[:, 2:])


def test_nothing_is_scored_in_the_padding_and_nothing_lost_without_elements():
    made = model()
    empty = ps.Sequences.of([[], []], ended=[True, False])
    found = ps.score(made, empty)
    assert found.element.shape == (2, 0)
    assert found.stop[1].tolist() == [0.0]
    assert float(found.log_prob[0].detach()) == pytest.approx(by_hand(made, [], True)[1][0])
    found.log_prob.sum().backward()
    assert made.get_parameter("stop.project.weight").grad.abs().sum() > 0
    opened = ps.score(made, ps.Sequences.of([[0, 1]], ended=False))
    assert opened.stop[0, 2].item() == 0.0
    assert ps.score(made, ps.Sequences.of([])).log_prob.shape == (0,)
    features, state = made.unroll(Context.none(2), empty.pad(2).values)
    padded = score_features(made, features, state.context, empty.pad(2))
    assert padded.element.tolist() == [[0.0, 0.0]] * 2
    assert padded.stop[:, 1:].tolist() == [[0.0, 0.0]] * 2


def test_a_factor_of_a_context_is_that_of_its_row():
    made = model(context=ps.Vector(2))
    x = torch.randn(4, 2).double()
    found = ps.score(made, ROWS, x)
    for row in range(4):
        elements, stops = by_hand(made, ROWS[row], bool(ROWS.ended[row]), x[row : row + 1])
        assert float(found.log_prob[row]) == pytest.approx(sum(elements) + sum(stops), abs=1e-12)


def test_reals_are_scored_in_the_precision_of_the_model():
    made = model(element=ps.Reals(2), likelihood=ps.Gaussian())
    y = ps.Sequences.of([torch.randn(3, 2)])
    assert ps.score(made, y).element.dtype == torch.float64


def test_a_sequence_may_be_as_long_as_the_longest_and_no_longer():
    made = model(ps.LengthStop(2))
    assert torch.isfinite(ps.score(made, ps.Sequences.of([[0, 1]])).log_prob).all()
    with pytest.raises(ValueError, match="sequence 1 has 3 elements, but the model's stop law gives lengths above 2"):
        check(made, ps.Sequences.of([[0], [0, 1, 2]]))
    assert check(made, ROWS.select([1, 2]).pad(9)).values.shape == (2, 1)
    assert len(check(made, ps.Sequences.of([]))) == 0
    assert len(check(model(ps.FixedLength(0)), ps.Sequences.of([]))) == 0


def test_x_and_y_go_together():
    check_batch(ROWS, Context.none(4))
    with pytest.raises(ValueError, match="the context has batch 3, the sequences 4"):
        check_batch(ROWS, Context.none(3))
    y = ps.Sequences.of([[0, 1], [2]], ended=[True, False])
    check_lengths(y, torch.tensor([2, 1]), exactly=True)
    check_lengths(y, torch.tensor([2, 5]), exactly=True)
    check_lengths(y, torch.tensor([3, 5]), exactly=False)
    for limit, exactly, row in (([1, 1], False, 0), ([2, 0], False, 1), ([3, 1], True, 0)):
        with pytest.raises(ValueError, match=f"sequence {row} has"):
            check_lengths(y, torch.tensor(limit), exactly)
    made = model(ps.AlignedLength(), context=ps.Aligned(ps.Tokens(2)))
    x = ps.Sequences.of([[0, 1], [1]])
    encoded = made.encode(x)
    check_context(y, encoded)
    with pytest.raises(ValueError, match="sequence 1 has 2 elements, but its x"):
        check_context(ps.Sequences.of([[0], [1, 1]]), encoded)
    with pytest.raises(ValueError, match="batch 2, the sequences 1"):
        check_context(ps.Sequences.of([[0]]), encoded)

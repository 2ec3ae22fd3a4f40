"""The ragged batch."""

import pytest
import torch

import probseq as ps


def test_of_keeps_every_sequence():
    y = ps.Sequences.of([[3, 1, 4], [], [1, 5]])
    assert [row.tolist() for row in y] == [[3, 1, 4], [], [1, 5]]
    assert y.values.dtype == torch.int64
    assert y.decisions.tolist() == [4, 1, 3]


def test_of_takes_vectors_and_empty_sequences_among_them():
    y = ps.Sequences.of([torch.zeros(0, 2), [[1.0, 2.0]], []])
    assert y.values.shape == (3, 1, 2)
    assert y.lengths.tolist() == [0, 1, 0]


def test_of_takes_nothing():
    assert len(ps.Sequences.of([])) == 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_dense_and_back(dtype):
    values = torch.arange(1, 13).reshape(2, 3, 2).to(dtype)
    y = ps.Sequences(values, [3, 1], [False, True])
    again = ps.Sequences.from_dense(y.dense(3), 3, element_dims=1)
    assert again.lengths.tolist() == [3, 1]
    assert again.ended.tolist() == [False, True]
    assert torch.equal(again[0], y[0])
    assert torch.equal(again[1], y[1])


def test_dense_marks_unused_slots():
    assert ps.Sequences.of([[7]]).dense(3).tolist() == [[7, -1, -1]]
    assert bool(ps.Sequences.of([[7.0]]).dense(3)[0, 1:].isnan().all())


def test_a_gap_is_refused():
    with pytest.raises(ValueError, match="unused slot before a used one"):
        ps.Sequences.from_dense(torch.tensor([[1, -1, 2]]), 3)


def test_select_reorders_repeats_and_trims():
    y = ps.Sequences.of([[1], [2, 2], [3, 3, 3]], ended=[True, False, True])
    z = y.select([1, 0, 1])
    assert [row.tolist() for row in z] == [[2, 2], [1], [2, 2]]
    assert z.ended.tolist() == [False, True, False]
    assert z.values.shape == (3, 2)
    assert y.select(torch.tensor([False, False, True]))[0].tolist() == [3, 3, 3]


def test_cut_opens_what_it_shortens():
    y = ps.Sequences.of([[1, 2, 3], [1]]).cut(2)
    assert y.lengths.tolist() == [2, 1]
    assert y.ended.tolist() == [False, True]


def test_cat_pads():
    y = ps.Sequences.cat([ps.Sequences.of([[1]]), ps.Sequences.of([[1, 2]], ended=False)])
    assert [row.tolist() for row in y] == [[1], [1, 2]]
    assert y.ended.tolist() == [True, False]


def test_filling_leaves_no_trace_of_nan_in_gradients():
    values = torch.tensor([[1.0, float("nan")]], requires_grad=True)
    ps.Sequences(values, [1]).filled(0.0).values.sum().backward()
    assert values.grad.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("values", "lengths", "message"),
    [
        (torch.zeros(2, 3), [1, 4], "sequence 1 has length 4"),
        (torch.zeros(2, 3), [-1, 3], "sequence 0 has length -1"),
        (torch.zeros(2, 3), [1], r"lengths must have shape \(2,\)"),
        (torch.zeros(3), [1], r"\(batch, time, \*element\)"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(values, lengths, message):
    with pytest.raises(ValueError, match=message):
        ps.Sequences(values, lengths)


def test_different_elements_are_refused():
    with pytest.raises(ValueError, match="one element shape"):
        ps.Sequences.of([[1.0], [[1.0, 2.0]]])

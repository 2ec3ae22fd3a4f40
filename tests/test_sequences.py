"""The ragged batch."""

import pytest
import torch

import probseq as ps
from tests.typecheck import unchecked


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


def example():
    return ps.Sequences.of([[1, 2, 3], [], [4, 5]], ended=[True, True, False])


def listed(y):
    return [row.tolist() for row in y], y.lengths.tolist(), y.ended.tolist()


def test_padding_trimming_and_filling_change_no_sequence():
    y = example()
    for other in (
        y.pad(7),
        y.pad(2),
        y.trim(),
        y.pad(5).trim(),
        y.filled(9),
        y.pad(6).filled(-1),
        y.to(dtype=torch.int64),
    ):
        assert listed(other) == listed(y)
    assert y.pad(7).values.shape == (3, 7)
    assert y.pad(3) is y
    assert y.pad(2) is y
    assert y.pad(4).values.shape == (3, 4)
    assert y.pad(7).trim().values.shape == (3, 3)
    assert y.trim() is y
    assert int(y.pad(4).values[:, 3].abs().sum()) == 0
    assert y.pad(5).filled(9).values.tolist() == [[1, 2, 3, 9, 9], [9] * 5, [4, 5, 9, 9, 9]]
    assert ps.Sequences.of([[1], [2]]).filled(7).values.tolist() == [[1], [2]]


def test_vectors_are_padded_and_filled_as_they_are():
    y = ps.Sequences.of([torch.ones(2, 3), torch.ones(1, 3)])
    assert y.pad(4).values.shape == (2, 4, 3)
    assert y.filled(torch.tensor([5.0, 6.0, 7.0])).values[1, 1].tolist() == [5.0, 6.0, 7.0]
    assert y.mask().tolist() == [[True, True], [True, False]]
    assert y[1].shape == (1, 3)
    assert y.dense(3).shape == (2, 3, 3)
    with_part = y.values.clone()
    with_part[1, 0, 0] = float("nan")
    again = ps.Sequences.from_dense(ps.Sequences(with_part, [2, 1]).dense(3), 3, element_dims=1)
    assert again.lengths.tolist() == [2, 1]


def test_the_empty_batch_and_the_empty_sequence():
    y = ps.Sequences.of([])
    assert listed(y) == ([], [], [])
    assert y.values.shape == (0, 0)
    assert y.values.dtype == torch.int64
    assert len(y.trim()) == len(y.select([])) == len(y.cut(0)) == 0
    assert y.dense(2).shape == (0, 2)
    none = ps.Sequences.of([[], []])
    assert none.lengths.tolist() == [0, 0]
    assert none.decisions.tolist() == [1, 1]
    assert listed(example().select([])) == ([], [], [])


def test_a_batch_without_rows_has_no_columns_and_no_longest():
    none = ps.Sequences(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert none.trim().values.shape == (0, 0)
    assert none.dense(0).shape == (0, 0)


def test_a_mask_selects_as_its_places_do():
    y = example()
    assert listed(y.select([True, False, True])) == listed(y.select([0, 2]))
    assert listed(y.select([True, True, True])) == listed(y)


def test_cutting_at_every_length():
    y = ps.Sequences.of([[1, 2, 3], [], [4, 5]])
    for length in range(5):
        z = y.cut(length)
        assert [row.tolist() for row in z] == [row.tolist()[:length] for row in y]
        assert z.ended.tolist() == [len(row) <= length for row in y]
    assert example().cut(3).ended.tolist() == [True, True, False]


def test_dtypes_of_lists_are_promoted_and_small_integers_widened():
    assert ps.Sequences.of([[1], [2.5]]).values.dtype == torch.float32
    assert ps.Sequences.of([torch.tensor([1], dtype=torch.int8), []]).values.dtype == torch.int64
    assert ps.Sequences.of([torch.tensor([True])]).values.dtype == torch.bool
    assert ps.Sequences.of([[1.0], torch.tensor([2.0], dtype=torch.float64)]).values.dtype == torch.float64
    assert ps.Sequences.of([[1]], dtype=torch.float64).values.dtype == torch.float64
    assert ps.Sequences.of([[], [1.5]]).values.tolist() == [[0.0], [1.5]]


def test_single_elements():
    y = ps.Sequences.single(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert y.values.shape == (2, 1, 2)
    assert y.lengths.tolist() == [1, 1]
    assert y.ended.tolist() == [True, True]
    with pytest.raises(ValueError, match="got one number, 3"):
        ps.Sequences.single(torch.tensor(3))


def test_to_is_itself_where_nothing_changes():
    y = example()
    assert y.to() is y
    assert y.to("cpu") is y
    assert y.to("cpu", torch.int64) is y
    assert y.to(dtype=torch.int64) is y
    other = y.to(dtype=torch.float32)
    assert other.values.dtype == torch.float32
    assert listed(other) == listed(y)
    assert y.to("cpu", torch.float64).values.dtype == torch.float64
    assert y.device == y.values.device
    moved = y.to("meta")
    assert moved.values.device.type == "meta"
    assert moved.values.dtype == torch.int64
    assert y.to("meta", torch.float64).values.dtype == torch.float64
    assert moved.lengths.tolist() == [3, 0, 2]


def test_the_device_of_items_is_kept():
    assert ps.Sequences.of([torch.zeros(0), torch.zeros(2, device="meta")]).values.device.type == "meta"


def test_dense_of_every_dtype():
    assert ps.Sequences.of([[True]]).dense(2).tolist() == [[1, -1]]
    small = ps.Sequences(torch.tensor([[7]], dtype=torch.uint8), [1]).dense(2)
    assert small.tolist() == [[7, -1]]
    y = example().pad(6)
    assert y.dense(3).tolist() == [[1, 2, 3], [-1, -1, -1], [4, 5, -1]]
    assert y.dense(4).shape == (3, 4)
    with pytest.raises(ValueError, match=r"max_length 2 is below the longest sequence, 3\. Use cut\(2\)"):
        y.dense(2)


def test_a_dense_row_that_is_full_was_cut_and_a_shorter_one_ended():
    y = ps.Sequences.from_dense(torch.tensor([[1, 2], [1, -1], [-1, -1]]), 2)
    assert y.lengths.tolist() == [2, 1, 0]
    assert y.ended.tolist() == [False, True, True]
    assert ps.Sequences.from_dense(torch.tensor([[1, 2]]), 3).ended.tolist() == [True]
    assert ps.Sequences.from_dense(torch.zeros(1, 0, dtype=torch.int64), 0).ended.tolist() == [False]
    assert ps.Sequences.from_dense(torch.tensor([[0.0, float("nan")]]), 2).lengths.tolist() == [1]


def test_an_index_is_one_sequence():
    y = example()
    assert y[-1].tolist() == [4, 5]
    assert y[0].tolist() == [1, 2, 3]
    with unchecked(), pytest.raises(TypeError, match=r"select\(\[…\]\)"):
        y[0:2]


def test_what_it_prints_says_what_it_holds():
    assert repr(ps.Sequences.of([torch.zeros(1, 2)])) == "Sequences(1 sequences, element (2,), torch.float32, cpu)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ps.Sequences([[1]], [1]), ValueError, "got list"),
        (lambda: ps.Sequences(torch.zeros(1, 1), [1.0]), ValueError, "must be integers; got torch.float"),
        (lambda: ps.Sequences(torch.zeros(1, 1), [True]), ValueError, "must be integers; got torch.bool"),
        (lambda: ps.Sequences(torch.zeros(2, 1), [1, 1], [True]), ValueError, r"ended must have shape \(2,\)"),
        (lambda: ps.Sequences(torch.zeros(3, 1), [1, 0, 5]), ValueError, "sequence 2 has length 5"),
        (lambda: ps.Sequences(torch.zeros(3, 1), [1, -2, 5]), ValueError, "sequence 1 has length -2"),
        (lambda: ps.Sequences.of(["ab"]), TypeError, "Alphabet"),
        (lambda: ps.Sequences.of([3]), ValueError, "one element shape"),
        (lambda: ps.Sequences.cat([]), ValueError, "got none"),
    ],
)
def test_what_is_no_batch_says_why(make, error, message):
    with unchecked(), pytest.raises(error, match=message):
        make()


def test_lengths_may_fill_the_time_axis_or_be_zero():
    assert ps.Sequences(torch.zeros(2, 3), [0, 3]).lengths.tolist() == [0, 3]
    lengths = torch.tensor([1, 2], dtype=torch.int32)
    y = ps.Sequences(torch.zeros(2, 3), lengths, torch.tensor([0, 1]))
    assert y.lengths.dtype == torch.int64
    assert y.ended.tolist() == [False, True]
    shared = ps.Sequences(torch.zeros(2, 3), [1, 1], False)
    shared.ended[0] = True
    assert shared.ended.tolist() == [True, False]


def test_the_longest_of_several_batches_says_how_wide_they_are():
    y = ps.Sequences.cat([example(), ps.Sequences.of([[7]]), ps.Sequences.of([[1, 2, 3, 4]], ended=False)])
    assert [row.tolist() for row in y] == [[1, 2, 3], [], [4, 5], [7], [1, 2, 3, 4]]
    assert y.ended.tolist() == [True, True, False, True, False]
    assert y.values.shape == (5, 4)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda y: y.select([0.7]), TypeError, "rows must be integers, or bools"),
        (lambda y: y.select([2]), ValueError, "there are 2 rows, counted from 0; got row 2"),
        (lambda y: y.select([-1]), ValueError, "got row -1"),
        (lambda y: y.select([True]), ValueError, r"a mask must have shape \(2,\)"),
        (lambda y: y.select(1), ValueError, r"a list of rows, \(n,\); got shape \(\)"),
        (lambda y: y.cut(-1), ValueError, "cut needs length ≥ 0"),
        (lambda y: y.filled([1, 2]), ValueError, r"a number or an element, \(\); got \(2,\)"),
        (lambda y: y.filled("a"), TypeError, "value must be numbers"),
        (lambda y: y.to("nowhere"), ValueError, "there is no device 'nowhere' here"),
        (lambda y: ps.Sequences.cat([y, ps.Sequences.of([[[1, 2]]])]), ValueError, "batches of one element shape"),
        (lambda y: ps.Sequences.from_dense(y.values, 1), ValueError, "max_length 1 has no more slots; got 2"),
        (lambda y: ps.Sequences.from_dense(y.values, 2, 1), ValueError, "for 1 element axes"),
    ],
)
def test_what_no_batch_has_is_refused(act, error, message):
    with pytest.raises(error, match=message):
        act(ps.Sequences.of([[1, 2], [3]]))


def test_selecting_nothing_gives_nothing():
    assert len(ps.Sequences.of([[1, 2], [3]]).select([])) == 0

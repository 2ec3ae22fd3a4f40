"""Error rates and calibration of answers that are sequences."""

from functools import cache

import pytest
import torch

from experiments import transduction
from experiments.transduction import calibration, error_rates, interval, judge


def test_an_answer_is_right_if_any_reference_is_met_and_its_edits_are_those_to_the_nearest():
    answers = [("K", "AE", "T"), ("D", "AO"), (), ("AE",), ("T", "S")]
    references = [
        [("K", "AA", "T"), ("K", "AE", "T")],  # met by the second
        [("D", "AO", "G"), ("D", "AA", "G", "Z")],  # one deletion, of three phonemes
        [("AH",)],  # one deletion, of one
        [()],  # one insertion, of none
        [("S", "T"), ("T",)],  # one insertion; the other is two substitutions away
    ]
    judged = judge(answers, references)
    assert judged.right.tolist() == [True, False, False, False, False]
    assert judged.edits.tolist() == [0, 1, 1, 1, 1]
    assert judged.length.tolist() == [3, 3, 1, 0, 1]
    rates = error_rates(judged)
    assert rates["sequence"]["value"] == pytest.approx(4 / 5)
    assert rates["symbol"]["value"] == pytest.approx(4 / 8)


def test_symbols_are_whole_whatever_their_names():
    """ "A B" is not "AB", and numbers are symbols too."""
    assert judge([("A", "B")], [[("AB",)]]).edits.tolist() == [2]
    assert judge([(3, 1, 1)], [[(3, 1)]]).edits.tolist() == [1]


@pytest.mark.parametrize("seed", range(3))
def test_the_edits_are_the_fewest_by_recursion(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw():
        length = int(torch.randint(30, (), generator=generator))
        return tuple(torch.randint(4, (length,), generator=generator).tolist())

    @cache
    def fewest(one, other):
        if not one or not other:
            return len(one) + len(other)
        kept = fewest(one[1:], other[1:]) + (one[0] != other[0])
        return min(kept, 1 + fewest(one[1:], other), 1 + fewest(one, other[1:]))

    pairs = [(draw(), draw()) for _ in range(30)]
    found = judge([one for one, _ in pairs], [[other] for _, other in pairs])
    assert found.edits.tolist() == [fewest(one, other) for one, other in pairs]


def test_an_answer_without_reference_is_refused():
    with pytest.raises(ValueError, match=r"each of 2 answers; got 2 lists, 1 of them empty"):
        judge([("A",), ("B",)], [[("A",)], []])
    with pytest.raises(ValueError, match=r"each of 1 answers; got 0 lists"):
        judge([("A",)], [])


def test_the_interval_is_that_of_the_binomial_law():
    totals = (torch.arange(1000) < 300).double()
    found = interval(totals, torch.ones_like(totals))
    half = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert found["value"] == pytest.approx(0.3)
    assert [found["low"], found["high"]] == pytest.approx([0.3 - half, 0.3 + half], abs=0.005)


def test_the_calibration_error_by_hand():
    p = torch.tensor([0.12, 0.18, 0.95, 1.0], dtype=torch.float64)
    found = calibration(p.log(), torch.tensor([True, False, True, True]))
    assert [(row["count"], row["low"], row["high"]) for row in found["bins"]] == [(2, 0.1, 0.2), (2, 0.9, 1.0)]
    assert [row["mean"] for row in found["bins"]] == pytest.approx([0.15, 0.975])
    assert [row["right"] for row in found["bins"]] == pytest.approx([0.5, 1.0])
    assert found["bins"][0]["error"] == pytest.approx((0.12 * 0.88 + 0.18 * 0.82) ** 0.5 / 2)
    assert found["error"]["value"] == pytest.approx(0.5 * 0.35 + 0.5 * 0.025)


def test_a_calibrated_model_shows_the_error_of_chance_and_a_bold_one_more():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(3000, generator=generator, dtype=torch.float64)
    right = torch.rand(3000, generator=generator, dtype=torch.float64) < p
    fair, bold = calibration(p.log(), right), calibration(p.sqrt().log(), right)
    assert fair["error"]["value"] == pytest.approx(fair["chance"], rel=0.6)
    assert bold["error"]["low"] > 5 * bold["chance"]
    # E |√P − P| is 1/6 for a uniform P, and the bins are fine enough to show it.
    assert bold["error"]["low"] < 1 / 6 < bold["error"]["high"]


def test_the_intervals_are_fixed_by_their_seed():
    judged = transduction.judge([(1,), (2,), (3,)], [[(1,)], [(1,)], [(3, 3)]])
    assert error_rates(judged, seed=1) == error_rates(judged, seed=1)

"""What the experiment on the chapter takes for granted: its tasks, its source, and the least that a window can lose."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

import probseq as ps
from experiments.chapter.parallel import EVEN, exact_steps, markov_excess
from experiments.chapter.stationarity import LENGTH, drifting
from experiments.chapter.tasks import addition, parity
from probseq.oracles import HMM


def number(bits: torch.Tensor) -> torch.Tensor:
    """Bits (b, t), the least significant first, as integers."""
    return (bits.long() << torch.arange(bits.shape[1])).sum(1)


def even(length: int) -> HMM:
    return HMM(EVEN.log_initial.exp(), EVEN.log_transition.exp(), EVEN.log_emission.exp(), length)


def test_the_digits_of_a_sum_are_those_of_the_sum():
    bits = torch.randint(2, (50, 12, 2), generator=torch.Generator().manual_seed(0)).float()
    total = number(bits[..., 0]) + number(bits[..., 1])
    assert torch.equal(number(addition(bits)), total % 2**12)


def test_parity_is_that_of_the_ones_so_far():
    bits = torch.tensor([[[1.0], [0.0], [1.0], [1.0]]])
    assert parity(bits).tolist() == [[1, 1, 0, 1]]


def test_the_entropy_of_even_runs_is_the_enumerated_one():
    enumerated = -ps.exact(even(6), 6).log_prob
    probability = (-enumerated).exp()
    assert torch.allclose((probability * enumerated).nansum(), exact_steps(even(6)).sum(), atol=1e-12)


def test_a_longer_window_loses_less_and_always_something():
    excess = [markov_excess(even(40), window) for window in range(1, 9)]
    assert all(longer < shorter for shorter, longer in pairwise(excess))
    assert excess[-1] > 0


def test_a_window_over_all_but_the_last_step_loses_nothing():
    # One step has lost sight of the start alone, which says nothing that the elements do not.
    assert markov_excess(even(5), 4) == pytest.approx(0.0, abs=1e-12)


def test_every_step_of_the_drifting_source_has_a_law_of_its_own():
    source = drifting(seed=5)
    assert source.max_length == LENGTH
    assert source.mean_length() == pytest.approx(LENGTH)
    laws = source.go[:-3]
    assert len(laws.unique(dim=0)) == len(laws)

"""What a context reads reaches the model, and no more of it is copied than is needed."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import probseq as ps
from probseq.part import Part
from tests.parts import model


def _tagger(encoder):
    return model(
        ps.Tokens(3, dim=2, feedback=False), ps.Memoryless(4), ps.Categorical(), ps.AlignedLength(),
        ps.Aligned(ps.Tokens(5, dim=2), encoder),
    )  # fmt: skip


def _first_factor(made, last):
    """log P(y₁ | x) where x ends with `last`."""
    y, x = ps.Sequences.of([[0, 1, 2]]), ps.Sequences.of([[0, 1, last]])
    return made.log_prob_steps(y, x).element[0, 0]


@pytest.mark.parametrize("encoder", [None, ps.Unidirectional(ps.GRU(3))])
def test_without_a_look_ahead_the_first_tag_does_not_depend_on_the_last_letter(encoder):
    made = _tagger(encoder)
    torch.testing.assert_close(_first_factor(made, 2), _first_factor(made, 4), rtol=0, atol=0)


def test_a_bidirectional_encoder_lets_the_first_tag_depend_on_the_last_letter():
    made = _tagger(ps.Bidirectional(ps.GRU(3)))
    assert abs(_first_factor(made, 2) - _first_factor(made, 4)) > 1e-3


@dataclass(eq=False, repr=False)
class _Holder(Part):
    """A part with a part that may be left out."""

    held: Any = None


def test_a_part_given_in_the_place_of_a_default_is_the_part_that_is_found():
    holder = _Holder(ps.GRU(3))
    assert isinstance(holder.held, ps.GRU)
    assert isinstance(holder.fresh().held, ps.GRU)
    twin = copy.deepcopy(holder)
    assert twin.held is twin._modules["held"]
    assert twin.held is not holder.held
    holder.held = None
    assert holder.held is None
    assert _Holder().held is None


class _Spy(ps.AlignedLength):
    """Notes what each slot is given of x."""

    seen: Any = ()

    def emit(self, likelihood, features, position, context):
        self.seen = (*self.seen, context)
        return super().emit(likelihood, features, position, context)


def test_scoring_gives_no_slot_a_copy_of_x():
    made = model(ps.Tokens(3), ps.GRU(4), ps.Categorical(), _Spy(), ps.Aligned(ps.Reals(2)))
    made.log_prob(ps.Sequences.of([[0, 1, 2], [1]]), ps.Sequences.of([torch.randn(3, 2), torch.randn(1, 2)]))
    assert [context.batch for context in made.stop.seen] == [4, 2]
    assert all(context.aligned is None for context in made.stop.seen)

"""What a context reads reaches the model, and no more of it is copied than is needed."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import probseq as ps
from probseq.part import Part
from probseq.training.batches import Data
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


@pytest.mark.parametrize("reads", [ps.Tokens(3), ps.Reals(2)], ids=["tokens", "reals"])
@pytest.mark.parametrize("shape", [(), (2,), (3, 2)], ids=str)
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "source"])
def test_a_tensor_of_sequences_has_any_batch_shape(reads, shape, aligned):
    context = ps.Aligned(reads) if aligned else ps.Source(reads, ps.Unidirectional(ps.GRU(3)))
    model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol(), context)
    time = torch.randint(3, (*shape, 5)) if reads.discrete else torch.randn(*shape, 5, 2)
    assert model(time, max_length=3).batch_shape == shape


def test_a_list_of_several_contexts_is_their_tuple():
    context = (ps.Vector(2), ps.Labels(3), ps.Aligned(ps.Tokens(3)))
    model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol(), context)
    y, x = ps.Sequences.of([[0], [1, 2]]), [torch.randn(2, 2), [0, 2], ps.Sequences.of([[0], [1, 1]])]
    assert torch.equal(model(x).log_prob(y), model.log_prob(y, tuple(x)))
    data = Data.of((y, x))
    assert torch.equal(model.log_prob(y, data.context), model.log_prob(y, tuple(x)))
    assert Data.of((y, [0, 2])).context.tolist() == [0, 2]
    assert Data.of((y, [torch.tensor(0), torch.tensor(2)])).context.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("stop", "time"), [(ps.FixedLength(2), 2), (ps.LengthStop(2), 1), (ps.LengthStop(2), 2), (ps.LengthStop(2), 4)]
)
def test_a_stop_law_with_a_longest_length_ends_there_or_where_x_does(stop, time):
    torch.manual_seed(0)
    parts = (ps.Tokens(2), ps.GRU(4), ps.Categorical(), stop, ps.Aligned(ps.Reals(1)))
    model = ps.SequenceModel(*parts).double()
    x, longest = torch.randn(1, time, 1).double(), min(time, 2)
    law = ps.exact(model, longest, x)
    assert law.log_mass.abs() < 1e-12
    assert law.sequences.ended.all()
    possible = law.sequences.select(law.log_prob > -torch.inf)
    scored = model.log_prob(possible, x.expand(len(possible), -1, -1))
    assert scored.logsumexp(0).abs() < 1e-12
    for y in (model.sample(20, x), model.sample(20, x, max_length=longest)):
        assert y.ended.all()
        assert int(y.lengths.max()) <= longest
    assert model(x).event_shape == (longest,)
    drawn = model.sample(4, x)
    rows = x.float().expand(4, -1, -1)
    ps.fit(ps.SequenceModel(*parts), (drawn, rows), max_epochs=1, progress=False, accelerator="cpu")


def test_a_fixed_length_refuses_an_end_before_it():
    model = ps.SequenceModel(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.FixedLength(2), ps.Aligned(ps.Reals(1)))
    with pytest.raises(ValueError, match=r"sequence 0 has 1 elements, but .* has 2"):
        model.log_prob(ps.Sequences.of([[0]]), torch.randn(1, 2, 1))

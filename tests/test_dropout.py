"""Dropout that is the same at every step of a sequence."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import probseq as ps
from probseq.inference.segments import score_segments
from probseq.part import first_memory
from tests import parts
from tests.test_fit import corpus, quiet, weights


@dataclass(eq=False, repr=False)
class Identity(ps.Part):
    """Gives back what it reads."""

    kind: ClassVar[str] = "recurrence"
    memory_shapes: ClassVar[tuple] = ()

    def build(self, inputs):
        self.features = inputs
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, memory):
        return inputs * self.one, memory


def dropped(before=0.0, after=0.0, inputs=6):
    part = ps.SharedDropout(Identity(), before, after)
    part.build(inputs)
    return part.train()


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_mask_is_one_over_time_and_another_for_each_sequence(place):
    torch.manual_seed(0)
    part, ones = dropped(**{place: 0.5}), torch.ones(40, 7, 6)
    features, memory = part(ones, first_memory(part, ones))
    assert torch.equal(features, features[:, :1].expand_as(features))
    assert len({tuple(row) for row in features[:, 0].tolist()}) > 20
    assert set(features.flatten().tolist()) == {0.0, 2.0}
    again, _ = part(ones[:, :3], memory)
    assert torch.equal(again, features[:, :3])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_expectation_is_kept(share):
    torch.manual_seed(0)
    part, ones = dropped(before=share, inputs=20), torch.ones(20_000, 1, 20)
    features, _ = part(ones, first_memory(part, ones))
    error = (share / (1 - share) / features.numel()) ** 0.5
    assert features.mean().item() == pytest.approx(1.0, abs=5 * error)


def test_both_masks_are_drawn_apart():
    torch.manual_seed(0)
    part, ones = dropped(0.5, 0.5), torch.ones(4_000, 2, 6)
    features, _ = part(ones, first_memory(part, ones))
    assert (features == 4.0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_in_evaluation_it_is_the_recurrence_to_the_bit():
    plain = parts.model(ps.Tokens(3, dim=4), ps.LSTM(5), ps.Categorical(), ps.EndSymbol())
    wrapped = parts.model(ps.Tokens(3, dim=4), ps.SharedDropout(ps.LSTM(5), 0.3, 0.4), ps.Categorical(), ps.EndSymbol())
    y = ps.Sequences.of([[0, 2, 1], [], [1]])
    assert torch.equal(wrapped.log_prob(y), plain.log_prob(y))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    wrapped.log_prob(y)
    assert torch.equal(before, torch.get_rng_state())


def in_training():
    model = parts.model(ps.Tokens(3, dim=8), ps.SharedDropout(ps.LSTM(8), 0.4, 0.4), ps.Categorical(), ps.EndSymbol())
    return model.train(), ps.Sequences.of([[0, 2, 1, 1, 0, 2, 2], [1, 0, 2], []])


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("segment", [1, 3, 100])
def test_segments_of_a_sequence_share_their_masks(segment, checkpoint):
    model, y = in_training()
    found = []
    for length in (100, segment):
        torch.manual_seed(3)
        value = score_segments(model, y, segment=length, checkpoint=checkpoint)
        gradients = torch.autograd.grad(value.sum(), list(model.parameters()))
        found.append((value, torch.cat([each.flatten() for each in gradients])))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)
    torch.manual_seed(4)
    assert not torch.allclose(score_segments(model, y), found[0][0])


@pytest.mark.parametrize("objective", [None, ps.TruncatedBPTT(3), ps.ScheduledSampling(0.3)])
def test_it_trains_and_resumes_to_the_bit(tmp_path, objective):
    def fresh():
        torch.manual_seed(0)
        recurrence = ps.SharedDropout(ps.LSTM(8), 0.2, 0.2)
        return ps.SequenceModel(ps.Tokens(3, dim=8), recurrence, ps.Categorical(), ps.EndSymbol())

    once, twice = fresh(), fresh()
    common = {**quiet, "objective": objective, "batch_tokens": 256, "schedule_epochs": 4}
    ps.fit(once, corpus(), max_epochs=4, directory=tmp_path / "a", **common)
    ps.fit(twice, corpus(), max_epochs=2, directory=tmp_path / "b", **common)
    ps.fit(twice, corpus(), max_epochs=4, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(twice))


def test_what_cannot_be_dropped_is_refused():
    with pytest.raises(ValueError, match="needs a recurrence part such as"):
        ps.SharedDropout(ps.Tokens(3))
    for name in ("before", "after"):
        with pytest.raises(ValueError, match=rf"needs {name} in \[0, 1\)"):
            ps.SharedDropout(ps.GRU(3), **{name: 1.0})
    with pytest.raises(ValueError, match="drop the weights that symbols are copied by"):
        ps.SharedDropout(ps.Attentive(ps.GRU(3), copies=4), after=0.1)
    ps.SharedDropout(ps.Attentive(ps.GRU(3), copies=4), before=0.1)
    ps.Attentive(ps.SharedDropout(ps.GRU(3), after=0.1), copies=4)

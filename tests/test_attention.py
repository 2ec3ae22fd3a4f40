"""What is true of attention, copying, and the encoders of sources."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import probseq as ps
from probseq.context import Context
from probseq.objectives import TeacherForcing, TruncatedBPTT
from tests import parts

KINDS = [(score, feed) for score in ("dot", "general", "additive") for feed in (False, True)]
X = ps.Sequences.of([[0, 2, 1, 1], [2], [], [1, 0, 2]])
Y = ps.Sequences.of([[1, 0], [], [2, 2, 0], [1]])


def assemble(recurrence, likelihood=None, reads=None, **choices):
    source = ps.Source(reads or ps.Tokens(3, dim=2), ps.Bidirectional(ps.LSTM(2)), **choices)
    return parts.model(ps.Tokens(3, dim=3), recurrence, likelihood or ps.Categorical(), ps.EndSymbol(), source)


@pytest.mark.parametrize(("score", "feed"), KINDS)
def test_weights_sum_to_one_on_the_source_and_are_exactly_zero_beyond_it(score, feed):
    model = assemble(ps.Attentive(ps.LSTM(4), score, feed))
    weights = model.alignments(Y, X)
    assert weights.shape == (4, 4, 4)
    for row, (s, t) in enumerate(zip(X.lengths.tolist(), Y.decisions.tolist(), strict=True)):
        inside = weights[row, :t, :s]
        assert torch.equal(weights[row].count_nonzero(), torch.tensor(t * s))
        assert bool((inside > 0).all())
        if s:
            torch.testing.assert_close(inside.sum(-1), torch.ones(t, dtype=torch.float64))


@pytest.mark.parametrize(("score", "feed"), KINDS)
def test_the_equations_written_out(score, feed):
    model = assemble(ps.Attentive(ps.Elman(4), score, feed))
    part, attention = model.recurrence, model.recurrence.attention
    y, x = Y.select(torch.tensor([0])), X.select(torch.tensor([0]))
    context = model.encode(x)
    keys = context.source[0]
    c = model.context.at(context, torch.zeros(1, 1, dtype=torch.int64))[0, 0]
    read = [torch.cat([moment, c]) for moment in (model.first, *model.element.embedding(y.values[0]))]
    hidden = model.initial(model.context.initial(context))[0].view(1, -1)
    fed, expected, weights = torch.zeros(4, dtype=torch.float64), [], []
    for moment in read:
        inputs = torch.cat([moment, fed]) if feed else moment
        hidden = part.recurrence.step(inputs.unsqueeze(0), (hidden.unsqueeze(1),))[0]
        h = hidden[0]
        if score == "dot":
            scores = keys @ h
        elif score == "general":
            scores = keys @ (attention.query.weight @ h)
        else:
            together = attention.query.weight @ h + keys @ attention.key.weight.T + attention.key.bias
            scores = torch.tanh(together) @ attention.energy.weight[0]
        weights.append(scores.softmax(0))
        fed = torch.tanh(part.join(torch.cat([weights[-1] @ keys, h])))
        expected.append(fed)
    torch.testing.assert_close(model.unroll(x, y.values)[0][0], torch.stack(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(model.alignments(y, x)[0], torch.stack(weights), rtol=0, atol=1e-12)


def test_local_attention_falls_off_from_its_centre():
    model = assemble(ps.Attentive(ps.GRU(4), local=1.0))
    attention = model.recurrence.attention
    with torch.no_grad():
        attention.query.weight.zero_()
        for parameter in attention.place.parameters():
            parameter.zero_()
    # The scores are equal and the centre stands in the middle of the source.
    weights = model.alignments(Y, X)[0, 0]
    expected = (-2 * (torch.arange(4, dtype=torch.float64) - 1.5).square()).softmax(0)
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("name", parts.ATTENTIVE)
def test_what_stands_in_the_padding_of_the_source_does_not_matter(name):
    recurrence = parts.ATTENTIVE[name]
    enters = None if name == "over Memoryless" else "both"
    for reads in (ps.Tokens(3, dim=2), ps.Reals(2)):
        source = ps.Source(reads, ps.Bidirectional(ps.LSTM(2)), enters=enters)
        model = parts.model(ps.Tokens(3, dim=3), recurrence, ps.Categorical(), ps.EndSymbol(), source)
        x = parts.x(source, 4)
        dirty = x.values.clone()
        dirty[~x.mask()] = -7 if x.values.dtype == torch.int64 else torch.nan
        found = model.log_prob(Y, ps.Sequences(dirty, x.lengths))
        for row in range(4):
            index = torch.tensor([row])
            alone = model.log_prob(Y.select(index), x.select(index))
            torch.testing.assert_close(found[row : row + 1], alone, rtol=0, atol=1e-12)
        found.sum().backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(("score", "feed"), KINDS)
def test_an_empty_source_gives_nothing_to_look_at(score, feed):
    model = assemble(ps.Attentive(ps.LSTM(4), score, feed))
    empty = ps.Sequences.of([[], []])
    assert model.alignments(Y.select(torch.tensor([0, 2])), empty.to(dtype=torch.int64)).shape == (2, 4, 0)
    law = ps.exact(model, 3, X.select(torch.tensor([2])))
    assert abs(float(law.log_mass)) < 1e-10


def test_local_attention_knows_its_place_in_half_precision():
    model = assemble(ps.Attentive(ps.LSTM(4), local=2.0)).float()
    long = ps.Sequences.of([[0, 2, 1, 1] * 200] * 4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.alignments(Y, long)
    assert float((rough - model.alignments(Y, long)).abs().sum(-1).max()) < 0.5


def test_a_law_given_an_empty_source_that_is_a_tensor():
    model = assemble(ps.Attentive(ps.LSTM(4)))
    none = torch.zeros(4, 0, dtype=torch.int64)
    torch.testing.assert_close(model(none, 4).log_prob(Y.dense(4)), model.log_prob(Y, none))


def test_stepping_attends_as_the_fused_pass_does():
    for feed in (False, True):
        model = assemble(ps.Stack((ps.Attentive(ps.LSTM(3), feed=feed), ps.Attentive(ps.GRU(3), "additive"))))
        with model.attention() as seen:
            state = model.start(X)
            for t in range(Y.values.shape[1]):
                state = model.extend(state, Y.values[:, t : t + 1])[1]
        stepped = torch.cat(seen, 1)
        fused = model.alignments(Y, X)
        real = fused.sum(-1, keepdim=True) > 0
        torch.testing.assert_close(torch.where(real, stepped, 0.0), fused, rtol=0, atol=1e-12)
        assert not model.recurrence._forward_hooks


def test_what_is_made_of_the_source_beforehand_is_what_would_be_made_at_each_step():
    attentive = ps.SharedDropout(ps.Positional(ps.Attentive(ps.LSTM(3), feed=True), 4))
    model = assemble(ps.Stack((ps.Elman(3), attentive, ps.Attentive(ps.GRU(3), "additive"))))
    state = model.start(X)
    assert [made is not None for made in state.context.attended] == [False, True, True]
    without = dataclasses.replace(state, context=dataclasses.replace(state.context, attended=None))
    expected, found = (model.extend(each, Y.values)[0] for each in (without, state))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("feed", [False, True])
def test_with_a_planned_length_the_weights_are_their_mean_over_the_lengths_that_it_may_be(feed):
    source = ps.Source(ps.Tokens(3, dim=2), ps.Bidirectional(ps.LSTM(2)))
    recurrence, stop = ps.Attentive(ps.LSTM(4), feed=feed), ps.PlannedLength(4, dim=3)
    model = parts.model(ps.Tokens(3, dim=3), recurrence, ps.Categorical(), stop, source)
    prefix, joint = ps.Sequences.of([[1, 0], [0, 0], [2, 2], [1, 1]]).cut(1), []
    for length in range(1, 5):
        plan = model.plan([length] * 4, X)
        state = model.start(plan)
        first = model.emit(state.features, state.position, state.context).element.log_prob(prefix.values[:, 0])
        joint.append((model.stop.log_pmf(model.encode(X))[:, length] + first, model.alignments(prefix, plan)[:, 1]))
    share = torch.stack([log_prob for log_prob, _ in joint]).softmax(0)
    mean = sum(weight.unsqueeze(1) * each for weight, (_, each) in zip(share, joint, strict=True))
    found = model.alignments(prefix, X)
    torch.testing.assert_close(found[:, 1], mean, rtol=0, atol=1e-12)
    with model.attention() as seen:
        model.extend(model.start(X), prefix.values)
    torch.testing.assert_close(torch.cat(seen, 1), found, rtol=0, atol=1e-12)
    assert len(ps.beam(model, X, width=5, coverage=0.2)) == 4


def test_only_what_is_asked_of_the_model_is_watched():
    model = assemble(ps.Attentive(ps.LSTM(4)))
    with model.attention() as seen:
        ps.greedy(model, X, max_length=1)
    assert len(seen) == 1


def test_pointer_mixes_what_is_chosen_with_what_is_copied():
    model = assemble(ps.Attentive(ps.LSTM(4), copies=3), ps.Pointer())
    y, x = Y.select(torch.tensor([0])), X.select(torch.tensor([0]))
    features, _ = model.unroll(x, y.values)
    hidden = features[0, :, :4]
    weights = model.alignments(y, x)[0]
    gate = torch.sigmoid(model.likelihood.gate(hidden))
    own = model.likelihood.project(hidden).softmax(-1)
    copied = torch.stack([weights[:, x.values[0] == v].sum(-1) for v in range(3)], -1)
    expected = (1 - gate) * own + gate * F.pad(copied, (0, 1))
    outcomes = torch.tensor([1, 0, 3])
    by_hand = expected.gather(1, outcomes.unsqueeze(1)).log().sum()
    torch.testing.assert_close(model.log_prob(y, x)[0], by_hand, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gate", [-300.0, 300.0])
def test_a_gate_that_is_all_but_shut_leaves_finite_nats_and_gradients(gate):
    model = assemble(ps.Attentive(ps.LSTM(4), copies=3), ps.Pointer()).float()
    with torch.no_grad():
        model.likelihood.gate.bias.fill_(gate)
    found = model.log_prob(Y, X)
    assert bool(torch.isfinite(found).all())
    found.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    assert abs(float(ps.exact(model.double(), 3, X.select([0])).log_mass)) < 1e-10


def test_pointer_copies_symbols_that_were_never_seen_in_training():
    torch.manual_seed(0)
    source = ps.Source(ps.Tokens(12, dim=12), ps.Bidirectional(ps.GRU(12)), enters="state")

    def pairs(low, high, n):
        values = torch.randint(low, high, (n, 4), generator=torch.Generator().manual_seed(low))
        return ps.Sequences(values, [4] * n)

    nats = {}
    for name, likelihood, copies in (("pointer", ps.Pointer(), 12), ("categorical", ps.Categorical(), None)):
        recurrence = ps.Attentive(ps.GRU(24), copies=copies)
        model = ps.SequenceModel(ps.Tokens(12, dim=12), recurrence, likelihood, ps.EndSymbol(), source)
        train = pairs(0, 9, 400)
        ps.fit(model, (train, train), max_epochs=12, batch_size=20, batch_tokens=None, learning_rate=1e-2,
               accelerator="cpu", progress=False)  # fmt: skip
        new = pairs(9, 12, 50)
        nats[name] = float(-model.log_prob(new, new).mean())
    assert nats["pointer"] < 0.7 * nats["categorical"]


def test_a_source_of_reals_has_no_symbols_to_copy():
    model = assemble(ps.Attentive(ps.LSTM(4), copies=3), ps.Pointer(), reads=ps.Reals(2))
    with pytest.raises(ValueError, match="source of symbols"):
        model.log_prob(Y, torch.zeros(4, 3, 2))


@pytest.mark.parametrize("feed", [False, True])
def test_training_in_segments_reaches_the_encoder_as_in_one_piece(feed):
    gradients = []
    for objective in (TeacherForcing(), TeacherForcing(checkpoint=2), TruncatedBPTT(8)):
        model = assemble(ps.Attentive(ps.LSTM(4), "additive", feed))
        y, x = model.conform(Y, X)
        objective.loss(model, y, x, 0.0).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=0, atol=1e-10)


def packed(network, inputs, lengths):
    """What torch makes of ragged sequences, which it reads packed."""
    features, _ = network(pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(features, batch_first=True)[0]


def test_deep_bidirectional_encoders_are_those_of_torch():
    torch.manual_seed(0)
    theirs = nn.LSTM(2, 3, 2, batch_first=True, bidirectional=True).double()
    ours = ps.Deep((ps.Bidirectional(ps.LSTM(3)), ps.Bidirectional(ps.LSTM(3))))
    ours.build(2)
    ours.double()
    for layer, member in enumerate(ours.members):
        for way, suffix in ((member.recurrence, ""), (member.backward, "_reverse")):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(way.network, f"{name}_l0").data = getattr(theirs, f"{name}_l{layer}{suffix}").data
    inputs, lengths = torch.randn(3, 5, 2, dtype=torch.float64), torch.tensor([5, 2, 4])
    expected = packed(theirs, inputs, lengths)
    features, summary = ours(inputs, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(features[row, :length], expected[row, :length], rtol=0, atol=1e-12)
        ends = torch.cat([expected[row, length - 1, :3], expected[row, 0, 3:]])
        torch.testing.assert_close(summary[row], ends, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_convolution_reads_each_sequence_as_if_it_were_alone(stride):
    torch.manual_seed(0)
    encoder = ps.Convolutional(ps.Unidirectional(ps.GRU(3)), 4, window=5, stride=stride)
    encoder.build(2)
    encoder.double()
    lengths = torch.tensor([7, 0, 1, 4])
    inputs = torch.randn(4, 7, 2, dtype=torch.float64)
    inputs[torch.arange(7) >= lengths.unsqueeze(1)] = torch.nan
    features, summary = encoder(inputs, lengths)
    for row, length in enumerate(lengths.tolist()):
        n = -(-length // stride)
        if not n:
            assert not bool(summary[row].any())
            continue
        alone = inputs[row : row + 1, :length].transpose(1, 2)
        weight, bias = encoder.convolution.weight, encoder.convolution.bias
        seen = F.conv1d(alone, weight, bias, stride, padding=2).relu().transpose(1, 2)
        expected, end = encoder.encoder(seen, torch.tensor([n]))
        torch.testing.assert_close(features[row, :n], expected[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(summary[row], end[0], rtol=0, atol=1e-12)


def test_what_does_not_go_together_is_refused():
    tokens, source = ps.Tokens(3), ps.Source(ps.Tokens(3), ps.Bidirectional(ps.LSTM(2)))

    def join(recurrence, context):
        return ps.SequenceModel(tokens, recurrence, ps.Categorical(), ps.EndSymbol(), context)

    with pytest.raises(ValueError, match=r"attends to one source.* has 0"):
        join(ps.Attentive(ps.LSTM(4)), None)
    with pytest.raises(ValueError, match=r"attends to one source.* has 0"):
        join(ps.Attentive(ps.LSTM(4)), ps.Vector(3))
    with pytest.raises(ValueError, match=r"attends to one source.* has 2"):
        join(ps.Attentive(ps.LSTM(4)), (source, source))
    with pytest.raises(ValueError, match=r"as wide as the recurrence; got 4 and 5.*recurrence of size 4"):
        join(ps.Attentive(ps.LSTM(5), "dot"), source)
    with pytest.raises(ValueError, match="does not attend itself"):
        ps.Attentive(ps.Attentive(ps.LSTM(4)))
    with pytest.raises(ValueError, match="needs a recurrence part"):
        ps.Bidirectional(ps.Attentive(ps.LSTM(4)))
    with pytest.raises(ValueError, match="no element is skipped; got 3, 1 and 2"):
        ps.Convolutional(ps.Unidirectional(ps.GRU(2)), 3, window=1, stride=2)
    with pytest.raises(ValueError, match="Aligned needs features for each"):
        ps.Aligned(ps.Reals(2), ps.Convolutional(ps.Unidirectional(ps.GRU(2)), 3, stride=2))
    with pytest.raises(ValueError, match=r"Attentive\(…, copies=3\)"):
        ps.SequenceModel(tokens, ps.LSTM(3), ps.Pointer(), ps.EndSymbol())
    copying = ps.Attentive(ps.LSTM(4), copies=3)
    for other in (ps.LSTM(8), ps.Attentive(ps.LSTM(4), copies=4), ps.Stack((copying, ps.LSTM(8)))):
        with pytest.raises(ValueError, match=r"Attentive\(…, copies=3\)"):
            ps.SequenceModel(tokens, other, ps.Pointer(), ps.EndSymbol(), source)
    for wrapped in (ps.Stack((ps.LSTM(4), copying)), ps.Positional(copying, 4), ps.SharedDropout(copying, 0.1)):
        ps.SequenceModel(tokens, wrapped, ps.Pointer(), ps.EndSymbol(), source)
    with pytest.raises(ValueError, match="attends to nothing"), join(ps.LSTM(3), source).attention():
        pass
    model = join(ps.Attentive(ps.LSTM(4)), source)
    with pytest.raises(ValueError, match="source has width 0"):
        model.log_prob(Y, Context(torch.zeros(4, 4)))


def test_a_model_that_does_not_attend_carries_no_source():
    assert assemble(ps.LSTM(4)).encode(X).source is None

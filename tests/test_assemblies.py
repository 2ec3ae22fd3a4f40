"""What is true of each part of the chapter's models by itself, beside the laws that all of them keep."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import probseq as ps
from tests.parts import model

TOKENS = ps.Tokens(3, dim=4)


def letters(recurrence, stop=None, context=None, element=TOKENS, seed=0):
    return model(element, recurrence, ps.Categorical(), stop or ps.EndSymbol(), context, seed)


def random_y(batch=4, length=6, symbols=3):
    values = torch.randint(symbols, (batch, length), generator=torch.Generator().manual_seed(3))
    return ps.Sequences(values, [length] * batch)


def assert_equal(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def reach(m, length=6):
    """Whether the law of element j depends on element i, (i, j)."""
    y = random_y(length=length)
    before = m.log_prob_steps(y).element
    moved = torch.zeros(length, length, dtype=torch.bool)
    for i in range(length):
        values = y.values.clone()
        values[:, i] = (values[:, i] + 1) % 3
        change = m.log_prob_steps(ps.Sequences(values, y.lengths)).element - before
        moved[i] = (change.detach().abs() > 1e-12).any(0)
        moved[i, i] = False
    return moved


def band(length, order):
    """True where j is one of the `order` elements after i."""
    ahead = torch.arange(length) - torch.arange(length).unsqueeze(1)
    return (ahead > 0) & (ahead <= order)


# Kinds of network.


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_convolution_is_a_markov_network_of_the_order_of_its_window(window, layers):
    assert torch.equal(reach(letters(ps.CausalConv(5, window, layers))), band(6, window))


def test_the_start_vector_is_one_of_the_inputs_in_the_window():
    """Once it has left the window, every position has the same conditionals."""
    m = letters(ps.CausalConv(5, window=2))
    steps = m.log_prob_steps(ps.Sequences.of([[0, 1, 2], [2, 0, 1, 2], [1, 1, 0, 1, 2]])).element
    assert_equal(steps[1, 3], steps[2, 4])
    assert_equal(steps[0, 2], steps[1, 3])
    # What comes before is the pair (start, 0), and (2, 0).
    assert (steps[0, 1] - steps[1, 2]).abs() > 1e-6


def test_a_memoryless_network_sees_the_last_element_alone():
    assert torch.equal(reach(letters(ps.Memoryless(5, layers=2))), band(6, 1))


@pytest.mark.parametrize("recurrence", [ps.Elman(5), ps.GRU(5), ps.LSTM(5), ps.Leaky(5)])
def test_a_network_with_a_state_sees_all_elements(recurrence):
    assert torch.equal(reach(letters(recurrence)), band(6, 6))


@pytest.mark.parametrize("layers", [1, 3])
def test_a_convolution_over_one_input_is_a_memoryless_network(layers):
    convolution = letters(ps.CausalConv(5, window=1, layers=layers))
    memoryless = letters(ps.Memoryless(5, layers), seed=1)
    memoryless.load_state_dict(convolution.state_dict())
    assert_equal(memoryless.log_prob(random_y()), convolution.log_prob(random_y()))


def test_a_stack_of_two_is_a_network_of_two_layers():
    deep = letters(ps.LSTM(5, layers=2), context=ps.Vector(2))
    stack = letters(ps.Stack((ps.LSTM(5), ps.LSTM(5))), context=ps.Vector(2), seed=1)
    weights = deep.state_dict()
    # The layers' states lie side by side: (layer, h) and (layer, c), against (h, c) of each member.
    blocks = [0, 2, 1, 3]
    for name in ("initial.weight", "initial.bias"):
        weights[name] = torch.cat([weights[name].split(5)[block] for block in blocks])
    for name in list(weights):
        if name.startswith("recurrence.network."):
            kind, layer = name.removeprefix("recurrence.network.").rsplit("_l", 1)
            weights[f"recurrence.stacked.{layer}.network.{kind}_l0"] = weights.pop(name)
    stack.load_state_dict(weights)
    x = torch.randn(4, 2, dtype=torch.float64)
    assert_equal(stack.log_prob(random_y(), x), deep.log_prob(random_y(), x))


def test_with_skips_each_layer_reads_the_input_and_is_seen_by_the_output():
    m = letters(ps.Stack((ps.GRU(5), ps.Memoryless(3), ps.Memoryless(2)), skip=True))
    first, second, third = m.recurrence.members
    assert m.recurrence.features == 5 + 3 + 2
    assert second.network[0].in_features == 5 + 4
    assert third.network[0].in_features == 3 + 4
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    low, _ = first(x, (torch.zeros(2, 1, 5, dtype=torch.float64),))
    middle = second.network(torch.cat([low, x], -1))
    high = third.network(torch.cat([middle, x], -1))
    memory = m.recurrence.begin((torch.zeros(2, 1, 5, dtype=torch.float64),), 2)
    assert_equal(m.recurrence(x, memory)[0], torch.cat([low, middle, high], -1))


def test_positions_that_are_all_alike_are_a_bias():
    placed = letters(ps.Positional(ps.GRU(5), positions=4, dim=3))
    plain = letters(ps.GRU(5), seed=1)
    with torch.no_grad():
        embedding = placed.recurrence.embedding.weight
        embedding.copy_(embedding[:1].expand_as(embedding))
        weights = {name.replace("recurrence.recurrence.", "recurrence."): w for name, w in placed.state_dict().items()}
        del weights["recurrence.embedding.weight"]
        full = weights["recurrence.network.weight_ih_l0"]
        weights["recurrence.network.weight_ih_l0"] = full[:, :4]
        weights["recurrence.network.bias_ih_l0"] = weights["recurrence.network.bias_ih_l0"] + full[:, 4:] @ embedding[0]
    plain.load_state_dict(weights)
    assert_equal(plain.log_prob(random_y()), placed.log_prob(random_y()))


def test_positions_beyond_the_last_count_as_the_last():
    """A memoryless network then has one conditional for all of them, and another before."""
    m = letters(ps.Positional(ps.Memoryless(5), positions=3, dim=3))
    y = ps.Sequences(torch.ones(1, 7, dtype=torch.int64), [7])
    steps = m.log_prob_steps(y).element[0]
    assert_equal(steps[2:], steps[2].expand(5))
    assert (steps[1] - steps[2]).abs() > 1e-6


def test_a_leaky_unit_that_keeps_nothing_is_that_of_elman():
    leaky, elman = letters(ps.Leaky(5)), letters(ps.Elman(5), seed=1)
    with torch.no_grad():
        leaky.recurrence.rate.fill_(-60.0)
    weights = {name: w for name, w in leaky.state_dict().items() if not name.startswith("recurrence")}
    network = {
        "weight_ih_l0": leaky.recurrence.read.weight, "weight_hh_l0": leaky.recurrence.recur.weight,
        "bias_ih_l0": leaky.recurrence.read.bias, "bias_hh_l0": torch.zeros(5),
    }  # fmt: skip
    elman.load_state_dict(weights | {f"recurrence.network.{name}": w for name, w in network.items()})
    assert_equal(elman.log_prob(random_y()), leaky.log_prob(random_y()))


@pytest.mark.parametrize("longest", [1, 10, 100])
def test_the_time_constants_of_leaky_units_start_spread_up_to_the_longest(longest):
    m = ps.SequenceModel(TOKENS, ps.Leaky(5, longest), ps.Categorical(), ps.EndSymbol())
    constants = 1 / (1 - torch.sigmoid(m.recurrence.rate.detach()))
    torch.testing.assert_close(constants, torch.logspace(0, 1, 5, base=longest).clamp(min=1 / 0.95), rtol=1e-4, atol=0)


# Encoders.


@pytest.fixture
def ragged_x():
    x = torch.randn(4, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return x, torch.tensor([6, 0, 1, 4])


def encoder_of(part, inputs=3):
    torch.manual_seed(0)
    part.build(inputs)
    return part.double()


def test_a_bidirectional_encoder_is_that_of_torch_on_packed_sequences(ragged_x):
    x, lengths = ragged_x
    encoder = encoder_of(ps.Bidirectional(ps.LSTM(5)))
    network = nn.LSTM(3, 5, batch_first=True, bidirectional=True).double()
    weights = dict(encoder.recurrence.network.state_dict())
    weights |= {f"{name}_reverse": w for name, w in encoder.backward.network.state_dict().items()}
    network.load_state_dict(weights)
    rows = (lengths > 0).nonzero().squeeze(-1)  # torch packs no empty sequences
    packed = pack_padded_sequence(x[rows], lengths[rows], batch_first=True, enforce_sorted=False)
    found, (last, _) = network(packed)
    expected, _ = pad_packed_sequence(found, batch_first=True, total_length=6)
    features, summary = encoder(x, lengths)
    mask = torch.arange(6) < lengths[rows].unsqueeze(1)
    assert_equal(features[rows][mask], expected[mask])
    assert_equal(summary[rows], torch.cat([last[0], last[1]], -1))
    assert_equal(summary[1], torch.zeros(10, dtype=torch.float64))


@pytest.mark.parametrize("part", [ps.Unidirectional(ps.LSTM(5)), ps.Bidirectional(ps.GRU(5))])
def test_a_summary_is_that_of_the_sequence_alone(part, ragged_x):
    x, lengths = ragged_x
    encoder = encoder_of(part)
    noisy = torch.where((torch.arange(6) < lengths.unsqueeze(1)).unsqueeze(-1), x, 1e3)
    features, summary = encoder(noisy, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, end = encoder(x[row : row + 1, :length], lengths[row : row + 1])
        assert_equal(features[row, :length], alone[0])
        assert_equal(summary[row], end[0])
    last = encoder(x[:1], lengths[:1])[0][0, -1, :5]
    assert_equal(summary[0, :5], last)


# Contexts.


def joint_and_product(m, x, length):
    """The law of all y beside the product of its marginals, (v^length,)."""
    law = ps.exact(m, length, x)
    table = law.log_prob.exp()[law.sequences.lengths == length].reshape([3] * length)
    product = torch.ones((), dtype=torch.float64)
    for axis in range(length):
        others = tuple(other for other in range(length) if other != axis)
        product = product.unsqueeze(-1) * table.sum(others)
    return table, product


@pytest.mark.parametrize("encoder", [None, ps.Bidirectional(ps.GRU(3))])
@pytest.mark.parametrize("feedback", [False, True])
def test_elements_are_independent_given_x_where_they_are_not_fed_back(encoder, feedback):
    element = ps.Tokens(3, dim=4, feedback=feedback)
    m = letters(ps.GRU(5), ps.AlignedLength(), ps.Aligned(ps.Reals(2), encoder), element)
    table, product = joint_and_product(m, torch.randn(1, 3, 2, dtype=torch.float64), 3)
    assert torch.allclose(table, product, rtol=0, atol=1e-12) is not feedback


def test_a_tuple_of_contexts_is_one_that_was_put_together_by_hand():
    parts = (ps.Vector(2, enters="input"), ps.Labels(3, dim=2, enters="input"), ps.Aligned(ps.Reals(3)))
    several = letters(ps.GRU(5), ps.AlignedLength(), parts)
    joined = letters(ps.GRU(5), ps.AlignedLength(), ps.Aligned(ps.Reals(7)), seed=1)
    weights = dict(several.state_dict())
    embedding = next(weights.pop(name) for name in list(weights) if name.startswith("context."))
    joined.load_state_dict(weights)
    vector, label = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    along = torch.randn(4, 6, 3, dtype=torch.float64)
    fixed = torch.cat([vector, embedding[label]], -1).unsqueeze(1).expand(-1, 6, -1)
    by_hand = joined.log_prob(random_y(), torch.cat([fixed, along], -1))
    assert_equal(several.log_prob(random_y(), (vector, label, along)), by_hand)


@pytest.mark.parametrize("enters", ["input", "state", "both"])
def test_a_tuple_of_vectors_is_their_concatenation(enters):
    several = letters(ps.LSTM(5), context=(ps.Vector(2, enters), ps.Vector(3, enters)))
    joined = letters(ps.LSTM(5), context=ps.Vector(5, enters), seed=1)
    joined.load_state_dict(several.state_dict())
    x = torch.randn(4, 5, dtype=torch.float64)
    assert_equal(several.log_prob(random_y(), x.split([2, 3], -1)), joined.log_prob(random_y(), x))


def test_each_member_of_a_tuple_enters_where_it_says():
    """One by the state, whose effect a memoryless network would not feel, one at every step."""
    m = letters(ps.GRU(5), context=(ps.Vector(2, enters="state"), ps.Vector(3, enters="input")))
    assert m.inputs == 4 + 3
    assert m.initial.in_features == 2


def test_a_source_is_a_vector_that_was_summed_up_by_hand():
    source = letters(ps.GRU(5), context=ps.Source(ps.Reals(3), ps.Bidirectional(ps.LSTM(2))))
    fixed = letters(ps.GRU(5), context=ps.Vector(4), seed=1)
    fixed.load_state_dict({name: w for name, w in source.state_dict().items() if not name.startswith("context.")})
    x = ps.Sequences(torch.randn(4, 6, 3, dtype=torch.float64), [6, 0, 1, 4])
    summary = source.context.encoder(x.filled(0).values, x.lengths)[1]
    assert_equal(source.log_prob(random_y(), x), fixed.log_prob(random_y(), summary))


# The planned length.


@pytest.fixture(params=[True, False], ids=["fed", "not fed"])
def planned(request):
    stop = ps.PlannedLength(4, dim=3, remaining=request.param)
    return letters(ps.GRU(5), stop, ps.Vector(2, enters="input"))


X = torch.tensor([[0.7, -1.2]], dtype=torch.float64)


def prior(m):
    """P(τ | x), (5,)."""
    return m.stop.log_pmf(m.encode(X))[0].detach()


def test_an_open_sequence_is_a_sum_over_the_planned_lengths(planned):
    for y in ([], [1], [2, 0], [0, 1, 2, 2]):
        open_ = ps.Sequences.of([y], ended=False)
        terms = [prior(planned)[t] + planned.log_prob(open_, planned.plan([t], X))[0] for t in range(len(y), 5)]
        assert_equal(planned.log_prob(open_, X)[0], torch.stack(terms).logsumexp(0))


def test_the_length_has_the_law_of_the_table(planned):
    law = ps.exact(planned, 5, X)
    for length, expected in enumerate(prior(planned)):
        assert_equal(law.log_prob[law.sequences.lengths == length].logsumexp(0), expected)


def test_a_sequence_that_ended_takes_one_pass(planned):
    passes = []
    planned.recurrence.register_forward_hook(lambda _, inputs, __: passes.append(inputs[0].shape))
    y = ps.Sequences.of([[0, 1, 2], [], [2]])
    log_prob = planned.log_prob(y, X.expand(3, -1))
    assert [shape[0] for shape in passes] == [3]
    given = planned.log_prob(y, planned.plan(y.lengths, X.expand(3, -1)))
    assert_equal(log_prob, prior(planned)[y.lengths] + given)


@pytest.mark.parametrize("length", [2, 4])
def test_the_laws_given_each_length_add_up_to_the_law(planned, length):
    whole = ps.exact(planned, length, X)
    parts = [ps.exact(planned, length, planned.plan([t], X)) for t in range(5)]
    mixture = torch.stack([prior(planned)[t] + part.log_prob for t, part in enumerate(parts)]).logsumexp(0)
    assert all(torch.equal(part.sequences.values, whole.sequences.values) for part in parts)
    assert_equal(whole.log_prob.exp(), mixture.exp())


def test_an_open_sequence_is_read_with_the_lengths_that_are_left_alone(planned):
    passes = []
    planned.recurrence.register_forward_hook(lambda _, inputs, __: passes.append(inputs[0].shape[0]))
    y = ps.Sequences.of([[0, 1, 2], [], [2]], ended=False)
    planned.log_prob(y, X.expand(3, -1))
    assert passes == [2 + 5 + 4 if planned.stop.remaining else 3]


def test_many_draws_take_no_copy_of_the_mixture_each(planned):
    kept = []
    planned.leak()
    planned.recurrence.register_forward_hook(lambda _, inputs, __: kept.append(inputs[0].shape[0]))
    planned.sample(40, X, generator=0)
    assert kept[0] == (5 if planned.stop.remaining else 1)
    state = planned.start(X)
    drawn = planned.settle(state, torch.zeros(40, dtype=torch.int64))
    if planned.stop.remaining:
        direct = planned.start(planned.plan(drawn.context.planned, X.expand(40, -1)))
        assert_equal(drawn.features, direct.features)
        assert_equal(drawn.memory[0], direct.memory[0])
        assert len(drawn.context.planned.unique()) > 1


def test_a_plan_is_kept(planned):
    lengths = torch.tensor([4, 0, 2])
    y = planned.sample(5, planned.plan(lengths, X.expand(3, -1)), generator=0)
    assert torch.equal(y.lengths, lengths.repeat_interleave(5))
    assert y.ended.all()


def test_a_plan_that_is_not_fed_is_a_law_over_lengths():
    x, y = torch.randn(3, 2, dtype=torch.float64), ps.Sequences.of([[0, 1, 2], [], [2, 1]], ended=[True, True, False])
    plan = letters(ps.GRU(5), ps.PlannedLength(4, remaining=False), ps.Vector(2))
    hazard = letters(ps.GRU(5), ps.LengthStop(4), ps.Vector(2), seed=1)
    hazard.load_state_dict(plan.state_dict())
    assert_equal(plan.log_prob(y, x), hazard.log_prob(y, x))


def test_what_remains_is_known_at_each_step_and_nothing_else():
    """With a memoryless network the law of an element depends on the one before and on the number to come."""
    m = letters(ps.Memoryless(5), ps.PlannedLength(4, dim=3))
    one = m.log_prob_steps(ps.Sequences.of([[0, 2]]), m.plan([2])).element[0, 1]
    other = m.log_prob_steps(ps.Sequences.of([[1, 0, 2]]), m.plan([3])).element[0, 2]
    farther = m.log_prob_steps(ps.Sequences.of([[1, 0, 2]], ended=False), m.plan([4])).element[0, 2]
    assert_equal(one, other)
    assert (one - farther).abs() > 1e-6


def test_a_mixture_of_lengths_is_a_law_over_vectors_too():
    """log P of an open real sequence, by the terms of the sum."""
    m = model(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.PlannedLength(3, dim=2))
    y = ps.Sequences(torch.randn(1, 2, 2, dtype=torch.float64), [2], ended=False)
    pmf = m.stop.log_pmf(m.encode(None))[0]
    terms = torch.stack([pmf[t] + m.log_prob(y, m.plan([t]))[0] for t in (2, 3)])
    assert_equal(m.log_prob(y)[0], terms.logsumexp(0))
    state = m.extend(m.start(), y.values)[1]
    stop = m.emit(state.features, state.position, state.context).log_stop[0]
    assert_equal(stop, F.log_softmax(terms, 0)[0])


# Bad input.


@pytest.fixture
def tagger():
    return letters(ps.GRU(5), ps.AlignedLength(), ps.Aligned(ps.Tokens(4, dim=2)))


def test_y_and_x_of_different_lengths(tagger):
    x = ps.Sequences.of([[0, 1], [2, 3, 1]])
    for y in ([[0, 1], [2, 0]], [[0, 1], [2, 0, 1, 1]]):
        message = rf"sequence 1 has {len(y[1])} elements, but its x .* has 3"
        with pytest.raises(ValueError, match=message):
            tagger.log_prob(ps.Sequences.of(y), x)
    assert tagger.log_prob(ps.Sequences.of([[0, 1], [2, 0]], ended=[True, False]), x).isfinite().all()
    with pytest.raises(ValueError, match="the context has batch 2, the sequences 1"):
        tagger.log_prob(ps.Sequences.of([[0, 1]]), x)


def test_aligned_members_of_different_lengths():
    m = letters(ps.GRU(5), ps.AlignedLength(), (ps.Aligned(ps.Reals(1)), ps.Aligned(ps.Tokens(2))))
    x = (torch.zeros(1, 3, 1), ps.Sequences.of([[0, 1]]))
    with pytest.raises(ValueError, match="aligned x-sequences must be of one length; those of sequence 0 have 3 and 2"):
        m.log_prob(ps.Sequences.of([[0, 1]]), x)


def test_a_tuple_with_another_number_of_members():
    m = letters(ps.GRU(5), context=(ps.Vector(2), ps.Labels(3)))
    with pytest.raises(ValueError, match=r"a tuple of 2 members \(Vector, Labels\); got 1 of them"):
        m.log_prob(ps.Sequences.of([[0]]), (torch.zeros(1, 2),))
    with pytest.raises(ValueError, match=r"a tuple of 2 members \(Vector, Labels\); got Tensor"):
        m.sample(1, torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"must have one batch; got \[1, 2\]"):
        m.sample(1, (torch.zeros(1, 2), torch.tensor([0, 1])))


@pytest.mark.parametrize("enters", ["state", "both"])
def test_x_as_the_state_of_a_network_that_has_none(enters):
    with pytest.raises(ValueError, match=r"carries no state that x could set. Let the context enter with enters='inpu"):
        letters(ps.Memoryless(4), context=ps.Vector(2, enters))


def test_an_end_where_x_ends_without_an_x():
    for context in (None, ps.Vector(2), (ps.Vector(2), ps.Labels(3))):
        with pytest.raises(ValueError, match=r"AlignedLength\(\) ends y where x does, .*: context=Aligned\(…\)"):
            letters(ps.GRU(4), ps.AlignedLength(), context)


@pytest.mark.parametrize("context", [None, ps.Vector(2, enters="state")])
def test_nothing_to_read(context):
    with pytest.raises(ValueError, match="nothing to read: with feedback=False on the element, something else must"):
        letters(ps.GRU(4), context=context, element=ps.Tokens(3, feedback=False))


def test_a_plan_beside_an_x_that_has_a_length():
    with pytest.raises(ValueError, match=r"draws a length, but the aligned x has one already. Use AlignedLength\(\)"):
        letters(ps.GRU(4), ps.PlannedLength(4), ps.Aligned(ps.Reals(2)))


@pytest.mark.parametrize(
    ("lengths", "got"), [([-1], "-1"), ([2, 5], "5"), ([2.0], "torch.float32")], ids=["negative", "long", "real"]
)
def test_a_length_that_cannot_be_planned(planned, lengths, got):
    with pytest.raises(ValueError, match=rf"a planned length must be an integer in 0…4; got {got}"):
        planned.plan(lengths, X.expand(len(lengths), -1))


def test_a_plan_for_another_batch_or_another_model(planned):
    with pytest.raises(ValueError, match="the context has batch 1, the lengths 2"):
        planned.plan([1, 2], X)
    with pytest.raises(ValueError, match=r"needs stop=PlannedLength\(n\); this model has EndSymbol\(\)"):
        letters(ps.GRU(4)).plan([2])
    with pytest.raises(ValueError, match="sequence 0 has 2 elements"):
        planned.log_prob(ps.Sequences.of([[0, 1]]), planned.plan([3], X))


def test_a_sequence_beyond_the_longest_plan(planned):
    with pytest.raises(ValueError, match="sequence 0 has 5 elements, but the model's stop law gives lengths above 4"):
        planned.log_prob(ps.Sequences.of([[0, 1, 2, 0, 1]]), X)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ps.PlannedLength(-1),
        lambda: ps.PlannedLength(3, dim=0),
        lambda: ps.Memoryless(0),
        lambda: ps.Memoryless(3, layers=0),
        lambda: ps.CausalConv(3, window=0),
        lambda: ps.Leaky(0),
        lambda: ps.Leaky(3, longest=0.5),
        lambda: ps.Stack(()),
        lambda: ps.Stack((ps.Gaussian(),)),
        lambda: ps.Positional(ps.Gaussian(), 3),
        lambda: ps.Positional(ps.GRU(3), 0),
        lambda: ps.Bidirectional(ps.Gaussian()),
        lambda: ps.Unidirectional(3),
        lambda: ps.Aligned(ps.GRU(3)),
        lambda: ps.Aligned(ps.Reals(2, feedback=False)),
        lambda: ps.Aligned(ps.Reals(2), ps.GRU(3)),
        lambda: ps.Source(ps.Reals(2), None),
        lambda: ps.Several(()),
        lambda: ps.Several((ps.Vector(2), ps.Gaussian())),
    ],
)
def test_choices_out_of_range(make):
    with pytest.raises(ValueError, match=r"needs|takes|must|reads nothing"):
        make()


def test_sampling_from_a_recurrence_that_looks_ahead():
    class Ahead(ps.Memoryless):
        def forward(self, inputs, memory):
            return self.network(inputs.flip(1)), memory

    m = ps.SequenceModel(TOKENS, Ahead(4), ps.Categorical(), ps.EndSymbol())
    with pytest.raises(ValueError, match=r"sample\(\) draws one element after the other and needs a causal recurrence"):
        m.sample(1)


def test_every_kind_of_network_goes_with_every_end_and_context():
    """What cannot go together says so when the model is made; all else scores."""
    networks = (ps.Memoryless(3), ps.CausalConv(3, 2), ps.Leaky(3), ps.Stack((ps.GRU(3), ps.Leaky(2)), skip=True))
    ends = (ps.EndSymbol(), ps.BernoulliStop(), ps.LengthStop(3), ps.PlannedLength(3), ps.FixedLength(2))
    contexts = {None: None, ps.Vector(2, enters="input"): torch.zeros(2, 2)}
    y = ps.Sequences.of([[0, 1], [2, 2]])
    for network, end, (context, x) in itertools.product(networks, ends, contexts.items()):
        assert letters(network, end, context).log_prob(y, x).isfinite().all()

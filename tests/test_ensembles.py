"""Mixtures and products of models are models: they keep every law, and are what they are by hand."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch

import probseq as ps
from probseq import testing
from probseq.ensembles import Contexts
from probseq.mixed import Listed, Mixed
from probseq.oracles import HMM
from probseq.testing import ragged
from tests import parts
from tests.parts import ALIGNED, SOURCES, STOPS

TOKENS = ps.Tokens(3, dim=4)
OTHER = ps.Tokens(3, dim=2)
VECTOR = ps.Vector(3, enters="both")
VECTOR_IN = ps.Vector(3, enters="input")
SOURCE = SOURCES["source from both ends"]
ATTENDED = ps.Source(ps.Tokens(3, dim=2), ps.Bidirectional(ps.GRU(3)), enters=None)


def symbols(recurrence, stop, context=None, element=TOKENS):
    return element, recurrence, ps.Categorical(), stop, context


END = ps.EndSymbol()
MEMBERS = {
    "one": [symbols(ps.GRU(5), END)],
    "GRU and LSTM": [symbols(ps.GRU(5), END), symbols(ps.LSTM(4), END, element=OTHER)],
    "a vector": [
        symbols(ps.GRU(5), END, VECTOR), symbols(ps.LSTM(4), END, VECTOR_IN), symbols(ps.Elman(3), END, VECTOR),
    ],
    "other stops": [
        symbols(ps.GRU(5), END, VECTOR), symbols(ps.GRU(4), ps.BernoulliStop(), VECTOR),
        symbols(ps.LSTM(4), ps.LengthStop(8), VECTOR_IN),
    ],
    "a fixed and a free length": [symbols(ps.GRU(4), ps.FixedLength(4)), symbols(ps.LSTM(3), END)],
    "two bounds": [symbols(ps.GRU(4), ps.LengthStop(3)), symbols(ps.LSTM(3), ps.LengthStop(5))],
    "a planned length": [symbols(ps.GRU(4), ps.PlannedLength(4, dim=3)), symbols(ps.LSTM(3), END)],
    "planned lengths": [symbols(ps.GRU(4), ps.PlannedLength(n, dim=3), VECTOR) for n in (3, 5)],
    "aligned": [symbols(ps.GRU(4), ps.AlignedLength(), ALIGNED[c]) for c in ("tokens", "bidirectional")],
    "aligned, of free length": [
        symbols(ps.GRU(4), END, ALIGNED["tokens"]), symbols(ps.LSTM(4), ps.BernoulliStop(), ALIGNED["bidirectional"]),
    ],
    "aligned beside a source": [
        symbols(ps.GRU(4), ps.AlignedLength(), ALIGNED["tokens"]), symbols(ps.LSTM(4), END, SOURCE),
    ],
    "a source": [
        symbols(ps.GRU(4), END, SOURCE),
        symbols(ps.LSTM(3), END, ps.Source(ps.Tokens(3, dim=3), ps.Unidirectional(ps.GRU(4)), enters="input")),
    ],
    "an attended source": [
        symbols(ps.Attentive(ps.GRU(4), feed=True), END, ATTENDED), symbols(ps.Attentive(ps.LSTM(3)), END, ATTENDED),
        symbols(ps.GRU(3), END, SOURCE),
    ],
    "bits": [
        (ps.Bits(2), ps.LSTM(4), ps.Bernoulli(), STOPS["BernoulliStop"]),
        (ps.Bits(2), ps.GRU(3), ps.Bernoulli(), STOPS["LengthStop"]),
    ],
}  # fmt: skip
KINDS = {"Mixture": ps.Mixture, "ProductOfSteps": ps.ProductOfSteps}
TABLE = {f"{kind}, {name}": (KINDS[kind], every) for kind, (name, every) in itertools.product(KINDS, MEMBERS.items())}


def members_of(assemblies):
    return [parts.model(*assembly, seed=seed) for seed, assembly in enumerate(assemblies)]


def build(kind, assemblies, batch, weights=None):
    """An ensemble, and what it is conditioned on."""
    first = assemblies[0]
    return kind(members_of(assemblies), weights), parts.x(first[4] if len(first) > 4 else None, batch)


every = pytest.mark.parametrize(("kind", "assemblies"), TABLE.values(), ids=TABLE)
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@every
def test_reading_in_pieces_is_reading_at_once(kind, assemblies):
    testing.check_split(*build(kind, assemblies, 5))


@every
def test_chosen_rows_go_on_as_they_would_have(kind, assemblies):
    testing.check_select(*build(kind, assemblies, 5))


@every
def test_stop_and_go_exhaust_what_can_happen(kind, assemblies):
    testing.check_stop_pair(*build(kind, assemblies, 5))


@every
def test_no_factor_sees_the_future(kind, assemblies):
    testing.check_causal(*build(kind, assemblies, 5))


@every
def test_neither_company_nor_padding_matters(kind, assemblies):
    testing.check_batch_invariant(*build(kind, assemblies, 5))


@every
def test_the_score_of_the_members_is_the_sum_of_the_factors(kind, assemblies):
    testing.check_fused(*build(kind, assemblies, 5))


@every
def test_every_parameter_is_reached_by_finite_gradients(kind, assemblies):
    model, x = build(kind, assemblies, 5)
    if (kind, assemblies) == (ps.Mixture, MEMBERS["aligned beside a source"]):
        # Draws of the other member have lengths that the first rules out.
        model = ps.Mixture(model.models[1:])
    testing.check_gradients(model, x)


@every
def test_the_unfolded_program_has_the_folded_law(kind, assemblies):
    testing.check_unfolded(*(lambda model, x: (model, 3, x))(*build(kind, assemblies, 1)))


@every
def test_probabilities_sum_to_one(kind, assemblies):
    model, x = build(kind, assemblies, 1)
    testing.check_normalised(model, 5, x)


@every
def test_samples_follow_the_enumerated_law(kind, assemblies):
    model, x = build(kind, assemblies, 1)
    testing.check_sampler(model, 4, x, draws=5_000)


# By hand


@pytest.mark.parametrize("weights", [None, (3.0, 1.0, 1.0)])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_mixture_is_the_weighted_sum_of_its_members(name, weights):
    assemblies = MEMBERS[name]
    shares = [1.0] * len(assemblies) if weights is None else list(weights[: len(assemblies)])
    model, x = build(ps.Mixture, assemblies, 5, shares)
    y, _ = model.conform(ragged(model, x), x)
    each = [testing._walk(member, y, member.start(ps.Context.none(5) if x is None else x).context)
            for member in model.models]  # fmt: skip
    expected = sum(share / sum(shares) * one.exp() for share, one in zip(shares, each, strict=True)).log()
    for found in (model.log_prob(y, x), ps.score(model, y, x).log_prob):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_mixture_is_never_worse_than_its_members_are_in_the_mean(name):
    model, x = build(ps.Mixture, MEMBERS[name], 5)
    for seed in range(5):
        y = ragged(model, x, seed=seed)
        y, contexts = model.conform(y, x)
        pairs = zip(model.models, contexts.members, strict=True)
        each = torch.stack([_log_prob(member, y, context) for member, context in pairs])
        assert (model.log_prob(y, x) >= each.mean(0) - 1e-12).all()


def _log_prob(member, y, context):
    """−∞ where the member allows no sequence of that length."""
    if member.max_length is not None and int(y.lengths.max()) > member.max_length:
        return torch.full((len(y),), -torch.inf, dtype=torch.float64)
    return member.log_prob(y, context, validate=False)


def test_the_posterior_follows_bayes_rule():
    """After each prefix the step is the members' steps by wₘ Pₘ(prefix)."""
    model, _ = build(ps.Mixture, MEMBERS["GRU and LSTM"], 1, (0.2, 0.8))
    y = ps.Sequences.of([[0, 2, 1, 1]], ended=False)
    state = model.start()
    for t in range(5):
        prior = torch.tensor([0.2, 0.8], dtype=torch.float64)
        likelihood = torch.stack([member.log_prob(y.cut(t)).exp()[0] for member in model.models])
        posterior = prior * likelihood / (prior * likelihood).sum()
        torch.testing.assert_close(state.features[0, -2:].exp(), posterior, rtol=1e-10, atol=1e-12)
        steps = [_next(member, y.cut(t)) for member in model.models]
        found = model.emit(state.features, state.position, state.context)
        stop = sum(p * step.log_stop.exp() for p, step in zip(posterior, steps, strict=True))
        torch.testing.assert_close(found.log_stop.exp(), stop)
        for value in range(3):
            one = torch.tensor([value])
            joint = sum(
                p * (step.log_go + step.element.log_prob(one)).exp() for p, step in zip(posterior, steps, strict=True)
            )
            torch.testing.assert_close((found.log_go + found.element.log_prob(one)).exp(), joint)
        state = model.extend(state, y.values[:, t : t + 1])[1]


def _next(model, y):
    """The law of the step after y."""
    state = model.unroll(None, y.values)[1]
    return model.emit(state.features, state.position, state.context)


def test_a_mixture_of_hidden_markov_models_is_one_of_twice_the_states():
    torch.manual_seed(0)

    def laws(*shape):
        return torch.randn(*shape, dtype=torch.float64).softmax(-1)

    tables = [(laws(2), laws(2, 2), laws(2, 3)) for _ in range(2)]
    members = [HMM(*table, stop=0.1) for table in tables]
    (i, t, e), (j, u, f) = tables
    whole = HMM(torch.cat([0.3 * i, 0.7 * j]), torch.block_diag(t, u), torch.cat([e, f]), stop=0.1)
    model = ps.Mixture(members, (0.3, 0.7))
    y = whole.sample(50, max_length=200, generator=0)
    torch.testing.assert_close(model.log_prob(y), whole.log_prob(y), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ps.score(model, y).log_prob, whole.log_prob(y), rtol=1e-10, atol=1e-10)


def product_by_hand(members, prefix, weights):
    """{outcome: log-probability} of the next step: the renormalised geometric mean, outcome by outcome."""
    joint = {"stop": 0.0, 0: 0.0, 1: 0.0, 2: 0.0}
    for member, weight in zip(members, weights, strict=True):
        step = _next(member, prefix)
        joint["stop"] += weight * step.log_stop[0]
        for value in range(3):
            joint[value] += weight * (step.log_go + step.element.log_prob(torch.tensor([value])))[0]
    total = torch.stack([torch.as_tensor(log) for log in joint.values()]).logsumexp(0)
    return {outcome: log - total for outcome, log in joint.items()}


@pytest.mark.parametrize("weights", [None, (3.0, 1.0)])
@pytest.mark.parametrize("name", ["GRU and LSTM", "a fixed and a free length", "two bounds", "a planned length"])
def test_a_product_is_the_renormalised_geometric_mean_at_each_step(name, weights):
    model, _ = build(ps.ProductOfSteps, MEMBERS[name], 1, weights)
    law = ps.exact(model, 3)
    shares = [0.5, 0.5] if weights is None else [0.75, 0.25]
    for sequence, ended, log_prob in zip(law.sequences, law.sequences.ended.tolist(), law.log_prob, strict=True):
        total = 0.0
        outcomes = [*sequence.tolist(), *(["stop"] if ended else [])]
        for t, outcome in enumerate(outcomes):
            prefix = ps.Sequences(sequence[:t].unsqueeze(0), [t], False)
            total = total + product_by_hand(model.models, prefix, shares)[outcome]
        torch.testing.assert_close(torch.as_tensor(total, dtype=torch.float64), log_prob, rtol=1e-9, atol=1e-9)


@each_kind
@pytest.mark.parametrize("name", ["a vector", "a planned length", "aligned", "an attended source", "bits"])
def test_an_ensemble_of_one_is_its_member(kind, name):
    model, x = build(kind, MEMBERS[name][:1], 5)
    (member,) = model.models
    y = ragged(member, x)
    torch.testing.assert_close(model.log_prob(y, x), member.log_prob(y, x), rtol=1e-12, atol=1e-12)
    assert model.max_length == member.max_length
    drawn = model.sample(3, x, generator=0, max_length=4)
    assert drawn.values.shape[0] == (3 if x is None else 15)


# Densities


@pytest.mark.parametrize("stop", [ps.BernoulliStop(), ps.FixedLength(3)])
def test_mixed_densities_integrate_to_one(stop):
    laws = (ps.Gaussian(), ps.Parametric(dist.StudentT), ps.Gaussian(scale=0.7))
    model = ps.Mixture(
        [parts.model(ps.Reals(1), ps.GRU(4), law, stop, seed=i) for i, law in enumerate(laws)], (1, 2, 3)
    )
    testing.check_density(model)
    testing.check_split(model)
    testing.check_fused(model)
    testing.check_batch_invariant(model)
    testing.check_gradients(model)


def test_draws_of_mixed_densities_follow_their_mean_and_variance():
    """One step, two normals."""
    torch.manual_seed(0)
    weights = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    laws = [dist.Normal(torch.tensor([[m, 0.0]]), s).to_event(1) for m, s in ((-2.0, 0.5), (1.0, 2.0))]
    law = Mixed(weights.log(), laws)
    drawn = law.sample((40_000,))
    assert drawn.shape == (40_000, 1, 2)
    mean = 0.3 * -2 + 0.7 * 1
    variance = 0.3 * (0.25 + 4) + 0.7 * (4 + 1) - mean**2
    assert drawn[..., 0].mean().item() == pytest.approx(mean, abs=6 * (variance / 40_000) ** 0.5)
    assert drawn[..., 0].var().item() == pytest.approx(variance, rel=0.05)
    assert law.expand((4, 1)).log_prob(drawn[:4]).shape == (4, 1)


# Prefixes of probability 0


def automata():
    """Two grammars over "ab": (a b)* and (a a)*, which part at the second symbol."""
    first = ps.oracles.Automaton("ab", [{"a": (0.5, 1)}, {"b": (1.0, 0)}])
    second = ps.oracles.Automaton("ab", [{"a": (0.5, 1)}, {"a": (1.0, 0)}])
    return [first, second]


@each_kind
def test_what_no_member_allows_has_probability_0_and_no_nan(kind):
    model = kind(automata())
    y = ps.Sequences.of([[0, 1], [0, 0], [1], [1, 1, 0, 1], [0, 1, 0, 0], [0]])
    features, state = model.unroll(None, y.values)
    step = model.emit(features, torch.arange(features.shape[1]), state.context)
    assert not features[..., -2:].isnan().any()
    assert not step.log_stop.isnan().any()
    assert not step.element.log_prob(torch.zeros(len(y), features.shape[1], dtype=torch.int64)).isnan().any()
    torch.testing.assert_close(step.log_stop.exp() + step.log_go.exp(), torch.ones_like(step.log_go))
    log_prob = model.log_prob(y)
    assert not log_prob.isnan().any()
    if kind is ps.Mixture:
        members = torch.stack([member.log_prob(y) for member in model.models]).exp().mean(0)
        torch.testing.assert_close(log_prob.exp(), members)
        torch.testing.assert_close(ps.score(model, y).log_prob.exp(), members)
    testing.check_normalised(model, 5)
    testing.check_sampler(model, 5, draws=5_000)


def test_a_member_that_is_ruled_out_takes_no_part_any_more():
    model = ps.Mixture(automata())
    state = model.unroll(None, torch.tensor([[0, 1]]))[1]
    assert state.features[0, -2:].exp().tolist() == [1.0, 0.0]
    drawn = model.sample(200, max_length=6, generator=0)
    grammars = {tuple(sequence.tolist()) for sequence in drawn}
    assert grammars <= {(0, 1) * n for n in range(4)} | {(0,) * (2 * n) for n in range(4)}


def test_gradients_stay_finite_where_a_member_is_ruled_out():
    torch.manual_seed(0)
    fixed, free = parts.model(*symbols(ps.GRU(4), ps.FixedLength(2))), parts.model(*symbols(ps.GRU(4), END))
    model = ps.Mixture([fixed, free])
    y = ps.Sequences.of([[0], [0, 1], [1, 1, 2], []])
    for log_prob in (model.log_prob(y), ps.score(model, y).log_prob):
        gradient = testing._gradient(log_prob, list(model.parameters()))
        assert gradient.isfinite().all()
    impossible = ps.Mixture([fixed, parts.model(*symbols(ps.GRU(4), ps.FixedLength(3)), seed=1)])
    log_prob = impossible.log_prob(y)
    assert log_prob.isneginf().tolist() == [True, False, False, True]
    assert testing._gradient(log_prob, list(impossible.parameters())).isfinite().all()


# In use


@each_kind
def test_an_ensemble_of_ensembles_is_an_ensemble(kind):
    inner = kind(members_of(MEMBERS["a vector"][:2]))
    model = kind([inner, parts.model(*MEMBERS["a vector"][2], seed=2)], (2.0, 1.0))
    x = parts.x(VECTOR, 5)
    testing.check_split(model, x)
    testing.check_select(model, x)
    flat = kind([*inner.models, model.models[1]])
    y = ragged(model, x)
    if kind is ps.Mixture:
        torch.testing.assert_close(model.log_prob(y, x), flat.log_prob(y, x), rtol=1e-10, atol=1e-10)
    testing.check_normalised(model, 4, x[:1])


@each_kind
def test_an_ensemble_is_a_pyro_distribution(kind):
    model, x = build(kind, MEMBERS["a vector"], 6)
    law = model(x.reshape(2, 3, 3), max_length=4)
    assert law.batch_shape == (2, 3)
    drawn = law.sample((5,))
    assert drawn.shape == (5, 2, 3, 4)
    y = ps.Sequences.from_dense(drawn[0].reshape(6, 4), 4)
    torch.testing.assert_close(law.log_prob(drawn)[0].reshape(6), model.log_prob(y, x), rtol=1e-10, atol=1e-10)
    trace = pyro.poutine.trace(lambda: pyro.sample("y", model(x, max_length=4).to_event(1))).get_trace()
    assert trace.log_prob_sum().isfinite()
    free = build(kind, MEMBERS["GRU and LSTM"], 1)[0]
    assert free(max_length=3).batch_shape == ()
    assert free(max_length=3).sample().shape == (3,)


@each_kind
def test_an_ensemble_covers_the_source_and_not_its_padding(kind):
    model, x = build(kind, MEMBERS["an attended source"][:2], 5)
    together = ps.beam(model, x, width=3, max_length=3, coverage=0.5)
    for row in range(5):
        alone = ps.beam(model, x.select([row]), width=3, max_length=3, coverage=0.5)
        torch.testing.assert_close(together.of(row).search_score, alone.search_score)
    assert not len(ps.beam(model, x.select([]), width=3, max_length=3, coverage=0.5))
    shorter = ps.Source(ps.Tokens(3, dim=2), ps.Convolutional(ps.Bidirectional(ps.GRU(3)), 2, stride=2))
    members = [MEMBERS["an attended source"][0], symbols(ps.Attentive(ps.GRU(4)), END, shorter)]
    with pytest.raises(ValueError, match="sources of different lengths"):
        ps.beam(build(kind, members, 5)[0], x, max_length=3, coverage=0.5)


@each_kind
def test_the_alignment_of_an_ensemble_is_the_mean_of_its_members(kind):
    model, x = build(kind, MEMBERS["an attended source"][:2], 5)
    y = model.element.conform(ragged(model, x)).values
    with model.attention() as weights:
        state = model.start(x)
        model.extend(state, y[:, :2])
        model.unroll(x, y)
    assert [tuple(each.shape) for each in weights] == [(5, 1, 6), (5, 2, 6), (5, y.shape[1] + 1, 6)]
    own = []
    for member in model.models:
        with member.attention() as each:
            member.unroll(x, y)
        own.append(each[0])
    torch.testing.assert_close(weights[2], torch.stack(own).mean(0))
    torch.testing.assert_close(torch.cat(weights[:2], 1), weights[2][:, :3])
    assert (weights[2][2] == 0).all()
    with (
        pytest.raises(ValueError, match="attends to nothing"),
        build(kind, MEMBERS["an attended source"], 5)[0].attention(),
    ):
        pass


@each_kind
def test_moving_and_casting_an_ensemble_moves_its_members(kind):
    model, x = build(kind, MEMBERS["a vector"], 5)
    double = model.log_prob(ragged(model, x), x)
    y = ragged(model, x)
    single = model.float().log_prob(y, x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)
    assert not model.training
    assert next(model.models[0].parameters()).dtype == torch.float32


def test_a_long_sequence_keeps_its_precision():
    torch.manual_seed(0)
    model, _ = build(ps.Mixture, MEMBERS["a fixed and a free length"][1:] + MEMBERS["GRU and LSTM"], 1)
    y = ps.Sequences(torch.randint(3, (2, 2_000)), [2_000, 1_500], False)
    exactly = model.log_prob(y)
    model.float()
    torch.testing.assert_close(ps.score(model, y).log_prob.double(), exactly, rtol=1e-5, atol=0)


def test_the_bounds_on_the_length():
    mixture, product = (build(kind, MEMBERS["two bounds"], 1)[0] for kind in KINDS.values())
    assert (mixture.max_length, product.max_length) == (5, 3)
    mixture, product = (build(kind, MEMBERS["a fixed and a free length"], 1)[0] for kind in KINDS.values())
    assert (mixture.max_length, product.max_length) == (None, 4)
    for kind, limit in ((ps.Mixture, None), (ps.ProductOfSteps, [4, 6, 0, 3, 5])):
        model, x = build(kind, MEMBERS["aligned beside a source"], 5)
        found = model.start(x).context.limit
        assert (found if found is None else found.tolist()) == limit
    model, x = build(ps.Mixture, MEMBERS["aligned"], 5)
    assert model.start(x).context.limit.tolist() == [4, 6, 0, 3, 5]


def test_what_cannot_go_together_is_refused():
    one, two = parts.model(*symbols(ps.GRU(4), END)), parts.model(*symbols(ps.GRU(4), END, element=ps.Tokens(4)))
    for kind in KINDS.values():
        with pytest.raises(ValueError, match=r"model 1 has Tokens\(size=4\), model 0 Tokens\(size=3, dim=4\)"):
            kind([one, two])
        with pytest.raises(ValueError, match="needs one model at least"):
            kind([])
        for weights in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
            with pytest.raises(ValueError, match="needs a positive weight for each of 2 models"):
                kind([one, one], weights)
        with pytest.raises(ValueError, match="this model has no context"):
            kind([one]).log_prob(ps.Sequences.of([[0]]), torch.zeros(1, 3))
        with pytest.raises(ValueError, match="expected a token in 0…2"):
            kind([one]).log_prob(ps.Sequences.of([[7]]))
        with pytest.raises(ValueError, match=r"the context is that of 1 models"):
            kind([one, one]).start(kind([one]).start().context)
    with pytest.raises(ValueError, match=r"needs a discrete element; got Reals\(\)\. Use Mixture"):
        ps.ProductOfSteps([parts.model(ps.Reals(1), ps.GRU(3), ps.Gaussian(), ps.BernoulliStop())])
    positive = parts.model(ps.Reals(1), ps.GRU(3), ps.Parametric(dist.Gamma), ps.BernoulliStop())
    with pytest.raises(ValueError, match="different supports"):
        ps.Mixture([parts.model(ps.Reals(1), ps.GRU(3), ps.Gaussian(), ps.BernoulliStop()), positive])
    model, x = build(ps.Mixture, MEMBERS["a vector"], 5)
    with pytest.raises(ValueError, match="pass a context"):
        model.log_prob(ps.Sequences.of([[0]]))
    with pytest.raises(ValueError, match="the context has batch 5, the sequences 1"):
        model.log_prob(ps.Sequences.of([[0]]), x)
    assert isinstance(model.start(x).context, Contexts)


def test_listed_values_are_drawn_and_scored():
    values = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    law = Listed(torch.tensor([[0.0, 1.0, 2.0]]), values)
    expected = torch.tensor([0.0, 1.0, 2.0]).log_softmax(-1)
    torch.testing.assert_close(law.log_prob(values.unsqueeze(1))[:, 0], expected)
    assert law.log_prob(torch.tensor([[1.0, 0.0]])).isneginf().all()
    assert law.sample((7,)).shape == (7, 1, 2)
    assert law.expand((4, 1)).batch_shape == (4, 1)


# Search


@every
def test_a_full_width_beam_finds_the_enumerated_argmax(kind, assemblies):
    model, x = build(kind, assemblies, 1)
    law = ps.exact(model, 3, x)
    possible = law.sequences.ended
    found = ps.beam(model, x, width=64, n_best=3, max_length=3)
    best = law.log_prob[possible].sort(descending=True).values[:3]
    ended = found.sequences.ended
    torch.testing.assert_close(found.log_prob[ended], best[: int(ended.sum())], rtol=0, atol=1e-10)


@each_kind
def test_every_hypothesis_of_a_narrow_beam_is_scored_as_the_ensemble_scores_it(kind):
    model, x = build(kind, MEMBERS["an attended source"][:2], 5)
    found = ps.beam(model, x, width=2, max_length=6, coverage=0.3)
    rescored = model.log_prob(found.sequences, x)
    torch.testing.assert_close(found.log_prob, rescored, rtol=0, atol=1e-12)

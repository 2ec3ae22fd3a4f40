"""What the parts compute, against other ways to compute it."""

import functools
import importlib

import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

import probseq as ps
from probseq import testing
from tests.parts import model

SOURCE = ps.Source(ps.Tokens(2, dim=2), ps.Bidirectional(ps.GRU(2)))


@pytest.mark.parametrize("cell", [ps.Elman(4), ps.GRU(4), ps.LSTM(4), ps.LSTM(4, layers=3), ps.Elman(4, layers=2)])
@pytest.mark.parametrize("enters", ["input", "state", "both"])
def test_the_fused_kernels_compute_the_written_equations(cell, enters):
    fused = model(ps.Tokens(3), cell, ps.Categorical(), ps.EndSymbol(), ps.Vector(2, enters))
    twin = model(ps.Tokens(3), ps.Unrolled(cell), ps.Categorical(), ps.EndSymbol(), ps.Vector(2, enters), seed=1)
    twin.load_state_dict({k.replace("recurrence.", "recurrence.cell."): v for k, v in fused.state_dict().items()})
    y, x = ps.Sequences.of([[0, 1, 2, 1], [2], []]), torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(fused.log_prob(y, x), twin.log_prob(y, x), rtol=0, atol=1e-12)


def test_the_end_symbol_is_one_softmax_over_one_more_symbol():
    m = model(ps.Tokens(3), ps.LSTM(4), ps.Categorical(), ps.EndSymbol())
    y = ps.Sequences.of([[0, 2, 1]])
    features, _ = m.unroll(None, y.values)
    logits = m.likelihood.project(features[0])
    by_hand = F.log_softmax(logits, -1)[torch.arange(4), torch.tensor([0, 2, 1, 3])].sum()
    torch.testing.assert_close(m.log_prob(y)[0], by_hand)


def test_a_bigram_written_by_hand():
    """A recurrence that sees only the last element makes a bigram table: no off-by-one can hide."""
    m = model(ps.Tokens(3, dim=3), ps.Elman(8), ps.Categorical(), ps.EndSymbol())
    with torch.no_grad():
        m.recurrence.network.weight_hh_l0.zero_()
        m.recurrence.network.bias_hh_l0.zero_()
    read = torch.cat([m.first.unsqueeze(0), m.element.embedding.weight])
    hidden = torch.tanh(F.linear(read, m.recurrence.network.weight_ih_l0, m.recurrence.network.bias_ih_l0))
    bigram = F.log_softmax(m.likelihood.project(hidden), -1)
    expected = bigram[0, 2] + bigram[3, 0] + bigram[1, 0] + bigram[1, 3]
    torch.testing.assert_close(m.log_prob(ps.Sequences.of([[2, 0, 0]]))[0], expected)


def test_an_open_sequence_has_the_probability_of_all_that_begin_so():
    m = model(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.LengthStop(4))
    law = ps.exact(m, 5)
    begins = [i for i, row in enumerate(law.sequences) if row.tolist()[:2] == [1, 0]]
    total = law.log_prob[begins].logsumexp(0)
    torch.testing.assert_close(m.log_prob(ps.Sequences.of([[1, 0]], ended=False))[0], total)


def test_a_learned_length_has_the_law_of_its_table():
    m = model(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.LengthStop(4), ps.Vector(2))
    x = torch.randn(1, 2, dtype=torch.float64)
    law = ps.exact(m, 5, x)
    for length in range(5):
        mass = law.log_prob[law.sequences.lengths == length].logsumexp(0)
        torch.testing.assert_close(mass, m.stop.log_pmf(m.encode(x))[0, length])


def test_a_fixed_length_is_certain():
    m = model(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.FixedLength(2))
    steps = m.log_prob_steps(ps.Sequences.of([[0, 1], [0]]))
    assert steps.stop[0].tolist() == [0.0, 0.0, 0.0]
    assert steps.stop[1, 1] == -torch.inf
    assert m.sample(3).ended.all()


def test_gaussian_density_against_the_formula():
    m = model(ps.Reals(2), ps.LSTM(4), ps.Gaussian(), ps.FixedLength(1))
    y = torch.randn(1, 1, 2, dtype=torch.float64)
    loc, raw = m.likelihood.project(m.start().features).split(2, -1)
    scale = 1e-4 + torch.log1p(torch.exp(raw + torch.log(torch.expm1(torch.ones((), dtype=torch.float64)))))
    by_hand = (-0.5 * ((y[0] - loc) / scale) ** 2 - scale.log() - 0.5 * torch.log(torch.tensor(2 * torch.pi))).sum()
    torch.testing.assert_close(m.log_prob(ps.Sequences(y, [1]))[0], by_hand, rtol=1e-6, atol=0)


def test_sampling_is_reproduced_by_its_seed_and_leaves_the_global_state():
    m = model(ps.Tokens(5), ps.LSTM(4), ps.Categorical(), ps.EndSymbol())
    before = torch.get_rng_state()
    a, b = m.sample(50, generator=3), m.sample(50, generator=3)
    assert torch.equal(a.values, b.values)
    assert torch.equal(before, torch.get_rng_state())
    generator = torch.Generator().manual_seed(0)
    c, d = m.sample(50, generator=generator), m.sample(50, generator=generator)
    assert not (c.values.shape == d.values.shape and torch.equal(c.values, d.values))


def test_a_cut_sample_has_not_ended():
    m = model(ps.Tokens(5), ps.LSTM(4), ps.Categorical(), ps.EndSymbol())
    y = m.sample(500, max_length=2, generator=0)
    cut = y.lengths == 2
    assert 0 < int(cut.sum()) < 500
    assert torch.equal(y.ended, ~cut)


@pytest.mark.parametrize("max_length", [0, 1, 7])
def test_samples_for_each_context_stand_side_by_side(max_length):
    m = model(ps.Tokens(5), ps.LSTM(4), ps.Categorical(), ps.EndSymbol(), ps.Labels(3))
    y = m.sample(4, torch.tensor([0, 1, 2]), max_length=max_length)
    assert len(y) == 12
    assert m.log_prob(y, torch.tensor([0, 1, 2]).repeat_interleave(4)).isfinite().all()


def test_no_sequences_are_no_error():
    m = model(ps.Tokens(5), ps.LSTM(4), ps.Categorical(), ps.EndSymbol())
    assert m.log_prob(ps.Sequences.of([])).shape == (0,)
    assert len(m.sample(0)) == 0


@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.BernoulliStop(), ps.LengthStop(3)])
def test_the_empty_sequence_has_a_probability(stop):
    m = model(ps.Tokens(5), ps.LSTM(4), ps.Categorical(), stop)
    empty = m.log_prob(ps.Sequences.of([[]]))
    torch.testing.assert_close(empty, ps.exact(m, 1).log_prob[:1])
    assert bool((empty < 0).all())


def test_expectations_and_the_mode_of_an_enumerated_law():
    m = model(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.LengthStop(3))
    law = ps.exact(m, 4)
    pmf = m.stop.log_pmf(m.encode(None)).exp()[0]
    mean = law.expectation(lambda y: y.lengths.double())
    torch.testing.assert_close(mean, (pmf * torch.arange(4)).sum())
    sequence, log_prob = law.mode()
    torch.testing.assert_close(m.log_prob(ps.Sequences.of([sequence]))[0].item(), log_prob)
    assert log_prob == law.log_prob.max()


def test_a_part_serves_in_many_models():
    part = ps.LSTM(4)
    a = ps.SequenceModel(ps.Tokens(2), part, ps.Categorical(), ps.EndSymbol())
    b = ps.SequenceModel(a.element, a.recurrence, a.likelihood, a.stop)
    assert not {id(p) for p in a.parameters()} & {id(p) for p in b.parameters()}
    assert not list(part.parameters())


def test_dropout_acts_in_training_only():
    m = model(ps.Tokens(3, dropout=0.5), ps.LSTM(4, dropout=0.5), ps.Categorical(), ps.EndSymbol())
    y = ps.Sequences.of([[0, 1, 2, 1, 0]])
    assert torch.equal(m.log_prob(y), m.log_prob(y))
    m.train()
    assert not torch.equal(m.log_prob(y), m.log_prob(y))


def test_a_law_has_no_density_outside_a_support_that_moves():
    m = model(ps.Reals(1), ps.GRU(4), ps.Parametric(dist.Pareto), ps.FixedLength(2))
    scale = float(m(max_length=1).model.emit(m.start().features, torch.tensor([0]), m.start().context)
                  .element.base_dist.scale.detach())  # fmt: skip
    below = ps.Sequences.of([[[scale / 2], [scale]], [[scale * 2], [1e6]]])
    log_prob = m.log_prob(below)
    assert log_prob[0] == -torch.inf
    assert log_prob[1].isfinite()
    log_prob[1].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in m.parameters())
    counts = model(ps.Reals(1), ps.GRU(4), ps.Parametric(dist.Binomial, {"total_count": 4}), ps.FixedLength(1))
    assert counts.log_prob(ps.Sequences.of([[[2.5]], [[5.0]]])).tolist() == [-torch.inf, -torch.inf]
    assert float(counts.log_prob(ps.Sequences.of([[[k]] for k in range(5)])).exp().sum()) == pytest.approx(1)


def test_an_own_family_is_not_taken_for_pyros_of_the_same_name():
    class Normal(dist.LogNormal):
        pass

    m = model(ps.Reals(1), ps.GRU(4), ps.Parametric(Normal), ps.FixedLength(1))
    assert m.likelihood.family is Normal


def test_one_hot_vectors_are_enumerated():
    m = model(ps.Reals(3), ps.GRU(4), ps.Parametric(dist.OneHotCategorical), ps.BernoulliStop())
    law = ps.exact(m, 3)
    assert len(law.sequences) == 1 + 3 + 9 + 27
    assert abs(float(law.log_mass)) < 1e-10


def test_a_long_enumeration_of_one_symbol():
    m = model(ps.Tokens(1), ps.GRU(4), ps.Categorical(), ps.BernoulliStop())
    assert abs(float(ps.exact(m, 1500).log_mass)) < 1e-10


def test_an_end_symbol_of_ones_own_is_scored_by_its_own_law():
    class AtLeastOne(ps.EndSymbol):
        def emit(self, likelihood, features, position, context):
            step = super().emit(likelihood, features, position, context)
            empty = (position == 0).expand(step.log_stop.shape)
            log_stop = torch.where(empty, -torch.inf, step.log_stop)
            return ps.NextStep(step.element, log_stop, torch.where(empty, 0.0, step.log_go))

    m = model(ps.Tokens(2), ps.GRU(4), ps.Categorical(), AtLeastOne())
    assert m.log_prob(ps.Sequences.of([[]])).item() == -torch.inf
    assert abs(float(ps.exact(m, 4).log_mass)) < 1e-10


PYRO_FAMILIES = [
    *["AsymmetricLaplace", "Bernoulli", "Beta", "Cauchy", "Chi2", "ContinuousBernoulli", "Dirichlet", "Exponential"],
    *["FisherSnedecor", "Gamma", "GammaPoisson", "Geometric", "Gumbel", "HalfCauchy", "HalfNormal", "InverseGamma"],
    *["Kumaraswamy", "Laplace", "LogNormal", "Logistic", "LowRankMultivariateNormal", "MultivariateNormal"],
    *["MultivariateStudentT", "NegativeBinomial", "Normal", "Pareto", "Poisson", "RelaxedBernoulli", "SkewLogistic"],
    *["SoftLaplace", "StudentT", "VonMises", "Weibull", "ZeroInflatedPoisson"],
]


@pytest.mark.parametrize("family", PYRO_FAMILIES)
def test_pyro_families_are_likelihoods(family):
    fixed = {"temperature": 0.7} if family == "RelaxedBernoulli" else {}
    m = model(ps.Reals(2), ps.LSTM(4), ps.Parametric(getattr(dist, family), fixed), ps.BernoulliStop())
    y = m.sample(20, max_length=4, generator=0)
    log_prob = m.log_prob(y)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in m.parameters())


@pytest.mark.parametrize("stop", [ps.BernoulliStop(), ps.LengthStop(3), ps.FixedLength(0), ps.PlannedLength(3)])
@pytest.mark.parametrize("ended", [True, False])
def test_empty_sequences_alone_are_scored_in_full_precision_under_autocast(stop, ended):
    m = ps.SequenceModel(ps.Tokens(3), ps.Memoryless(4), ps.Categorical(), stop)
    y = ps.Sequences.of([[], []], ended=ended)
    with torch.autocast("cpu", torch.bfloat16):
        log_prob = m.log_prob(y)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob, m.log_prob(y), rtol=0, atol=0.02)


def test_bits_are_scored_in_the_precision_of_the_model_whatever_they_come_in():
    bits = torch.randint(2, (3, 5, 2))
    for stop in (ps.BernoulliStop(), ps.PlannedLength(5)):
        m = model(ps.Bits(2), ps.GRU(4), ps.Bernoulli(), stop)
        for dtype in (torch.bool, torch.int64, torch.float32):
            for ended in (True, False):
                y = ps.Sequences(bits.to(dtype), [5, 3, 0], ended)
                exact = m.log_prob(ps.Sequences(bits.double(), [5, 3, 0], ended))
                torch.testing.assert_close(m.log_prob(y), exact, rtol=0, atol=1e-12)


def test_weights_that_are_not_numbers_are_no_look_ahead():
    m = model(ps.Tokens(3), ps.LSTM(4), ps.Categorical(), ps.EndSymbol())
    with torch.no_grad():
        next(m.recurrence.parameters()).fill_(float("nan"))
    assert m.leak() is None


@pytest.mark.parametrize(
    ("element", "recurrence", "likelihood", "stop", "context"),
    [
        (ps.Tokens(2), ps.Stack((ps.LSTM(3), ps.GRU(3))), ps.Categorical(), ps.EndSymbol(), None),
        (ps.Tokens(2), ps.Lagged(ps.GRU(3), (1, 2)), ps.Categorical(), ps.PlannedLength(3), ps.Vector(2)),
        (ps.Bits(2), ps.CausalConv(3, window=2), ps.Bernoulli(), ps.BernoulliStop(), None),
        (ps.Tokens(2), ps.Attentive(ps.LSTM(3)), ps.Categorical(), ps.EndSymbol(), SOURCE),
    ],
)
def test_steps_that_can_be_captured_draw_from_the_law(element, recurrence, likelihood, stop, context, monkeypatch):
    small, x = model(element, recurrence, likelihood, stop, context), None
    if context is not None:
        x = torch.randn(1, 2, dtype=torch.float64) if context is not SOURCE else ps.Sequences.of([[1, 0, 1]])
    monkeypatch.setattr(testing, "sample", functools.partial(ps.sample, capture=True))
    testing.check_sampler(small, 3, x, 5_000)


@pytest.mark.parametrize("context", [None, ps.Vector(2)])
def test_sequences_of_one_past_share_its_state_and_are_drawn_as_without(context, monkeypatch):
    torch.manual_seed(0)
    letters = ps.SequenceModel(ps.Tokens(5, 3), ps.GRU(6), ps.Categorical(), ps.EndSymbol(), context).double()
    x, read = None if context is None else torch.randn(3, 2), []
    letters.recurrence.register_forward_hook(lambda _, inputs, __: read.append(len(inputs[0])))
    shared = ps.sample(letters, 200, x, max_length=12, generator=0)
    rows, read[:] = sum(read), []
    monkeypatch.setattr(importlib.import_module("probseq.inference.sample"), "SHARED", -1)
    alone = ps.sample(letters, 200, x, max_length=12, generator=0)
    assert rows < 0.8 * sum(read)
    assert torch.equal(shared.values, alone.values)
    assert torch.equal(shared.lengths, alone.lengths)
    assert torch.equal(shared.ended, alone.ended)

"""What is said of the missing middle of a sequence is what enumeration, Kalman and forward–backward say."""

import re

import pyro.distributions as dist
import pytest
import torch

import probseq as ps
from probseq.inference.infilling.infill import MOST
from probseq.oracles import HMM, Automaton, LinearGaussianAR
from tests.parts import TABLE, build, model

NAMES = ["Tokens, GRU, EndSymbol, both", "Tokens, LSTM, LengthStop, input", "Tokens, GRU, BernoulliStop(), reals"]
NAMES += ["Tokens, GRU, AlignedLength(), bidirectional", "Tokens, LSTM, PlannedLength, input"]
NAMES += ["Bits, LSTM, BernoulliStop", "Bits, LSTM, FixedLength", "Tokens, GRU, EndSymbol(), source from both ends"]
some = pytest.mark.parametrize("name", NAMES)


def letters(seed=0, symbols=5, stop=None):
    return model(ps.Tokens(symbols, dim=4), ps.GRU(6), ps.Categorical(), stop or ps.EndSymbol(), None, seed)


def untrained(m, symbols=5, seed=1, scale=1.0):
    """A look ahead that knows nothing: whatever it says must leave the answers unbiased."""
    torch.manual_seed(seed)
    found = ps.LearnedLookahead(m.recurrence.features, symbols, 8)
    with torch.no_grad():
        found.score.weight.mul_(scale)
    return found


LOOKAHEADS = {"none": lambda m: None, "untrained": untrained, "wild": lambda m: untrained(m, scale=8.0)}


def hidden(y, observed):
    """y with −1 or NaN where it is not observed."""
    missing = torch.nan if y.values.is_floating_point() else -1
    return ps.Sequences(torch.where(observed, y.values, missing), y.lengths, y.ended)


def fits(law, y, observed, ended):
    """Which of the listed sequences agree with what was observed of y."""
    width, time = law.sequences.values.shape[1], len(y)
    values = law.sequences.values[:, :time]
    same = ((values == y[:width]) | ~observed[:width]).flatten(1).all(1) if time else torch.ones(len(values)).bool()
    lengths = law.sequences.lengths
    return same & ((lengths == time) & law.sequences.ended if ended else lengths >= time)


@some
@pytest.mark.parametrize("ended", [True, False])
def test_listing_is_conditioning_the_enumerated_law(name, ended):
    m, c = build(TABLE[name], batch=1)
    longest = 3 if ended else 2
    law = ps.exact(m, 4, c)
    draw = ps.sample(m, 40, c, max_length=longest, generator=0)
    draw = draw.select((draw.lengths >= 2).nonzero().squeeze(1)[:1])
    observed = torch.ones_like(draw.values, dtype=torch.bool)
    observed[:, 0] = False
    y = ps.Sequences(hidden(draw, observed).values, draw.lengths, ended)
    found = ps.infill(m, y, c, method="exact")
    which = fits(law, draw.values[0], observed[0], ended)
    log_z = law.log_prob[which].logsumexp(0)
    torch.testing.assert_close(found.log_evidence[0], log_z.to(found.log_evidence), rtol=0, atol=1e-9)
    if log_z == -torch.inf:
        return
    for t in range(y.values.shape[1]):
        for v, symbol in enumerate(found.symbols):
            here = (law.sequences.values[:, t] == symbol).reshape(len(law.log_prob), -1).all(1)
            expected = law.log_prob[which & here].exp().sum() / log_z.exp()
            assert abs(float(found.marginals[0, t, v] - expected)) < 1e-9
    assert found.verdicts == ["exact"]
    assert float(found.standard_error) == 0


def patterns():
    none = None
    return {
        "one gap": ([2, none, none, none, 1, 0], True),
        "two gaps": ([none, 1, none, none, 3, 3], True),
        "the beginning": ([none, none, 4, 0], True),
        "the end": ([1, 0, none, none, none], True),
        "what goes on": ([1, none, none, 2, none, 3], False),
        "all of it": ([none, none, none], True),
        "an unknown length": ([1, ps.Gap(0, 3), 2], True),
        "two unknown lengths": ([1, ps.Gap(0, 2), 2, ps.Gap(0, 2)], True),
        "an unknown length of what goes on": ([1, ps.Gap(0, 2), 2], False),
    }


@pytest.mark.parametrize("name", patterns())
@pytest.mark.parametrize("ahead", LOOKAHEADS)
def test_the_estimate_is_unbiased_and_its_intervals_cover(name, ahead):
    m = letters()
    items, ended = patterns()[name]
    truth = ps.infill(m, ps.Pattern.of([items], ended), method="exact").log_evidence
    runs, particles = 600, 24
    pattern = ps.Pattern.of([items] * runs, ended)
    found = ps.infill(m, pattern, particles=particles, lookahead=LOOKAHEADS[ahead](m), method="smc", generator=3)
    ratio = (found.log_evidence - truth).exp()
    assert abs(float(ratio.mean()) - 1) < 3.3 * float(ratio.std()) / runs**0.5 + 1e-12
    if ahead == "none" and not any(isinstance(item, ps.Gap) for item in items):
        # The variance that is told must be that of the runs, as far as 24 particles and 600 runs can tell.
        spread = float(ratio.var() / (found.standard_error.square()).mean()) if float(ratio.std()) > 1e-9 else 1.0
        assert 0.6 < spread < 1.7


def test_intervals_cover_the_truth_as_often_as_they_say():
    m, runs = letters(seed=3), 800
    items, ended = patterns()["one gap"]
    truth = ps.infill(m, ps.Pattern.of([items], ended), method="exact").log_evidence
    for ahead in ("none", "untrained"):
        pattern = ps.Pattern.of([items] * runs, ended)
        found = ps.infill(m, pattern, particles=256, lookahead=LOOKAHEADS[ahead](m), method="smc", generator=5)
        low, high = found.interval(0.95)
        assert 0.92 <= float(((low <= truth) & (truth <= high)).double().mean()) <= 0.98


@pytest.mark.parametrize("seed", range(4))
def test_the_best_lookahead_leaves_the_weights_no_variance(seed):
    m = letters(seed)
    for items, ended in list(patterns().values())[:6]:
        found = ps.infill(
            m, ps.Pattern.of([items], ended), particles=12, lookahead=ps.ExactLookahead(), method="smc", generator=0
        )
        assert float(found.log_weight.var()) < 1e-10
        exact = ps.infill(m, ps.Pattern.of([items], ended), method="exact")
        torch.testing.assert_close(found.log_evidence, exact.log_evidence, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ended", [True, False])
def test_gaps_of_unknown_length_are_what_a_regular_expression_matches(ended):
    m = letters(symbols=3)
    law = ps.exact(m, 7)
    pattern = ps.Pattern.of([[2, ps.Gap(0, 2), 1, ps.Gap(1, 2)]], ended)
    match = re.compile("2.{0,2}1.{1,2}")
    mass = 0.0
    for y, end, log_prob in zip(law.sequences, law.sequences.ended, law.log_prob, strict=True):
        text = "".join(map(str, y.tolist()))
        if (match.fullmatch(text) and end) if ended else match.match(text):
            mass += float(log_prob.exp())
    found = ps.infill(m, pattern, method="exact", max_length=6)
    assert abs(float(found.log_evidence.exp()) - mass) < 1e-12


def test_answers_in_a_batch_are_the_answers_alone():
    m = letters()
    rows = [[2, None, 1], [], [None, None, None, 0, None], [3], [ps.Gap(0, 2), 1]]
    together = ps.infill(m, rows, method="exact")
    for i, row in enumerate(rows):
        alone = ps.infill(m, [row], method="exact")
        torch.testing.assert_close(together.log_evidence[i], alone.log_evidence[0], rtol=0, atol=1e-12)
    drawn = ps.infill(m, rows, particles=4000, method="smc", generator=1)
    off = (drawn.log_evidence - together.log_evidence).abs()
    assert bool((off <= 4 * drawn.standard_error + 1e-9).all())
    width = together.marginals.shape[1]
    assert float((drawn.marginals[:, :width] - together.marginals).abs().max()) < 0.05


def test_nothing_missing_is_the_score():
    m = letters()
    y = ps.Sequences.of([[0, 1, 2], [4], []], ended=[True, False, True])
    torch.testing.assert_close(ps.infill(m, y).log_evidence, m.log_prob(y).detach(), rtol=0, atol=1e-12)
    found = ps.infill(m, y, method="smc", particles=3)
    torch.testing.assert_close(found.log_evidence, m.log_prob(y).detach(), rtol=0, atol=1e-12)


def forward_backward(m, values):
    """P(yₜ = v | the observed values) of a hidden Markov model, and the log-evidence; −1 is missing."""
    like = torch.where(values.unsqueeze(1) < 0, 0.0, m.log_emission.T[values.clamp(min=0)])
    forward, backward = [m.log_initial + like[0]], [torch.zeros_like(m.log_initial)]
    for t in range(1, len(values)):
        forward.append((forward[-1].unsqueeze(1) + m.log_transition).logsumexp(0) + like[t])
    for t in range(len(values) - 1, 0, -1):
        backward.append((m.log_transition + like[t] + backward[-1]).logsumexp(1))
    belief = (torch.stack(forward) + torch.stack(backward[::-1])).softmax(-1)
    return belief @ m.log_emission.exp(), forward[-1].logsumexp(0)


@pytest.mark.parametrize("stay", [0.5, 0.95])
def test_a_gap_of_60_in_200_has_the_marginals_of_forward_backward(stay):
    transition = torch.full((3, 3), (1 - stay) / 2, dtype=torch.float64).fill_diagonal_(stay)
    emission = [[0.8, 0.1, 0.05, 0.05], [0.05, 0.8, 0.1, 0.05], [0.1, 0.05, 0.15, 0.7]]
    m = HMM([1 / 3] * 3, transition, emission, length=200)
    y = ps.sample(m, 4, generator=0)
    values = y.values.clone()
    values[:, 70:130] = -1
    found = ps.infill(m, ps.Sequences(values, y.lengths), particles=2000, generator=1)
    distances = []
    for i in range(4):
        marginals, log_z = forward_backward(m, values[i])
        distances.append(0.5 * (found.marginals[i, 70:130] - marginals[70:130]).abs().sum(-1))
        assert abs(float(found.log_evidence[i] - log_z)) < 4 * float(found.standard_error[i]) + 1e-9
    assert float(torch.stack(distances).mean()) <= 0.05


def kalman(coefficient, scale, values):
    """Mean and variance of each element of a first-order series given the observed ones: the joint normal law."""
    time = len(values)
    response = torch.zeros(time, time, dtype=torch.float64)
    for t in range(time):
        response[t, : t + 1] = coefficient ** torch.arange(t, -1, -1, dtype=torch.float64)
    covariance = scale**2 * response @ response.T
    seen = ~torch.isnan(values)
    gain = covariance[:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    return gain @ values[seen], (covariance - gain @ covariance[seen]).diagonal(), covariance[seen][:, seen]


def test_a_gap_in_a_gaussian_series_is_what_the_kalman_smoother_says():
    m = LinearGaussianAR([0.9], 0.5, 9)
    values = torch.tensor([0.4, 1.0, torch.nan, torch.nan, torch.nan, 1.6, 1.1, torch.nan, 0.9], dtype=torch.float64)
    y = ps.Sequences(values.reshape(1, -1, 1), [9])
    found = ps.infill(m, y, particles=200_000, generator=0)
    mean, variance, covariance = kalman(0.9, 0.5, values)
    gap = torch.isnan(values)
    torch.testing.assert_close(found.mean[0, gap, 0], mean[gap], rtol=0.02, atol=0)
    torch.testing.assert_close(found.variance[0, gap, 0], variance[gap], rtol=0.02, atol=0)
    law = torch.distributions.MultivariateNormal(torch.zeros(len(covariance)).double(), covariance)
    assert abs(float(found.log_evidence - law.log_prob(values[~gap]))) < 4 * float(found.standard_error)
    assert found.verdicts == ["reliable"]


def test_a_vector_may_be_known_in_part():
    likelihood = ps.Parametric(dist.MultivariateNormal)
    torch.manual_seed(0)
    m = ps.SequenceModel(ps.Reals(2), ps.Elman(1), likelihood, ps.FixedLength(2)).double()
    nan = torch.nan
    y = torch.tensor([[[0.3, nan], [nan, -0.2]]], dtype=torch.float64)
    found = ps.infill(m, ps.Sequences(y, [2]), particles=40_000, generator=0)
    step = torch.linspace(-7, 7, 281, dtype=torch.float64)
    a, b = torch.meshgrid(step, step, indexing="ij")
    grid = torch.stack(
        [torch.stack([torch.full_like(a, 0.3), a], -1), torch.stack([b, torch.full_like(b, -0.2)], -1)], 2
    )
    density = m.log_prob(ps.Sequences(grid.reshape(-1, 2, 2), [2] * a.numel())).detach().reshape(a.shape)
    log_z = density.flatten().logsumexp(0) + 2 * (step[1] - step[0]).log()
    assert abs(float(found.log_evidence - log_z)) < 4 * float(found.standard_error) + 1e-3
    mean = (density.exp() * a).sum() / density.exp().sum()
    assert abs(float(found.mean[0, 0, 1] - mean)) < 0.03
    assert torch.equal(found.sequences.values[:, 0, 0], torch.full((40_000,), 0.3, dtype=torch.float64))


def test_particle_gibbs_comes_to_the_same_law_with_few_particles():
    m = letters(seed=2)
    items, ended = patterns()["one gap"]
    truth = ps.infill(m, ps.Pattern.of([items], ended), method="exact")
    rows = ps.Pattern.of([items] * 200, ended)
    one = ps.infill(m, rows, particles=4, method="smc", generator=0)
    many = ps.infill(m, rows, particles=4, method="smc", sweeps=40, generator=0)

    def distance(found):
        return float(0.5 * (found.marginals.mean(0) - truth.marginals[0]).abs().sum(-1).max())

    assert distance(many) < 0.02 < distance(one)
    torch.testing.assert_close(one.log_evidence, many.log_evidence)


def test_what_the_model_drew_bounds_the_evidence_from_both_sides():
    m = letters(seed=1)
    y = ps.sample(m, 3000, max_length=8, generator=0)
    y = y.select(((y.lengths == 6) & y.ended).nonzero().squeeze(1)[:60])
    observed = torch.ones_like(y.values, dtype=torch.bool)
    observed[:, 1:5] = False
    truth = ps.infill(m, hidden(y, observed), method="exact").log_evidence
    runs = [ps.evidence_bounds(m, y, observed, particles=6, generator=seed) for seed in range(40)]
    low, high = (torch.stack(bounds) for bounds in zip(*runs, strict=True))
    error = (low.std(0) / 40**0.5).square().mean().sqrt() / 60**0.5 + (high.std(0) / 40**0.5).mean() / 60**0.5
    assert float((low.mean(0) - truth).mean()) < 3 * float(error)
    assert float((high.mean(0) - truth).mean()) > -3 * float(error)
    # For what was drawn from the posterior, the reciprocal of the upper estimate is unbiased.
    ratio = (truth - high).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / ratio.numel() ** 0.5 + 0.02
    wide, narrow = ps.evidence_bounds(m, y, observed, particles=400, generator=0)
    assert float((narrow - wide).abs().mean()) < float((high - low).abs().mean()) / 3


@pytest.fixture(scope="module")
def trained():
    """A model of five symbols that has learned from sticky chains, and its look ahead."""
    torch.manual_seed(0)
    transition = torch.full((5, 5), 0.02, dtype=torch.float64).fill_diagonal_(0.92)
    emission = torch.full((5, 5), 0.05, dtype=torch.float64).fill_diagonal_(0.8)
    source = HMM([0.2] * 5, transition, emission, stop=0.07)
    y = ps.sample(source, 3000, max_length=30, generator=0)
    m = ps.SequenceModel(ps.Tokens(5, dim=8), ps.GRU(24), ps.Categorical(), ps.EndSymbol())
    ps.fit(m, y, max_epochs=4, learning_rate=1e-2, progress=False, accelerator="cpu")
    ahead = ps.train_lookahead(m, steps=250, num_samples=3000, size=48, progress=False, accelerator="cpu")
    return m, ahead


def test_a_learned_lookahead_makes_the_particles_worth_more(trained):
    m, ahead = trained
    y = ps.sample(m, 600, generator=1)
    y = y.select((y.lengths >= 8).nonzero().squeeze(1)[:80])
    observed = torch.ones_like(y.values, dtype=torch.bool)
    for i, length in enumerate(y.lengths.tolist()):
        first = i % (length - 5)
        observed[i, first : first + 5] = False
    pattern = hidden(y, observed)
    truth = ps.infill(m, pattern, method="exact")
    worth, distance = {}, {}
    for name, own in (("without", None), ("with", ahead)):
        found = ps.infill(m, pattern, particles=256, lookahead=own, method="smc", generator=0)
        worth[name] = float((found.ess / 256).median())
        distance[name] = float((0.5 * (found.marginals - truth.marginals).abs().sum(-1))[~observed].median())
        low, high = found.interval(0.999)
        assert float(((low <= truth.log_evidence) & (truth.log_evidence <= high)).double().mean()) > 0.9
    assert worth["with"] >= 0.6
    assert worth["with"] > worth["without"]
    assert distance["with"] <= 0.05


def test_a_lookahead_is_saved_beside_its_model(trained, tmp_path):
    m, ahead = trained
    ps.save(m, tmp_path)
    ps.save_lookahead(ahead, tmp_path)
    again, looking = ps.load(tmp_path), ps.load_lookahead(tmp_path)
    one = ps.infill(m, [0, None, None, None, 1], lookahead=ahead, method="smc", generator=0)
    two = ps.infill(again, [0, None, None, None, 1], lookahead=looking, method="smc", generator=0)
    assert torch.equal(one.log_evidence, two.log_evidence)
    (tmp_path / "lookahead.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ps.SaveError, match="Train it again"):
        ps.load_lookahead(tmp_path)
    with pytest.raises(ps.SaveError, match="holds no lookahead"):
        ps.load_lookahead(tmp_path / "elsewhere")


def test_training_a_lookahead_leaves_the_model_and_the_generator_alone(trained):
    m, _ = trained
    before = {name: tensor.clone() for name, tensor in m.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ps.train_lookahead(m, steps=2, num_samples=50, size=8, progress=False, accelerator="cpu")
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in m.state_dict().items())
    assert all(parameter.requires_grad for parameter in m.parameters())


def test_a_lookahead_learns_with_contexts():
    m = model(ps.Tokens(4, dim=4), ps.GRU(6), ps.Categorical(), ps.EndSymbol(), ps.Vector(2))
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ahead = ps.train_lookahead(m, x, steps=3, num_samples=50, size=8, progress=False, accelerator="cpu")
    rows = [[0, None, None, 1]] * 5
    found = ps.infill(m, rows, x, particles=3000, lookahead=ahead, method="smc", generator=0)
    truth = ps.infill(m, rows, x, method="exact").log_evidence
    assert bool(((found.log_evidence - truth).abs() < 4 * found.standard_error).all())


def test_questions_are_asked_in_letters():
    m = model(ps.Tokens(3, dim=4, symbols="abc"), ps.GRU(5), ps.Categorical(), ps.EndSymbol())
    for text, row in (("a_c", [0, None, 2]), ("*b", [ps.Gap(), 1]), ("_", [None])):
        one = ps.infill(m, text, method="exact", max_length=4)
        two = ps.infill(m, ps.Pattern.of([row]), method="exact", max_length=4)
        assert torch.equal(one.log_evidence, two.log_evidence)
    found = ps.infill(m, ["a_c", "b"])
    best, probability = found.ranked(0, 2)
    assert best.values.shape == (2, 3)
    assert float(probability[0]) >= float(probability[1])
    assert abs(float(found.ranked(0)[1].sum()) - 1) < 1e-12
    named = ps.SequenceModel(ps.Tokens(27), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    assert ps.infill(named, "c_t").sequences.values[0].tolist() == [2, 0, 19]


def test_draws_follow_the_weights():
    m = letters()
    found = ps.infill(m, [[1, None, 2], [None, 0]], method="exact")
    drawn = found.draw(20_000, generator=0)
    for row in range(2):
        own = drawn.select(torch.arange(row * 20_000, (row + 1) * 20_000)).values[:, 1 - row]
        share = torch.bincount(own, minlength=5).double() / 20_000
        assert float((share - found.marginals[row, 1 - row]).abs().max()) < 0.015


def test_contradictions_are_said_and_do_not_crash():
    m = Automaton("ab", [{"a": (1.0, 1)}, {"b": (0.5, 0)}])
    for method in ("exact", "smc"):
        found = ps.infill(m, [[0, None, 1], [0, 1, None]], method=method, particles=8, generator=0)
        assert found.log_evidence[0] == -torch.inf
        assert found.log_evidence[1] > -torch.inf
        assert not bool(found.reliable[0])
        assert not bool(found.marginals[0].any())
        assert not bool(torch.isnan(found.marginals).any())
        with pytest.raises(ValueError, match="pattern 0 has no completion"):
            found.ranked(0)
    assert "impossible" in ps.infill(m, [0, None, 1], method="exact").verdicts[0]
    assert "probability 0 at position 2" in ps.infill(m, [0, None, 1], method="smc").verdicts[0]
    refined = ps.infill(m, [0, None, 1], method="smc", sweeps=3)
    assert refined.log_evidence[0] == -torch.inf


def test_one_particle_is_an_estimate_without_an_error():
    found = ps.infill(letters(), [0, None, 1], particles=1, method="smc", generator=0)
    assert torch.isfinite(found.log_evidence).all()
    assert float(found.standard_error) == torch.inf
    assert "not to be trusted: 1 draws are worth 1.0" in found.verdicts[0]


def test_errors_say_what_to_do():
    m = letters()
    with pytest.raises(ValueError, match=r"declares none. Pass numbers, or declare Tokens"):
        ps.infill(m, "a_b")
    with pytest.raises(ValueError, match=r"got 7; expected a token in 0…4"):
        ps.infill(m, [0, None, 7])
    with pytest.raises(ValueError, match="particles ≥ 1"):
        ps.infill(m, [0, None], particles=0)
    with pytest.raises(ValueError, match="method must be"):
        ps.infill(m, [0, None], method="magic")
    with pytest.raises(ValueError, match=f"lists {MOST:,} at most"):
        ps.infill(m, [None] * 12, method="exact")
    with pytest.raises(ValueError, match="0 ≤ low ≤ high"):
        ps.Gap(3, 1)
    with pytest.raises(ValueError, match="choose the lengths"):
        ps.infill(m, [ps.Gap(0, 70), 1, ps.Gap(0, 70)])
    with pytest.raises(ValueError, match=r"there are 2 patterns. Pass one row for each"):
        ps.infill(m, [[0], [1]], ps.Context.none(3))
    for wrong in (["ab", 3], [0, 1.5], [0, [1, 2]], [True, 0]):
        with pytest.raises(ValueError, match="expected a number of integers"):
            ps.infill(m, wrong)
    with pytest.raises(TypeError, match="expected a text"):
        ps.infill(m, 3)
    short = letters(stop=ps.FixedLength(2))
    with pytest.raises(ValueError, match=r"sequence 0 has 3 elements, but the model.s stop law"):
        ps.infill(short, [0, None, 1])
    with pytest.raises(ValueError, match="3 elements at least, but the longest sequence 2"):
        ps.infill(short, [0, ps.Gap(1, 2), 1])
    with pytest.raises(ValueError, match=r"has \['d'\], which the alphabet"):
        ps.infill(model(ps.Tokens(3, dim=4, symbols="abc"), ps.GRU(5), ps.Categorical(), ps.EndSymbol()), "a_d")
    with pytest.raises(ValueError, match="trained for 4 symbols, the model has 5"):
        ps.infill(m, [0, None, 1], lookahead=untrained(m, symbols=4), method="smc")
    real = model(ps.Reals(1), ps.GRU(4), ps.Gaussian(), ps.FixedLength(3))
    with pytest.raises(ValueError, match=r"lookahead.*needs a discrete element"):
        ps.infill(real, [[0.0], None, [1.0]], lookahead=ps.ExactLookahead())


def test_the_tail_of_the_weights_is_told_by_its_shape():
    generator = torch.Generator().manual_seed(0)
    for shape in (0.3, 0.9, 1.5):
        log_weight = -shape * torch.rand(20_000, generator=generator, dtype=torch.float64).log()
        none = torch.zeros(1, dtype=torch.float64)
        found = ps.Infilled(
            ps.Sequences(torch.zeros(20_000, 1), [1] * 20_000), torch.zeros(20_000, dtype=torch.int64),
            log_weight.log_softmax(0), none, none + 0.01, torch.tensor([False]), torch.tensor([-1]), None,
        )  # fmt: skip
        # Three standard errors, (1 + k) / √M, of M = 3 √n values in the tail.
        assert abs(float(found.pareto_k) - shape) < 3 * (1 + shape) / (3 * 20_000**0.5) ** 0.5
        assert bool(found.reliable) == (shape < 0.7)

"""Conditioning on a pattern gives the law that enumeration conditions, and masking alone does not."""

import itertools
import random
import re

import numpy as np
import pytest
import torch
from scipy import stats

import probseq as ps
from probseq.context import Context
from probseq.inference.automata.descent import Space, descend
from probseq.inference.automata.trie import Trie
from probseq.oracles import HMM, Automaton, NGram, Reber
from probseq.rows import select_rows
from tests.parts import TABLE, build, model
from tests.test_oracles import DISCRETE, corpus

STOPS = [ps.EndSymbol(), ps.BernoulliStop(), ps.LengthStop(5), ps.FixedLength(4), ps.PlannedLength(4, dim=3)]
PATTERNS = ["a.*", "(a|b)*c", "..(ab?)*", "(ab|c)+.{2}", "[^a]*c"]


def letters(stop=None, seed=0, context=None):
    return model(ps.Tokens(3, dim=4, symbols="abc"), ps.GRU(5), ps.Categorical(), stop or ps.EndSymbol(), context, seed)


def texts(symbols, longest):
    return ["".join(t) for n in range(longest + 1) for t in itertools.product(symbols, repeat=n)]


def numbers(every, symbols):
    return ps.Sequences.of([[symbols.index(c) for c in text] for text in every], dtype=torch.int64)


def conditioned(m, accepted, longest, context=None):
    """The enumerated sequences of at most `longest` elements, their P(y | accepted), and log P(accepted)."""
    law = ps.exact(m, longest if m.max_length is not None and m.max_length <= longest else longest + 1, context)
    kept = accepted(law.sequences) & law.sequences.ended
    log_prob = law.log_prob.masked_fill(~kept, -torch.inf)
    total = log_prob.logsumexp(0)
    return law.sequences, (log_prob - total).exp().numpy(), total


def goodness(drawn, sequences, probability):
    """Pearson's χ²: the p-value of draws under a law."""
    names = {tuple(y.flatten().tolist()): i for i, y in enumerate(sequences) if probability[i] > 0}
    observed = np.bincount([names[tuple(y.flatten().tolist())] for y in drawn], minlength=len(probability))
    expected = probability * len(drawn)
    large = expected >= 5
    observed = np.append(observed[large], observed[~large].sum())
    expected = np.append(expected[large], expected[~large].sum())
    keep = expected > 1
    return stats.chisquare(observed[keep], expected[keep] * observed[keep].sum() / expected[keep].sum()).pvalue


def random_pattern(generator, depth):
    if not depth:
        return generator.choice(["a", "b", "c", ".", "[ab]", "[^c]"])
    one, other = random_pattern(generator, depth - 1), random_pattern(generator, depth - 1)
    ends = ["*", "+", "?", "{2}", "{1,2}", "{0,2}", "{2,}", "{0}"]
    return generator.choice([one + other, f"({one}|{other})", f"(?:{one})" + generator.choice(ends)])


# Patterns and automata


def test_a_pattern_accepts_what_pythons_own_accepts():
    every = texts("abc", 5)
    y, generator = numbers(every, "abc"), random.Random(0)
    fixed = [*PATTERNS, "", "(a*)*b", "(|a)b", "(a+|b?)+c", "[a-b]{2,3}", "((a|b){2}|c)*", "\\w\\D?", "a{2,}"]
    for pattern in [*fixed, *(random_pattern(generator, generator.randint(1, 4)) for _ in range(200))]:
        found = ps.regex(pattern, "abc").matches(y).tolist()
        assert found == [re.fullmatch(pattern, text) is not None for text in every], pattern


def test_characters_that_mean_something_are_escaped():
    symbols = "a.-]\\ 1_^"
    every = texts(symbols, 2)
    y = numbers(every, symbols)
    for pattern in ["\\.", "[.\\-]", "[]a]", "[^]a]", "\\\\", "\\d|\\s", "\\w+", "\\W", "[a^]", "[a-]", "\\S\\D"]:
        found = ps.regex(pattern, symbols).matches(y).tolist()
        assert found == [re.fullmatch(pattern, text) is not None for text in every], pattern


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("ax", "position 2: 'x' is not among the model's symbols, 'abc'"),
        ("[a-bz]", "'z' is not among"),
        ("[x-z]", "no symbol lies in x-z"),
        ("(a", "is not closed"),
        ("a)", "closes nothing"),
        ("*a", "nothing to repeat"),
        ("a**", "a count cannot follow a count"),
        ("a{3,1}", "ends below its beginning"),
        ("a{x}", "is no count"),
        ("a{2", "ends too early"),
        ("[ab", "ends too early"),
        ("^a", "matches as a whole"),
        ("(?=a)", "only '\\(\\?:' is known"),
        ("\\b", "not known"),
        (".{99999}", "states"),
        ("(a|b)*a.{20}", "states"),
    ],
)
def test_a_pattern_that_cannot_be_read_says_where(pattern, message):
    with pytest.raises(ValueError, match=message):
        ps.regex(pattern, "abc")


def test_automata_combine_as_sets():
    every = texts("abc", 5)
    y = numbers(every, "abc")
    a, b = ps.regex("a.*", "abc"), ps.regex(".*b", "abc")
    one, other = a.matches(y), b.matches(y)
    assert torch.equal((a & b).matches(y), one & other)
    assert torch.equal((a | b).matches(y), one | other)
    assert torch.equal((a - b).matches(y), one & ~other)
    assert torch.equal((~a).matches(y), ~one)
    assert (~(a & b) - (~a | ~b)).empty
    assert ((~a | ~b) - ~(a & b)).empty
    assert ((a & b) - a).empty
    assert not a.empty


def test_the_smallest_automaton_has_a_state_for_each_future():
    generator = random.Random(1)
    for _ in range(30):
        dfa = ps.regex(random_pattern(generator, 2), "abc")
        begun = []
        for state in range(len(dfa)):
            order = torch.arange(len(dfa))
            order[[0, state]] = order[[state, 0]]
            begun.append(ps.DFA(order[dfa.next[order]], dfa.accepts[order]))
        assert all(
            not (one - other).empty or not (other - one).empty for one, other in itertools.combinations(begun, 2)
        )


def test_the_distance_is_the_length_of_the_shortest_way():
    dfa = ps.regex("a{3}b*|c{5}", "abc")
    assert int(dfa.distance[0]) == 3
    assert ps.regex("", "abc").distance.tolist()[0] == 0
    assert ps.DFA.anything(3).alive.all()
    assert (ps.regex("a", "abc") & ps.regex("b", "abc")).empty


def test_an_automaton_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"lead to states 0…0; got 1…1"):
        ps.DFA(torch.tensor([[1]]), torch.tensor([True]))
    with pytest.raises(ValueError, match="a row of arrows for each"):
        ps.DFA(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    with pytest.raises(ValueError, match="one alphabet"):
        _ = ps.regex("a", "ab") & ps.regex("a", "abc")


# Models whose states are known


@pytest.mark.parametrize("name", DISCRETE)
def test_dynamic_programming_gives_what_enumeration_gives(name):
    m = DISCRETE[name]()
    size = m.element.size
    for pattern in [pattern for pattern in PATTERNS if size > 2 or "c" not in pattern]:
        dfa = ps.regex(pattern, "abcdefg"[:size])
        found = ps.constrain(m, dfa, max_length=6)
        assert found.method == "exact"
        assert found.standard_error == 0
        assert found.lower == found.upper == found.log_prob
        _, _, total = conditioned(m, dfa.matches, 6)
        torch.testing.assert_close(found.log_prob[0], total, rtol=0, atol=1e-12)
        if total > -torch.inf:
            drawn = found.sample(50, generator=0)
            torch.testing.assert_close(drawn.log_prob, m.log_prob(drawn.sequences), rtol=0, atol=1e-12)
            assert torch.equal(drawn.proposal_log_prob, drawn.log_prob - found.log_prob)
            assert dfa.matches(drawn.sequences).all()


@pytest.mark.parametrize("name", ["hmm with a hazard", "hmm of fixed length", "witten-bell 4", "kneser-ney 4"])
def test_exact_draws_follow_the_conditioned_law(name):
    m = DISCRETE[name]()
    dfa = ps.regex(".*b.?", "abc"[: m.element.size])
    sequences, law, _ = conditioned(m, dfa.matches, 6)
    drawn = ps.constrain(m, dfa, max_length=6).sample(5000, generator=1)
    assert goodness(drawn.sequences, sequences, law) > 1e-3


def test_an_hmm_of_200_steps_is_conditioned_exactly():
    m = HMM.random(4, 3, 200, generator=5, concentration=0.3)
    # That symbol 2 never comes, by the forward algorithm without it.
    step = m.log_emission[:, :2].logsumexp(1)
    belief = m.log_initial + step
    for _ in range(199):
        belief = (belief.unsqueeze(1) + m.log_transition).logsumexp(0) + step
    never = ps.constrain(m, ps.regex("[ab]*", "abc"))
    torch.testing.assert_close(never.log_prob[0], belief.logsumexp(0), rtol=1e-12, atol=0)
    assert bool((never.sample(3, generator=0).sequences.values < 2).all())
    rest = ps.constrain(m, ~ps.regex("[ab]*", "abc"))
    torch.testing.assert_close(torch.logaddexp(never.log_prob, rest.log_prob)[0], torch.zeros(()).double())


def test_the_strings_of_a_grammar_are_a_pattern():
    m = Reber()
    found = ps.constrain(m, ps.regex("B(TS*X|PT*V).*", m.symbols))
    strings = ps.constrain(m, ps.regex("B(TS*(XXT*V)*.*|PT*V.*)E", m.symbols))
    assert abs(float(strings.log_prob)) < 1e-12
    assert abs(float(found.log_prob)) < 1e-12
    one = ps.constrain(m, ps.regex("BTXSE", m.symbols))
    assert abs(float(one.log_prob) - 3 * np.log(0.5)) < 1e-12


def test_the_states_of_an_ngram_are_the_histories_that_were_counted():
    m = NGram(5, 3, "kneser-ney").fit(corpus())
    assert len(m.chain().log_stop) < 4**4
    with pytest.raises(ValueError, match="counted nothing"):
        NGram(2, 3).chain()
    with pytest.raises(ValueError, match="no element and no end"):
        NGram(2, 3).fit(ps.Sequences.of([[]], ended=False)).chain()


# Recurrent networks


@pytest.mark.parametrize("stop", STOPS, ids=str)
def test_rejection_draws_follow_the_conditioned_law(stop):
    for seed, pattern in enumerate(PATTERNS):
        m, dfa = letters(stop, seed), ps.regex(pattern, "abc")
        sequences, law, total = conditioned(m, dfa.matches, 5)
        found = ps.constrain(m, pattern, max_length=5, generator=seed)
        assert found.method == "rejection"
        assert found.lower - 1e-9 <= total <= found.upper + 1e-9
        assert abs(found.log_prob - total) < 5 * found.standard_error + 1e-9
        drawn = found.sample(3000, generator=seed)
        torch.testing.assert_close(drawn.log_prob, m.log_prob(drawn.sequences).detach(), rtol=0, atol=1e-12)
        assert goodness(drawn.sequences, sequences, law) > 1e-3


def test_plain_masking_fails_where_rejection_passes():
    """The draws of one round on an empty trie, their weights dropped, are those of masking and renormalising."""
    # Long sequences are rare: masking begins them all the same.
    m, pattern = letters(ps.EndSymbol(), 1), "a|b.{3,}"
    sequences, law, _ = conditioned(m, ps.regex(pattern, "abc").matches, 6)
    space = Space.of(m, None, 6, ps.regex(pattern, "abc"), "test")
    masked = descend(space, Trie(1, 4, torch.device("cpu")), torch.zeros(3000, dtype=torch.int64), won=False)
    assert masked.ended.all()
    assert goodness(space.sequences(masked.numbers, masked.lengths), sequences, law) < 1e-10
    drawn = ps.constrain(m, pattern, max_length=6, generator=0).sample(3000, generator=0)
    assert goodness(drawn.sequences, sequences, law) > 1e-3


def test_draws_do_not_depend_on_what_was_drawn_before():
    """The trie learns between calls; the law stays."""
    m, pattern = letters(ps.EndSymbol(), 3), "(a|bc)*b.*"
    sequences, law, _ = conditioned(m, ps.regex(pattern, "abc").matches, 6)
    found = ps.constrain(m, pattern, Context.none(3000), max_length=6, particles=1, generator=0)
    for seed in range(4):
        assert goodness(found.sample(1, generator=seed).sequences, sequences, law) > 1e-3


def test_a_predicate_is_as_good_as_an_automaton():
    m, dfa = letters(ps.BernoulliStop(), 2), ps.regex("(a|bc)*", "abc")
    sequences, law, total = conditioned(m, dfa.matches, 5)
    found = ps.constrain(m, dfa.matches, max_length=5, particles=2000, generator=0)
    assert found.method == "rejection"
    assert found.lower <= total + 1e-12
    assert found.upper >= total - 1e-12
    assert abs(found.log_prob - total) < 5 * found.standard_error + 1e-9
    assert goodness(found.sample(3000, generator=1).sequences, sequences, law) > 1e-3


def test_the_bounds_hold_the_truth_however_few_the_particles():
    generator, inside = random.Random(3), 0
    for seed in range(60):
        m = letters(STOPS[seed % len(STOPS)], seed)
        pattern = random_pattern(generator, 3)
        dfa = ps.regex(pattern, "abc")
        _, _, total = conditioned(m, dfa.matches, 5)
        found = ps.constrain(m, dfa, max_length=5, particles=generator.choice([1, 2, 7, 30]), generator=seed)
        assert found.lower - 1e-9 <= total <= found.upper + 1e-9
        assert found.lower - 1e-9 <= found.log_prob <= found.upper + 1e-9
        inside += 1
    assert inside == 60


@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.BernoulliStop(), ps.FixedLength(4)], ids=str)
def test_the_evidence_of_particles_is_unbiased_and_their_intervals_cover(stop):
    m, pattern = letters(stop, 1), "(a|bc)*c.*"
    _, _, total = conditioned(m, ps.regex(pattern, "abc").matches, 6)
    # The rows of a context without content are independent runs.
    found = ps.constrain(m, pattern, Context.none(600), max_length=6, particles=100, method="smc", generator=0)
    ratio = (found.log_prob - total).exp()
    assert abs(ratio.mean() - 1) < 3 * ratio.std() / 600**0.5
    assert 0.92 <= float(((ratio - 1).abs() <= 1.96 * found.standard_error * ratio).double().mean()) <= 0.98


@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.BernoulliStop()], ids=str)
def test_the_estimate_of_rejection_is_unbiased(stop):
    m, pattern = letters(stop, 1), "(a|bc)*c.*"
    _, _, total = conditioned(m, ps.regex(pattern, "abc").matches, 7)
    for constraint in (pattern, ps.regex(pattern, "abc").matches):
        found = ps.constrain(m, constraint, Context.none(600), max_length=7, particles=40, generator=0)
        ratio = (found.log_prob - total).exp()
        assert abs(ratio.mean() - 1) < 3 * ratio.std() / 600**0.5


def test_weighted_particles_estimate_the_conditioned_law():
    m, pattern = letters(ps.EndSymbol(), 1), "a|b.{3,}"
    sequences, law, total = conditioned(m, ps.regex(pattern, "abc").matches, 6)
    found = ps.constrain(m, pattern, max_length=6, particles=20_000, method="smc", generator=0)
    mean = float((found.log_weights[0].exp() * found.particles.sequences.lengths).sum())
    truth = float((law * sequences.lengths.numpy()).sum())
    assert abs(mean - truth) < 0.1
    assert abs(found.log_prob - total) < 4 * found.standard_error
    assert abs(float(found.log_weights.exp().sum()) - 1) < 1e-9
    assert 0 < float(found.ess) <= 20_000
    assert ps.regex(pattern, "abc").matches(found.particles.sequences).all()
    with pytest.raises(ValueError, match="weighted particles, not draws"):
        found.sample(3)


@pytest.mark.parametrize(
    "name", ["Tokens, GRU, EndSymbol, both", "Tokens, GRU, AlignedLength(), bidirectional", "Bits, LSTM, BernoulliStop"]
)
def test_each_row_of_a_context_is_conditioned_by_itself(name):
    m, x = build(TABLE[name], batch=3)
    v = 4 if name.startswith("Bits") else 3
    alphabet = Space.of(m, x, 4, None, "test").alphabet
    dfa = ps.regex("[ab]+.?[ab]*", "abcd"[:v])

    def accepted(y):
        return dfa.after(alphabet.numbers(y.filled(0).values), y.lengths) & y.ended

    longest = 4 if m.max_length is None else m.max_length
    for method in ("rejection", "smc"):
        found = ps.constrain(m, dfa, x, max_length=longest, particles=3000, method=method, generator=0)
        for row in range(len(found.log_prob)):
            _, _, total = conditioned(m, accepted, longest, select_rows(x, torch.tensor([row])))
            assert abs(found.log_prob[row] - total) < 4 * found.standard_error[row] + 1e-9 or total == -torch.inf
            assert found.lower[row] - 1e-9 <= total <= found.upper[row] + 1e-9


def test_draws_of_several_rows_stand_side_by_side():
    context = ps.Vector(2)
    m = letters(context=context)
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    drawn = ps.constrain(m, "a.*", x, max_length=8, generator=0).sample(500, generator=0)
    assert drawn.rows.tolist() == [0] * 500 + [1] * 500
    dfa = ps.regex("a.*", "abc")
    for row in range(2):
        sequences, law, _ = conditioned(m, dfa.matches, 8, x[row : row + 1])
        assert goodness(drawn.of(row).sequences, sequences, law) > 1e-3


def test_single_precision_gives_the_same_answers():
    m = letters(ps.BernoulliStop(), 4)
    _, _, total = conditioned(m, ps.regex("a.*c", "abc").matches, 5)
    found = ps.constrain(m.float(), "a.*c", max_length=5, particles=1000, generator=0)
    assert abs(float(found.log_prob) - float(total)) < 1e-4
    assert len(found.sample(10, generator=0)) == 10


def test_a_seed_makes_draws_again():
    m = letters()
    one, other = (ps.constrain(m, "a.*", max_length=6, generator=0).sample(20, generator=1) for _ in range(2))
    assert torch.equal(one.sequences.values, other.sequences.values)


def test_rare_patterns_are_drawn_because_what_is_rejected_does_not_come_again():
    m = Automaton("ab", [{"a": (0.999, 1), "b": (0.0005, 2)}, {"a": (0.5, 1)}, {"b": (0.001, 3)}, {}])
    found = ps.constrain(m, lambda y: y.values[:, :1].eq(1).all(1) & (y.lengths == 2), particles=64, generator=0)
    drawn = found.sample(20, generator=0, attempts=5000)
    assert [y.tolist() for y in drawn.sequences] == [[1, 1]] * 20
    assert abs(found.lower - np.log(0.0005 * 0.001)) < 1e-9 or found.lower == -torch.inf


# Bad input


def test_what_nothing_can_meet_has_probability_zero_and_says_so():
    m = letters()
    dfa = ps.regex("a", "abc") & ps.regex("b", "abc")
    found = ps.constrain(m, dfa)
    assert found.log_prob == found.upper == -torch.inf
    with pytest.raises(ValueError, match="accepts no sequence, so there is nothing to draw"):
        found.sample()
    long = ps.constrain(letters(ps.LengthStop(5)), "a{9}")
    assert long.log_prob == -torch.inf
    with pytest.raises(ValueError, match=r"fewer than 9 elements.*longest here have 5: raise max_length"):
        long.sample()
    fixed = ps.constrain(letters(ps.FixedLength(4)), "a{3}")
    assert fixed.log_prob == fixed.upper == -torch.inf
    with pytest.raises(ValueError, match="row 0: the model gives no probability"):
        fixed.sample()
    assert ps.constrain(letters(ps.FixedLength(4)), "a{3}", method="smc").log_prob == -torch.inf
    zero = ps.constrain(HMM([1.0], [[1.0]], [[1.0, 0.0]], stop=0.5), ps.regex("b", "ab"))
    assert zero.log_prob == -torch.inf
    with pytest.raises(ValueError, match="gives no probability"):
        zero.sample()


def test_one_particle_is_enough_to_ask():
    for method in ("rejection", "smc"):
        found = ps.constrain(letters(), "a.*", particles=1, max_length=20, method=method, generator=0)
        assert found.standard_error == torch.inf
        assert not torch.isnan(found.log_prob)


def test_too_few_attempts_say_so():
    m = letters()
    with pytest.raises(ValueError, match=r"row 0: \d+ of 50 draws were accepted in 8 attempts; .* Use method='smc'"):
        ps.constrain(m, "c{6}", particles=1, generator=0).sample(50, generator=0, attempts=8)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: ps.constrain(m, "x"), "'x' is not among the model's symbols, 'abc'"),
        (lambda m: ps.constrain(m, ps.regex("a", "ab")), "the automaton has 2 symbols, the model 3"),
        (lambda m: ps.constrain(m, "a", particles=0), "particles must be 1 or more"),
        (lambda m: ps.constrain(m, "a", max_length=-1), "max_length must be 0 or more"),
        (lambda m: ps.constrain(m, "a", method="exact"), "has no chain"),
        (lambda m: ps.constrain(m, lambda y: y.ended, method="smc"), "a predicate allows method='rejection' alone"),
        (lambda m: ps.constrain(m, lambda y: y.lengths), "must give a bool for each"),
        (lambda m: ps.constrain(m, "a.*").sample(-1), "num_samples ≥ 0"),
    ],
)
def test_bad_questions_are_told_what_is_wrong(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(letters())


def test_tokens_without_characters_need_an_automaton():
    m = model(ps.Tokens(3, dim=4), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    with pytest.raises(ValueError, match=r"constrain\(\) was asked in characters"):
        ps.constrain(m, "a")
    assert ps.constrain(m, ps.regex("a", "abc"), generator=0).log_prob > -torch.inf


def test_a_context_without_rows_has_no_answers():
    m = letters(context=ps.Vector(2))
    for method in ("rejection", "smc"):
        assert ps.constrain(m, "a.*", torch.zeros(0, 2), max_length=5, method=method).log_prob.shape == (0,)


def test_no_draws_are_none():
    assert len(ps.constrain(letters(), "a.*", generator=0).sample(0)) == 0

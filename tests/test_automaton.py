"""Automata: known entropies and lengths, the grammar as an expression, enumeration."""

from __future__ import annotations

import math
import re

import pytest
import scipy.stats
import torch

import probseq as ps
from probseq.oracles import Automaton, Reber
from tests.helpers import within_errors

REBER = re.compile(r"B(TS*X(S|XT*V(PXT*V)*(V|PS))|PT*V(PXT*V)*(V|PS))E")


@pytest.mark.parametrize(("embedded", "bits", "length"), [(False, 6, 8), (True, 7, 12)])
def test_reber_strings_have_their_known_entropy_and_length(embedded, bits, length):
    model = Reber(embedded)
    assert math.isclose(model.entropy(), bits * math.log(2), rel_tol=1e-12)
    assert math.isclose(model.mean_length(), length, rel_tol=1e-12)
    y = model.sample(4000, generator=8)
    assert bool(y.ended.all())
    assert within_errors(-model.log_prob(y), bits * math.log(2))
    assert within_errors(y.lengths.double(), length)


def test_reber_strings_match_the_grammar_as_an_expression():
    assert all(REBER.fullmatch(text) for text in Reber().text(Reber().sample(500, generator=9)))
    for text in Reber().text(Reber(embedded=True).sample(500, generator=9)):
        assert text[0] + text[-1] == "BE"
        assert text[1] == text[-2]
        assert REBER.fullmatch(text[2:-2])


def test_only_grammatical_strings_are_possible():
    model = Reber()
    texts = ["BTXSE", "BPVVE", "BTSSXXTVVE", "BPTTVPSE", "BTXSEE", "BTXS", "BTXXSE", "", "BPVVEB", "TXSE"]
    log_prob = model.log_prob(model.sequences(texts))
    assert torch.isfinite(log_prob).tolist() == [bool(REBER.fullmatch(text)) for text in texts]
    assert not bool(torch.isnan(log_prob).any())


def test_entropy_and_mean_length_are_those_of_the_enumeration():
    model = Automaton("abc", [{"a": (0.2, 1), "b": (0.5, 2)}, {"c": (0.6, 2), "a": (0.4, 3)}, {"a": (0.1, 3)}, {}])
    assert model.max_length == 3
    law = ps.exact(model, 4)
    assert math.isclose(model.entropy(), float(torch.special.entr(law.log_prob.exp()).sum()), rel_tol=1e-12)
    mean = float(law.expectation(lambda y: y.lengths))
    assert math.isclose(model.mean_length(), mean, rel_tol=1e-12)


def test_a_geometric_length_has_its_known_mean_and_entropy():
    model = Automaton("a", [{"a": (0.75, 0)}])
    assert model.max_length is None
    assert math.isclose(model.mean_length(), 3.0, rel_tol=1e-12)
    assert math.isclose(model.entropy(), scipy.stats.geom(0.25).entropy(), rel_tol=1e-6)


def test_probabilities_that_sum_to_one_but_for_rounding_leave_no_end():
    tenths = dict.fromkeys("abcdefghij", (0.1, 0))
    assert sum(probability for probability, _ in tenths.values()) != 1
    assert float(Automaton("abcdefghij", [tenths]).log_prob(ps.Sequences.of([[3]]))) == -math.inf


def test_automaton_errors_name_the_state():
    with pytest.raises(ValueError, match="state 1: expected an end"):
        Automaton("a", [{"a": (0.5, 1)}, {"a": (1.0, 1)}, {}]).entropy()
    with pytest.raises(ValueError, match=r"state 0: probabilities must sum to 1 at most; got 1\.5"):
        Automaton("ab", [{"a": (0.5, 0), "b": (1.0, 0)}])
    with pytest.raises(ValueError, match="state 0: expected a symbol of 'ab'"):
        Automaton("ab", [{"c": (0.5, 0)}])
    with pytest.raises(ValueError, match="expected characters of 'a'"):
        Automaton("a", [{}]).sequences(["ab"])


def test_an_unreachable_state_without_an_end_does_no_harm():
    assert Automaton("a", [{"a": (1.0, 2)}, {"a": (1.0, 1)}, {}]).mean_length() == 1.0

"""What a law does not take, and choices that it cannot be made of."""

import sys

import pyro.distributions as dist
import pytest

import probseq as ps
from tests.test_likelihoods import built


@pytest.mark.parametrize(
    ("likelihood", "bad", "got"),
    [
        (ps.Poisson(), 2.5, "2.5"),
        (ps.NegativeBinomial(), -1.0, "-1.0"),
        (ps.ZeroInflated(ps.Poisson()), -2.0, "-2.0"),
        (ps.MixtureOf(ps.Poisson(), 2), 0.5, "0.5"),
        (ps.DiscretisedLogistic(levels=4), 4.0, "4.0"),
        (ps.VonMises(), 3.2, "3.2"),
    ],
)
def test_values_that_a_law_does_not_have_are_refused_by_name(likelihood, bad, got):
    m = ps.SequenceModel(ps.Reals(1), ps.GRU(4), likelihood, ps.BernoulliStop())
    with pytest.raises(ValueError, match=rf"sequence 1, position 2: got \[{got}\d*\]; expected .*support"):
        m.log_prob(ps.Sequences.of([[[0.0]], [[1.0], [3.0], [bad]]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ps.Gaussian(covariance="round"), "covariance must be one of"),
        (lambda: ps.Gaussian(covariance="low-rank"), "rank, a number from 1"),
        (lambda: ps.Gaussian(covariance="full", rank=2), "rank, a number from 1"),
        (lambda: ps.Gaussian(scale=1.0, covariance="full"), "a fixed scale stands for a diagonal"),
        (lambda: ps.StudentT(min_scale=0.0), "min_scale must be positive; got 0.0"),
        (lambda: ps.StudentT(min_df=5.0, max_df=5.0), "min_df < max_df"),
        (lambda: ps.MixtureOf(ps.Gaussian, 2), "takes a likelihood part"),
        (lambda: ps.MixtureOf(ps.Gaussian(), 0), "one component at least"),
        (lambda: ps.MixtureOf(ps.Gaussian(), 2, min_weight=0.5), r"in \[0, 1 / components\)"),
        (lambda: ps.Poisson(min_mean=0.0), "min_mean must be positive"),
        (lambda: ps.NegativeBinomial(min_dispersion=0.0), "min_dispersion must be positive"),
        (lambda: ps.ZeroInflated(ps.GRU(4)), "takes a likelihood part"),
        (lambda: ps.Ordinal(min_gap=0.0), "min_gap must be positive"),
        (lambda: ps.DiscretisedLogistic(0), "one component at least"),
        (lambda: ps.DiscretisedLogistic(min_scale=0.0), "min_scale must be positive"),
        (lambda: ps.VonMises(min_scale=0.0), "min_scale must be positive"),
        (lambda: ps.Flow("curved"), "family must be one of"),
        (lambda: ps.Flow(hidden=(0,)), "hidden widths ≥ 1"),
        (lambda: built(ps.ZeroInflated(ps.Gaussian()), ps.Reals(1)), "needs a law of counts"),
        (lambda: built(ps.ZeroInflated(ps.MixtureOf(ps.Poisson(), 2)), ps.Reals(1)), "inflate the components"),
        (lambda: built(ps.StudentT(), ps.Tokens(3)), "needs a vector element"),
        (lambda: built(ps.Ordinal(), ps.Reals(1)), "needs Tokens of 2 or more"),
        (lambda: built(ps.Ordinal(), ps.Tokens(1)), "needs Tokens of 2 or more"),
        (lambda: built(ps.DiscretisedLogistic(), ps.Reals(1)), "beside levels="),
        (lambda: built(ps.DiscretisedLogistic(levels=3), ps.Tokens(3)), "beside levels="),
        (lambda: built(ps.DiscretisedLogistic(levels=1), ps.Reals(1)), "2 levels or more"),
    ],
)
def test_bad_choices_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_flow_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r"pip install 'probseq\[flows\]'"):
        built(ps.Flow(), ps.Reals(2))


def test_a_flow_leaves_the_validation_of_other_laws_on(monkeypatch):
    modules = sys.modules
    for name in [name for name in modules if name.partition(".")[0] == "zuko"]:
        monkeypatch.delitem(modules, name)
    built(ps.Flow(), ps.Reals(2))
    with pytest.raises(ValueError, match="constraint"):
        dist.Normal(0.0, -1.0)

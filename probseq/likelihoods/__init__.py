"""The law of the next element."""

from probseq.likelihoods.bernoulli import Bernoulli
from probseq.likelihoods.categorical import Categorical
from probseq.likelihoods.circular import VonMises
from probseq.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from probseq.likelihoods.flow import Flow
from probseq.likelihoods.gaussian import Gaussian
from probseq.likelihoods.levels import DiscretisedLogistic, Ordinal
from probseq.likelihoods.mixture import MixtureOf
from probseq.likelihoods.parametric import Parametric
from probseq.likelihoods.pointer import Pointer
from probseq.likelihoods.student import StudentT

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretisedLogistic",
    "Flow",
    "Gaussian",
    "MixtureOf",
    "NegativeBinomial",
    "Ordinal",
    "Parametric",
    "Pointer",
    "Poisson",
    "StudentT",
    "VonMises",
    "ZeroInflated",
]

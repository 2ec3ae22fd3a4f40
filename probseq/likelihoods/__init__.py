"""The law of the next element."""

from probseq.likelihoods.bernoulli import Bernoulli
from probseq.likelihoods.categorical import Categorical
from probseq.likelihoods.circular import VonMises
from probseq.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from probseq.likelihoods.flow import Flow
from probseq.likelihoods.gaussian import Gaussian
from probseq.likelihoods.levels import DiscretisedLogistic, Ordinal
from probseq.likelihoods.mixture import MixtureOf
from probseq.likelihoods.nade import NADE
from probseq.likelihoods.parametric import Parametric
from probseq.likelihoods.pointer import Pointer
from probseq.likelihoods.product import Product
from probseq.likelihoods.student import StudentT
from probseq.likelihoods.waiting import Waiting

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
    "Product",
    "StudentT",
    "VonMises",
    "Waiting",
    "ZeroInflated",
]
__all__ = ["NADE", "Bernoulli", "Categorical", "Gaussian", "Parametric", "Pointer"]

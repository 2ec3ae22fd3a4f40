"""The law of the next element."""

from probseq.likelihoods.bernoulli import Bernoulli
from probseq.likelihoods.categorical import Categorical
from probseq.likelihoods.gaussian import Gaussian
from probseq.likelihoods.parametric import Parametric
from probseq.likelihoods.pointer import Pointer
from probseq.likelihoods.product import Product
from probseq.likelihoods.waiting import Waiting

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Parametric", "Pointer", "Product", "Waiting"]

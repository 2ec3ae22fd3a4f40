"""The law of the next element."""

from probseq.likelihoods.bernoulli import Bernoulli
from probseq.likelihoods.categorical import Categorical
from probseq.likelihoods.gaussian import Gaussian
from probseq.likelihoods.nade import NADE
from probseq.likelihoods.parametric import Parametric
from probseq.likelihoods.pointer import Pointer

__all__ = ["NADE", "Bernoulli", "Categorical", "Gaussian", "Parametric", "Pointer"]

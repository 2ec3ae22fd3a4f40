"""Models whose law is known exactly: what the engines are checked against, and the baselines of experiments."""

from probseq.oracles.automaton import Automaton
from probseq.oracles.endless import Endless
from probseq.oracles.hmm import HMM
from probseq.oracles.linear_gaussian import LinearGaussianAR, LinearGaussianStateSpace
from probseq.oracles.ngram import NGram
from probseq.oracles.reber import Reber
from probseq.oracles.table import Table

__all__ = ["HMM", "Automaton", "Endless", "LinearGaussianAR", "LinearGaussianStateSpace", "NGram", "Reber", "Table"]

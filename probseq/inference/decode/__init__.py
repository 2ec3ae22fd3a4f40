"""Decoding: one sequence or several from a model, each with what it is: a draw, a mode, a hypothesis."""

from probseq.inference.decode.argmax import Mode, mode
from probseq.inference.decode.arithmetic import arithmetic
from probseq.inference.decode.distinct import Distinct, distinct
from probseq.inference.decode.replacement import WithoutReplacement
from probseq.inference.decode.stochastic import stochastic_beam
from probseq.inference.search import beam, greedy, minimum_bayes_risk, tempered

__all__ = [
    "Distinct",
    "Mode",
    "WithoutReplacement",
    "arithmetic",
    "beam",
    "distinct",
    "greedy",
    "minimum_bayes_risk",
    "mode",
    "stochastic_beam",
    "tempered",
]

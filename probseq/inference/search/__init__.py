"""Search: sequences of high probability, or of high score, and the two never confused."""

from probseq.inference.search.beam import beam
from probseq.inference.search.edits import edit_distance
from probseq.inference.search.hypotheses import Hypotheses
from probseq.inference.search.penalties import LengthNormalisation, LengthPenalty, Normaliser
from probseq.inference.search.risk import minimum_bayes_risk
from probseq.inference.search.walk import greedy, tempered

__all__ = [
    "Hypotheses",
    "LengthNormalisation",
    "LengthPenalty",
    "Normaliser",
    "beam",
    "edit_distance",
    "greedy",
    "minimum_bayes_risk",
    "tempered",
]

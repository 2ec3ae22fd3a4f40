"""Engines that answer questions about any model, by its contract alone."""

from probseq.inference.exact import Enumeration, exact
from probseq.inference.lengths import Lengths, Tightness, lengths, tightness
from probseq.inference.queries import Answer, Monitor, events, query
from probseq.inference.sample import sample
from probseq.inference.score import Score, score
from probseq.inference.search import (
    Hypotheses,
    LengthNormalisation,
    LengthPenalty,
    Normaliser,
    beam,
    edit_distance,
    greedy,
    minimum_bayes_risk,
    tempered,
)

__all__ = [
    "Answer",
    "Enumeration",
    "Hypotheses",
    "LengthNormalisation",
    "LengthPenalty",
    "Lengths",
    "Monitor",
    "Normaliser",
    "Score",
    "Tightness",
    "beam",
    "edit_distance",
    "events",
    "exact",
    "greedy",
    "lengths",
    "minimum_bayes_risk",
    "query",
    "sample",
    "score",
    "tempered",
    "tightness",
]

"""Engines that answer questions about any model, by its contract alone."""

from probseq.inference import decode
from probseq.inference.automata import DFA, Constrained, constrain, regex
from probseq.inference.exact import Enumeration, exact
from probseq.inference.forecasting import Forecast, forecast
from probseq.inference.infilling import (
    ExactLookahead,
    Gap,
    Infilled,
    LearnedLookahead,
    Pattern,
    evidence_bounds,
    infill,
)
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
    "DFA",
    "Answer",
    "Constrained",
    "Enumeration",
    "ExactLookahead",
    "Forecast",
    "Gap",
    "Hypotheses",
    "Infilled",
    "LearnedLookahead",
    "LengthNormalisation",
    "LengthPenalty",
    "Lengths",
    "Monitor",
    "Normaliser",
    "Pattern",
    "Score",
    "Tightness",
    "beam",
    "constrain",
    "decode",
    "edit_distance",
    "events",
    "evidence_bounds",
    "exact",
    "forecast",
    "greedy",
    "infill",
    "lengths",
    "minimum_bayes_risk",
    "query",
    "regex",
    "sample",
    "score",
    "tempered",
    "tightness",
]

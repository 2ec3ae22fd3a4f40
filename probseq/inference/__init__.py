"""Engines that answer questions about any model, by its contract alone."""

from probseq.inference.exact import Enumeration, exact
from probseq.inference.sample import sample
from probseq.inference.score import Score, score

__all__ = ["Enumeration", "Score", "exact", "sample", "score"]

"""A sequence model as the directed graphical model that it is."""

from probseq.graph.drawing import draw
from probseq.graph.parameters import ParameterCount, count_parameters
from probseq.graph.separation import independent
from probseq.graph.unfolding import marginal, unfold

__all__ = ["ParameterCount", "count_parameters", "draw", "independent", "marginal", "unfold"]

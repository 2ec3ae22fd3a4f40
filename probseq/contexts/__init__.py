"""What the model is conditioned on, and where it enters."""

from probseq.contexts.aligned import Aligned
from probseq.contexts.fixed import Labels, Vector
from probseq.contexts.scale import SeriesScale
from probseq.contexts.several import Several
from probseq.contexts.source import Source

__all__ = ["Aligned", "Labels", "SeriesScale", "Several", "Source", "Vector"]

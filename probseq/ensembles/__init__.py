"""Models together."""

from probseq.ensembles.average import average

__all__ = ["average"]

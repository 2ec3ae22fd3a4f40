"""What a model is worth, measured."""

from probseq.evaluation.exposure import Exposure, exposure

__all__ = ["Exposure", "exposure"]

"""What a model is worth, measured."""

from probseq.evaluation.divergence import Divergence, kl
from probseq.evaluation.entropy import EntropyDrift, EntropyRate, entropy_drift, entropy_rate
from probseq.evaluation.exposure import Exposure, exposure
from probseq.evaluation.two_sample import TwoSample, two_sample

__all__ = [
    "Divergence",
    "EntropyDrift",
    "EntropyRate",
    "Exposure",
    "TwoSample",
    "entropy_drift",
    "entropy_rate",
    "exposure",
    "kl",
    "two_sample",
]

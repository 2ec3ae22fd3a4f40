"""Maximum likelihood on Lightning."""

from probseq.training.batches import Batches, Data, Loader
from probseq.training.fit import FitResult, fit
from probseq.training.lookahead import train_lookahead
from probseq.training.module import MaximumLikelihood, NonFiniteLossError
from probseq.training.stream import Stream

__all__ = [
    "Batches",
    "Data",
    "FitResult",
    "Loader",
    "MaximumLikelihood",
    "NonFiniteLossError",
    "Stream",
    "fit",
    "train_lookahead",
]

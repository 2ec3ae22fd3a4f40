"""Maximum likelihood on Lightning."""

from probseq.training.batches import Batches, Data
from probseq.training.fit import FitResult, fit
from probseq.training.lookahead import train_lookahead
from probseq.training.module import MaximumLikelihood, NonFiniteLossError

__all__ = ["Batches", "Data", "FitResult", "MaximumLikelihood", "NonFiniteLossError", "fit", "train_lookahead"]

"""Recurrent networks as probability distributions over sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probseq.context import Context, State
from probseq.contexts import Labels, Vector
from probseq.distribution import SequenceDistribution
from probseq.elements import Bits, Reals, Tokens
from probseq.inference import Enumeration, Score, exact, sample, score
from probseq.likelihoods import Bernoulli, Categorical, Gaussian, Parametric
from probseq.model import SequenceModel
from probseq.nextstep import NextStep
from probseq.part import Part
from probseq.program import Program
from probseq.protocols import Autoregressive
from probseq.recurrences import GRU, LSTM, Elman, Grid, Unrolled
from probseq.saving import SaveError, load, save
from probseq.sequences import Sequences
from probseq.stops import BernoulliStop, EndSymbol, FixedLength, LengthStop

if TYPE_CHECKING:
    from probseq.training import FitResult, NonFiniteLossError, fit

__all__ = [
    "GRU",
    "LSTM",
    "Autoregressive",
    "Bernoulli",
    "BernoulliStop",
    "Bits",
    "Categorical",
    "Context",
    "Elman",
    "EndSymbol",
    "Enumeration",
    "FitResult",
    "FixedLength",
    "Gaussian",
    "Grid",
    "Labels",
    "LengthStop",
    "NextStep",
    "NonFiniteLossError",
    "Parametric",
    "Part",
    "Program",
    "Reals",
    "SaveError",
    "Score",
    "SequenceDistribution",
    "SequenceModel",
    "Sequences",
    "State",
    "Tokens",
    "Unrolled",
    "Vector",
    "exact",
    "fit",
    "load",
    "sample",
    "save",
    "score",
]

_TRAINING = ("FitResult", "NonFiniteLossError", "fit")


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, and only training needs it.
    if name in _TRAINING:
        from probseq import training

        return getattr(training, name)
    raise AttributeError(f"module 'probseq' has no attribute {name!r}")

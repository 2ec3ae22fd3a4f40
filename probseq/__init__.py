"""Recurrent networks as probability distributions over sequences."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from probseq import recipes
from probseq.context import Context, State
from probseq.contexts import Aligned, Labels, Several, Source, Vector
from probseq.distribution import SequenceDistribution
from probseq.elements import Bits, Reals, Tokens
from probseq.encoders import Bidirectional, Convolutional, Deep, GridEncoder, Unidirectional
from probseq.ensembles import Mixture, ProductOfSteps, average
from probseq.evaluation import Exposure, exposure
from probseq.grids import raster, unraster
from probseq.inference import (
    Answer,
    Enumeration,
    Hypotheses,
    LengthNormalisation,
    LengthPenalty,
    Lengths,
    Monitor,
    Normaliser,
    Score,
    Tightness,
    beam,
    edit_distance,
    events,
    exact,
    greedy,
    lengths,
    minimum_bayes_risk,
    query,
    sample,
    score,
    tempered,
    tightness,
)
from probseq.likelihoods import Bernoulli, Categorical, Gaussian, Parametric, Pointer
from probseq.model import SequenceModel
from probseq.nextstep import NextStep
from probseq.objectives import (
    FreeRunning,
    LabelSmoothing,
    Objective,
    Schedule,
    ScheduledSampling,
    TeacherForcing,
    TruncatedBPTT,
)
from probseq.part import Part
from probseq.program import Program
from probseq.protocols import Autoregressive
from probseq.recurrences import (
    GRU,
    LSTM,
    Attentive,
    CausalConv,
    Elman,
    Grid,
    Leaky,
    Memoryless,
    Positional,
    SharedDropout,
    Stack,
    Unrolled,
)
from probseq.saving import SaveError, load, save
from probseq.sequences import Sequences
from probseq.stops import AlignedLength, BernoulliStop, EndSymbol, FixedLength, LengthStop, PlannedLength

if TYPE_CHECKING:
    from probseq import graph
    from probseq.training import FitResult, NonFiniteLossError, fit

__all__ = [
    "GRU",
    "LSTM",
    "Aligned",
    "AlignedLength",
    "Answer",
    "Attentive",
    "Autoregressive",
    "Bernoulli",
    "BernoulliStop",
    "Bidirectional",
    "Bits",
    "Categorical",
    "CausalConv",
    "Context",
    "Convolutional",
    "Deep",
    "Elman",
    "EndSymbol",
    "Enumeration",
    "Exposure",
    "FitResult",
    "FixedLength",
    "FreeRunning",
    "Gaussian",
    "Grid",
    "GridEncoder",
    "Hypotheses",
    "LabelSmoothing",
    "Labels",
    "Leaky",
    "LengthNormalisation",
    "LengthPenalty",
    "LengthStop",
    "Lengths",
    "Memoryless",
    "Mixture",
    "Monitor",
    "NextStep",
    "NonFiniteLossError",
    "Normaliser",
    "Objective",
    "Parametric",
    "Part",
    "PlannedLength",
    "Pointer",
    "Positional",
    "ProductOfSteps",
    "Program",
    "Reals",
    "SaveError",
    "Schedule",
    "ScheduledSampling",
    "Score",
    "SequenceDistribution",
    "SequenceModel",
    "Sequences",
    "Several",
    "SharedDropout",
    "Source",
    "Stack",
    "State",
    "TeacherForcing",
    "Tightness",
    "Tokens",
    "TruncatedBPTT",
    "Unidirectional",
    "Unrolled",
    "Vector",
    "average",
    "beam",
    "edit_distance",
    "events",
    "exact",
    "exposure",
    "fit",
    "graph",
    "greedy",
    "lengths",
    "load",
    "minimum_bayes_risk",
    "query",
    "raster",
    "recipes",
    "sample",
    "save",
    "score",
    "tempered",
    "tightness",
    "unraster",
]

_TRAINING = ("FitResult", "NonFiniteLossError", "fit")


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, and only training needs it.
    if name in _TRAINING:
        from probseq import training

        return getattr(training, name)
    if name == "graph":
        return importlib.import_module("probseq.graph")
    raise AttributeError(f"module 'probseq' has no attribute {name!r}")

"""Recurrent networks as probability distributions over sequences."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from probseq import recipes
from probseq.context import Context, State
from probseq.contexts import Aligned, Labels, Several, Source, Vector
from probseq.distribution import SequenceDistribution
from probseq.elements import Bits, Choices, Reals, Tokens
from probseq.encoders import Bidirectional, Convolutional, Deep, GridEncoder, Unidirectional
from probseq.ensembles import Mixture, ProductOfSteps, average
from probseq.evaluation import (
    Divergence,
    EntropyDrift,
    EntropyRate,
    Exposure,
    TwoSample,
    entropy_drift,
    entropy_rate,
    exposure,
    kl,
    two_sample,
)
from probseq.grids import raster, unraster
from probseq.inference import (
    DFA,
    Answer,
    Constrained,
    Enumeration,
    ExactLookahead,
    Gap,
    Hypotheses,
    Infilled,
    LearnedLookahead,
    LengthNormalisation,
    LengthPenalty,
    Lengths,
    Monitor,
    Normaliser,
    Pattern,
    Score,
    Tightness,
    beam,
    constrain,
    decode,
    edit_distance,
    events,
    evidence_bounds,
    exact,
    greedy,
    infill,
    lengths,
    minimum_bayes_risk,
    query,
    regex,
    sample,
    score,
    tempered,
    tightness,
)
from probseq.likelihoods import NADE, Bernoulli, Categorical, Gaussian, Parametric, Pointer
from probseq.model import SequenceModel
from probseq.nextstep import NextStep
from probseq.objectives import (
    FreeRunning,
    LabelSmoothing,
    MissingValues,
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
from probseq.saving import SaveError, load, load_lookahead, save, save_lookahead
from probseq.sequences import Sequences
from probseq.stops import AlignedLength, BernoulliStop, EndSymbol, FixedLength, LengthStop, PlannedLength

if TYPE_CHECKING:
    from probseq import graph
    from probseq.training import FitResult, NonFiniteLossError, fit, train_lookahead

__all__ = [
    "DFA",
    "GRU",
    "LSTM",
    "NADE",
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
    "Choices",
    "Constrained",
    "Context",
    "Convolutional",
    "Deep",
    "Divergence",
    "Elman",
    "EndSymbol",
    "EntropyDrift",
    "EntropyRate",
    "Enumeration",
    "ExactLookahead",
    "Exposure",
    "FitResult",
    "FixedLength",
    "FreeRunning",
    "Gap",
    "Gaussian",
    "Grid",
    "GridEncoder",
    "Hypotheses",
    "Infilled",
    "LabelSmoothing",
    "Labels",
    "Leaky",
    "LearnedLookahead",
    "LengthNormalisation",
    "LengthPenalty",
    "LengthStop",
    "Lengths",
    "Memoryless",
    "MissingValues",
    "Mixture",
    "Monitor",
    "NextStep",
    "NonFiniteLossError",
    "Normaliser",
    "Objective",
    "Parametric",
    "Part",
    "Pattern",
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
    "TwoSample",
    "Unidirectional",
    "Unrolled",
    "Vector",
    "average",
    "beam",
    "constrain",
    "decode",
    "edit_distance",
    "entropy_drift",
    "entropy_rate",
    "events",
    "evidence_bounds",
    "exact",
    "exposure",
    "fit",
    "graph",
    "greedy",
    "infill",
    "kl",
    "lengths",
    "load",
    "load_lookahead",
    "minimum_bayes_risk",
    "query",
    "raster",
    "recipes",
    "regex",
    "sample",
    "save",
    "save_lookahead",
    "score",
    "tempered",
    "tightness",
    "train_lookahead",
    "two_sample",
    "unraster",
]

_TRAINING = ("FitResult", "NonFiniteLossError", "fit", "train_lookahead")


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, and only training needs it.
    if name in _TRAINING:
        from probseq import training

        return getattr(training, name)
    if name == "graph":
        return importlib.import_module("probseq.graph")
    raise AttributeError(f"module 'probseq' has no attribute {name!r}")

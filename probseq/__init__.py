"""Recurrent networks as probability distributions over sequences."""

from __future__ import annotations

from probseq.context import Context, State
from probseq.contexts import Labels, Vector
from probseq.distribution import SequenceDistribution
from probseq.elements import Bits, Reals, Tokens
from probseq.inference import Enumeration, Score, exact, sample, score
from probseq.likelihoods import Bernoulli, Categorical, Gaussian, Parametric
from probseq.model import SequenceModel
from probseq.nextstep import NextStep
from probseq.protocols import Autoregressive
from probseq.recurrences import GRU, LSTM, Elman, Unrolled
from probseq.sequences import Sequences
from probseq.stops import BernoulliStop, EndSymbol, FixedLength, LengthStop

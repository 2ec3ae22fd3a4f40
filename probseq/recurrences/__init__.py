"""How the past is carried."""

from probseq.recurrences.attentive import Attentive
from probseq.recurrences.clock import Clock
from probseq.recurrences.composed import Positional, Stack
from probseq.recurrences.deer import DEER
from probseq.recurrences.dropout import SharedDropout
from probseq.recurrences.gated import GRU, LSTM, Elman
from probseq.recurrences.grid import Grid
from probseq.recurrences.lagged import Lagged
from probseq.recurrences.leaky import Leaky
from probseq.recurrences.parallel import LRU, MinGRU, MinLSTM
from probseq.recurrences.unrolled import Unrolled
from probseq.recurrences.windowed import CausalConv, Memoryless

__all__ = [
    "DEER",
    "GRU",
    "LRU",
    "LSTM",
    "Attentive",
    "CausalConv",
    "Clock",
    "Elman",
    "Grid",
    "Lagged",
    "Leaky",
    "Memoryless",
    "MinGRU",
    "MinLSTM",
    "Positional",
    "SharedDropout",
    "Stack",
    "Unrolled",
]

"""How the past is carried."""

from probseq.recurrences.gated import GRU, LSTM, Elman
from probseq.recurrences.grid import Grid
from probseq.recurrences.unrolled import Unrolled

__all__ = ["GRU", "LSTM", "Elman", "Grid", "Unrolled"]

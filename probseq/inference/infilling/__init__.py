"""The missing middle of a sequence."""

from probseq.inference.infilling.bounds import evidence_bounds
from probseq.inference.infilling.found import Infilled
from probseq.inference.infilling.infill import infill
from probseq.inference.infilling.lookahead import ExactLookahead, LearnedLookahead, Lookahead
from probseq.inference.infilling.pattern import Gap, Pattern

__all__ = ["ExactLookahead", "Gap", "Infilled", "LearnedLookahead", "Lookahead", "Pattern", "evidence_bounds", "infill"]

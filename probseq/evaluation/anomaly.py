"""Which sequences are not like the others?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.evaluation.intervals import log_probs
from probseq.evaluation.streams import streams
from probseq.protocols import Autoregressive
from probseq.randomness import Seed
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Anomaly:
    """How surprising each sequence is, beside how surprising the model expects it to be along the way.

    Shapes:
        log_prob: (b,), nats.
        expected: (b,), what log P would be on average, the past of each decision given: −Σ of the entropies.
        deviation: (b,), the root of the sum of their variances.
        score: (b,), (expected − log_prob) / deviation: large where less likely things come than should, below 0 where
            likelier ones do; near a standard normal number for a long sequence of the model. 0 where nothing is open.
    """

    log_prob: Float[Tensor, " b"]
    expected: Float[Tensor, " b"]
    deviation: Float[Tensor, " b"]
    score: Float[Tensor, " b"]

    @property
    def p_value(self) -> Float[Tensor, " b"]:
        """Two-sided, by the normal law: a sequence can be too plain as well as too strange."""
        return torch.special.erfc(self.score.abs() / 2**0.5)


@checked
@torch.no_grad()
def anomaly(model: Autoregressive, y: Sequences, context: Any = None, generator: Seed = None) -> Anomaly:
    """Typicality of sequences: is log P what it is for the model's own draws?

    A low log P alone is no sign: long sequences have it, and a dull one, all of whose elements are likely, can have a
    higher log P than any draw. Compared is with what the model expects at each step, given what came before, so that
    the score is a martingale over its standard deviation. The entropy of elements that cannot be listed is estimated
    by draws.

    Args:
        y: b sequences, without missing elements.
        context: what the model is conditioned on, batch b, or None.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: y does not fit the model, or is empty.

    Source: Nalisnick et al., Detecting out-of-distribution inputs to deep generative models using typicality, 2019.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.FixedLength(5))
    >>> found = ps.anomaly(model, model.sample(4, generator=0))
    >>> found.score.shape, bool((found.deviation > 0).all())
    (torch.Size([4]), True)
    """
    found = streams(model, y, context, generator)
    log_prob = log_probs(model, y, context)
    zero = torch.zeros(len(y), dtype=torch.float64)
    go, stop = torch.log1p(-found.hazard), found.hazard.log()
    ends = found.hazard * stop + (1 - found.hazard) * go
    spread = found.hazard * (1 - found.hazard) * (stop - go).square()
    expected = zero.index_add(0, found.row, -found.entropy).index_add(0, found.stop_row, ends)
    variance = zero.index_add(0, found.row, found.varentropy).index_add(0, found.stop_row, spread)
    deviation = variance.sqrt()
    score = torch.where(deviation > 0, (expected - log_prob) / deviation, 0.0)
    return Anomaly(log_prob, expected, deviation, score)

"""Arithmetic sampling: draws that are spread evenly over the law."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.inference.search.alphabet import begin
from probseq.inference.search.hypotheses import Hypotheses
from probseq.inference.search.walk import walk
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded

GRAIN = 2.0**-53
"""The spacing of the numbers that a code is drawn from."""


@torch.no_grad()
def arithmetic(
    model: Autoregressive,
    num_samples: int,
    context: Any = None,
    *,
    max_length: int | None = None,
    generator: Seed = None,
) -> Hypotheses:
    """Draws by equally spaced codes, shifted together by one uniform number: each is exact, and they differ.

    The law cuts [0, 1) into an interval for each sequence, as long as its probability, sequences that begin alike next
    to each other (arithmetic coding). Draw i is the sequence at (u + i / n) mod 1. So each draw alone has the model's
    law, a sequence of probability p comes ⌊np⌋ or ⌈np⌉ times, and the mean of f over the draws is unbiased. Its
    variance is below that of independent draws where f is alike for sequences that begin alike.

    Args:
        num_samples: n, for each row of the context; draws for one row stand side by side.
        context: what the model is conditioned on, or None.
        max_length: where a sequence that has not ended is cut, as in `sample`.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: num_samples below 0, a continuous element, a model that is not causal, or a max_length below 0.

    Source: Vilnis et al., Arithmetic sampling: parallel diverse decoding for large language models, 2023.
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must be 0 or more; got {num_samples}.")
    state, alphabet, longest = begin(model, context, max_length, "arithmetic()")
    device, batch = state.features.device, state.batch
    rows = torch.arange(batch, device=device).repeat_interleave(num_samples)
    with seeded(generator, device):
        shift = torch.rand(batch, 1, dtype=torch.float64, device=device)
        places = torch.arange(num_samples, device=device) / max(num_samples, 1)
        code = ((shift + places) % 1).flatten()

        def choose(log_prob: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
            outcome, code[which] = _decode(log_prob, code[which])
            return outcome, log_prob.gather(1, outcome.unsqueeze(1)).squeeze(1)

        return walk(model, state.select(rows), rows, alphabet, longest, choose)


def _decode(log_prob: Float[Tensor, "n o"], code: Float[Tensor, " n"]) -> tuple[Tensor, Float[Tensor, " n"]]:
    """The outcome whose interval holds each code, and where in the interval it lies, in [0, 1)."""
    share = log_prob.to(torch.float64).softmax(1)
    high = share.cumsum(1)
    # The sum may fall short of 1 by rounding: then the last outcome that is possible ends it.
    last = torch.where(share > 0, torch.arange(share.shape[1], device=share.device), 0).amax(1)
    outcome = (high <= code.unsqueeze(1)).sum(1).minimum(last)
    width = share.gather(1, outcome.unsqueeze(1)).squeeze(1)
    low = high.gather(1, outcome.unsqueeze(1)).squeeze(1) - width
    # A narrow interval is stretched: the digits that the code did not have are drawn.
    digits = torch.rand_like(code) * GRAIN
    return outcome, ((code - low + digits) / width).clamp(0, 1 - GRAIN)

"""The probability of what was observed, from both sides."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context
from probseq.inference.infilling.engines import look
from probseq.inference.infilling.lookahead import Lookahead
from probseq.inference.infilling.particles import run
from probseq.inference.infilling.pattern import Templates
from probseq.inference.outcomes import support
from probseq.inference.sample import require_causal
from probseq.inference.score import check, check_context
from probseq.inference.search.alphabet import Alphabet
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences


@checked
@torch.no_grad()
def evidence_bounds(
    model: Autoregressive,
    y: Sequences,
    observed: Bool[Tensor, "b t *e"],
    context: Any = None,
    particles: int = 256,
    lookahead: Lookahead | None = None,
    generator: Seed = None,
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """A lower and an upper bound of log P(the observed part of y), for y that the model itself has drawn.

    What is hidden of such a y is an exact draw given what is observed. Particles that keep it give an estimate Ẑ⁺ with
    E[1 / Ẑ⁺] = 1 / Z, so that E[log Ẑ] ≤ log Z ≤ E[log Ẑ⁺] (bidirectional Monte Carlo). The bounds hold on average, and
    tell, without any enumeration, how far `infill` is off on such patterns. For other y the upper one means nothing.

    Args:
        y: b sequences, drawn from the model (with the contexts given).
        observed: False at what is to be hidden.
        context, particles, lookahead, generator: as in `infill`.

    Returns:
        log Ẑ and log Ẑ⁺, nats.

    Raises:
        ValueError: as `infill`, or `observed` of another shape than the values of y.

    Source: Grosse et al., Sandwiching the marginal likelihood using bidirectional Monte Carlo, 2015.
    """
    if particles < 1:
        raise ValueError(f"evidence_bounds() needs particles ≥ 1; got {particles}.")
    require_causal(model, "evidence_bounds()")
    if observed.shape != y.values.shape:
        raise ValueError(
            f"observed must have the shape of the values, {tuple(y.values.shape)}; got {tuple(observed.shape)}."
        )
    observed = observed[:, : y.trim().values.shape[1]]
    y = check(model, y)
    start = model.start(Context.none(len(y), y.device) if context is None else context)
    check_context(y, start.context)
    mask = y.mask().reshape(*observed.shape[:2], *[1] * (observed.ndim - 2))
    templates = Templates(y, observed.to(y.device) & mask, torch.arange(len(y)))
    alphabet = None
    if lookahead is not None:
        law = model.emit(start.features, start.position, start.context).element
        alphabet = Alphabet(support(model.element, law, "a lookahead", "Leave it out."))
    potential = look(model, templates, lookahead, alphabet)
    with seeded(generator, start.features.device):
        free = run(model, start, templates, particles, potential, alphabet)
        kept = run(model, start, templates, particles, potential, alphabet, kept=y)
    return free.log_evidence, kept.log_evidence

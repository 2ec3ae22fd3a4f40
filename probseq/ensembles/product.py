"""What several models agree on, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context, State
from probseq.ensembles.members import Ensemble
from probseq.inference.outcomes import log_pmf, support
from probseq.mixed import Listed
from probseq.nextstep import NextStep
from probseq.numerics import log_sum
from probseq.part import require


class ProductOfSteps(Ensemble):
    """At each step P(o) ∝ ∏ₘ Pₘ(o | y₍<t₎, x)^wₘ over the outcomes o: the end, and every value of the element.

    The mean of the members' log-probabilities, renormalised at every step, as ensembles of translation models are
    decoded (Sutskever et al., 2014). An outcome needs the consent of all. It is a distribution over sequences, and
    not the renormalised product of the members' distributions over sequences. Where the members leave no outcome, the
    sequence ends.

    Args:
        models: models of one discrete element; they may differ in everything else.
        weights: wₘ, positive, normalised here; None: all equal, the geometric mean.

    Raises:
        ValueError: no models, models of different elements or of a continuous one, or weights that are not positive,
            one for each; in `emit`, an element of more than 2¹⁶ values.
    """

    def __init__(self, models: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        super().__init__(models, weights)
        require(
            self.element.discrete or getattr(self.element, "cardinality", None) is not None,
            f"ProductOfSteps needs a discrete element; got {self.element!r}. Use Mixture(models).",
        )

    def _bound(self, limits: list[Any]) -> Any:
        found = [limit for limit in limits if limit is not None]
        return torch.stack(found).amin(0) if found else None

    def _carried(self, before: State | None, each: list[tuple[Tensor, State]], y: Tensor) -> Tensor:
        return torch.cat([features for features, _ in each], -1)

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        """The law of the next step."""
        steps = self._steps(features, position, context)
        symbols = support(self.element, steps[0].element, "ProductOfSteps", "Use Mixture(models).")
        stop, every = torch.zeros_like(steps[0].log_stop), torch.zeros((), device=features.device)
        for weight, step in zip(self.weights, steps, strict=True):
            stop = stop + weight * step.log_stop
            every = every + weight * (step.log_go + log_pmf(step.element, symbols))
        every = every.movedim(0, -1)
        onward = log_sum(every)
        total = log_sum(torch.stack([stop, onward], -1))
        lost = total == -torch.inf
        total = torch.where(lost, 0.0, total)
        logits = torch.where((onward > -torch.inf).unsqueeze(-1), every, 0.0)
        law = Listed(logits, symbols) if self.element.shape else dist.Categorical(logits=logits, validate_args=False)
        return NextStep(law, torch.where(lost, 0.0, stop - total), onward - total)

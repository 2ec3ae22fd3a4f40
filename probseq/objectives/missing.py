"""Maximum likelihood where some values inside the sequences are missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import check_fields
from probseq.inference.missing import draw_missing, stand_in
from probseq.inference.sample import require_causal
from probseq.model import SequenceModel
from probseq.numerics import log_sum
from probseq.objectives.likelihood import TeacherForcing
from probseq.part import require
from probseq.randomness import seeded
from probseq.rows import select_rows
from probseq.sequences import Sequences


@dataclass(frozen=True)
class MissingValues:
    """−log Ẑ, Ẑ = (1/K) Σₖ wₖ an unbiased estimate of P(what is observed of y | x), from K fillings zₖ of the gaps.

    Each filling is drawn step by step from the model, zₖ ~ q = ∏ P(missing | what stands before, in zₖ), and
    wₖ = P(y, zₖ | x) / q(zₖ), the probability of what is observed along it. E[log Ẑ] ≤ log P(observed | x), with
    equality as K grows, and exactly −log P(y | x) where nothing is missing.

    The gradient is not that of the value: it is Fisher's identity, ∇ log P(observed) = E[∇ log P(y, z) | observed],
    with the expectation by the self-normalised weights, Σₖ wₖ ∇ log P(y, zₖ | x) / Σₖ wₖ. Its bias is of order 1/K
    and vanishes where nothing is missing; fillings carry no gradient, so discrete and continuous elements go alike.

    In the data a missing token is −1 and a missing real number NaN, in slots that are used; lengths are known. A
    vector may be missing in part if its law can be conditioned (`probseq.inference.partial.complete`). Values are to
    be missing at random: that they are must say nothing of what they were.

    Args:
        particles: K.

    Raises:
        ValueError: particles below 1; in `loss`, an element missing in part under a law that cannot be conditioned.

    Source: Burda et al., Importance weighted autoencoders, 2016 (the bound); Bornschein & Bengio, Reweighted
    wake-sleep, 2015 (the gradient).
    """

    particles: int = 8

    is_likelihood: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.particles >= 1, f"MissingValues needs particles ≥ 1; got {self.particles}.")

    def conform(self, model: SequenceModel, y: Sequences, context: Any) -> tuple[Sequences, Any]:
        """y and x checked as `model.conform` does, what is missing left as it is marked."""
        require_causal(model, "MissingValues")
        filled, observed = stand_in(y)
        checked, context = model.conform(filled, context)
        observed = observed[:, : checked.values.shape[1]]
        if not checked.values.numel():
            return checked, context
        mark = math.nan if checked.values.is_floating_point() else -1
        return Sequences(torch.where(observed, checked.values, mark), checked.lengths, checked.ended), context

    def loss(self, model: SequenceModel, y: Sequences, context: Any, progress: float) -> Float[Tensor, " b"]:
        y, observed = stand_in(y)
        incomplete = (~observed).flatten(1).any(1).to("cpu")
        if not bool(incomplete.any()):
            return TeacherForcing().loss(model, y, context, progress)
        rows = incomplete.nonzero().squeeze(-1)
        some = y.select(rows)
        seen = observed.index_select(0, rows.to(y.device))[:, : some.values.shape[1]]
        losses = -self._log_mean(model, some, seen, select_rows(context, rows))
        if bool(incomplete.all()):
            return losses
        others = incomplete.logical_not().nonzero().squeeze(-1)
        whole = TeacherForcing().loss(model, y.select(others), select_rows(context, others), progress)
        return torch.cat([losses, whole])[torch.cat([rows, others]).argsort().to(losses.device)]

    @torch.no_grad()
    def held_out(self, model: SequenceModel, y: Sequences, context: Any) -> Float[Tensor, " b"]:
        """log Ẑ of held-out sequences, by the same random numbers each time, so that epochs can be compared."""
        with seeded(0, y.device):
            return -self.loss(model, y, context, 1.0)

    def _log_mean(self, model: SequenceModel, y: Sequences, observed: Tensor, context: Any) -> Float[Tensor, " b"]:
        """log Ẑ, with the gradient of Fisher's identity."""
        encoded = model.encode(context, len(y), validate=False)
        log_given = encoded.summary.new_zeros(len(y))
        if bool(y.ended.all()):
            encoded, log_given = model.given(y, encoded)
        device = encoded.summary.device
        index = torch.arange(len(y)).repeat_interleave(self.particles)
        each, seen = y.to(device).select(index), observed.to(device).index_select(0, index.to(device))
        encoded = encoded.select(index.to(device))
        with torch.no_grad():
            filled, log_q = draw_missing(model, encoded, each, seen)
        log_p = model.log_prob(filled, encoded, validate=False).reshape(len(y), -1)
        log_weights = log_p.detach() - log_q.reshape(len(y), -1)
        total = log_sum(log_weights)
        # Where every filling is impossible there is nothing to follow.
        shares = torch.where((total > -torch.inf).unsqueeze(1), log_weights - total.unsqueeze(1), -torch.inf).exp()
        followed = (shares * torch.where(shares > 0, log_p, 0.0)).sum(1)
        return total - math.log(self.particles) + followed - followed.detach() + log_given

"""What a search maximises in place of the probability: scores, not probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Normaliser(Protocol):
    """Divides log P(y | x) by a factor of the number of decisions: search score = log P(y | x) / factor(n).

    n, a tensor of floats, counts the elements, and the end where there is one. `factor` must be positive and monotone
    in n: that is what makes the bound exact by which a search knows that it may stop.
    """

    def factor(self, decisions: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]: ...


@dataclass(frozen=True)
class LengthPenalty:
    """factor(n) = ((5 + n) / 6)^strength: 0 leaves log P(y | x) as it is, larger ones favour longer sequences.

    Source: Wu et al., Google's neural machine translation system, 2016, equation 14, with the end counted.

    >>> LengthPenalty(1.0).factor(torch.tensor([1.0, 7.0])).tolist()
    [1.0, 2.0]
    """

    strength: float = 0.6

    def factor(self, decisions: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return ((5 + decisions) / 6) ** self.strength


@dataclass(frozen=True)
class LengthNormalisation:
    """factor(n) = n^power: with power 1 the search score is the mean log-probability of a decision."""

    power: float = 1.0

    def factor(self, decisions: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return decisions.clamp(min=1) ** self.power


def as_normaliser(penalty: Any) -> Normaliser | None:
    """A number as the strength of `LengthPenalty`, 0 as nothing.

    Raises:
        ValueError: neither a number nor an object with `factor`.
    """
    if isinstance(penalty, int | float):
        return LengthPenalty(float(penalty)) if penalty else None
    if isinstance(penalty, Normaliser):
        return penalty
    raise ValueError(
        f"length_penalty must be a number, LengthPenalty(…), LengthNormalisation(…) or an object with "
        f"factor(decisions); got {penalty!r}."
    )


@dataclass(frozen=True)
class Ranking:
    """search score = log P / factor(n) + coverage · Σ_s log min(Σ_t a_ts, 1), a the attention of the steps to s."""

    normaliser: Normaliser | None = None
    coverage: float = 0.0

    def score(
        self,
        log_prob: Float[Tensor, "*b"],
        decisions: int,
        attended: Float[Tensor, "*b s"] | None,
        within: Tensor | None,
    ) -> Float[Tensor, "*b"]:
        """The score of whole sequences of one number of decisions.

        Args:
            attended: the sum of the attention weights over the steps.
            within: True where the source has an element, in the shape of `attended`.
        """
        if self.normaliser is not None:
            log_prob = log_prob / self.normaliser.factor(torch.full_like(log_prob, decisions))
        if attended is None:
            return log_prob
        # A weight that underflowed must not turn a possible sequence into an impossible one.
        covered = attended.clamp(torch.finfo(attended.dtype).tiny, 1).log()
        if within is not None:
            covered = covered.masked_fill(~within, 0.0)
        return log_prob + self.coverage * covered.sum(-1).to(log_prob)

    def bound(self, log_prob: Float[Tensor, " n"], least: int, most: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """No sequence of `least` to `most` decisions that begins with probability `log_prob` scores more.

        Its log P is at most `log_prob` ≤ 0, its factor, being monotone, at most the larger of the two at the ends, and
        coverage adds at most 0.
        """
        if self.normaliser is None:
            return log_prob
        ends = (torch.full_like(log_prob, least), most.to(log_prob))
        return log_prob / torch.maximum(*(self.normaliser.factor(n) for n in ends))

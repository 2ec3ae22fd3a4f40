"""When a sequence ends. Every law is a hazard: log P(stop | length ≥ t) and log P(go on | length ≥ t)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.context import Context
from probseq.nextstep import NextStep, certain_end
from probseq.numerics import at_least_float32
from probseq.part import Part, require
from probseq.protocols import Likelihood
from probseq.sequences import Sequences
from probseq.shapes import Ragged
from probseq.structure import OUTPUT, SUMMARY


class StopPart(Part):
    """What most stop laws share: no symbol of their own, an end that is not certain, nothing drawn beforehand or fed
    to the steps, and no faster score."""

    kind: ClassVar[str] = "stop"
    symbols: ClassVar[int] = 0
    certain: ClassVar[bool] = False
    aligned: ClassVar[bool] = False
    plans: ClassVar[bool] = False
    sees: ClassVar[tuple[str, ...]] = (OUTPUT, SUMMARY)
    """What decides on the end, for `probseq.graph`: the features of the step, the summary of the context."""
    max_length: int | None = None

    @property
    def feed_width(self) -> int:
        return 0

    def feed(self, context: Context, position: Int[Tensor, "b n"]) -> Float[Tensor, "b n f"]:
        return context.summary.new_empty(*position.shape, 0)

    def log_prob(
        self, likelihood: Likelihood, features: Float[Tensor, "b m h"], y: Sequences
    ) -> Float[Tensor, " b"] | None:
        return None


@dataclass(eq=False, repr=False)
class EndSymbol(StopPart):
    """One more symbol of the alphabet, whose draw ends the sequence: exactly the softmax over V + 1 outcomes.

    Goodfellow et al., Deep Learning, 10.2.3, first mechanism. Needs a likelihood over symbols: `Categorical()`.
    """

    symbols: ClassVar[int] = 1
    sees: ClassVar[tuple[str, ...]] = (OUTPUT,)

    def build(self, features: int, summary: int) -> None:
        pass

    def least(self, likelihood: Likelihood, bound: float) -> float:
        """What P(stop) is at least, whatever features there are with |hᵢ| ≤ bound; 0 if that is not known."""
        known = getattr(likelihood, "least_end", None)
        return 0.0 if known is None or type(self).emit is not EndSymbol.emit else known(bound)

    def log_prob(
        self, likelihood: Likelihood, features: Float[Tensor, "b m h"], y: Sequences
    ) -> Float[Tensor, " b"] | None:
        """One softmax over all steps, the end being one outcome among the symbols."""
        if type(self).emit is not EndSymbol.emit:
            return None
        outcomes = torch.cat([y.values, y.values.new_zeros(len(y), 1)], 1)
        rows = torch.arange(len(y), device=y.device)
        outcomes[rows, y.lengths.to(y.device, non_blocking=True)] = likelihood.end  # type: ignore[attr-defined]
        slots = Ragged(y.decisions, outcomes.shape[1], y.device)
        return slots.scatter(likelihood.log_prob(slots.gather(features), slots.gather(outcomes))).sum(-1)

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep:
        logits: Tensor = likelihood.logits(features)  # type: ignore[attr-defined]
        elements = logits[..., :-1]
        total = logits.logsumexp(-1)
        log_go = elements.logsumexp(-1) - total
        return NextStep(dist.Categorical(logits=elements, validate_args=False), logits[..., -1] - total, log_go)


@dataclass(eq=False, repr=False)
class BernoulliStop(StopPart):
    """At each step a coin, whose weight is a learned function of the features, decides to stop.

    P(stop) = σ(w·h + c). Goodfellow et al., Deep Learning, 10.2.3, second mechanism: it goes with any likelihood.
    """

    sees: ClassVar[tuple[str, ...]] = (OUTPUT,)

    def build(self, features: int, summary: int) -> None:
        self.project = nn.Linear(features, 1)

    def least(self, likelihood: Likelihood, bound: float) -> float:
        """What P(stop) is at least, whatever features there are with |hᵢ| ≤ bound: σ(c − bound ‖w‖₁)."""
        if type(self).emit is not BernoulliStop.emit:
            return 0.0
        least = self.project.bias.double() - bound * self.project.weight.double().abs().sum()
        return float(torch.sigmoid(least))

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep:
        logit = at_least_float32(self.project(features)).squeeze(-1)
        return NextStep(likelihood(features), F.logsigmoid(logit), F.logsigmoid(-logit))


@dataclass(eq=False, repr=False)
class LengthStop(StopPart):
    """A learned law over lengths 0…max_length, independent of the elements; given a context, conditioned on it.

    P(stop | length ≥ t) = p(t) / Σ_{l ≥ t} p(l), with p = softmax(w + W·summary).

    Args:
        max_length: the longest length with positive probability.

    Raises:
        ValueError: max_length below 0.
    """

    max_length: int  # type: ignore[assignment]

    sees: ClassVar[tuple[str, ...]] = (SUMMARY,)
    learning_rate_scale: ClassVar[float] = 10.0
    """A table has no network to add up its steps. A gain on w would do as much, but swell the gradient's norm, and
    where that is clipped, batches of one length each would no longer balance."""

    def __post_init__(self) -> None:
        require(self.max_length >= 0, f"LengthStop needs max_length ≥ 0; got {self.max_length}.")

    def build(self, features: int, summary: int) -> None:
        self.weight = nn.Parameter(torch.zeros(self.max_length + 1))
        self.conditional = nn.Linear(summary, self.max_length + 1, bias=False) if summary else None

    def log_pmf(self, context: Context) -> Float[Tensor, "b l"]:
        """log P(length = l | context), l = 0…max_length; b is 1 without a context."""
        logits = self.weight.unsqueeze(0)
        if self.conditional is not None:
            logits = logits + self.conditional(context.summary)
        return logits.log_softmax(-1)

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep:
        log_pmf = self.log_pmf(context)
        log_survival = log_pmf.flip(-1).logcumsumexp(-1).flip(-1)
        never = torch.full_like(log_pmf[:, :1], -torch.inf)
        log_stop = log_pmf - log_survival
        log_go = torch.cat([log_survival[:, 1:] - log_survival[:, :-1], never], -1)
        shape = features.shape[:-1]
        column = position.clamp(max=self.max_length).expand(shape).reshape(shape[0], shape[1:].numel())
        log_stop, log_go = (table.expand(shape[0], -1).gather(1, column).reshape(shape) for table in (log_stop, log_go))
        return NextStep(likelihood(features), log_stop, log_go)


@dataclass(eq=False, repr=False)
class FixedLength(StopPart):
    """Exactly `length` elements, with certainty: log_stop is −∞ before and 0 at the end.

    Raises:
        ValueError: length below 0.
    """

    length: int

    certain: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.length >= 0, f"FixedLength needs length ≥ 0; got {self.length}.")

    @property
    def max_length(self) -> int:  # type: ignore[override]
        return self.length

    def build(self, features: int, summary: int) -> None:
        pass

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep:
        over = (position >= self.length).expand(features.shape[:-1])
        return NextStep(likelihood(features), *certain_end(over, features))


@dataclass(eq=False, repr=False)
class Window(StopPart):
    """Events are watched from time 0 to `end`, and y ends with the last one within: P(stop) = P(τ > end − t | …).

    The density of events at times t₁ … tₙ is ∏ᵢ f(tᵢ − tᵢ₋₁ | …) · P(τ > end − tₙ | …), that of a temporal point
    process: the last wait is known only to go beyond the end. The recurrence is a `Clock`, the likelihood a `Waiting`
    time, or a `Product` of which the first is one; their parameters are maps of the features and of elapsed / end.

    Args:
        end: where the window closes, in the units of the times.

    Raises:
        ValueError: an end that is not positive and finite.
    """

    end: float

    timed: ClassVar[bool] = True
    sees: ClassVar[tuple[str, ...]] = (OUTPUT,)

    def __post_init__(self) -> None:
        require(0 < self.end < float("inf"), f"Window needs a finite end > 0; got {self.end}.")

    def build(self, features: int, summary: int) -> None:
        pass

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep:
        features, elapsed = at_least_float32(features).tensor_split([-1], -1)
        # A last event on the edge is within, whatever rounding made of the sum.
        end = self.end * (1 + 64 * torch.finfo(elapsed.dtype).eps)
        rest = (end - elapsed).squeeze(-1)
        return likelihood.within(torch.cat([features, elapsed / self.end], -1), rest)  # type: ignore[attr-defined]


@dataclass(eq=False, repr=False)
class AlignedLength(StopPart):
    """As many elements as the aligned x has, with certainty: the end of tagging. Needs an `Aligned` context."""

    certain: ClassVar[bool] = True
    aligned: ClassVar[bool] = True

    def build(self, features: int, summary: int) -> None:
        pass

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep:
        return NextStep(
            likelihood(features), *certain_end(reached(context.aligned_lengths, features, position), features)
        )


@dataclass(eq=False, repr=False)
class PlannedLength(LengthStop):
    """The length τ is drawn first, and the number of elements still to come is fed to every step.

    P(y, τ | x) = P(τ | x) P(y | τ, x), with P(τ | x) a learned table as in `LengthStop`. Goodfellow et al., Deep
    Learning, 10.2.3, third mechanism: the extra input is what keeps a sequence from breaking off. A sequence that
    ended is scored in one pass, an open one by a log-sum over τ; engines carry the exact mixture over τ, which costs
    max_length + 1 times the memory and the steps. `model.plan(lengths)` is the context of sequences of known length.

    Args:
        max_length: the longest length with positive probability.
        dim: the width of the learned embedding of the remaining number.
        remaining: whether that number is fed; without it τ decides when to stop, and nothing else knows: the law is
            that of `LengthStop`, and costs as little.

    Raises:
        ValueError: max_length below 0, or dim below 1.
    """

    dim: int = 16
    remaining: bool = True

    plans: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.max_length >= 0, f"PlannedLength needs max_length ≥ 0; got {self.max_length}.")
        require(self.dim >= 1, f"PlannedLength needs dim ≥ 1; got {self.dim}.")

    @property
    def feed_width(self) -> int:
        return self.dim if self.remaining else 0

    def build(self, features: int, summary: int) -> None:
        super().build(features, summary)
        self.embedding = nn.Embedding(self.max_length + 1, self.dim) if self.remaining else None

    def feed(self, context: Context, position: Int[Tensor, "b n"]) -> Float[Tensor, "b n f"]:
        """The embedding of τ − position, the number of elements still to come."""
        if self.embedding is None or context.planned is None:
            return super().feed(context, position)
        return self.embedding((context.planned.unsqueeze(1) - position).clamp(min=0))

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep:
        """The law given τ, over which `probseq.planned` mixes where it is fed."""
        if context.planned is None and not self.remaining:
            return super().emit(likelihood, features, position, context)
        return NextStep(likelihood(features), *certain_end(reached(context.planned, features, position), features))


def reached(limit: Int[Tensor, " b"] | None, features: Tensor, position: Tensor) -> Tensor:
    """Whether `position` elements are as many as there can be; (b, *n), for features (b, *n, h).

    Raises:
        ValueError: the context holds no limit.
    """
    if limit is None:
        raise ValueError("the context says nothing of the length; expected aligned x or a planned length.")
    shape = features.shape[:-1]
    return (position >= limit.reshape(-1, *[1] * (len(shape) - 1))).expand(shape)

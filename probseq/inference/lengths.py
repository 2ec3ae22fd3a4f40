"""How long sequences are, and whether they end at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context, State
from probseq.inference.sample import longest, require_causal
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded


@dataclass(frozen=True)
class Lengths:
    """The law of the length up to a longest one, T, for each of b laws.

    Shapes:
        survival: (b, T + 2), P(length ≥ t), t = 0…T + 1.
        standard_error: of `survival`, the same shape; 0 where the end does not depend on the elements.
    """

    survival: Float[Tensor, "b t"]
    standard_error: Float[Tensor, "b t"]

    @property
    def pmf(self) -> Float[Tensor, "b t"]:
        """(b, T + 1), P(length = t), t = 0…T."""
        return self.survival[:, :-1] - self.survival[:, 1:]

    @property
    def truncated(self) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """P(length > T), the mass that is lost or left open where sequences are cut at T, and its standard error."""
        return self.survival[:, -1], self.standard_error[:, -1]

    @property
    def mean(self) -> Float[Tensor, " b"]:
        """E[min(length, T + 1)] = Σₜ P(length ≥ t), t = 1…T + 1."""
        return self.survival[:, 1:].sum(1)


@checked
@torch.no_grad()
def lengths(
    model: Autoregressive,
    length: int | None = None,
    context: Any = None,
    num_samples: int = 256,
    generator: Seed = None,
) -> Lengths:
    """The survival curve P(length ≥ t) by sequences that are made to go on.

    P(length ≥ t) = E[∏_{s<t} P(go on | y₍≤s₎)] over elements drawn as if no sequence ended: the end is never drawn, so
    that where it does not depend on the elements (`LengthStop`, `FixedLength`) every draw gives the curve itself, and
    small survival is seen as well as large. For discrete elements `query` answers `events.Length` with bounds.

    Args:
        length: T; by default the longest that the stop law or an aligned x allows, else 256.
        context: what the model is conditioned on, b rows, or None.
        num_samples: draws for each row.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: a model that is not causal, a length below 0, or fewer than 2 draws.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.FixedLength(2))
    >>> ps.lengths(model, 3).survival.tolist()
    [[1.0, 1.0, 1.0, 0.0, 0.0]]
    """
    require_causal(model, "lengths()")
    if num_samples < 2:
        raise ValueError(f"num_samples must be 2 or more, or there is no error; got {num_samples}.")
    state = model.start(Context.none(1) if context is None else context)
    length = longest(model, state.context) if length is None else length
    if length < 0:
        raise ValueError(f"length must be 0 or more; got {length}.")
    rows = torch.arange(state.batch, device=state.features.device).repeat_interleave(num_samples)
    with seeded(generator, state.features.device):
        curve = _go_on(model, state.select(rows), length)
    each = curve.view(-1, num_samples, length + 2)
    return Lengths(each.mean(1), each.std(1) / num_samples**0.5)


def _go_on(model: Autoregressive, state: State, length: int) -> Float[Tensor, "n t"]:
    """∏ P(go on) along sequences that never end, (n, length + 2)."""
    count = state.batch
    left, log_alive = torch.arange(count, device=state.features.device), None
    columns = []
    for t in range(length + 1):
        step = model.emit(state.features, state.position, state.context)
        before = torch.zeros_like(step.log_go, dtype=torch.float64) if log_alive is None else log_alive
        if log_alive is None:
            columns.append(before.exp())
        log_alive = before + step.log_go
        columns.append(torch.zeros_like(columns[0]).index_copy(0, left, log_alive.exp()))
        going = (log_alive > -torch.inf).nonzero().squeeze(-1)
        if t == length or not len(going):
            break
        y = step.element.sample()[going]
        left, log_alive = left[going], log_alive[going]
        state = model.extend(state.select(going), y.unsqueeze(1))[1]
    columns += [torch.zeros_like(columns[0])] * (length + 2 - len(columns))
    return torch.stack(columns, 1)


@dataclass(frozen=True)
class Tightness:
    """Whether it is certain that sequences end: a certificate, or none. `str` says which in words.

    Args:
        least_stop: ε > 0, such that P(stop) ≥ ε at every step, whatever was read, or None.
        longest: a length that no sequence exceeds, or None.
    """

    least_stop: float | None
    longest: int | None

    @property
    def certified(self) -> bool:
        """Whether the probabilities of all finite sequences are known to sum to 1."""
        return self.least_stop is not None or self.longest is not None

    def bound(self, length: int) -> float:
        """What P(more than `length` elements) is at most: (1 − ε)^(length + 1), 0 beyond the longest; 1 without any."""
        if self.longest is not None and length >= self.longest:
            return 0.0
        return 1.0 if self.least_stop is None else (1 - self.least_stop) ** (length + 1)

    def __str__(self) -> str:
        if self.longest is not None:
            return f"no sequence has more than {self.longest} elements"
        return "none" if self.least_stop is None else f"P(stop) ≥ {self.least_stop:.3g} at every step"


@checked
def tightness(model: Autoregressive, context: Any = None) -> Tightness:
    """A certificate that the model loses no mass to sequences without end, or none, which proves nothing either way.

    Features bounded by |hᵢ| ≤ B leave the end a probability of at least ε at every step; with an end symbol e

        ε = 1 / (1 + Σᵥ exp(bᵥ − bₑ + B ‖wᵥ − wₑ‖₁)),

    so that P(length > T) ≤ (1 − ε)^(T + 1). A model whose network is not bounded, as a GRU that starts where a context
    sets it, has none. ε is a worst case and often tiny; how much mass there is beyond T, `lengths` estimates.

    The model says what it knows by `stop_bound()`, where it has it, and `max_length`; an aligned x, given as context,
    bounds the length too.

    Args:
        context: what the model is conditioned on, or None where the certificate is to hold for every x.

    Source: Welleck et al., Consistency of a recurrent language model with respect to incomplete decoding, 2020; Du et
    al., A measure-theoretic characterization of tight language models, 2023.

    >>> import probseq as ps
    >>> print(tightness(ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.LengthStop(9))))
    no sequence has more than 9 elements
    """
    known = getattr(model, "stop_bound", None)
    found = None if known is None else known()
    bound = model.max_length
    if context is not None:
        limit = model.start(context).context.limit
        bound = bound if limit is None or not len(limit) else int(limit.max())
    return Tightness(found or None, bound)

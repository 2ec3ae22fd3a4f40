"""Missing values inside sequences of known length."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probseq.context import Context, State
from probseq.inference.partial import complete
from probseq.inference.score import check
from probseq.numerics import promoted
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


def is_observed(y: Sequences) -> Bool[Tensor, "b t *e"]:
    """False where a used slot holds −1 (integers) or NaN (reals); True in the padding."""
    known = ~torch.isnan(y.values) if y.values.is_floating_point() else y.values != -1
    return known | ~y.mask().reshape(*y.values.shape[:2], *[1] * (y.values.ndim - 2))


def stand_in(y: Sequences, example: Tensor | None = None) -> tuple[Sequences, Bool[Tensor, "b t *e"]]:
    """y with other values of the data in place of what is missing, so that it can be checked and read; and the mask.

    A missing integer is 0; of a missing real vector each entry takes the first value that is observed of that entry,
    so that it lies in whatever support the data lie in. Where nothing is observed at all that is `example`, else 0.
    """
    observed = is_observed(y)
    if not y.values.is_floating_point():
        return Sequences(torch.where(observed, y.values, 0), y.lengths, y.ended), observed
    element = y.values.shape[2:]
    if not y.values.numel():
        return y, observed
    values = y.values.flatten(0, 1).flatten(1) if element else y.values.reshape(-1, 1)
    real = y.mask().reshape(-1, 1)
    known = (observed.flatten(0, 1).flatten(1) if element else observed.reshape(-1, 1)) & real
    first = values.gather(0, known.to(torch.uint8).argmax(0, keepdim=True)).squeeze(0)
    some = known.any(0)
    zero = torch.zeros_like(first) if example is None else example.to(first).flatten()
    other = torch.where(some.any(), first[some.to(torch.uint8).argmax()], zero)
    stand = torch.where(some, first, other).reshape(element)
    return Sequences(torch.where(observed, y.values, stand), y.lengths, y.ended), observed


def conform_observed(
    model: Autoregressive, y: Sequences, example: Tensor | None = None
) -> tuple[Sequences, Bool[Tensor, "b t *e"]]:
    """y checked as far as it is observed, other values standing in for the missing ones; and the mask.

    Raises:
        ValueError: observed values that do not fit the model's element, or y longer than its longest.
    """
    filled, observed = stand_in(y, example)
    checked = check(model, filled)
    width, dims = checked.values.shape[1], checked.values.ndim
    return checked, observed[:, :width] if observed.ndim == dims else torch.ones_like(checked.values, dtype=torch.bool)


def example(model: Autoregressive, state: State) -> Tensor | None:
    """An element as the model draws it, (*e)."""
    if model.element.discrete or not state.batch:
        return None
    return model.emit(state.features, state.position, state.context).element.sample()[0]


def draw_missing(
    model: Autoregressive, context: Context, y: Sequences, observed: Bool[Tensor, "b t *e"]
) -> tuple[Sequences, Float[Tensor, " b"]]:
    """Draw what is missing of each sequence, step by step, each value given what stands before it.

    Returns:
        The sequences filled, and log q (b,), nats: the log-probability of all that was drawn.
    """
    first, last = _span(observed)
    features, state = model.unroll(context, y.values[:, :first])
    values = list(y.values.unbind(1))
    log_q = features.new_zeros(len(y))
    for t in range(first, last + 1):
        law = model.emit(state.features, state.position, state.context).element
        drawn, log_observed = complete(law, promoted(values[t], state.features), observed[:, t])
        missing = (~observed[:, t]).reshape(len(y), -1).any(1) & (log_observed > -torch.inf)
        log_q = log_q + torch.where(missing, law.log_prob(drawn) - log_observed, 0.0)
        values[t] = drawn
        state = model.extend(state, drawn.unsqueeze(1))[1] if t < last else state
    dtype = values[first].dtype
    return Sequences(torch.stack([value.to(dtype) for value in values], 1), y.lengths, y.ended), log_q


def _span(observed: Tensor) -> tuple[int, int]:
    """The first and the last column in which anything is missing."""
    columns = (~observed).flatten(2).any(2).any(0) if observed.ndim > 2 else (~observed).any(0)
    where = columns.nonzero()
    return int(where[0]), int(where[-1])

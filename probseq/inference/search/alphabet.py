"""What can come next: the end, or one of finitely many symbols, by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import Context, State
from probseq.inference.outcomes import log_pmf, support
from probseq.inference.sample import longest, require_causal
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Alphabet:
    """The values that one element can have, numbered from 0.

    Shapes:
        symbols: (v, *e).
    """

    symbols: Tensor

    def __len__(self) -> int:
        return len(self.symbols)

    def law(self, model: Autoregressive, state: State) -> tuple[Float[Tensor, "n v"], Float[Tensor, " n"]]:
        """log P(go on, with this symbol) of each symbol, and log P(stop); together they are one law."""
        step = model.emit(state.features, state.position, state.context)
        log_symbols = log_pmf(step.element, self.symbols).movedim(0, -1)
        return log_symbols + step.log_go.unsqueeze(-1), step.log_stop

    def numbers(self, values: Tensor) -> Int[Tensor, "*b"]:
        """The number of each of `values` (*b, *e), which must be among the symbols."""
        dims = self.symbols.ndim - 1
        same = values.unsqueeze(values.ndim - dims) == self.symbols.to(values)
        return (same.flatten(same.ndim - dims).all(-1) if dims else same).to(torch.uint8).argmax(-1)


def begin(
    model: Autoregressive, context: Any, max_length: int | None, name: str, batch: int = 1
) -> tuple[State, Alphabet, int]:
    """The state before the first element, the alphabet, and the longest length, checked.

    Raises:
        ValueError: a model that is not causal, a continuous element, or a max_length below 0.
    """
    require_causal(model, name)
    state = model.start(Context.none(batch) if context is None else context)
    law = model.emit(state.features, state.position, state.context).element
    alphabet = Alphabet(support(model.element, law, name, "Use sample()."))
    limit = longest(model, state.context) if max_length is None else max_length
    if limit < 0:
        raise ValueError(f"max_length must be 0 or more; got {limit}.")
    return state, alphabet, limit


def allowed_symbols(
    model: Autoregressive, alphabet: Alphabet, batch: int, banned: Any, allowed: Any
) -> Bool[Tensor, "b1 v"] | None:
    """Which symbols may be used, (b or 1, v), or None where all may."""
    mask = None
    for name, given, inside in (("banned", banned, False), ("allowed", allowed, True)):
        if given is None:
            continue
        named = _mask(model, alphabet, batch, given, name)
        named = named if inside else ~named
        mask = named if mask is None else mask & named
    return mask


def _mask(model: Autoregressive, alphabet: Alphabet, batch: int, given: Any, name: str) -> Bool[Tensor, "b1 v"]:
    """A list of elements, or a mask (v,) or (b, v), as a mask."""
    device, size = alphabet.symbols.device, len(alphabet)
    if isinstance(given, Tensor) and given.dtype == torch.bool:
        if given.shape not in ((size,), (batch, size)):
            raise ValueError(
                f"{name}: a mask must have shape ({size},) or ({batch}, {size}), symbols or sources by symbols; got "
                f"{tuple(given.shape)}."
            )
        return given.to(device).reshape(-1, size)
    if not isinstance(given, Tensor | Sequence):
        raise ValueError(f"{name} must be a list of elements or a bool mask; got {type(given).__name__}.")
    mask = torch.zeros(1, size, dtype=torch.bool, device=device)
    if len(given):
        try:
            elements = model.element.conform(Sequences.of([given])).values[0]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        mask[0, alphabet.numbers(elements.to(device))] = True
    return mask

"""Ragged indexing: which slots of a right-padded batch are real."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def slot_mask(counts: Int[Tensor, "*b"], width: int) -> Bool[Tensor, "*b t"]:
    """True at the first `counts[i]` of `width` slots of row i, on the device of `counts`."""
    return torch.arange(width, device=counts.device) < counts.unsqueeze(-1)


class Ragged:
    """The first `counts[i]` slots of each row of a (b, width, …) batch, as a flat list of N = Σ counts slots.

    The index is made on the host, where lengths live, so that no accelerator waits for it.

    Shapes:
        counts: (b,), int64, on the host.
    """

    def __init__(self, counts: Int[Tensor, " b"], width: int, device: torch.device) -> None:
        self.batch, self.width, self.device = len(counts), width, device
        self.full = bool((counts == width).all())
        self._counts = counts

    @cached_property
    def index(self) -> Int[Tensor, " n"]:
        """The flat place of each slot."""
        if self.full:
            return torch.arange(self.batch * self.width, device=self.device)
        flat = slot_mask(self._counts, self.width).flatten().nonzero().squeeze(-1)
        return flat.to(self.device, non_blocking=True)

    def __len__(self) -> int:
        return self.batch * self.width if self.full else len(self.index)

    @property
    def rows(self) -> Int[Tensor, " n"]:
        """The row of each slot."""
        return torch.div(self.index, max(self.width, 1), rounding_mode="floor")

    @property
    def columns(self) -> Int[Tensor, " n"]:
        """The column (position in its row) of each slot."""
        return self.index.remainder(max(self.width, 1))

    def gather(self, padded: Tensor) -> Tensor:
        """(b, width, …) → (N, …): the real slots only, so that nothing is computed, or goes wrong, in the padding."""
        flat = padded.reshape(self.batch * self.width, *padded.shape[2:])
        return flat if self.full else flat.index_select(0, self.index)

    def scatter(self, flat: Tensor) -> Tensor:
        """(N, …) → (b, width, …), zero in the padding."""
        shape = (self.batch, self.width, *flat.shape[1:])
        if self.full:
            return flat.reshape(shape)
        padded = flat.new_zeros(self.batch * self.width, *flat.shape[1:])
        return padded.index_copy(0, self.index, flat).view(shape)

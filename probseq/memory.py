"""What to do where a device has too little memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Relief:
    """Batches in halves where the memory is too small for the whole; it says so once."""

    def __init__(self) -> None:
        self._said = False

    def in_halves(
        self, function: Callable[[Int[Tensor, " n"]], Float[Tensor, " n"]], index: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """A number for each row, all rows at once, or in two halves where that is too much, and so on.

        Raises:
            torch.OutOfMemoryError: one row alone is too much.
        """
        try:
            return function(index)
        except torch.OutOfMemoryError:
            if len(index) == 1:
                raise
        # Only here, where no frame of what failed holds its tensors any more.
        self.free()
        half = len(index) // 2
        return torch.cat([self.in_halves(function, index[:half]), self.in_halves(function, index[half:])])

    def free(self) -> None:
        """Give what is kept for later back to the device."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not self._said:
            self._said = True
            warnings.warn(
                "the device has too little memory for a batch: it is done in halves, which is slower. Smaller batches, "
                "by batch_tokens or batch_size, would be faster.",
                RuntimeWarning,
                stacklevel=2,
            )

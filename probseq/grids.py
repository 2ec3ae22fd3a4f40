"""Images as sequences of their pixels, and back."""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor

from probseq.arguments import checked
from probseq.sequences import Sequences


@checked
def raster(grids: Tensor, height: int | None = None, width: int | None = None) -> Sequences:
    """The pixels of each grid row by row, from the top left: sequences of height · width elements that ended.

    Args:
        grids: (b, height, width, *e). Bits and Reals have elements with an axis of their own: (b, height, width, 1).
        height, width: what the grids must have, where it is known.

    Raises:
        ValueError: grids without two axes after the batch, or of another height or width.

    >>> import torch
    >>> raster(torch.tensor([[[1, 2], [3, 4]]]))[0].tolist()
    [1, 2, 3, 4]
    """
    if grids.ndim < 3:
        raise ValueError(f"grids must be (batch, height, width, *element); got {tuple(grids.shape)}. Add a batch axis.")
    got = tuple(grids.shape[1:3])
    expected = (got[0] if height is None else height, got[1] if width is None else width)
    if got != expected:
        raise ValueError(
            f"grids must be {expected[0]} × {expected[1]}; got {got[0]} × {got[1]}. Resize them, or change the model."
        )
    return Sequences(grids.flatten(1, 2), [got[0] * got[1]] * len(grids))


@checked
def unraster(sequences: Sequences, height: int, width: int) -> Shaped[Tensor, "b height width *e"]:
    """The inverse of `raster`.

    Raises:
        ValueError: a height or width that is negative, or a sequence of another length than height · width.
    """
    if height < 0 or width < 0:
        raise ValueError(f"a grid has a height and a width of 0 or more; got {height} and {width}.")
    wrong = (sequences.lengths != height * width).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"a grid of {height} × {width} has {height * width} pixels; sequence {row} has "
            f"{int(sequences.lengths[row])}. Correct the height and width, or leave the sequence out."
        )
    return sequences.values[:, : height * width].unflatten(1, (height, width))

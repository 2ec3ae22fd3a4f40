"""The one ragged batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probseq.arguments import as_device, as_numbers, as_rows, checked
from probseq.shapes import slot_mask


class Sequences:
    """A batch of sequences of different lengths, right-padded; what stands in the padding cannot matter.

    A sequence with `ended=False` was cut: it is scored as P(y begins so), never as if it had stopped.
    Lengths and ends live on the host, whatever the device of the values, so that every index that
    depends on them is computed without waiting for an accelerator.

    Shapes:
        values: (b, t, *e).
        lengths: (b,), int64, 0 ≤ lengths ≤ t.
        ended: (b,), bool; a single bool stands for all.

    Raises:
        ValueError: shapes disagree, or a length is negative or beyond the tensor.

    >>> y = Sequences.of([[3, 1, 4], [], [1, 5]])
    >>> y.lengths.tolist(), len(y)
    ([3, 0, 2], 3)
    >>> [sequence.tolist() for sequence in y]
    [[3, 1, 4], [], [1, 5]]
    """

    def __init__(self, values: Tensor, lengths: Any, ended: Any = True) -> None:
        if not isinstance(values, Tensor) or values.ndim < 2:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"values must be a tensor (batch, time, *element); got {got}. Try Sequences.of(list).")
        batch, time = values.shape[:2]
        lengths = as_numbers("lengths", lengths).detach()
        if lengths.numel() and (lengths.is_floating_point() or lengths.dtype == torch.bool):
            raise ValueError(f"lengths must be integers; got {lengths.dtype}.")
        lengths = lengths.to("cpu", torch.int64)
        ended = as_numbers("ended", ended).detach().to("cpu", torch.bool)
        ended = ended.expand(batch).clone() if ended.ndim == 0 else ended
        for name, given in (("lengths", lengths), ("ended", ended)):
            if given.shape != (batch,):
                raise ValueError(f"{name} must have shape ({batch},), one per sequence; got {tuple(given.shape)}.")
        if batch and (int(lengths.min()) < 0 or int(lengths.max()) > time):
            worst = int(((lengths < 0) | (lengths > time)).nonzero()[0])
            raise ValueError(
                f"lengths must lie in 0…{time}, the time axis of values; "
                f"sequence {worst} has length {int(lengths[worst])}. Pad the values or correct the length."
            )
        self.values: Tensor = values
        self.lengths: Int[Tensor, " b"] = lengths
        self.ended: Bool[Tensor, " b"] = ended

    def __repr__(self) -> str:
        element = tuple(self.values.shape[2:])
        return f"Sequences({len(self)} sequences, element {element}, {self.values.dtype}, {self.device})"

    @staticmethod
    @checked
    def of(items: Sequence[Any], ended: Any = True, dtype: torch.dtype | None = None) -> Sequences:
        """Make a batch from a list of sequences: lists, arrays or tensors, each (tᵢ, *e).

        The dtype is that of the non-empty items (int64 when there is none), floats in torch's default dtype.

        Raises:
            ValueError: the items' elements differ in shape.
            TypeError: an item is a string.
        """
        if any(isinstance(item, str) for item in items):
            raise TypeError("a string is no sequence of numbers. Use probseq.datasets.Alphabet(symbols).encode(texts).")
        tensors = [as_numbers("every sequence", item) for item in items]
        filled = [tensor for tensor in tensors if tensor.numel()]
        shapes = {tuple(tensor.shape[1:]) for tensor in filled}
        if len(shapes) > 1 or any(tensor.ndim == 0 for tensor in tensors):
            raise ValueError(f"every sequence must be (time, *element) with one element shape; got {sorted(shapes)}.")
        shape = shapes.pop() if shapes else ()
        if dtype is None:
            dtype = filled[0].dtype if filled else torch.int64
            for tensor in filled[1:]:
                dtype = torch.promote_types(dtype, tensor.dtype)
            if not dtype.is_floating_point and dtype != torch.bool:
                dtype = torch.int64
        lengths = torch.tensor([len(tensor) if tensor.numel() else 0 for tensor in tensors], dtype=torch.int64)
        width = int(lengths.max()) if tensors else 0
        device = filled[0].device if filled else None
        values = torch.zeros(len(tensors), width, *shape, dtype=dtype, device=device)
        for row, tensor, length in zip(values, tensors, lengths.tolist(), strict=True):
            if length:
                row[:length] = tensor.to(values)
        return Sequences(values, lengths, ended)

    @staticmethod
    @checked
    def single(values: Tensor) -> Sequences:
        """One element for each sequence, as labels or targets: values (b, *e) as b sequences of length 1.

        Raises:
            ValueError: values without a batch axis.

        >>> Sequences.single(torch.tensor([7, 2])).values.tolist()
        [[7], [2]]
        """
        if not values.ndim:
            raise ValueError(f"single() takes values (batch, *element); got one number, {values.item()}.")
        return Sequences(values.unsqueeze(1), torch.ones(len(values), dtype=torch.int64))

    @staticmethod
    @checked
    def cat(batches: Sequence[Sequences]) -> Sequences:
        """One batch of several, in order; the shorter ones are padded.

        Raises:
            ValueError: there are none, or their elements differ in shape.
        """
        if not batches:
            raise ValueError("cat needs one batch at least; got none.")
        shapes = {tuple(batch.values.shape[2:]) for batch in batches}
        if len(shapes) > 1:
            raise ValueError(f"cat needs batches of one element shape; got {sorted(shapes)}.")
        width = max(batch.values.shape[1] for batch in batches)
        return Sequences(
            torch.cat([batch.pad(width).values for batch in batches]),
            torch.cat([batch.lengths for batch in batches]),
            torch.cat([batch.ended for batch in batches]),
        )

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, i: int) -> Tensor:
        """The i-th sequence without its padding, (tᵢ, *e).

        Raises:
            TypeError: i is not an integer.
        """
        if not isinstance(i, int):
            raise TypeError(f"an index gives one sequence; got {i!r}. For several, use select([…]).")
        return self.values[i, : int(self.lengths[i])]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    @property
    def decisions(self) -> Int[Tensor, " b"]:
        """How many steps of the chain rule each sequence takes: its elements, and its end if it ended."""
        return self.lengths + self.ended.to(torch.int64)

    @checked
    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Sequences:
        """The same batch with its values on another device or in another dtype.

        Raises:
            ValueError: there is no such device.
        """
        if (device is None or device == self.values.device) and (dtype is None or dtype == self.values.dtype):
            return self
        device = self.device if device is None else as_device(device)
        values = self.values.to(device, dtype or self.values.dtype, non_blocking=device.type != "cpu")
        return self if values is self.values else Sequences(values, self.lengths, self.ended)

    def select(self, index: Any) -> Sequences:
        """The sequences `index` (a list or tensor of integers, or a bool mask (b,)), trimmed to the longest of them.

        Raises:
            TypeError: an index that is neither integers nor bools.
            ValueError: a row that is not there; they are counted from 0, none from the end. A mask of another size.
        """
        index = as_rows(index, len(self))
        values = self.values.index_select(0, index.to(self.device))
        return Sequences(values, self.lengths[index], self.ended[index]).trim()

    def trim(self) -> Sequences:
        """Without the columns that are padding in every row."""
        width = int(self.lengths.max()) if len(self) else 0
        return self if width == self.values.shape[1] else Sequences(self.values[:, :width], self.lengths, self.ended)

    @checked
    def pad(self, width: int) -> Sequences:
        """With `width` columns at least."""
        missing = width - self.values.shape[1]
        if missing <= 0:
            return self
        more = self.values.new_zeros(len(self), missing, *self.values.shape[2:])
        return Sequences(torch.cat([self.values, more], 1), self.lengths, self.ended)

    @checked
    def cut(self, length: int) -> Sequences:
        """The first `length` elements; a sequence that loses some has not ended.

        Raises:
            ValueError: length below 0.
        """
        if length < 0:
            raise ValueError(f"cut needs length ≥ 0; got {length}.")
        values, lengths = self.values[:, :length], self.lengths.clamp(max=length)
        return Sequences(values, lengths, self.ended & (self.lengths <= length))

    def mask(self) -> Bool[Tensor, "b t"]:
        """True where values are real, on their device."""
        return slot_mask(self.lengths, self.values.shape[1]).to(self.device, non_blocking=True)

    def filled(self, value: Any) -> Sequences:
        """With `value`, a number or an element (*e), in the padding.

        A `where`, not a product: NaN in the padding leaves no trace in gradients.

        Raises:
            TypeError: a value that is not made of numbers.
            ValueError: one of another shape than an element.
        """
        if not isinstance(value, bool | int | float):
            value = as_numbers("value", value, device=self.device)
            element = self.values.shape[2:]
            if value.ndim and value.shape != element:
                raise ValueError(f"value must be a number or an element, {tuple(element)}; got {tuple(value.shape)}.")
        if bool((self.lengths == self.values.shape[1]).all()):
            return self
        mask = self.mask().reshape(*self.values.shape[:2], *[1] * (self.values.ndim - 2))
        return Sequences(torch.where(mask, self.values, value), self.lengths, self.ended)

    @checked
    def dense(self, max_length: int) -> Tensor:
        """(b, max_length, *e): one plain tensor; unused slots hold −1 (integers) or NaN (reals).

        Only `ended=False` at full length, or `ended=True` below it, can be told from the tensor alone.

        Raises:
            ValueError: a sequence is longer than `max_length`.
        """
        longest = int(self.lengths.max()) if len(self) else 0
        if longest > max_length:
            raise ValueError(
                f"max_length {max_length} is below the longest sequence, {longest}. Use cut({max_length})."
            )
        real = self.values.is_floating_point()
        # Unsigned integers and bools have no −1.
        y = self if real else self.to(dtype=torch.int64)
        return y.trim().pad(max_length).filled(float("nan") if real else -1).values

    @staticmethod
    @checked
    def from_dense(values: Tensor, max_length: int, element_dims: int = 0) -> Sequences:
        """The inverse of `dense`: (b, t ≤ max_length, *e), where a row's length is the number of its used slots.

        A row that fills `max_length` slots is cut there (`ended=False`); a shorter one ended.

        Raises:
            ValueError: an unused slot stands before a used one, or the tensor has another shape.
        """
        if not 0 <= element_dims <= values.ndim - 2:
            raise ValueError(
                f"a dense batch is (batch, time, *element); got {tuple(values.shape)} for {element_dims} element axes."
            )
        if values.shape[1] > max_length:
            raise ValueError(f"a dense batch of max_length {max_length} has no more slots; got {values.shape[1]}.")
        used = ~torch.isnan(values) if values.is_floating_point() else values != -1
        if element_dims:
            used = used.flatten(2).any(-1)
        lengths = used.sum(-1).to("cpu")
        if not torch.equal(used.to("cpu"), slot_mask(lengths, values.shape[1])):
            raise ValueError("a dense batch is right-padded with −1 or NaN; found an unused slot before a used one.")
        return Sequences(values, lengths, lengths < max_length)

"""Columns of Arrow tables as tensors and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probseq.datasets.alphabet import Alphabet
from probseq.sequences import Sequences
from probseq.shapes import slot_mask

if TYPE_CHECKING:
    import pyarrow as pa


def is_sequence(kind: pa.DataType) -> bool:
    """Whether a column of the type holds sequences: strings, or lists of any size."""
    from pyarrow import types

    return _is_text(kind) or types.is_list(kind) or types.is_large_list(kind)


def fault(kind: pa.DataType, use: Literal["sequence", "context", "flag"], has_alphabet: bool) -> str | None:
    """What is wrong with a column of that type, or None."""
    from pyarrow import types

    if use == "flag":
        return None if types.is_boolean(kind) else f"whether a sequence ended is true or false; got {kind}."
    if _is_text(kind) or has_alphabet:
        if _is_text(kind) and has_alphabet:
            return None
        return f"strings need an alphabet, and only they: got {kind} and {'one' if has_alphabet else 'none'}."
    depth, inner = 0, kind
    while _is_list(inner):
        depth, inner = depth + 1, inner.value_type
    least, most = (1, 2) if use == "sequence" else (0, 2 if is_sequence(kind) else 1)
    if not least <= depth <= most or not _is_number(inner):
        return f"expected lists of numbers, or of lists of numbers{'' if least else ', or numbers'}; got {kind}."
    return None


def lengths(column: pa.ChunkedArray) -> Int[Tensor, " n"]:
    """How many elements each sequence has; 0 where it is missing."""
    from pyarrow import compute

    text = _is_text(column.type)
    found = compute.call_function(
        "utf8_length" if text else "list_value_length", [column.cast("large_string") if text else column]
    )
    return torch.from_numpy(found.fill_null(0).to_numpy().astype(np.int64))


def flags(column: pa.ChunkedArray) -> Bool[Tensor, " n"]:
    """A column of true and false."""
    return torch.tensor(_present(column).to_numpy(zero_copy_only=False).astype(bool))


def sequences(column: pa.ChunkedArray, alphabet: Alphabet | None) -> Sequences:
    """A column of lists, or of strings, as sequences that ended.

    Raises:
        ValueError: one is missing; vectors of different sizes; a character outside the alphabet.
    """
    array = _present(column)
    if alphabet is not None:
        return alphabet.encode(array.to_pylist())
    counts = lengths(column)
    flat = _values(array.flatten())
    values = flat.new_zeros(len(counts), int(counts.max()) if len(counts) else 0, *flat.shape[1:])
    values[slot_mask(counts, values.shape[1])] = flat
    return Sequences(values, counts)


def context(column: pa.ChunkedArray, alphabet: Alphabet | None) -> Tensor | Sequences:
    """What a sequence is conditioned on: labels (n,), numbers (n, 1), vectors (n, k), or sequences.

    Raises:
        ValueError: as `sequences`.
    """
    if is_sequence(column.type):
        return sequences(column, alphabet)
    values = _values(_present(column))
    return values.unsqueeze(-1) if values.ndim == 1 and values.is_floating_point() else values


def table(data: Any) -> pa.Table:
    """Sequences, or a pair (Sequences, context), as a table.

    Raises:
        ValueError: elements that are neither numbers nor vectors.
    """
    import pyarrow as pa

    y, x = (data, None) if isinstance(data, Sequences) else data
    found = {"sequence": _lists(y), "ended": pa.array(y.ended.numpy())}
    if isinstance(x, tuple):
        found |= {f"context_{i}": _column(member) for i, member in enumerate(x)}
    elif x is not None:
        found["context"] = _column(x)
    return pa.table(found)


def _column(x: Tensor | Sequences) -> pa.Array:
    return _lists(x) if isinstance(x, Sequences) else _elements(x)


def _lists(y: Sequences) -> pa.Array:
    import pyarrow as pa

    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), y.lengths.cumsum(0)])
    real = y.values.cpu()[slot_mask(y.lengths, y.values.shape[1])]
    return pa.LargeListArray.from_arrays(pa.array(offsets.numpy()), _elements(real))


def _elements(values: Tensor) -> pa.Array:
    """Numbers (n,), or vectors (n, k) as lists of a fixed size."""
    import pyarrow as pa

    if values.ndim > 2:
        raise ValueError(f"an element is a number or a vector; got shape {tuple(values.shape[1:])}. Flatten it.")
    flat = pa.array(values.detach().cpu().flatten().numpy())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _present(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column in one piece, with nothing missing."""
    import pyarrow as pa

    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} are missing. Leave the rows out, or fill them.")
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _values(array: pa.Array) -> Tensor:
    """Numbers as they are (n,), or lists of k numbers as (n, k)."""
    from pyarrow import compute, types

    kind = array.type
    if _is_list(kind):
        sizes = compute.call_function("list_value_length", [array]).unique().to_pylist()
        if len(sizes) > 1 or None in sizes:
            raise ValueError(f"elements are vectors of one size, none missing; got sizes {sizes}.")
        return _values(array.flatten()).reshape(len(array), *(sizes or (0,)))
    if types.is_boolean(kind):
        return torch.tensor(_present(array).to_numpy(zero_copy_only=False).astype(bool))
    if array.null_count:
        array = array.fill_null(-1 if types.is_integer(kind) else float("nan"))
    exact = np.int64 if types.is_integer(kind) else np.float64 if types.is_float64(kind) else np.float32
    return torch.from_numpy(array.to_numpy().astype(exact))


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(inner) or types.is_large_string(inner)


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)

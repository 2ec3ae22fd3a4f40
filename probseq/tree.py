"""Trees of tensors: nested tuples, lists, dictionaries and dataclasses whose leaves are tensors or None."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


def tree_map(function: Callable[[Tensor], Tensor], tree: T) -> T:
    """Apply `function` to every tensor of `tree`; the structure and the Nones stay.

    Raises:
        TypeError: a leaf is neither a tensor nor None.
    """
    node: Any = tree
    if node is None:
        return node
    if isinstance(node, Tensor):
        return function(node)  # type: ignore[return-value]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = dataclasses.fields(node)
        return dataclasses.replace(node, **{f.name: tree_map(function, getattr(node, f.name)) for f in fields})
    if isinstance(node, dict):
        return {key: tree_map(function, value) for key, value in node.items()}  # type: ignore[return-value]
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*(tree_map(function, value) for value in node))  # type: ignore[return-value]
    if isinstance(node, tuple | list):
        return type(node)(tree_map(function, value) for value in node)  # type: ignore[return-value]
    raise TypeError(f"a state holds tensors only; got {type(node).__name__}")


def select(tree: T, index: Tensor) -> T:
    """Rows `index` (n) of every tensor of `tree`, batch axis first."""
    return tree_map(lambda leaf: leaf.index_select(0, index), tree)

"""Trees of tensors: nested tuples, lists, dictionaries and dataclasses whose leaves are tensors or None."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def tree_map(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Apply `function` to every tensor of `tree`; the structure and the Nones stay.

    Raises:
        TypeError: a leaf is neither a tensor nor None.
    """
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return function(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        held = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **{k: tree_map(function, v) for k, v in held.items() if v is not None})
    if isinstance(tree, dict):
        return {key: tree_map(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, value) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(tree_map(function, value) for value in tree)
    raise TypeError(f"a state holds tensors only; got {type(tree).__name__}")


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of `tree`, in order."""
    found: list[Tensor] = []
    tree_map(lambda leaf: found.append(leaf) or leaf, tree)  # type: ignore[func-returns-value]
    return found


def select(tree: T, index: Tensor) -> T:
    """Rows `index` (n) of every tensor of `tree`, batch axis first."""
    return tree_map(lambda leaf: leaf.index_select(0, index), tree)


def cat(trees: Sequence[T]) -> T:
    """The rows of trees of one structure, one after the other."""
    if len(trees) == 1:
        return trees[0]
    columns = iter(zip(*map(leaves, trees), strict=True))
    return tree_map(lambda _: torch.cat(next(columns)), trees[0])

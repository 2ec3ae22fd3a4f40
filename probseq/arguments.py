"""The border: arguments of another kind than annotated, rows and devices that are not there, are refused by name."""

from __future__ import annotations

import collections.abc
import contextlib
import functools
import inspect
import numbers
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])

_LISTS = (tuple, list)
_CONTAINERS: dict[Any, Any] = {
    tuple: _LISTS, list: _LISTS, collections.abc.Sequence: _LISTS, dict: Mapping, collections.abc.Mapping: Mapping,
}  # fmt: skip
"""What does for a container."""


def checked(function: F) -> F:
    """A public function that looks at what it is given before it begins.

    Numbers, flags, texts, sequences of things and classes are told apart by the annotations; what is annotated
    otherwise goes through.

    Raises:
        TypeError: an argument of another kind.

    >>> @checked
    ... def double(number: int) -> int:
    ...     return 2 * number
    >>> double("two")
    Traceback (most recent call last):
    TypeError: double() needs number to be int; got str: 'two'.
    """
    signature, shown = inspect.signature(function), function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checking(*args: Any, **kwargs: Any) -> Any:
        hints = _hints(function)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{shown}(): {error}.") from None
        for name, value in given.items():
            if name in hints and not fits(value, hints[name]):
                raise TypeError(f"{shown}() needs {_fault(name, value, hints[name])}")
        return function(*args, **kwargs)

    return checking  # type: ignore[return-value]


def check_fields(owner: Any) -> None:
    """The same of the fields of a dataclass.

    Raises:
        TypeError: one of another kind.
    """
    hints = _hints(type(owner))
    for name in owner.__dataclass_fields__:
        value = getattr(owner, name, None)
        if name in hints and not fits(value, hints[name]):
            raise TypeError(f"{type(owner).__name__} needs {_fault(name, value, hints[name])}")


def as_numbers(name: str, value: Any, **options: Any) -> Tensor:
    """`torch.as_tensor`, of what is made of numbers.

    Raises:
        TypeError: it is not.
    """
    try:
        return torch.as_tensor(value, **options)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name} must be numbers, a tensor or lists of them; got {_got(value)}: {error}") from None


def as_rows(index: Any, size: int) -> Tensor:
    """The rows that an index means, (n,), on the host: a list or tensor of integers from 0, or a bool mask (size,).

    Raises:
        TypeError: an index that is neither integers nor bools.
        ValueError: a row that is not there, or a mask of another size.

    >>> as_rows([2, 0], 3), as_rows([False, True], 2)
    (tensor([2, 0]), tensor([1]))
    """
    index = as_numbers("index", index, device="cpu")
    if index.dtype == torch.bool:
        if index.shape != (size,):
            raise ValueError(f"a mask must have shape ({size},), one bool for each row; got {tuple(index.shape)}.")
        return index.nonzero().squeeze(-1)
    if index.ndim != 1:
        raise ValueError(f"an index must be a list of rows, (n,); got shape {tuple(index.shape)}. Try [row].")
    if index.numel() and (index.is_floating_point() or index.is_complex()):
        raise TypeError(f"rows must be integers, or bools; got {index.dtype}.")
    index = index.to(torch.int64)
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
        worst = int(index[(index < 0) | (index >= size)][0])
        raise ValueError(f"there are {size} rows, counted from 0; got row {worst}.")
    return index


def as_device(device: Any) -> torch.device:
    """`torch.device`, of one that is there.

    Raises:
        ValueError: it is not.

    >>> as_device("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"there is no device {device!r} here: {str(error).splitlines()[0].rstrip('.:')}.") from None
    return found


@functools.cache
def _hints(owner: Any) -> Mapping[str, Any]:
    """The annotations, those that can be evaluated: some name what only a type checker imports."""
    found: dict[str, Any] = {}
    for each in reversed(owner.__mro__) if isinstance(owner, type) else [owner]:
        names = vars(sys.modules[each.__module__]) if each.__module__ in sys.modules else {}
        for name, hint in inspect.get_annotations(each).items():
            with contextlib.suppress(Exception):
                found[name] = eval(hint, dict(names)) if isinstance(hint, str) else hint
    found.pop("return", None)
    return found


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says, as far as that is looked at."""
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    if hint is float:
        return isinstance(value, numbers.Real | np.number) and not isinstance(value, bool | np.bool_)
    if hint is str:
        return isinstance(value, str)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in typing.get_args(hint))
    if origin is typing.Literal:
        return isinstance(value, str) or value in typing.get_args(hint) if not isinstance(value, Tensor) else False
    if origin in _CONTAINERS:
        inner = typing.get_args(hint)
        if not isinstance(value, _CONTAINERS[origin]):
            return False
        if not inner or origin in (dict, collections.abc.Mapping):
            return True
        if origin is tuple and inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(map(fits, value, inner))
        return all(fits(each, inner[0]) for each in value)
    if getattr(hint, "_is_protocol", False):
        methods = [name for name, own in vars(hint).items() if callable(own) and name[0] != "_"]
        return all(hasattr(value, name) for name in (*methods, *inspect.get_annotations(hint)))
    if isinstance(getattr(hint, "array_type", None), type):
        # An annotation of jaxtyping: of its shape nothing is said here.
        return isinstance(value, hint.array_type)
    return isinstance(value, hint) if isinstance(hint, type) and hint is not Any else True


def _fault(name: str, value: Any, hint: Any) -> str:
    return f"{name} to be {_shown(hint)}; got {_got(value)}."


def _got(value: Any) -> str:
    text = repr(value) if not isinstance(value, Tensor) else f"shape {tuple(value.shape)}"
    return f"{type(value).__name__}: {text if len(text) <= 60 else text[:59] + '…'}"


def _shown(hint: Any) -> str:
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_shown, args))
    if hint is type(None):
        return "None"
    return str(hint).replace("typing.", "") if args else getattr(hint, "__name__", str(hint))

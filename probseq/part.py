"""The base of every part: a module made of plain arguments, built when the model joins the parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from probseq.arguments import check_fields
from probseq.context import Context

P = TypeVar("P", bound="Part")


class Part(nn.Module):
    """A module whose constructor takes the user's choices only; its parameters come with `build`.

    A part is a dataclass (`@dataclass(eq=False, repr=False)`) whose fields are plain values: numbers, strings,
    None, tuples, dictionaries, other parts, or distribution families. They are the part's configuration,
    which `save` writes in readable form. A part given to a model is copied (`fresh`), so that one description
    can serve in many models.
    """

    kind: ClassVar[str] = "part"

    learning_rate_scale: ClassVar[float] = 1.0
    """What `fit` multiplies the learning rate by for the part's own parameters."""

    def __new__(cls: type[P], *_: Any, **__: Any) -> P:
        self = super().__new__(cls)  # type: ignore[reportArgumentType]
        nn.Module.__init__(self)
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__post_init__ = _after_check(cls.__dict__.get("__post_init__", getattr(cls, "__post_init__", None)))  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        # A field's default stays on the class, where Python finds it before the module that was given instead.
        hidden = name in self.__dict__.get("_modules", {}) or isinstance(value, nn.Module)
        super().__setattr__(name, value)
        if hidden and hasattr(type(self), name):
            self.__dict__[name] = value

    def choices(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def fresh(self: P) -> P:
        """An unbuilt part of the same choices."""
        return type(self)(**{name: _fresh(choice) for name, choice in self.choices().items()})

    def describe(self) -> str:
        """The expression that makes this part, as `LSTM(size=256, layers=2)`."""
        shown = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, make = getattr(self, field.name), field.default_factory
            if value != (field.default if make is dataclasses.MISSING else make()):
                shown.append(f"{field.name}={_show(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.describe()


def _after_check(own: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """A `__post_init__` that first sees whether the choices are of the kinds that their annotations say."""
    if getattr(own, "checks", False):
        return own  # type: ignore[return-value]

    def check(self: Any) -> None:
        check_fields(self)
        if own is not None:
            own(self)

    check.checks = True  # type: ignore[attr-defined]
    return check


def _fresh(choice: Any) -> Any:
    if isinstance(choice, tuple):
        return tuple(_fresh(member) for member in choice)
    return choice.fresh() if isinstance(choice, Part) else choice


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, value))}{',' if len(value) == 1 else ''})"
    return value.describe() if isinstance(value, Part) else getattr(value, "__name__", repr(value))


def first_memory(recurrence: Any, like: Tensor) -> Any:
    """What a recurrence carries before the first input, all zero, one row for each of `like` (b, …)."""
    zero = tuple(like.new_zeros(like.shape[0], *shape) for shape in recurrence.memory_shapes)
    return begun(recurrence, zero, like.shape[0])


def begun(recurrence: Any, memory: tuple[Tensor, ...], batch: int) -> Any:
    """All that a recurrence carries, from tensors of its `memory_shapes`: it may have more to carry than these."""
    begin = getattr(recurrence, "begin", None)
    return memory if begin is None else begin(memory, batch)


def prepared(recurrence: Any, context: Context | None) -> Any:
    """What a recurrence makes of the source before its first step, a tree of tensors (b, …), or None."""
    prepare = getattr(recurrence, "prepare", None)
    return None if prepare is None or not attends(recurrence) else prepare(context)


def attends(recurrence: Any) -> bool:
    """Whether a recurrence reads what its context says of a source, at every step."""
    return getattr(recurrence, "attends", False)


def feature_bound(recurrence: Any, start: float) -> float:
    """What no |feature| exceeds, where no number of the first memory exceeds `start`; ∞ if that is not known."""
    known = getattr(recurrence, "feature_bound", None)
    return float("inf") if known is None else known(start)


def build_recurrence(recurrence: Any, inputs: int, source: int) -> None:
    """Build a recurrence; one that attends is told the width of what it attends to, 0 where there is nothing."""
    if attends(recurrence):
        recurrence.build(inputs, source)
    else:
        recurrence.build(inputs)


def advance(recurrence: Any, inputs: Tensor, memory: Any, context: Context | None) -> tuple[Tensor, Any]:
    """Let a recurrence read; one that attends is given the context too.

    Shapes:
        inputs: (b, n, i), n ≥ 1. context: of batch b.
    """
    return recurrence(inputs, memory, context) if attends(recurrence) else recurrence(inputs, memory)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition`."""
    if not condition:
        raise ValueError(message)

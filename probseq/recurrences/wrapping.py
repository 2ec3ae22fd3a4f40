"""What recurrences around another one share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from probseq.context import Context
from probseq.part import Part, attends, prepared, require


@dataclass(eq=False, repr=False)
class Wrapping(Part):
    """A recurrence that carries the memory of another one, and reads its source. What stands among its features
    (`copies`, `feature_bound`) is for each to say.

    Args:
        recurrence: a recurrence part.

    Raises:
        ValueError: no recurrence.
    """

    recurrence: Any

    kind: ClassVar[str] = "recurrence"

    def __post_init__(self) -> None:
        inner = self.recurrence
        require(
            isinstance(inner, Part) and inner.kind == "recurrence",
            f"{type(self).__name__} needs a recurrence part such as LSTM(32); got {inner!r}.",
        )

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.recurrence.memory_shapes

    @property
    def max_length(self) -> int | None:
        return getattr(self.recurrence, "max_length", None)

    @property
    def attends(self) -> bool:
        return attends(self.recurrence)

    def prepare(self, context: Context) -> Any:
        """What the recurrence makes of the source."""
        return prepared(self.recurrence, context)

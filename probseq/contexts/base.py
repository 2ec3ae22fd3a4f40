"""What the contexts share."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.part import Part, require

Enters = Literal["input", "state", "both"]


def check_enters(enters: str) -> None:
    """Raise ValueError unless `enters` is one of the three ways in."""
    require(enters in ("input", "state", "both"), f"enters must be 'input', 'state' or 'both'; got {enters!r}.")


class ContextPart(Part):
    """A context that is one vector for each sequence, the summary, unless it says otherwise."""

    kind: ClassVar[str] = "context"
    event_dims: ClassVar[int] = 1
    aligned: ClassVar[bool] = False
    aligned_width: int = 0
    source_width: int = 0
    scale_width: int = 0
    enters: Enters = "both"

    @property
    def width(self) -> int:
        raise NotImplementedError

    @property
    def input_width(self) -> int:
        return self.width if self.enters in ("input", "both") else 0

    @property
    def state_width(self) -> int:
        return self.width if self.enters in ("state", "both") else 0

    def build(self) -> None:
        pass

    def lengths(self, x: Any) -> Int[Tensor, " b"] | None:
        return None

    def at(self, context: Context, position: Int[Tensor, "b n"]) -> Float[Tensor, "b n i"]:
        return context.summary.unsqueeze(1).expand(-1, position.shape[1], -1)[..., : self.input_width]

    def initial(self, context: Context) -> Float[Tensor, "b w"]:
        return context.summary[:, : self.state_width]

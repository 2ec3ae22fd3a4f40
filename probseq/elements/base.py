"""What the elements share."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from probseq.part import Part, require
from probseq.sequences import Sequences


def refuse(y: Sequences, bad: Tensor, what: str, cure: str) -> None:
    """Raise for the first real slot where `bad` (b, t) is True."""
    where = (bad & y.mask()).nonzero()
    if len(where):
        row, column = (int(i) for i in where[0])
        value = y.values[row, column].tolist()
        raise ValueError(f"sequence {row}, position {column}: got {value}; expected {what}. {cure}")


def shaped(y: Sequences, shape: tuple[int, ...], name: str) -> Sequences:
    """`y` if its elements have `shape`; a batch of empty sequences fits every shape."""
    if not isinstance(y, Sequences):
        raise TypeError(f"expected Sequences; got {type(y).__name__}. Use Sequences.of(list) or Sequences.from_dense.")
    got = tuple(y.values.shape[2:])
    if got != shape and not y.values.shape[1]:
        return Sequences(y.values.new_zeros(len(y), 0, *shape), y.lengths, y.ended)
    require(
        got == shape,
        f"{name} reads elements of shape {shape}; got {got}: values must be (batch, time, {', '.join(map(str, shape))}"
        f"{')' if shape else ') without further axes'}. Reshape the values or change the element.",
    )
    return y


def integers(y: Sequences, what: str) -> Sequences:
    """`y` as int64, 0 in the padding."""
    require(
        not y.values.is_floating_point() and not y.values.is_complex(),
        f"{what} are integers; got {y.values.dtype}. Convert the values with .long(), or use Reals or Bits.",
    )
    return y.to(dtype=torch.int64).filled(0)


class Space(Part):
    """What the elements share: a likelihood, or a scaling, may narrow the space to its support."""

    kind: ClassVar[str] = "element"
    support: Any = None

    def narrow(self, support: Any) -> None:
        """Let `conform` refuse what lies outside `support`, a constraint over one element."""
        self.support = support

    def _supported(self, y: Sequences) -> Sequences:
        """`y` checked against the support, with a value of y in the padding: 0 may lie outside, or on the edge."""
        if self.support is None or not y.values.numel():
            return y
        bad = ~self.support.check(y.values)
        if bool(bad.any()):
            refuse(y, bad, f"a value in the support, {self.support}", "Change the data, the likelihood or the scaling.")
        real = y.values[y.mask()]
        return y.filled(real[0]) if len(real) else y.trim()

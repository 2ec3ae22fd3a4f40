"""In which units a model works: a change of scale that is part of the model, so that densities are those of the data.

With z what the recurrence reads and the likelihood is a law of, and y = g(z) the data, elementwise and increasing,
log p(y) = log p(z) − Σ log g′(z): every log-probability is in the data's own units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.distributions import constraints
from torch.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    Transform,
)

from probseq.context import Context
from probseq.numerics import moments
from probseq.part import Part, require
from probseq.protocols import Element
from probseq.sequences import Sequences


class ScalingPart(Part):
    """A scaling that is the same for all series, unless it says otherwise."""

    kind: ClassVar[str] = "scaling"
    per_series: ClassVar[bool] = False

    def build(self, element: Element) -> None:
        require_real(self, element)

    def transform(self, context: Context, dims: int) -> Transform:
        raise NotImplementedError


def require_real(scaling: Part, element: Element) -> None:
    """Raise ValueError unless the element is a vector of reals, and its likelihood a law over all of them."""
    require(
        not element.discrete and not hasattr(element, "cardinality") and len(element.shape) == 1,
        f"{scaling.describe()} scales real vectors; got {element!r}. Use Reals(d), or leave scaling out.",
    )
    support: Any = getattr(element, "support", None)
    line = support
    while hasattr(line, "base_constraint"):
        line = line.base_constraint
    require(
        line is None or line is constraints.real,
        f"{scaling.describe()} needs a likelihood over all real numbers; got one over {support}. Use one such as "
        "Gaussian(), or leave scaling out.",
    )


@dataclass(eq=False, repr=False)
class Affine(ScalingPart):
    """y = loc + scale · z: one location and one scale in each dimension, for all series.

    Args:
        loc, scale: numbers, or one for each dimension. `Affine.of(train)` finds them.
        learned: whether they are learned from there on, by the likelihood.

    Raises:
        ValueError: a scale that is not positive, or numbers that are not as many as the dimensions.
    """

    loc: Any = 0.0
    scale: Any = 1.0
    learned: bool = False

    def __post_init__(self) -> None:
        self.loc, self.scale = (_plain(value) for value in (self.loc, self.scale))
        loc, scale = (torch.as_tensor(value, dtype=torch.float64) for value in (self.loc, self.scale))
        require(
            bool(torch.isfinite(loc).all() and torch.isfinite(scale).all() and (scale > 0).all()),
            f"Affine needs a finite loc and a finite scale above 0; got {self.loc} and {self.scale}.",
        )

    @staticmethod
    def of(y: Sequences, learned: bool = False) -> Affine:
        """The mean and the standard deviation of each dimension over all of `y`, NaN left out.

        Raises:
            ValueError: a dimension that does not vary.

        >>> Affine.of(Sequences.of([[[1.0], [3.0]], [[5.0]]]))
        Affine(loc=(3.0,), scale=(1.632993161855452,))
        """
        known = y.mask().unsqueeze(-1) & ~torch.isnan(y.values)
        loc, scale = (found.squeeze(0) for found in moments(y.values.flatten(0, 1)[None], known.flatten(0, 1)[None]))
        flat = (~(scale > 0)).nonzero()
        if len(flat):
            raise ValueError(
                f"dimension {int(flat[0])} of the data is constant (scale 0) or never observed. Leave it out, or write "
                "Affine(loc, scale) with a scale of your own."
            )
        return Affine(tuple(loc.tolist()), tuple(scale.tolist()), learned)

    def build(self, element: Element) -> None:
        require_real(self, element)
        start = []
        for name, value in (("loc", self.loc), ("scale", self.scale)):
            given = torch.as_tensor(value, dtype=torch.get_default_dtype())
            require(
                given.shape in ((), element.shape),
                f"Affine.{name} needs one number, or one for each of {element.shape[0]} dimensions; got {value}.",
            )
            start.append(given.expand(element.shape).clone())
        start[1] = start[1].log()
        for name, given in zip(("offset", "log_factor"), start, strict=True):
            if self.learned:
                self.register_parameter(name, nn.Parameter(given))
            else:
                self.register_buffer(name, given)

    def transform(self, context: Context, dims: int) -> Transform:
        offset: Any = self.offset
        log_factor: Any = self.log_factor
        return AffineTransform(offset, log_factor.exp())


@dataclass(eq=False, repr=False)
class Log(ScalingPart):
    """y = exp(z) − offset, z = log(y + offset): for values above −offset, whose changes are ratios.

    It comes first where there are several scalings, and those after it are of the logarithms:
    `(Log(), PerSeries())` with `SeriesScale.of` the logarithms of the past.

    Args:
        offset: what is added before the logarithm is taken, as 1 for counts with zeros.

    Raises:
        ValueError: an offset below 0.
    """

    offset: float = 0.0

    def __post_init__(self) -> None:
        require(self.offset >= 0, f"Log needs an offset of 0 or more; got {self.offset}.")

    def build(self, element: Element) -> None:
        require_real(self, element)
        element.narrow(constraints.independent(constraints.greater_than(-self.offset), 1))

    def transform(self, context: Context, dims: int) -> Transform:
        return ComposeTransform([ExpTransform(), AffineTransform(-self.offset, 1.0)])


@dataclass(eq=False, repr=False)
class PerSeries(ScalingPart):
    """y = loc + scale · z, with the location and the scale of each series, known beforehand.

    They stand in the context, `SeriesScale(d)`: given, or those of the series' past. They must not be computed from
    the values that are scored, which would not give a density.
    """

    per_series: ClassVar[bool] = True

    def transform(self, context: Context, dims: int) -> Transform:
        known: Any = context.scale
        loc, scale = (each.reshape(len(each), *[1] * dims, each.shape[-1]) for each in known.unbind(1))
        return AffineTransform(loc, scale)


@dataclass(eq=False, repr=False)
class Chain(ScalingPart):
    """Several scalings one after the other, the one next to the data first; a model takes a plain tuple of them too.

    Args:
        members: scaling parts, as `(Log(), PerSeries())`.

    Raises:
        ValueError: no members, one that is no scaling, or a `Log` that does not come first.
    """

    members: Any

    def __post_init__(self) -> None:
        self.members = tuple(self.members)
        require(
            bool(self.members) and all(isinstance(m, Part) and m.kind == "scaling" for m in self.members),
            f"Chain takes one or more scaling parts, as (Log(), Affine(0.0, 2.0)); got {self.members}.",
        )
        self.joined = nn.ModuleList(self.members)

    @property
    def per_series(self) -> bool:  # type: ignore[override]
        return any(member.per_series for member in self.members)

    def build(self, element: Element) -> None:
        for member in reversed(self.members):
            member.build(element)

    def transform(self, context: Context, dims: int) -> Transform:
        return ComposeTransform([member.transform(context, dims) for member in reversed(self.members)])


def _plain(value: Any) -> Any:
    """A number, or a tuple of them."""
    found = torch.as_tensor(value, dtype=torch.float64)
    return tuple(found.tolist()) if found.ndim else float(found)

"""Elements made of several."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probseq.likelihoods.base import LikelihoodPart
from probseq.mixed import Chained, Concatenated
from probseq.nextstep import NextStep
from probseq.part import Part, require
from probseq.protocols import Element


@dataclass(eq=False, repr=False)
class Product(LikelihoodPart):
    """One law for each member of a `Record`: p(a | h) p(b | h) …, or `chained`, p(a | h) p(b | h, a) ….

    Chained, each law takes beside h what is read back in of the members before its own.

    Args:
        likelihoods: likelihood parts, one for each member, in its order.
        chained: whether the members depend on each other within one element, or are independent given the past.

    Raises:
        ValueError: no likelihoods, or one that is none or copies from a source; when built, another element than a
            Record of as many members, or chained ones of which one before the last is not read back in.
    """

    likelihoods: Any
    chained: bool = False

    def __post_init__(self) -> None:
        self.likelihoods = tuple(self.likelihoods)
        for likelihood in self.likelihoods:
            require(
                isinstance(likelihood, Part)
                and likelihood.kind == "likelihood"
                and not getattr(likelihood, "takes_copies", False),
                f"Product needs likelihoods such as Gaussian() or Categorical(); got {likelihood!r}.",
            )
        require(bool(self.likelihoods), "Product needs one likelihood at least; got none.")
        self.factors = nn.ModuleList(self.likelihoods)

    @property
    def timed(self) -> bool:
        """Whether the first member is a waiting time whose survival is known: see `within`."""
        return getattr(self.likelihoods[0], "timed", False)

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        members = getattr(element, "members", ())
        require(
            len(members) == len(self.likelihoods),
            f"{self.describe()} needs a Record of {len(self.likelihoods)} members; got {element!r}.",
        )
        silent = [member for member in members[:-1] if not member.width]
        require(
            not (self.chained and silent),
            f"chained=True needs members that are read back in; got {silent}. Leave out feedback=False.",
        )
        # Within a tuple it stays the model's: one name among the parameters, one place in a saved file.
        self.record: tuple[Any] = (element,)
        for likelihood, member in zip(self.likelihoods, members, strict=True):
            likelihood.build(features, member)
            features += member.width if self.chained else 0

    def forward(self, features: Float[Tensor, "*b h"]) -> Concatenated | Chained:
        return self._joint(features, self.likelihoods[0](features))

    def within(self, features: Float[Tensor, "*b h"], rest: Float[Tensor, "*b"]) -> NextStep:
        """The law of an element whose waiting time, the first member, is at most `rest`, and whether there is one."""
        step = self.likelihoods[0].within(features, rest)
        return NextStep(self._joint(features, step.element), step.log_stop, step.log_go)

    def _joint(self, features: Float[Tensor, "*b h"], first: Any) -> Concatenated | Chained:
        if not self.chained:
            return Concatenated([first, *(likelihood(features) for likelihood in self.likelihoods[1:])])
        later = [partial(self._after, features, m) for m in range(1, len(self.likelihoods))]
        return Chained(first, later, features.new_zeros(self.record[0].shape))

    def _after(self, features: Float[Tensor, "*b h"], m: int, before: Float[Tensor, "*n w"]) -> Any:
        """The law of member m, given the columns of those before it."""
        shape = torch.broadcast_shapes(features.shape[:-1], before.shape[:-1])
        read = torch.cat(self.record[0].read_first(m, before.reshape(1, -1, before.shape[-1])), -1)
        read = read.reshape(*before.shape[:-1], read.shape[-1]).to(features)
        return self.likelihoods[m](torch.cat([part.expand(*shape, part.shape[-1]) for part in (features, read)], -1))

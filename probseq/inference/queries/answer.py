"""What `query` answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.tree import tree_map


@dataclass(frozen=True)
class Answer:
    """An estimate for each of b laws, how good it is, and what it cost.

    Where an event has several numbers, as the law of a symbol, they stand along one more axis m.

    Shapes:
        estimate: (b,) or (b, m), unbiased unless a tolerance ended the sampling.
        standard_error: of the estimate, the same shape; 0 where it is exact.
        lower, upper: certified bounds, which no luck can break, the same shape.
        cell_steps: (b,), elements that the model read for each, those of the prefix aside.
        degrees: (b,), how many independent squares the standard error is made of; ∞ where it is exact.
        exact: (b,), whether all of the tree was walked.
    """

    estimate: Float[Tensor, "*b"]
    standard_error: Float[Tensor, "*b"]
    lower: Float[Tensor, "*b"]
    upper: Float[Tensor, "*b"]
    cell_steps: Int[Tensor, " r"]
    degrees: Float[Tensor, " r"]
    exact: Bool[Tensor, " r"]

    def interval(self, level: float = 0.95) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
        """A confidence interval by Student's t, cut to the certified bounds.

        Raises:
            ValueError: a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level}.")
        wide = quantile((1 + level) / 2, self.degrees)
        wide = wide.reshape(-1, *[1] * (self.estimate.ndim - 1)) * self.standard_error
        low, high = self.estimate - wide, self.estimate + wide
        return low.maximum(self.lower).minimum(self.upper), high.minimum(self.upper).maximum(self.lower)

    @staticmethod
    def cat(answers: list[Answer]) -> Answer:
        """Answers to one question about several batches."""
        columns = {name: [getattr(answer, name) for answer in answers] for name in Answer.__dataclass_fields__}
        return Answer(**{name: torch.cat(column) for name, column in columns.items()})

    def only(self) -> Answer:
        """Without the axis of several numbers, where there is one."""
        return tree_map(lambda leaf: leaf.squeeze(-1) if leaf.ndim > 1 else leaf, self)


def quantile(level: float, degrees: Float[Tensor, " r"]) -> Float[Tensor, " r"]:
    """Student's t, by three terms of its expansion at the normal: within 1 % from 4 degrees on.

    Source: Abramowitz & Stegun, Handbook of mathematical functions, 1964, 26.7.5.
    """
    z = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(level, dtype=torch.float64)))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum((term / degrees ** (i + 1) for i, term in enumerate(terms)), torch.full_like(degrees, z))

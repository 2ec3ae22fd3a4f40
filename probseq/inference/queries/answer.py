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
        degrees: how many independent squares the standard error is worth, the same shape; ∞ where it is exact.
        draws: (b,), how many draws there were.
        cell_steps: (b,), elements that the model read for each, those of the prefix aside.
        exact: (b,), whether all of the tree was walked.
    """

    estimate: Float[Tensor, "*b"]
    standard_error: Float[Tensor, "*b"]
    lower: Float[Tensor, "*b"]
    upper: Float[Tensor, "*b"]
    degrees: Float[Tensor, "*b"]
    draws: Int[Tensor, " r"]
    cell_steps: Int[Tensor, " r"]
    exact: Bool[Tensor, " r"]

    def interval(self, level: float = 0.95) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
        """A confidence interval by Student's t, cut to the certified bounds.

        A number that no draw touched has a standard error of 0 and may yet be more: as much of the open mass as n draws
        miss with a probability of 1 − `level` is within the interval. So it is with one that every draw gave all.

        Raises:
            ValueError: a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level}.")
        wide = quantile((1 + level) / 2, self.degrees) * self.standard_error
        draws = self.draws.clamp(min=1).reshape(-1, *[1] * (self.estimate.ndim - 1)).to(wide)
        open_ = self.upper - self.lower
        every = open_ if open_.ndim == 1 else open_.amax(-1, keepdim=True)
        missed = every * (1 - (1 - level) ** (1 / draws))
        exact, drawn = (flag.reshape(draws.shape) for flag in (self.exact, self.draws > 0))
        still = (self.standard_error == 0) & ~exact & open_.isfinite()
        edge = 1e-6 * open_
        high = torch.where(still & (self.estimate - self.lower <= edge), self.estimate + missed, self.estimate + wide)
        low = torch.where(still & (self.upper - self.estimate <= edge), self.estimate - missed, self.estimate - wide)
        low, high = (torch.where(exact | drawn, end, bound) for end, bound in ((low, self.lower), (high, self.upper)))
        return low.maximum(self.lower).minimum(self.upper), high.minimum(self.upper).maximum(self.lower)

    @staticmethod
    def cat(answers: list[Answer]) -> Answer:
        """Answers to one question about several batches."""
        columns = {name: [getattr(answer, name) for answer in answers] for name in Answer.__dataclass_fields__}
        return Answer(**{name: torch.cat(column) for name, column in columns.items()})

    def only(self) -> Answer:
        """Without the axis of several numbers, where there is one."""
        return tree_map(lambda leaf: leaf.squeeze(-1) if leaf.ndim > 1 else leaf, self)


def quantile(level: float, degrees: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Student's t, by four terms of its expansion at the normal: within 1 % from 3 degrees on.

    Source: Abramowitz & Stegun, Handbook of mathematical functions, 1964, 26.7.5.
    """
    z = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(level, dtype=torch.float64)))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum((term / degrees ** (i + 1) for i, term in enumerate(terms)), torch.full_like(degrees, z))

"""A recurrence over a known sequence, forwards, or forwards and backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.part import Part, attends, first_memory, require
from probseq.structure import INPUT, OUTPUT, SUMMARY, Links, Place, nested, recurrence_links, reversed_in_time


@dataclass(eq=False, repr=False)
class _RecurrentEncoder(Part):
    """What both share.

    Args:
        recurrence: a recurrence part, as `LSTM(32)`.

    Shapes:
        inputs: (b, t, i). lengths: (b,). features: (b, t, h). summary: (b, h), 0 for an empty sequence.

    Raises:
        ValueError: no recurrence part.
    """

    recurrence: Any

    kind: ClassVar[str] = "encoder"

    def __post_init__(self) -> None:
        require(
            isinstance(self.recurrence, Part) and self.recurrence.kind == "recurrence" and not attends(self.recurrence),
            f"{type(self).__name__} needs a recurrence part such as LSTM(32); got {self.recurrence!r}.",
        )


class Unidirectional(_RecurrentEncoder):
    """A recurrence from left to right: the features at t have seen x₁ … xₜ, the summary is those at the end."""

    __doc__ = f"{__doc__}\n\n{_RecurrentEncoder.__doc__}"

    @property
    def features(self) -> int:
        return self.recurrence.features

    @property
    def summary(self) -> int:
        return self.recurrence.features

    def build(self, inputs: int) -> None:
        self.recurrence.build(inputs)

    def links(self, steps: int) -> Links:
        """Those of the recurrence, the last of whose features are the summary."""
        return [*recurrence_links(self.recurrence, steps), (Place(OUTPUT, steps), Place(SUMMARY))]

    def forward(
        self, inputs: Float[Tensor, "b t i"], lengths: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b t h"], Float[Tensor, "b c"]]:
        features = _read(self.recurrence, inputs)
        return features, _last(features, lengths)


class Bidirectional(_RecurrentEncoder):
    """Two recurrences, one from each end: the features at t have seen all of x (Deep Learning, 10.3, figure 10.11).

    Each sequence is reversed within its own length, so padding is never read before the end of a sequence. The
    summary holds the forward features at the last element and the backward ones at the first.
    """

    __doc__ = f"{__doc__}\n\n{_RecurrentEncoder.__doc__}"

    @property
    def features(self) -> int:
        return 2 * self.recurrence.features

    @property
    def summary(self) -> int:
        return 2 * self.recurrence.features

    def build(self, inputs: int) -> None:
        self.backward = self.recurrence.fresh()
        self.recurrence.build(inputs)
        self.backward.build(inputs)

    def links(self, steps: int) -> Links:
        """Those of both recurrences; the forward one ends at the last step, the backward one at the first."""
        forwards = recurrence_links(self.recurrence, steps)
        links = nested(forwards, 1) + nested(reversed_in_time(forwards, steps), 2)
        for way, last in ((1, steps), (2, 1)):
            links.append((Place(OUTPUT, last, (way,)), Place(SUMMARY)))
            for t in range(1, steps + 1):
                links.append((Place(INPUT, t), Place(INPUT, t, (way,))))
                links.append((Place(OUTPUT, t, (way,)), Place(OUTPUT, t)))
        return links

    def forward(
        self, inputs: Float[Tensor, "b t i"], lengths: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b t h"], Float[Tensor, "b c"]]:
        places = torch.arange(inputs.shape[1], device=inputs.device)
        # The padding keeps its place.
        back = torch.where(places < lengths.unsqueeze(1), lengths.unsqueeze(1) - 1 - places, places)
        forwards = _read(self.recurrence, inputs)
        backwards = _read(self.backward, _pick(inputs, back))
        summary = torch.cat([_last(forwards, lengths), _last(backwards, lengths)], -1)
        return torch.cat([forwards, _pick(backwards, back)], -1), summary


def _read(recurrence: Any, inputs: Tensor) -> Tensor:
    """The features after each input, from a state of zero."""
    if not inputs.shape[0] * inputs.shape[1]:
        return inputs.new_zeros(*inputs.shape[:2], recurrence.features)
    return recurrence(inputs, first_memory(recurrence, inputs))[0]


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _last(features: Tensor, lengths: Tensor) -> Tensor:
    """The features after the last element of each sequence, 0 where there is none."""
    padded = torch.cat([features.new_zeros(features.shape[0], 1, features.shape[2]), features], 1)
    return _pick(padded, lengths.unsqueeze(1)).squeeze(1)

"""Encoders on top of each other, and a convolution below one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.part import Part, require
from probseq.shapes import slot_mask
from probseq.structure import (
    INPUT,
    OUTPUT,
    SUMMARY,
    Links,
    Place,
    encoder_links,
    nested,
)  # fmt: skip


@dataclass(eq=False, repr=False)
class Deep(Part):
    """Encoders that each read the features of the one below: each layer of `Bidirectional` ones has seen all of x.

    Args:
        members: encoder parts, the lowest first.

    Shapes:
        inputs: (b, t, i). lengths: (b,). features, summary: those of the last member.

    Raises:
        ValueError: no members, or one that is no encoder.
    """

    members: Any

    kind: ClassVar[str] = "encoder"

    def __post_init__(self) -> None:
        self.members = tuple(self.members)
        for member in self.members:
            _require_encoder("Deep", member)
        require(bool(self.members), "Deep needs one encoder at least; got none.")
        self.stacked = nn.ModuleList(self.members)

    @property
    def features(self) -> int:
        return self.members[-1].features

    @property
    def summary(self) -> int:
        return self.members[-1].summary

    @property
    def stride(self) -> int:
        """How many elements of x go into one of the features."""
        product = 1
        for member in self.members:
            product *= getattr(member, "stride", 1)
        return product

    def build(self, inputs: int) -> None:
        for member in self.members:
            member.build(inputs)
            inputs = member.features

    def links(self, steps: int) -> Links:
        """Each member reads the one below; the summary is that of the last."""
        links: Links = []
        for i, member in enumerate(self.members, 1):
            links += nested(encoder_links(member, steps), i)
            for t in range(1, steps + 1):
                links.append((Place(OUTPUT, t, (i - 1,)) if i > 1 else Place(INPUT, t), Place(INPUT, t, (i,))))
        top = len(self.members)
        links += [(Place(OUTPUT, t, (top,)), Place(OUTPUT, t)) for t in range(1, steps + 1)]
        return [*links, (Place(SUMMARY, None, (top,)), Place(SUMMARY))]

    def forward(
        self, inputs: Float[Tensor, "b t i"], lengths: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b s h"], Float[Tensor, "b c"]]:
        features, summary = inputs, inputs[:, :0].flatten(1)
        for member in self.members:
            features, summary = member(features, lengths)
            lengths = -(-lengths // getattr(member, "stride", 1))
        return features, summary


@dataclass(eq=False, repr=False)
class Convolutional(Part):
    """A convolution over time below another encoder: each of its inputs sees `window` neighbouring elements.

    g(t) = ReLU(b + Σⱼ Wⱼ x(stride · t + j)), |j| ≤ window // 2; elements beyond either end count as 0. With a
    stride the encoder above reads ⌈n / stride⌉ inputs in place of n.

    Args:
        encoder: an encoder part, as `Bidirectional(LSTM(64))`.
        size: the width of what it reads.
        window: neighbours that are seen at once, an odd number.
        stride: elements from one window to the next.

    Shapes:
        inputs: (b, t, i). lengths: (b,). features: (b, ⌈t / stride⌉, h). summary: that of the encoder.

    Raises:
        ValueError: no encoder; size or stride below 1, a window that is not odd, or a stride above it.
    """

    encoder: Any
    size: int
    window: int = 3
    stride: int = 1

    kind: ClassVar[str] = "encoder"

    def __post_init__(self) -> None:
        _require_encoder("Convolutional", self.encoder)
        require(
            getattr(self.encoder, "stride", 1) == 1,
            f"Convolutional takes an encoder that keeps all its inputs; got {self.encoder!r}. Use Deep for several.",
        )
        require(
            self.size >= 1 and self.window % 2 == 1 and self.window >= self.stride >= 1,
            f"Convolutional needs size ≥ 1, an odd window, and 1 ≤ stride ≤ window, so that no element is skipped; got "
            f"{self.size}, {self.window} and {self.stride}.",
        )

    @property
    def features(self) -> int:
        return self.encoder.features

    @property
    def summary(self) -> int:
        return self.encoder.summary

    def build(self, inputs: int) -> None:
        self.convolution = nn.Conv1d(inputs, self.size, self.window, self.stride, padding=self.window // 2)
        self.encoder.build(self.size)

    def forward(
        self, inputs: Float[Tensor, "b t i"], lengths: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b s h"], Float[Tensor, "b c"]]:
        shorter = -(-lengths // self.stride)
        if not inputs.shape[1]:
            return self.encoder(inputs.new_zeros(len(inputs), 0, self.size), shorter)
        # What stands in the padding must look like what stands beyond the end.
        clean = torch.where(slot_mask(lengths, inputs.shape[1]).unsqueeze(-1), inputs, 0.0)
        seen = F.relu(self.convolution(clean.transpose(1, 2))).transpose(1, 2)
        return self.encoder(seen, shorter)


def _require_encoder(name: str, part: Any) -> None:
    require(
        isinstance(part, Part) and part.kind == "encoder",
        f"{name} needs encoder parts such as Bidirectional(LSTM(32)); got {part!r}.",
    )

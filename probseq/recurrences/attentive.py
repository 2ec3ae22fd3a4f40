"""Attention: at every step, another part of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.context import Context
from probseq.numerics import at_least_float32
from probseq.part import Part, attends, begun, require
from probseq.shapes import slot_mask
from probseq.structure import ATTENDS, INPUT, OUTPUT, SOURCE, Links, Place, recurrence_links, renamed

ScoreKind = Literal["dot", "general", "additive"]


class Attention(nn.Module):
    """Weights over a source, and a mean under them.

    Args:
        query: the width h of what decides where to look.
        source: the width f of the features that are looked at.
        score, local: as in `Attentive`.
    """

    def __init__(self, query: int, source: int, score: ScoreKind, local: float | None) -> None:
        super().__init__()
        self.score, self.local = score, local
        self.query = None if score == "dot" else nn.Linear(query, source if score == "general" else query, bias=False)
        self.key = nn.Linear(source, query) if score == "additive" else None
        self.energy = nn.Linear(query, 1, bias=False) if score == "additive" else None
        self.place = nn.Sequential(nn.Linear(query, query), nn.Tanh(), nn.Linear(query, 1)) if local else None

    def keys(self, source: Float[Tensor, "b s f"]) -> Float[Tensor, "b s k"]:
        """What hidden states, or with "additive" their queries, are compared with: the same at every step."""
        if self.key is not None:
            return self.key(source)
        # (W h)·e = h·(Wᵀ e): the map is taken of each place of the source once, not of each step.
        return source if self.query is None else source @ self.query.weight

    def forward(
        self,
        hidden: Float[Tensor, "b n h"],
        keys: Float[Tensor, "b s k"],
        values: Float[Tensor, "b s f"],
        lengths: Int[Tensor, " b"],
    ) -> tuple[Float[Tensor, "b n f"], Float[Tensor, "b n s"]]:
        """The mean of the values at each step, and its weights: 0 in the padding, everywhere for an empty source."""
        if self.energy is None:
            scores = hidden @ keys.transpose(1, 2).to(hidden)
        else:
            query = self.query(hidden)  # type: ignore[misc]
            scores = self.energy(torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1))).squeeze(-1)
        if self.place is not None:
            scores = scores - self._distance(hidden, lengths, keys.shape[1])
        padding = ~slot_mask(lengths, keys.shape[1]).unsqueeze(1)
        # A finite floor: where all is padding, −∞ would make the softmax and its gradient NaN.
        weights = scores.masked_fill(padding, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(padding, 0.0)
        return weights @ values.to(weights), weights

    def _distance(self, hidden: Tensor, lengths: Tensor, width: int) -> Tensor:
        """(s − p)² / 2σ² from a learned centre p = S · sigmoid(v·tanh(W h))."""
        # 16 bits cannot tell places above 256 apart.
        centre = lengths.view(-1, 1, 1) * torch.sigmoid(at_least_float32(self.place(hidden))) - 0.5  # type: ignore[misc]
        places = torch.arange(width, device=hidden.device)
        return 2 * ((places - centre) / self.local).square()  # type: ignore[operator]


@dataclass(eq=False, repr=False)
class Attentive(Part):
    """A recurrence that looks, after each element, at the part of the source that matters now.

    aₜₛ = softmaxₛ(score(hₜ, eₛ)), cₜ = Σₛ aₜₛ eₛ, and the features are h̃ₜ = tanh(W [cₜ, hₜ] + b), where hₜ are the
    recurrence's features and eₛ what the encoder of a `Source` made of x (Bahdanau et al., 2015; Luong et al., 2015;
    Goodfellow et al., Deep Learning, 10.4 and 12.4.5.1). The recurrence knows nothing of where it looked, and reads a
    whole sequence in one fused pass; with `feed` it reads h̃ₜ beside the next element, step by step.

    Args:
        recurrence: a recurrence part, as `LSTM(256)`.
        score: "dot", hₜ·eₛ, which needs equal widths; "general", hₜᵀ W eₛ; or "additive", v·tanh(W hₜ + U eₛ + b).
        feed: whether h̃ₜ enters the next step (input feeding).
        local: a width D in places of the source; the scores then fall off as (s − pₜ)² / (2 (D / 2)²) from a learned
            centre pₜ (Luong et al., 2015, local-p). None looks everywhere.
        copies: the number of the target's symbols, where `Pointer` is to copy them from a source of `Tokens`; the
            weight that falls on each symbol is then given beside h̃ₜ.
        dropout: the share of h̃ₜ zeroed in training.

    Shapes:
        inputs: (b, n, i). features: (b, n, h), or (b, n, h + copies), h being the recurrence's.

    Raises:
        ValueError: no recurrence, another score, a number out of its range; when built, nothing to attend to, or
            with "dot" another width than the source's; when called, `copies` and a source without symbols.
    """

    recurrence: Any
    score: ScoreKind = "general"
    feed: bool = False
    local: float | None = None
    copies: int | None = None
    dropout: float = 0.0

    kind: ClassVar[str] = "recurrence"
    attends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        inner = self.recurrence
        require(
            isinstance(inner, Part) and inner.kind == "recurrence" and not attends(inner),
            f"Attentive needs a recurrence part that does not attend itself, such as LSTM(32); got {inner!r}.",
        )
        scores = ("dot", "general", "additive")
        require(self.score in scores, f"score must be one of {scores}; got {self.score!r}.")
        require(self.local is None or self.local > 0, f"local must be a width > 0 or None; got {self.local}.")
        require(self.copies is None or self.copies >= 1, f"copies must be ≥ 1 or None; got {self.copies}.")
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1); got {self.dropout}.")

    @property
    def features(self) -> int:
        return self.recurrence.features + (self.copies or 0)

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.recurrence.memory_shapes

    @property
    def max_length(self) -> int | None:
        return getattr(self.recurrence, "max_length", None)

    def begin(self, memory: tuple[Tensor, ...], batch: int) -> tuple[Any, Tensor | None]:
        """The memory of the recurrence, and what is fed to the first step, nothing."""
        fed = self.join.weight.new_zeros(batch, self.join.out_features) if self.feed else None
        return begun(self.recurrence, memory, batch), fed

    def feature_bound(self, start: float) -> float:
        """What no |hᵢ| exceeds: they are tanh of something, and shares of 1."""
        return 1.0

    def build(self, inputs: int, source: int) -> None:
        width = self.recurrence.features
        require(
            source > 0,
            f"{self.describe()} has nothing to attend to. Give the model context=Source(reads, encoder).",
        )
        require(
            self.score != "dot" or source == width,
            f"score='dot' needs a source as wide as the recurrence; got {source} and {width}. Use 'general', or a "
            f"recurrence of size {source}.",
        )
        self.recurrence.build(inputs + (width if self.feed else 0))
        self.attention = Attention(width, source, self.score, self.local)
        self.join = nn.Linear(source + width, width)

    def prepare(self, context: Context) -> tuple[Tensor, Tensor]:
        """The keys of the source, and W_c e of each place: W [c, h] = Σₛ aₛ W_c eₛ + W_h h, the sum being of products
        that are the same at every step."""
        source: Tensor = context.source  # type: ignore[assignment]
        return self.attention.keys(source), F.linear(source, self.join.weight[:, : source.shape[-1]])

    def links(self, steps: int) -> Links:
        """a, the features, see all of the source, and are fed to the next step where they are."""
        links = renamed(recurrence_links(self.recurrence, steps), {OUTPUT: ATTENDS})
        for t in range(1, steps + 1):
            attended = Place("a", t)
            links += [(Place(SOURCE, s), attended) for s in range(1, steps + 1)]
            links += [(Place(ATTENDS, t), attended), (attended, Place(OUTPUT, t))]
            links += [(attended, Place(INPUT, t + 1))] if self.feed and t < steps else []
        return links

    def forward(
        self, inputs: Float[Tensor, "b n i"], memory: tuple[Any, Tensor | None], context: Context
    ) -> tuple[Float[Tensor, "b n h"], tuple[Any, Tensor | None]]:
        own, fed = memory
        seen = self.prepare(context) if context.attended is None else context.attended
        # Cut out once: in training each cut has a gradient of the whole to fill.
        mix = self.join.weight[:, -self.recurrence.features :]
        if fed is None:
            hidden, own = self.recurrence(inputs, own)
            attended, weights = self._attend(hidden, mix, seen, context)
        else:
            steps = []
            for moment in inputs.split(1, 1):
                hidden, own = self.recurrence(torch.cat([moment, fed.unsqueeze(1).to(moment)], -1), own)
                steps.append(self._attend(hidden, mix, seen, context))
                fed = steps[-1][0][:, 0]
            attended, weights = (torch.cat(each, 1) for each in zip(*steps, strict=True))
        if self.copies is not None:
            attended = torch.cat([attended, self._copied(weights, context)], -1)
        return attended, (own, fed)

    def _attend(
        self, hidden: Tensor, mix: Tensor, seen: tuple[Tensor, Tensor], context: Context
    ) -> tuple[Tensor, Tensor]:
        glimpse, weights = self.attention(hidden, *seen, context.source_lengths)
        attended = torch.tanh(glimpse + F.linear(hidden, mix, self.join.bias))
        return F.dropout(attended, self.dropout, self.training), weights

    def _copied(self, weights: Tensor, context: Context) -> Tensor:
        """The weight (b, n, v) that falls on each symbol of the target; that on others falls away."""
        symbols = context.source_symbols
        if symbols is None:
            raise ValueError("copies= needs a source of symbols. Let Source read Tokens(…), without a stride.")
        within = symbols < self.copies  # type: ignore[operator]
        index = torch.where(within, symbols, 0).unsqueeze(1).expand_as(weights)
        own = torch.where(within.unsqueeze(1), weights, 0.0)
        return own.new_zeros(*own.shape[:2], self.copies).scatter_add(2, index, own)  # type: ignore[arg-type]

"""What a beam carries: the hypotheses that go on, the best that ended, and how each came to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import State
from probseq.protocols import Autoregressive
from probseq.tree import select


@dataclass(frozen=True)
class Live:
    """k hypotheses in each of n beams, all of one length; an impossible one has −∞ and stays so.

    Shapes:
        state: n · k rows, those of a beam side by side.
        log_prob: (n, k), nats.
        beams: (n,), int64, which of all beams they are.
        attended: (n · k, s), the attention weights summed over the steps, the coming one included, or None.
    """

    state: State
    log_prob: Float[Tensor, "n k"]
    beams: Int[Tensor, " n"]
    attended: Tensor | None = None

    def rows(self, kept: Int[Tensor, " n"], parents: Int[Tensor, "n k"]) -> Int[Tensor, " nk"]:
        """The rows of the state of slots `parents` of the beams at `kept`."""
        return (kept.unsqueeze(1) * self.log_prob.shape[1] + parents).flatten()

    def reorder(self, rows: Int[Tensor, " nk"], within: bool) -> State:
        """The state of `rows`.

        Args:
            within: every row comes from its own beam, and none is dropped. All hypotheses of a beam have one context
                and one position, so these stay, whatever they weigh.
        """
        if not within:
            return self.state.select(rows)
        features = self.state.features.index_select(0, rows)
        return replace(self.state, features=features, memory=select(self.state.memory, rows))


@dataclass(frozen=True)
class Pool:
    """The best that ended in each of n beams, best first; empty places score −∞.

    Shapes:
        score, log_prob: (n, p). time, slot: (n, p), int64: how many elements, and the slot that it ended in.
    """

    score: Float[Tensor, "n p"]
    log_prob: Float[Tensor, "n p"]
    time: Int[Tensor, "n p"]
    slot: Int[Tensor, "n p"]

    @staticmethod
    def empty(like: Float[Tensor, "n k"], size: int) -> Pool:
        nothing = like.new_full((len(like), size), -torch.inf)
        zero = torch.zeros_like(nothing, dtype=torch.int64)
        return Pool(nothing, nothing, zero, zero)

    def offer(self, score: Float[Tensor, "n k"], log_prob: Float[Tensor, "n k"], time: int) -> Pool:
        """With the better of these in it, each by its slot."""
        slot = torch.arange(score.shape[1], device=score.device).expand_as(score)
        score, place = torch.cat([self.score, score], 1).topk(self.score.shape[1], 1)
        rest = [
            torch.cat([own, new], 1).gather(1, place)
            for own, new in (
                (self.log_prob, log_prob),
                (self.time, torch.full_like(slot, time)),
                (self.slot, slot),
            )
        ]
        return Pool(score, *rest)

    def select(self, index: Int[Tensor, " m"]) -> Pool:
        return select(self, index)

    @staticmethod
    def cat(pools: list[Pool], dim: int = 0) -> Pool:
        fields = [field.name for field in dataclasses.fields(Pool)]
        return Pool(*(torch.cat([getattr(pool, name) for pool in pools], dim) for name in fields))


class Trace:
    """The symbol and the parent of every hypothesis that was live, from which sequences are read backwards.

    Args:
        beams: how many there are.
    """

    def __init__(self, beams: int) -> None:
        self.beams = beams
        self.steps: list[tuple[Tensor, Tensor]] = []

    def append(self, beams: Int[Tensor, " n"], parents: Int[Tensor, "n k"], numbers: Int[Tensor, "n k"]) -> None:
        """One more step of the beams that are left."""
        if len(beams) < self.beams:
            full = (torch.zeros(self.beams, parents.shape[1], dtype=torch.int64, device=beams.device) for _ in "pn")
            parents, numbers = (
                whole.index_copy(0, beams, own) for whole, own in zip(full, (parents, numbers), strict=True)
            )
        self.steps.append((parents, numbers))

    def read(self, beams: Int[Tensor, " m"], time: Int[Tensor, " m"], slot: Int[Tensor, " m"]) -> Int[Tensor, "m t"]:
        """The numbers of the symbols of hypotheses of `time` elements that stand in `slot` after them."""
        columns = []
        for t, (parents, numbers) in reversed(list(enumerate(self.steps))):
            inside = t < time
            columns.append(torch.where(inside, numbers[beams, slot], 0))
            slot = torch.where(inside, parents[beams, slot], slot)
        return torch.stack(columns[::-1], 1) if columns else beams.new_zeros(len(beams), 0)


class Attention:
    """Calls a model, and sees how each of its steps attends to the source.

    Raises:
        ValueError: a model that does not say, by `attention()`.
    """

    def __init__(self, model: Any) -> None:
        self.watch: Callable[[], AbstractContextManager[list[Tensor]]] | None = getattr(model, "attention", None)
        if self.watch is None:
            raise ValueError(
                f"coverage counts attention weights, and needs a model with attention(), one whose recurrence attends "
                f"to a source; got {type(model).__name__}. Leave coverage at 0."
            )

    def of(self, call: Callable[[], Any]) -> tuple[Any, Float[Tensor, "b s"] | None]:
        """What `call` gives, and the weights (b, s) of the coming step: those of the last that it computed."""
        assert self.watch is not None
        with self.watch() as weights:
            result = call()
        return result, weights[-1][:, -1] if weights else None


def advance(
    model: Autoregressive, attention: Attention | None, state: State, y: Tensor, attended: Tensor | None
) -> tuple[State, Tensor | None]:
    """One more element y (b, *e) read, and its attention added."""
    y = y.unsqueeze(1)
    if attention is None:
        return model.extend(state, y)[1], attended
    (_, state), weights = attention.of(lambda: model.extend(state, y))
    return state, weights if attended is None or weights is None else attended + weights

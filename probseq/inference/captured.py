"""Drawing by steps that change buffers in place, so that a GPU can be given each as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from probseq.context import State
from probseq.protocols import Autoregressive
from probseq.randomness import draw
from probseq.sequences import Sequences
from probseq.tree import leaves, tree_map

LOOK_EVERY = 16
"""Steps between two looks at which sequences are left."""


def captured(model: Autoregressive, state: State, max_length: int, over: Bool[Tensor, " b"]) -> Sequences:
    """What `ancestral` draws; once half of the sequences have ended, the others go on in a smaller batch."""
    batch, device, shape = state.batch, state.features.device, model.element.shape
    rows = torch.arange(batch, device=device)
    values = torch.zeros(
        batch, max_length, *shape, device=device,
        dtype=torch.int64 if model.element.discrete else state.features.dtype,
    )  # fmt: skip
    lengths, position = torch.zeros(batch, dtype=torch.int64, device=device), 0
    while len(rows) and position < max_length:
        steps = Steps(model, state, values[:1].dtype, max_length - position)
        launch, done = steps.launcher(), 0
        while position + done < max_length:
            more = min(LOOK_EVERY, max_length - position - done)
            for _ in range(more):
                launch()
            done += more
            if 2 * int(steps.going.sum()) <= len(rows):
                break
        values[rows, position : position + done] = steps.columns[:done].transpose(0, 1)
        lengths[rows] += steps.lengths
        left = steps.going.nonzero().squeeze(-1)
        rows, state, position = rows[left], steps.state.select(left), position + done
    ended = torch.ones(batch, dtype=torch.bool, device=device)
    ended[rows] = over.to(device)[rows]
    return Sequences(values, lengths, ended).trim()


class Steps:
    """A decision and an element for each sequence, at each call.

    Args:
        state: where the first step begins; it is copied.
        dtype: of the elements.
        room: the most steps there will be.

    Shapes:
        columns: (room, b, *e), what was drawn, real or not. going: (b,). lengths: (b,).
    """

    def __init__(self, model: Autoregressive, state: State, dtype: torch.dtype, room: int) -> None:
        batch, device = state.batch, state.features.device
        self.model, self.state = model, tree_map(torch.clone, state)
        self.going = torch.ones(batch, dtype=torch.bool, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.columns = torch.zeros(room, batch, *model.element.shape, dtype=dtype, device=device)
        self.taken = torch.zeros(1, dtype=torch.int64, device=device)

    def __call__(self) -> None:
        step = self.model.emit(self.state.features, self.state.position, self.state.context)
        self.going &= torch.rand_like(step.log_stop) >= step.log_stop.exp()
        self.lengths += self.going
        y = draw(step.element)
        self.columns.index_copy_(0, self.taken, y.unsqueeze(0).to(self.columns))
        self.taken += 1
        after = self.model.extend(self.state, y.unsqueeze(1))[1]
        # The context stays as it is.
        for old, new in zip(leaves(_moving(self.state)), leaves(_moving(after)), strict=True):
            old.copy_(new)

    def launcher(self) -> Callable[[], Any]:
        """What takes a step: on a GPU the replay of one that was captured, elsewhere the step itself."""
        device = self.going.device
        if device.type != "cuda":
            return self
        changing = [*leaves(_moving(self.state)), self.going, self.lengths, self.columns, self.taken]
        before, random = [each.clone() for each in changing], torch.cuda.get_rng_state(device)
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            # The libraries prepare themselves in their first call, which must not be captured.
            self()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self()
        for each, old in zip(changing, before, strict=True):
            each.copy_(old)
        torch.cuda.set_rng_state(random, device)
        return graph.replay


def _moving(state: State) -> tuple[Any, ...]:
    return state.features, state.memory, state.position

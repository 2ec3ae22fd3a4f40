"""A model unfolded into a Pyro program, one site a step."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context
from probseq.inference.sample import certainly_over
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


class Program:
    """The law of `SequenceDistribution(model, context, length)`, slow and open to every Pyro tool.

    For t = 1…length: `stop_t` ~ {0: go on, 1: stop}, then `y_t` ~ the law of the next element, both masked in the
    sequences that have ended. The sites stand in a plate `sequences`.

    Raises:
        ValueError: length below 0.
    """

    @checked
    def __init__(self, model: Autoregressive, length: int) -> None:
        if length < 0:
            raise ValueError(f"a program needs length ≥ 0; got {length}.")
        self.model, self.length = model, length

    @checked
    def __call__(self, context: Any = None, batch: int = 1) -> Sequences:
        """Run the program: `batch` sequences, or one for each row of the context.

        Raises:
            ValueError: there are none: a plate of Pyro has one at least.
        """
        state = self.model.start(Context.none(max(batch, 0)) if context is None else context)
        if not state.batch:
            raise ValueError("a program draws one sequence at least; got none. Pass a batch, or a context with rows.")
        batch, device = state.batch, state.features.device
        going = torch.ones(batch, dtype=torch.bool, device=device)
        lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        columns: list[Tensor] = []
        with pyro.plate("sequences", batch, dim=-1):
            for t in range(1, self.length + 1):
                step = self.model.emit(state.features, state.position, state.context)
                choice = dist.Categorical(logits=torch.stack([step.log_go, step.log_stop], -1), validate_args=False)
                stop: Any = pyro.sample(f"stop_{t}", choice.mask(going))
                going = going & (stop == 0)
                y: Any = pyro.sample(f"y_{t}", step.element.mask(going))
                y = torch.where(going.reshape(batch, *[1] * (y.ndim - 1)), y, torch.zeros_like(y))
                columns.append(y)
                lengths = lengths + going
                if t < self.length:
                    state = self.model.extend(state, y.unsqueeze(1))[1]
        shape = self.model.element.shape
        values = torch.stack(columns, 1) if columns else torch.zeros(batch, 0, *shape, device=device)
        return Sequences(values, lengths, ~going.cpu() | certainly_over(self.model, state.context, self.length))

    def data(self, y: Sequences) -> dict[str, Tensor]:
        """The values of the sites that stand for `y`, for `poutine.condition`.

        Raises:
            ValueError: a sequence is longer than the program, or shorter without having ended.
        """
        y = self.model.element.conform(y)
        if len(y) and int(y.lengths.max()) > self.length:
            raise ValueError(f"the program has {self.length} steps; got a sequence of {int(y.lengths.max())}.")
        if bool((~y.ended & (y.lengths < self.length)).any()):
            raise ValueError(f"an open sequence must fill the program's {self.length} steps.")
        # An element of y stands in the padding: 0 may lie outside a support, where gradients are NaN.
        real = y.values[y.mask()]
        padded = y.pad(self.length)
        padded = padded.filled(real[0]) if len(real) else padded
        lengths = y.lengths.to(y.device)
        sites = {f"y_{t}": padded.values[:, t - 1] for t in range(1, self.length + 1)}
        return sites | {f"stop_{t}": (lengths == t - 1).long() for t in range(1, self.length + 1)}

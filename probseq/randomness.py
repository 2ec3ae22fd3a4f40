"""Seeded randomness for code that draws from distributions, which take no generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical

Seed = torch.Generator | int | None


@contextmanager
def seeded(generator: Seed, device: torch.device) -> Iterator[None]:
    """Draw from `generator` (or an integer seed) inside the block, and leave the global state as it was.

    A `torch.Generator` advances, so that two calls with one generator draw different numbers.
    With None the block draws from the global state.
    """
    if generator is None:
        yield
        return
    if isinstance(generator, torch.Generator):
        generator = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    globals_ = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        globals_.append(torch.cuda.default_generators[index])
    states = [each.get_state() for each in globals_]
    try:
        for each in globals_:
            each.manual_seed(generator)
        yield
    finally:
        for each, state in zip(globals_, states, strict=True):
            each.set_state(state)


def draw(law: Any) -> Tensor:
    """`law.sample()`; of symbols in ways that take fewer random numbers, or do not wait for an accelerator."""
    if not isinstance(law, Categorical):
        return law.sample()
    if law.logits.device.type != "cpu":
        return (law.logits - torch.empty_like(law.logits).exponential_().log()).argmax(-1)
    reached = law.probs.double().cumsum(-1)
    point = torch.rand(*reached.shape[:-1], 1, dtype=reached.dtype) * reached[..., -1:]
    return torch.searchsorted(reached, point, right=True).squeeze(-1)

"""Seeded randomness for code that draws from distributions, which take no generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(generator)
        yield

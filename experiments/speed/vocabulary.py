"""A large alphabet: value and gradient of log softmax(W h + b)_y, time and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import probseq as ps
from experiments.speed.memory import peak
from experiments.speed.rows import NO_GPU, OURS, Row, Run, alternate, compare, skipped

NAIVE = "linear, cross_entropy"
Size = tuple[int, int, int]
"""Tokens, symbols, hidden units."""


def vocabulary(run: Run) -> Iterator[Row]:
    """Our likelihood beside `F.cross_entropy(F.linear(…))`.

    On a CPU 4,096 tokens stand for 32,768, which take the plain way 18 GB. On a GPU both sides multiply in bfloat16.
    """
    wanted = {"cpu": ((4096, 50_257, 512), 1.0), "cuda": ((32_768, 50_257, 512), 1 / 3)}
    for device, (size, at_most) in wanted.items():
        size = (64, 100, 8) if run.smoke else size
        name = f"{size[0]:,} tokens of {size[1]:,} symbols, H={size[2]}"
        if device not in run.limits:
            for kind, target in (("time", at_most), ("memory", 0.125)):
                yield skipped("vocabulary", f"{name}, {kind}", device, f"≤ {target:.3g}", NO_GPU)
            continue
        sides = {NAIVE: prepare(NAIVE, size, device), OURS: prepare(OURS, size, device)}
        near = 1e-4 if device == "cpu" else 1e-2
        torch.testing.assert_close(sides[NAIVE](), sides[OURS](), rtol=near, atol=near)
        times = alternate(sides, device, 2 if run.smoke else 3 if device == "cpu" else 10)
        work = 3 * 2.0 * size[0] * size[1] * size[2]
        yield compare(run, "vocabulary", f"{name}, time", device, times, NAIVE, work, at_most=at_most)
        del sides
        used = {side: peak(prepare, side, size, device, device=device) for side in (NAIVE, OURS)}
        yield Row.of(
            "vocabulary", f"{name}, peak memory", device, f"{OURS} / {NAIVE}", [used[OURS] / max(used[NAIVE], 1)],
            at_most=0.125, note=f"{used[OURS]:.0f} MB, {NAIVE} {used[NAIVE]:.0f} MB, in fresh processes",
        )  # fmt: skip


def prepare(side: str, size: Size, device: str) -> Callable[[], Any]:
    """Value and gradient on one side, on random numbers that are there before."""
    tokens, symbols, hidden = size
    torch.manual_seed(0)
    likelihood = ps.Categorical()
    likelihood.build(hidden, ps.Tokens(symbols), 1)
    likelihood.to(device)
    features = torch.randn(tokens, hidden, device=device, requires_grad=True)
    y = torch.randint(symbols, (tokens,), device=device)
    score = likelihood.log_prob if side == OURS else partial(naive, likelihood.project)
    return partial(value_and_gradient, score, features, y, [features, *likelihood.parameters()])


def naive(project: torch.nn.Linear, features: Tensor, y: Tensor) -> Tensor:
    """As one writes it."""
    return -F.cross_entropy(F.linear(features, project.weight, project.bias), y, reduction="none")


def value_and_gradient(score: Any, features: Tensor, y: Tensor, leaves: list[Tensor]) -> tuple[float, float]:
    """The sum, and the norm of its gradient, which is left behind as an optimiser finds it."""
    for leaf in leaves:
        leaf.grad = None
    with torch.autocast("cuda", torch.bfloat16, enabled=features.is_cuda):
        total = score(features, y).sum()
    total.backward()
    return total.item(), float(torch.stack([leaf.grad.norm() for leaf in leaves]).norm())  # type: ignore[union-attr]

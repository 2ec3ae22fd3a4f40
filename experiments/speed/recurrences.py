"""Recurrences alone, forward and backward, beside torch's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import probseq as ps
from experiments.speed.rows import NO_GPU, OURS, Row, Run, alternate, compare, recurrent_flops, skipped
from probseq.part import first_memory

Size = tuple[int, int, int, int]
"""Sequences, steps, inputs, hidden units."""


def gru(run: Run) -> Iterator[Row]:
    """Our GRU beside `nn.GRU`, with the same weights."""
    full = {(32, 128, 128, 256): 1.4, (8, 1000, 32, 64): 2.5}
    for size, at_least in {(4, 8, 3, 5): 1.4}.items() if run.smoke else full.items():
        part = built(ps.GRU(size[3]), size, "cpu", run.seed)
        theirs = nn.GRU(size[2], size[3], batch_first=True)
        theirs.load_state_dict(part.network.state_dict())
        x = torch.randn(size[:3], requires_grad=True)
        torch.testing.assert_close(part(x, first_memory(part, x))[0], theirs(x)[0], rtol=1e-4, atol=1e-5)
        times = alternate({"nn.GRU": torchs(theirs, x), OURS: ours(part, x)}, "cpu", 2 if run.smoke else 15)
        work = recurrent_flops("GRU", size[0] * size[1], *size[2:], backward=True)
        yield compare(
            run, "recurrences", f"GRU, forward + backward {size}", "cpu", times, "nn.GRU", work, at_least=at_least
        )


def min_gru(run: Run) -> Iterator[Row]:
    """Our MinGRU, parallel over time, beside torch's GRU on a CPU and its LSTM on a GPU."""
    cases: list[tuple[str, Size, Any, float]] = [("cpu", (8, 4096, 128, 128), nn.GRU, 3)]
    cases += [("cuda", (64, 512, 512, 512), nn.LSTM, 12), ("cuda", (16, 4096, 256, 256), nn.LSTM, 30)]
    for device, size, family, at_least in [("cpu", (2, 64, 4, 4), nn.GRU, 3)] if run.smoke else cases:
        peer = f"nn.{family.__name__}"
        name = f"MinGRU, forward + backward {size}, {peer} of that size"
        if device not in run.limits:
            yield skipped("recurrences", name, device, f"≥ {at_least}", NO_GPU)
            continue
        torch.manual_seed(run.seed)
        part = built(ps.MinGRU(size[3]), size, device, run.seed)
        theirs = family(size[2], size[3], batch_first=True).to(device)
        x = torch.randn(size[:3], device=device, requires_grad=True)
        with tf32():
            times = alternate(
                {peer: torchs(theirs, x), OURS: ours(part, x)},
                device,
                2 if run.smoke else 7,
                10 if device == "cuda" else 1,
            )
        yield compare(run, "recurrences", name, device, times, peer, at_least=at_least)


@contextlib.contextmanager
def tf32() -> Iterator[None]:
    """Products of float32 in TF32 on a GPU, as cuDNN takes its own by default."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def built(part: Any, size: Size, device: str, seed: int) -> Any:
    """A recurrence by itself."""
    torch.manual_seed(seed)
    part.build(size[2])
    return part.to(device)


def ours(part: Any, x: Tensor) -> Callable[[], None]:
    """Features from a memory of 0, and the gradient of their sum."""

    def action() -> None:
        part.zero_grad()
        part(x, first_memory(part, x))[0].sum().backward()

    return action


def torchs(network: nn.Module, x: Tensor) -> Callable[[], None]:
    """The same."""

    def action() -> None:
        network.zero_grad()
        network(x)[0].sum().backward()

    return action

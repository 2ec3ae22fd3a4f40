"""How fast the machine is, measured there and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Limits:
    """The best rates of a device in float32.

    Args:
        matmul: of a product of matrices, FLOP/s.
        lstm: of torch's LSTM forward, FLOP/s; on a CPU that is oneDNN's.
        bandwidth: of a copy, bytes read and written a second.
    """

    matmul: float
    lstm: float
    bandwidth: float

    @property
    def best(self) -> float:
        """FLOP/s."""
        return max(self.matmul, self.lstm)


@torch.no_grad()
def measure(device: str, smoke: bool) -> Limits:
    """The least time over a few turns."""
    sizes, turns, copied = ((256,), 2, 2**20) if smoke else ((1024, 2048, 4096), 5, 2**26)
    products = [2 * n**3 / quickest(product(n, device), device, turns) for n in sizes]
    source = torch.randn(copied, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.nbytes / quickest(lambda: target.copy_(source), device, turns)
    return Limits(max(products), lstm_flops() / quickest(lstm(device), device, turns), moved)


def product(n: int, device: str) -> Callable[[], Any]:
    """Of square matrices of size n."""
    a, b = torch.randn(2, n, n, device=device)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def lstm(device: str) -> Callable[[], Any]:
    """32 sequences of 128 steps, 128 numbers in, 256 hidden units."""
    network, x = nn.LSTM(128, 256, batch_first=True).to(device), torch.randn(32, 128, 128, device=device)
    return lambda: network(x)


def lstm_flops() -> float:
    """Those of `lstm`."""
    return 2.0 * 32 * 128 * 4 * 256 * (128 + 256)


def quickest(action: Callable[[], Any], device: str, turns: int) -> float:
    """Seconds, the device's work included."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    found = []
    for _ in range(turns + 1):
        wait()
        begin = time.perf_counter()
        action()
        wait()
        found.append(time.perf_counter() - begin)
    return min(found[1:])

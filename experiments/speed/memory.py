"""The most memory that a piece of work takes, in a fresh process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

MB = 2**20


def peak(prepare: Callable[..., Callable[[], Any]], *arguments: Any, device: str = "cpu") -> float:
    """MB above what there is before `prepare(*arguments)()`, of Linux's resident memory or the allocator's on a GPU."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, prepare, arguments, device, torch.get_num_threads()).result()


def _peak(prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...], device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    action = prepare(*arguments)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MB
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark falls to where it is now
    before = _resident_mark()
    action()
    return (_resident_mark() - before) / MB


def _resident_mark() -> float:
    """The highest resident memory so far, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

"""What the table is made of: pieces of work, timed side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from experiments.speed.machine import Limits

OURS = "probseq"
NO_GPU = "not measured: no GPU"

Times = dict[str, list[float]]
"""Seconds of a call of each side, one for each round."""


@dataclass(frozen=True)
class Run:
    """What every group of rows is told.

    Args:
        smoke: whether sizes are small, so that ratios mean nothing.
        limits: of each device there is, by its name.
    """

    smoke: bool
    seed: int
    limits: Mapping[str, Limits]


@dataclass(frozen=True)
class Row:
    """A measure with its target: the median over rounds, the least and the greatest; none if it was not measured.

    Args:
        seconds: of each side, medians.
        share: the arithmetic of the work over the time it took, over the machine's best rate.
        note: why it was not measured, or what else there is to know.
    """

    group: str
    measure: str
    device: str
    unit: str
    target: str
    value: float | None = None
    least: float | None = None
    greatest: float | None = None
    met: bool | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    share: float | None = None
    note: str = ""

    @staticmethod
    def of(
        group: str, measure: str, device: str, unit: str, values: list[float], *,
        at_least: float | None = None, at_most: float | None = None, times: Times | None = None,
        share: float | None = None, note: str = "",
    ) -> Row:  # fmt: skip
        """A measure that is one number for each round."""
        middle = median(values)
        met = None if at_least is at_most is None else at_least <= middle if at_least is not None else middle <= at_most  # type: ignore[operator]
        seconds = {side: median(each) for side, each in (times or {}).items()}
        shown = (middle, min(values), max(values))
        return Row(group, measure, device, unit, goal(at_least, at_most), *shown, met, seconds, share, note)


def goal(at_least: float | None, at_most: float | None) -> str:
    """A target in words."""
    return f"≥ {at_least:.3g}" if at_least is not None else f"≤ {at_most:.3g}" if at_most is not None else ""


def compare(
    run: Run, group: str, measure: str, device: str, times: Times, peer: str, flops: float | None = None, *,
    at_least: float | None = None, at_most: float | None = None, note: str = "",
) -> Row:  # fmt: skip
    """The peer's time over ours where a gain is asked for, else ours over the peer's."""
    over, under = (OURS, peer) if at_least is None else (peer, OURS)
    ratios = [a / b for a, b in zip(times[over], times[under], strict=True)]
    share = None if flops is None else flops / median(times[OURS]) / run.limits[device].best
    return Row.of(
        group, measure, device, f"{over} / {under}", ratios, at_least=at_least, at_most=at_most, times=times,
        share=share, note=note,
    )  # fmt: skip


def skipped(group: str, measure: str, device: str, target: str, reason: str) -> Row:
    """A row that was not measured."""
    return Row(group, measure, device, "", target, note=reason)


def clock(action: Callable[[], Any], device: str, calls: int = 1) -> float:
    """Seconds of one call, the device's work included."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(calls):
        action()
    wait()
    return (time.perf_counter() - begin) / calls


def alternate(actions: Mapping[str, Callable[[], Any]], device: str, rounds: int, calls: int = 1) -> Times:
    """Seconds of a call of each, in turn, after one round that does not count."""
    found = [{side: clock(action, device, calls) for side, action in actions.items()} for _ in range(rounds + 1)]
    return {side: [each[side] for each in found[1:]] for side in actions}


def recurrent_flops(kind: str, steps: int, inputs: int, hidden: int, outputs: int = 0, backward: bool = False) -> float:
    """Multiplications and additions of a layer and a map of its features; the gradient takes twice as many again."""
    gates = {"LSTM": 4, "GRU": 3}[kind]
    forward = 2.0 * steps * hidden * (gates * (inputs + hidden) + outputs)
    return 3 * forward if backward else forward

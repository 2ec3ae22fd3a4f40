"""Rows of the experiments that have a peer in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from experiments.forecast import peers as gluonts
from experiments.forecast.run import Settings, m4
from experiments.peers import run as joeynmt
from experiments.speed.rows import OURS, Row, Run, skipped
from probseq.datasets import pronunciations

PROCESSOR = "seconds of processor time, one thread"


def peers(run: Run) -> Iterator[Row]:
    """JoeyNMT and GluonTS's DeepAR, where they are installed; on one thread, as those experiments are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from joey(run)
        yield from deepar(run)
    finally:
        torch.set_num_threads(threads)


def absent(python: Path, run: Run, peer: str) -> str | None:
    """Why a peer is not measured, or None."""
    if run.smoke:
        return "skipped: a smoke run has no peers"
    return None if python.exists() else f"skipped: {peer} is not installed in .venv-peers"


def joey(run: Run) -> Iterator[Row]:
    """An epoch and a search of `experiments/peers`, attention without input feeding."""
    reason = absent(joeynmt.PYTHON, run, "JoeyNMT")
    if reason is not None:
        for name, target in joeynmt.TARGETS.items():
            yield skipped("peers", f"JoeyNMT, {name}", "cpu", f"≥ {target:g}", reason)
        return
    settings = replace(joeynmt.FULL, epochs=3, searches=3)
    data = pronunciations()
    found = joeynmt.compare(data, joeynmt.share(data, settings), settings, feed=False)
    for name, target in joeynmt.TARGETS.items():
        row = found[name]
        yield Row(
            "peers", f"JoeyNMT, {name}", "cpu", f"JoeyNMT / {OURS}", f"≥ {target:g}", row["ratio"], row["least"],
            row["greatest"], row["ratio"] >= target,
            {"JoeyNMT": row["theirs_seconds"], OURS: row["ours_seconds"]}, note=PROCESSOR,
        )  # fmt: skip


def deepar(run: Run) -> Iterator[Row]:
    """An update and the sample paths of `experiments/forecast`."""
    kinds = {"update_seconds": "an update", "paths_seconds": "sample paths"}
    reason = absent(gluonts.PYTHON, run, "GluonTS")
    if reason is not None:
        for name in kinds.values():
            yield skipped("peers", f"GluonTS DeepAR, {name}", "cpu", "", reason)
        return
    data, settings, seconds, paths = m4("test"), Settings(), 20, 100
    ours = gluonts.ours(data, settings, seconds, paths, run.seed)[0]
    theirs = gluonts.theirs(data, settings, seconds, paths, run.seed)[0]
    for key, name in kinds.items():
        yield Row.of(
            "peers", f"GluonTS DeepAR, {name}", "cpu", f"GluonTS / {OURS}", [theirs[key] / ours[key]],
            times={"GluonTS": [theirs[key]], OURS: [ours[key]]}, note=f"{PROCESSOR}, one turn",
        )  # fmt: skip

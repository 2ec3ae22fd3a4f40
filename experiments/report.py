"""What the experiments share: arguments, seeds, results."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def destination(run: str, smoke: bool) -> Path:
    """Where results and figures go: beside the script, or for a smoke run to a temporary folder."""
    return Path(tempfile.mkdtemp(prefix="probseq-")) if smoke else Path(run).parent


def environment() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_available(),
    }


def write(results: dict[str, Any], folder: Path, name: str = "results.json") -> None:
    """The results as JSON, with the environment."""
    content = {**results, "environment": environment()}
    (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns a person can read: text to the left, numbers to the right."""
    shown = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    numeric = [all(isinstance(row[i], int | float) or row[i] == "" for row in rows) for i in range(len(head))]
    widths = [max(len(row[i]) for row in [list(head), *shown]) for i in range(len(head))]
    lines = []
    for row in [list(head), ["─" * width for width in widths], *shown]:
        cells = zip(row, widths, numeric, strict=True)
        lines.append("  ".join(cell.rjust(w) if right else cell.ljust(w) for cell, w, right in cells).rstrip())
    return "\n".join(lines)

"""Training on a GPU whose memory is cut short."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch

import probseq as ps


def study() -> dict[str, Any]:
    """Weights after some steps with all of the memory, and with half of what they took at most."""
    if not torch.cuda.is_available():
        return {"skipped": "no GPU"}
    torch.manual_seed(0)
    first = ps.SequenceModel(ps.Tokens(2000), ps.LSTM(512), ps.Categorical(), ps.EndSymbol()).double()
    second = copy.deepcopy(first)
    y = ps.Sequences.of([torch.randint(2000, (100,)) for _ in range(256)])
    options: dict[str, Any] = {
        "max_epochs": 2, "batch_tokens": None, "batch_size": 128, "precision": "64-true", "accelerator": "gpu",
        "devices": 1, "progress": False,
    }  # fmt: skip
    ps.fit(first, y, **options)
    peak = torch.cuda.max_memory_reserved()
    first.cpu()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_per_process_memory_fraction(0.5 * peak / torch.cuda.get_device_properties(0).total_memory)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ps.fit(second, y, **options)
    limited = torch.cuda.max_memory_reserved()
    torch.cuda.set_per_process_memory_fraction(1.0)
    second.cpu()
    apart = max(
        float((a - b).detach().abs().max()) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    return {
        "device": torch.cuda.get_device_name(), "peak_mib": peak / 2**20, "limited_mib": limited / 2**20,
        "said": sum("in halves" in str(each.message) for each in said), "weights_apart": apart,
    }  # fmt: skip

"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from probseq.disk import write_whole


class WholeFiles(TorchCheckpointIO):
    """torch's format, written beside its place, brought to the disk, and moved there.

    What is read is checked: every record of the format has a checksum, and none is unpickled beyond plain values.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: it cannot be written; the one that stood there before still does.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        place = Path(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, buffer.getvalue())
        except OSError as error:
            why = f"the checkpoint {place} was not written: {error.strerror}. The one before it stands: make room,"
            raise OSError(error.errno, f"{why} and go on with resume=True.") from error


def require_writable(folder: Path) -> None:
    """See before training whether anything can be kept there.

    Raises:
        OSError: nothing can.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        write_whole(probe, b"")
        probe.unlink()
    except OSError as error:
        raise OSError(
            error.errno, f"nothing can be written to {folder}: {error.strerror}. Choose another directory."
        ) from error


class Checkpoint(ModelCheckpoint):
    """A checkpoint that stays the best one where its directory was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = {k: here(v) for k, v in state_dict.items() if k.endswith("_path") and isinstance(v, str)}
        scores = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": scores, "dirpath": str(self.dirpath)})

"""The folder of a run: a trained model, how its rows are read, and where they came from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from probseq.cli.reader import Reader
from probseq.cli.rows import Bad, Row
from probseq.cli.sources import Asked
from probseq.disk import write_whole
from probseq.model import SequenceModel
from probseq.saving import load

DATA = "data.json"
FORMAT = 1


@dataclass(frozen=True)
class Run:
    """What `probseq fit` leaves behind.

    `config.yaml` holds the options, `data.json` how rows are read, `model/` the trained model, and `training/` the
    checkpoints and logs.

    Args:
        device: where the model goes.
    """

    folder: Path
    reader: Reader
    asked: Asked
    validation: str | None
    test: str | None
    device: str = "cpu"

    @staticmethod
    def open(folder: str | Path, device: str = "auto") -> Run:
        """A run whose training has ended.

        Raises:
            ValueError: the folder is none, or its data.json is damaged.
        """
        path = Path(folder) / DATA
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"it has format {content['format']!r}; expected {FORMAT}.")
            asked = {**content["asked"], "values": content["asked"]["values"] and tuple(content["asked"]["values"])}
            reader = Reader.from_json(content["reader"])
            found = Run(Path(folder), reader, Asked(**asked), content["validation"], content["test"], _device(device))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{folder} is no run: it has no {DATA}. Make one: probseq fit.") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error}. Fit again, with --overwrite.") from error
        if not (found.folder / "model").is_dir():
            cure = f"probseq fit --config {found.folder / 'config.yaml'} --resume"
            raise ValueError(f"the training of {folder} has not ended. Go on with it: {cure}")
        return found

    def write(self) -> None:
        """Write data.json."""
        content = {
            "format": FORMAT, "reader": self.reader.to_json(), "asked": asdict(self.asked),
            "validation": self.validation, "test": self.test,
        }  # fmt: skip
        write_whole(self.folder / DATA, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())

    @cached_property
    def model(self) -> SequenceModel:
        """The trained model."""
        return load(self.folder / "model", device=self.device)

    @property
    def history(self) -> list[dict[str, float]] | None:
        """What `FitResult.history` was."""
        path = self.folder / "history.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def rows(self, part: str, bad: Bad) -> list[Row]:
        """The rows of "train", "validation" or "test", read again from where they came from."""
        return self.asked.parts(self.validation, self.test, bad)[part]

    def data(self, part: str = "test") -> Any:
        """The same as `fit` takes it."""
        bad = Bad(skip=True)
        return self.reader.read(self.rows(part, bad), bad)[1]

    def asking(self, data: str | None, data_format: str | None, bad: Bad) -> Any:
        """The rows of other data, read with the same columns; without a name, of the test part."""
        if data is None:
            return self.rows("test", bad)
        return replace(self.asked, data=data, data_format=data_format).rows(bad)


def _device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name

"""Where data files are: a folder of the user's, or a checked download."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def locate(name: str, url: str, sha256: str) -> Path:
    """The file `name` under the folder that the environment variable PROBSEQ_DATA names, else fetched from `url`.

    Raises:
        FileNotFoundError: PROBSEQ_DATA is set, but the file is not there.
        ValueError: the file there has another checksum.
        ModuleNotFoundError: a download is needed and `pooch` is not installed.
    """
    folder = os.environ.get("PROBSEQ_DATA")
    if folder:
        path = Path(folder) / name
        if not path.is_file():
            raise FileNotFoundError(f"PROBSEQ_DATA is {folder}, which has no {name}. Correct it, or unset it.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise ValueError(f"{path} is not the published file: its checksum differs. Fetch it again.")
        return path
    import pooch

    return Path(
        pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=Path(name).name, path=pooch.os_cache("probseq"))
    )

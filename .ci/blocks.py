"""Run the blocks of a page in order: `blocks.py PAGE` those of Python, `blocks.py PAGE sh` its commands."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

WORDS = [a + b + c for a in ("c", "st", "th", "str") for b in "aeiou" for c in ("lored", "ght", "ng", "ne")]


def run_python(page: Path, blocks: list[str]) -> None:
    """In one namespace."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)


def run_commands(blocks: list[str]) -> None:
    """Those that call probseq, in a new folder with a small file of words."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "words.txt").write_text("\n".join([*WORDS, "fine"]) + "\n", encoding="utf-8")
        script = "".join(block for block in blocks if "probseq" in block)
        subprocess.run(["bash", "-euc", script], cwd=folder, env={**os.environ, "PATH": programs}, check=True)


if __name__ == "__main__":
    page, language = Path(sys.argv[1]), (sys.argv[2] if len(sys.argv) > 2 else "python")
    found = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    if language == "sh":
        run_commands(found)
    else:
        run_python(page, found)

"""Does memory stay under a cap while data of ten times its size are read?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments import report
from probseq.datasets import Parquet, write_parquet

SIZE, LONGEST = 16, 100
WAYS = ("read", "fit", "score", "fit in memory")


@dataclass(frozen=True)
class Scale:
    """How much data, in bytes, and how they are gone through."""

    cap: int
    times: int
    row_group_size: int
    ways: tuple[str, ...]


FULL = Scale(cap=64 * 2**20, times=10, row_group_size=256, ways=WAYS)
SMOKE = Scale(cap=2**20, times=2, row_group_size=64, ways=("fit", "score"))


def pieces(scale: Scale, seed: int) -> Iterator[ps.Sequences]:
    """Vectors of 16 numbers of 8 bytes, lengths uniform in 1…100, until there are `times` as many bytes as the cap."""
    generator, written = torch.Generator().manual_seed(seed), 0
    while written < scale.cap * scale.times:
        lengths = torch.randint(1, LONGEST + 1, (scale.row_group_size,), generator=generator)
        shape = scale.row_group_size, LONGEST, SIZE
        yield ps.Sequences(torch.randn(shape, generator=generator, dtype=torch.float64), lengths)
        written += 8 * SIZE * int(lengths.sum())


def new_model(seed: int) -> ps.SequenceModel:
    """A small one: memory is the question."""
    torch.manual_seed(seed)
    return ps.SequenceModel(ps.Reals(SIZE), ps.Memoryless(8), ps.Gaussian(), ps.BernoulliStop())


def peak() -> int:
    """The most resident memory that this process has had, in bytes, as Linux counts it."""
    # Not getrusage: what it gives begins with that of the process which started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def run(way: str, path: Path, folder: Path, seed: int) -> None:
    """One way through the data, once."""
    model, data = new_model(seed), Parquet(path, window=4)
    if way == "read":
        for block in data.blocks:
            data.read([block]).decode()
    elif way == "score":
        ps.score_files(model, data, folder, batch_tokens=4096)
    else:
        train: Any = data
        if way == "fit in memory":
            train = data.read(data.blocks).decode()[0]
        ps.fit(model, train, max_epochs=1, batch_tokens=4096, seed=seed, accelerator="cpu", progress=False)


def measure(way: str, folder: Path, seed: int) -> None:
    """In this process: how far the peak rises above that of the same work on one row group; print it as JSON."""
    torch.set_num_threads(1)
    run(way, folder / "one.parquet", folder / f"{way}-one", seed)
    before, begin = peak(), time.perf_counter()
    run(way, folder / "all.parquet", folder / f"{way}-all", seed)
    print(json.dumps({"before": before, "growth": peak() - before, "seconds": time.perf_counter() - begin}))


def main(smoke: bool, seed: int, way: str | None, folder: str | None) -> None:
    """Write the data, and measure each way in a new process."""
    if way is not None and folder is not None:
        measure(way, Path(folder), seed)
        return
    scale, found = SMOKE if smoke else FULL, {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_parquet(place / "all.parquet", pieces(scale, seed), scale.row_group_size)
        write_parquet(place / "one.parquet", next(pieces(scale, seed)), scale.row_group_size)
        for way in scale.ways:
            command = [sys.executable, __file__, f"--seed={seed}", f"--way={way}", f"--folder={temporary}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[way] = json.loads(done.stdout.splitlines()[-1])
        data = Parquet(place / "all.parquet")
        sizes = {
            "rows": len(data), "row_groups": len(data.blocks), "bytes_on_disk": (place / "all.parquet").stat().st_size
        }  # fmt: skip
    show(scale, found)
    content = {"question": __doc__, "seed": seed, "scale": vars(scale), "data": sizes, "ways": found}
    report.write(content, report.destination(__file__, smoke))


def show(scale: Scale, found: dict[str, Any]) -> None:
    """The table of the README."""
    rows = [(way, got["growth"] / 2**20, got["growth"] / scale.cap, got["seconds"]) for way, got in found.items()]
    print(f"cap {scale.cap / 2**20:.0f} MiB, data {scale.times} times as large in memory\n")
    print(report.table(("way", "peak growth, MiB", "of the cap", "seconds"), rows))


if __name__ == "__main__":
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small scale, for a check that it runs")
    parser.add_argument("--seed", type=int, default=0, help="of the data, weights and order")
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process, on the data in --folder")
    parser.add_argument("--folder", type=str, help="where one.parquet and all.parquet are")
    arguments = parser.parse_args()
    main(arguments.smoke, arguments.seed, arguments.way, arguments.folder)

"""What do the networks of Deep Learning 10.1-10.3 do, each beside what it is compared with in the chapter?"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jsonargparse
import torch

from experiments.chapter.common import shrink
from experiments.report import destination, write

SECTIONS = ("signals", "parallel", "tasks", "tables", "stationarity", "endings", "contexts")
"""The modules of this folder that have `study(smoke, seed)` and `draw(results, folder)`, in the chapter's order."""


def main() -> None:
    """Each section in turn: a table, a picture, an entry of results.json."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, into a temporary folder")
    parser.add_argument("--only", choices=SECTIONS, help="one section anew; the others stay as results.json has them")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the weights")
    options = parser.parse_args()
    # So small a network gains nothing from a second thread, and the race between networks must be even.
    torch.set_num_threads(1)
    folder = destination(__file__, options.smoke)
    results: dict[str, Any] = {"question": __doc__}
    if options.only and (folder / "results.json").is_file():
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for name in (options.only,) if options.only else SECTIONS:
        section = import_module(f"experiments.chapter.{name}")
        wall, own = time.perf_counter(), sum(os.times()[:4])
        found = section.study(options.smoke, options.seed)
        spent = {"seconds": time.perf_counter() - wall, "processor_seconds": sum(os.times()[:4]) - own}
        results[name] = {**found, "seed": options.seed, **spent}
        print(f"\n({name}: {spent['seconds']:.0f} s, {spent['processor_seconds']:.0f} s of the processor)", flush=True)
        section.draw(found, folder)
    shrink(folder)
    write(results, folder)
    print(f"\nFigures and results.json are in {folder}.")


if __name__ == "__main__":
    main()

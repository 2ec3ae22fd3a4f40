"""What do the networks of Deep Learning 10.1-10.3 do, each beside what it is compared with in the chapter?"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jsonargparse
import torch

from experiments.report import destination, write

SECTIONS = ("parallel", "tasks", "tables", "stationarity", "endings", "contexts")
"""The modules of this folder that have `study(smoke, seed)` and `draw(results, folder)`, in the chapter's order."""


def main() -> None:
    """Each section in turn: a table, a picture, an entry of results.json."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, into a temporary folder")
    parser.add_argument(
        "--only", choices=SECTIONS, help="one section; results.json keeps to it, so not beside the script"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the data and the weights")
    options = parser.parse_args()
    # So small a network gains nothing from a second thread, and the race between networks must be even.
    torch.set_num_threads(1)
    folder = destination(__file__, options.smoke or options.only is not None)
    results: dict[str, Any] = {"question": __doc__, "seed": options.seed}
    for name in (options.only,) if options.only else SECTIONS:
        section, begin = import_module(f"experiments.chapter.{name}"), time.perf_counter()
        found = section.study(options.smoke, options.seed)
        results[name] = {**found, "seconds": round(time.perf_counter() - begin, 1)}
        print(f"\n({name}: {results[name]['seconds']:.0f} s)", flush=True)
        section.draw(found, folder)
    write(results, folder)
    print(f"\nFigures and results.json are in {folder}.")


if __name__ == "__main__":
    main()

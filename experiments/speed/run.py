"""How fast is probseq beside what one writes by hand, other libraries, and the limits of the machine?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments import report
from experiments.speed import figure, machine
from experiments.speed.epochs import epochs, throughput
from experiments.speed.peers import peers
from experiments.speed.recurrences import gru, min_gru
from experiments.speed.rows import NO_GPU, OURS, Row, Run
from experiments.speed.sampling import sampling
from experiments.speed.scoring import scoring, teacher_forcing, training_step
from experiments.speed.vocabulary import vocabulary


def importing(run: Run) -> Iterator[Row]:
    """Seconds of `import probseq` in a fresh interpreter."""
    code = "import time; begin = time.perf_counter(); import probseq; print(time.perf_counter() - begin)"
    start = partial(subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds = [float(start().stdout) for _ in range(1 if run.smoke else 5)]
    yield Row.of("import", "import probseq", "cpu", "seconds", seconds, at_most=3, times={OURS: seconds})


GROUPS: dict[str, tuple[Callable[[Run], Iterator[Row]], ...]] = {
    "scoring": (scoring,),
    "limit": (teacher_forcing,),
    "pyro": (training_step,),
    "recurrences": (gru, min_gru),
    "epochs": (epochs, throughput),
    "sampling": (sampling,),
    "vocabulary": (vocabulary,),
    "peers": (peers,),
    "import": (importing,),
}


def cells(row: Row) -> tuple[str | float, ...]:
    """A line of the table."""
    shown = ["" if x is None else x for x in (row.value, row.least, row.greatest)]
    share = "" if row.share is None else row.share
    met = "" if row.met is None else "yes" if row.met else "no"
    return (row.measure, row.device, row.unit, *shown, row.target, met, share, row.note)


def main(smoke: bool, seed: int, only: list[str] | None) -> None:
    """Measure; print each row when it is there; write results.json, and the figure of the docs if all was measured."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    run = Run(smoke, seed, {device: machine.measure(device, smoke) for device in devices})
    rows: list[Row] = []
    for row in chain.from_iterable(kind(run) for name in only or GROUPS for kind in GROUPS[name]):
        value = row.note if row.value is None else f"{row.value:.3f} {row.unit} ({row.target or 'no target'})"
        print(f"{row.group}: {row.measure}, {row.device}: {value}", flush=True)
        rows.append(row)
    head = ("measure", "device", "unit", "median", "least", "greatest", "target", "met", "share of limit", "note")
    print(f"\n{report.table(head, [cells(row) for row in rows])}")
    if smoke:
        print("\nA smoke run: at this scale fixed costs are all there is, and the ratios mean nothing.")
    results = {
        "question": __doc__, "seed": seed, "limits": {name: asdict(each) for name, each in run.limits.items()},
        "gpu": torch.cuda.get_device_name() if len(devices) > 1 else NO_GPU, "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    folder = report.destination(__file__, smoke or only is not None)
    report.write(results, folder)
    figure.ratios(rows, figure.PICTURES / "speed.png" if folder == Path(__file__).parent else folder / "speed.png")
    print(f"\nin {folder}")


if __name__ == "__main__":
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small scale, for a check that it runs")
    parser.add_argument("--seed", type=int, default=0, help="of weights, data order and draws")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), help="groups of rows, into a temporary folder")
    arguments = parser.parse_args()
    main(arguments.smoke, arguments.seed, arguments.only)

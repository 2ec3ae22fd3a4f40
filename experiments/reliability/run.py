"""Is anything lost when a run is killed, when it goes on for long, and when memory ends?"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import jsonargparse

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.reliability import kill, memory, soak
from experiments.report import destination, write


def main() -> None:
    """Kill, soak, and report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, into a temporary folder")
    parser.add_argument("--trials", type=int, default=50, help="runs that are killed, of each kind")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the soak")
    options = parser.parse_args()
    begin, folder = time.perf_counter(), destination(__file__, options.smoke)
    trials, minutes = (1, 0.2) if options.smoke else (options.trials, options.minutes)
    with tempfile.TemporaryDirectory() as place:
        # Before anything starts threads, which a child of a fork does not have.
        killed = kill.study(Path(place), trials, 2 if options.smoke else 6, 200 if options.smoke else 1500)
    growth, limited = soak.study(minutes), memory.study()
    met = {
        "killed runs": all(each["equal"] == each["runs"] for each in killed.values()),
        "flat memory": growth["mib_per_hour"]["low"] <= 0 or growth["mib_per_hour"]["value"] < 5,
    }  # fmt: skip
    content = {
        "question": __doc__, "killed": killed, "soak": growth, "memory": limited, "met": met,
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder)
    print(f"soak: {growth['mib_per_hour']} MiB an hour over {growth['turns']} turns; a limited GPU: {limited}")
    print(f"targets met: {met}, {content['seconds']:.0f} s, in {folder}")


if __name__ == "__main__":
    main()

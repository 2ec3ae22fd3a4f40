"""Do the tests notice when the heart of the library is changed a little?"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.mutation.mutants import Mutant, mutants, swap
from experiments.report import destination, table, write
from probseq import testing
from tests.parts import TABLE, build

ROOT = Path(__file__).resolve().parents[2]
TARGET = 0.9
LIMIT = 120
"""Seconds after which a mutant counts as killed: it hangs."""

FILES = {
    "probseq.sequences": ["test_sequences", "test_core", "test_errors"],
    "probseq.nextstep": ["test_core", "test_grid"],
    "probseq.stops": ["test_stops", "test_core", "test_lengths", "test_errors"],
    "probseq.inference.score": ["test_score", "test_core", "test_errors"],
}
"""The tests of each module, the quickest first; after them come the laws."""

STOPS = ("EndSymbol", "LengthStop", "BernoulliStop", "FixedLength", "PlannedLength", "AlignedLength", "Waiting")


def rows() -> list[str]:
    """An assembly of the laws' table with every stop law."""
    return [next(name for name in TABLE if stop in name) for stop in STOPS]


def obey() -> None:
    """The laws of some assemblies.

    Raises:
        AssertionError, or whatever a broken program raises.
    """
    for name in rows():
        for check in (testing.check_split, testing.check_select, testing.check_stop_pair, testing.check_batch_invariant,
                      testing.check_fused, testing.check_gradients):  # fmt: skip
            check(*build(TABLE[name], batch=5))
        model, context = build(TABLE[name], batch=1)
        if getattr(model.element, "cardinality", None) is not None:
            testing.check_normalised(model, 4, context)
        testing.check_unfolded(model, 3, context)


def survives(module: str, mutant: Mutant | None) -> bool:
    """Whether all tests pass, in a process of its own; None is the program as it is."""
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            torch.set_num_threads(1)
            if mutant is not None:
                swap(importlib.import_module(module), mutant)
            files = [f"{ROOT}/tests/{name}.py" for name in FILES[module]]
            code = int(pytest.main(["-q", "-x", "--noconftest", "-p", "no:cacheprovider", *files]))
            if not code:
                obey()
        os._exit(min(code, 1))
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def study(module: str, few: int | None, workers: int) -> dict[str, Any]:
    """Every mutant of a module, or a few."""
    source = Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")
    every = mutants(source)
    if few is not None:
        every = random.Random(0).sample(every, min(few, len(every)))

    def judge(mutant: Mutant) -> bool:
        return survives(module, mutant)

    with ThreadPoolExecutor(workers) as pool:
        alive = list(pool.map(judge, every))
    left = [str(mutant) for mutant, survived in zip(every, alive, strict=True) if survived]
    return {"mutants": len(every), "killed": len(every) - len(left), "survivors": left}


def main() -> None:
    """Mutate, test, count."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two mutants of each module, into a temporary folder")
    parser.add_argument("--workers", type=int, default=2, help="tests that run at once")
    options = parser.parse_args()
    begin, folder = time.perf_counter(), destination(__file__, options.smoke)
    for name in {name for names in FILES.values() for name in names}:
        importlib.import_module(f"tests.{name}")
    results = {}
    for module in FILES:
        if not survives(module, None):
            raise RuntimeError(f"the tests of {module} fail as it is.")
        results[module] = study(module, 2 if options.smoke else None, options.workers)
        print(f"{module}: {results[module]['killed']} of {results[module]['mutants']} killed", flush=True)
    total, killed = (sum(each[key] for each in results.values()) for key in ("mutants", "killed"))
    content = {
        "question": __doc__, "target": TARGET, "share": killed / total, "targets_met": killed / total >= TARGET,
        "modules": results, "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip
    write(content, folder)
    print(
        table(["module", "mutants", "killed"], [[name, own["mutants"], own["killed"]] for name, own in results.items()])
    )
    for name, own in results.items():
        print("\n".join(f"survived in {name}: {each}" for each in own["survivors"]))
    print(f"{killed} of {total} killed, {killed / total:.1%}; target met: {content['targets_met']}, in {folder}")


if __name__ == "__main__":
    main()

"""Lightning without its remarks, and without what it does for profilers that are not there."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from lightning.pytorch.profilers import PassThroughProfiler


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's remarks on hardware and loaders, which do not apply to these batches."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        logger.setLevel(level)


class Unprofiled(PassThroughProfiler):
    """No profiler: Lightning's own makes a generator for each of the fifty hooks of a step."""

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return _NOTHING


_NOTHING = contextlib.nullcontext()

"""What fits an annotation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from probseq.arguments import fits


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [1, np.int64(2)], [True, 1.0, "1", None]),
        (float, [1, 0.5, np.float32(1)], [True, "1", 1j]),
        (tuple[int, str], [(1, "a"), [1, "a"]], [(1, 2), ("a", 1), (1,), (1, "a", "b"), 1]),
        (tuple[int, ...], [(), (1, 2)], [(1, "a"), "a"]),
        (Sequence[str], [["a"], ()], ["a", ["a", 1]]),
        (Mapping[str, int], [{"a": 1}], [[("a", 1)]]),
        (str | Path | None, ["a", Path("a"), None], [1, b"a"]),
        (Literal["a", 1], ["a", "b", 1], [2, torch.tensor(1)]),
        (torch.dtype | None, [torch.float32, None], ["float32", float]),
        (Any, [None, 1, "a"], []),
    ],
)
def test_values_fit_what_is_annotated(hint, good, bad):
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []

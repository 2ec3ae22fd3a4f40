"""A short night: the public face with whatever arguments, saved models and data files with whatever bytes."""

import warnings

import hypothesis
import pytest
from hypothesis import HealthCheck, settings

from experiments.fuzz import files, folders
from experiments.fuzz.face import arguments, call, targets
from tests.typecheck import unchecked

short = settings(
    max_examples=5, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip


@pytest.mark.parametrize("name", targets())
def test_bad_arguments_are_refused_and_good_ones_answered(name):
    function = targets()[name]

    @short
    @hypothesis.given(arguments(function))
    def tried(given):
        with unchecked(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert call(function, given) is None

    tried()


@pytest.mark.parametrize("seed", range(100))
def test_a_spoiled_folder_is_refused_or_read_and_never_executed(seed, tmp_path):
    assert folders.spoiled(folders.spoil(tmp_path, seed)) is None


@pytest.mark.parametrize("seed", range(0, 400, 40))
def test_spoiled_data_are_refused_or_read(seed, tmp_path):
    for each in range(seed, seed + 40):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert files.spoiled(files.spoil(tmp_path, each)) is None

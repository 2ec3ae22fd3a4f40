"""The public face changes only where somebody meant it to, and what is installed is what is documented."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import probseq as ps
from tests.public import LIST, describe

ROOT = Path(__file__).parents[1]


def test_the_public_face_is_the_one_that_is_listed():
    # In a process of its own: tests have put checkers around every function.
    found = subprocess.run([sys.executable, "-c", "import tests.public as p; print(p.describe(), end='')"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert found == LIST.read_text(encoding="utf-8"), "renew the list by `python -m tests.public`, and CHANGELOG.md"


def test_all_names_are_there_and_no_more():
    assert len(set(ps.__all__)) == len(ps.__all__)
    assert all(hasattr(ps, name) for name in ps.__all__)
    assert "SequenceModel" in describe()


def test_the_version_is_semantic_and_has_its_place_in_the_changelog():
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", ps.__version__)
    assert ps.__version__ == importlib.metadata.version("probseq")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{ps.__version__}]" in changelog


def test_a_program_that_only_imports_probseq_loads_nothing_heavy():
    heavy = {"lightning", "pandas", "matplotlib", "pyarrow", "sklearn", "scoringrules", "zuko", "jsonargparse"}
    code = f"import sys, probseq; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_types_are_shipped():
    assert (Path(ps.__file__).parent / "py.typed").exists()

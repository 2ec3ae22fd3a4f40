"""Annotations are checked in tests only."""

import pkgutil
from importlib.util import find_spec

import torch
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401

INNER = {"probseq.tree", "probseq.part"}
"""What is called most and says least of shapes: left out, the laws take a quarter less time."""

torch.set_num_threads(1)
places = find_spec("probseq").submodule_search_locations
modules = {module.name for module in pkgutil.iter_modules(places, "probseq.")} - INNER
install_import_hook(sorted(modules), "tests.typecheck.checker").__enter__()

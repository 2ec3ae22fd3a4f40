"""Annotations are checked in tests only."""

import torch
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401

torch.set_num_threads(1)
install_import_hook("probseq", "tests.typecheck.checker").__enter__()

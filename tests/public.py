"""The public face as lines of text: every public name, with its signature.

`python -m tests.public` writes them to tests/public.txt. The change of that file is what users will notice.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

LIST = Path(__file__).with_name("public.txt")
MODULES = ("probseq", "probseq.recipes", "probseq.datasets", "probseq.graph", "probseq.oracles", "probseq.testing")


def public_names(module: Any) -> list[str]:
    """What `__all__` lists, or else the functions and classes that the module defines itself."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(name for name in own if not name.startswith("_"))


def signature(value: Any) -> str:
    """The parameters with their kinds and defaults, without annotations, which jaxtyping rewrites."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    text = str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def members(value: type) -> list[str]:
    """The public methods and properties of a class, inherited ones of this package included."""
    found = []
    for name in sorted(dir(value)):
        member = inspect.getattr_static(value, name)
        owner = next((base for base in value.__mro__ if name in vars(base)), None)
        if name.startswith("_") or owner is None or not owner.__module__.startswith("probseq"):
            continue
        inner = member.__func__ if isinstance(member, staticmethod | classmethod) else member
        if inspect.isfunction(inner):
            found.append(f"  .{name}{signature(inner)}")
        elif isinstance(member, property) or hasattr(member, "__get__"):
            found.append(f"  .{name}")
    return found


def describe() -> str:
    """The whole list."""
    lines = []
    for path in MODULES:
        module = importlib.import_module(path)
        for name in public_names(module):
            value = getattr(module, name)
            if inspect.ismodule(value):
                lines.append(f"{path}.{name}")
            else:
                lines.append(f"{path}.{name}{signature(value)}")
                lines += members(value) if inspect.isclass(value) else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    LIST.write_text(describe(), encoding="utf-8")

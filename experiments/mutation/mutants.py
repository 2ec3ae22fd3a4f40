"""Small changes to a program, each of which ought to be noticed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

COMPARED: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip
RENAMED = {
    "any": "all", "all": "any", "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum",
    "zeros": "ones", "new_zeros": "new_ones", "sum": "cumsum", "logsumexp": "amax",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: in which function, in which line, and what it is."""

    function: str
    line: int
    change: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.function}, line {self.line}: {self.change}"


def mutants(source: str) -> list[Mutant]:
    """Every change of one operator, constant, condition, name or statement in the functions of a module.

    Messages of errors, annotations and documentation are left as they are.
    """
    tree = ast.parse(source)
    found = []
    for name, function in _functions(tree):
        for path, node in _nodes(function):
            for change, new in _changes(node):
                other = copy.deepcopy(tree)
                body = next(each for own, each in _functions(other) if own == name)
                _replace(body, path, new)
                found.append(Mutant(name, getattr(node, "lineno", 0), change, ast.fix_missing_locations(other)))
    return found


def swap(module: Any, mutant: Mutant) -> None:
    """Give a function of a module that is loaded the code of the mutant."""
    codes = dict(_codes(compile(mutant.tree, module.__file__, "exec", dont_inherit=True)))
    for function in _live(module):
        if function.__qualname__ == mutant.function:
            function.__code__ = codes[mutant.function]
            return
    raise LookupError(f"{module.__name__} has no function {mutant.function}.")


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


Path = tuple[tuple[str, int | None], ...]


def _nodes(function: Any) -> Iterator[tuple[Path, ast.AST]]:
    """Everything in the body that is computed, with the way there."""
    for i, statement in enumerate(function.body):
        if i == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        yield from _walk(statement, (("body", i),))


def _walk(node: ast.AST, path: Path) -> Iterator[tuple[Path, ast.AST]]:
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert):
        return
    yield path, node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        if isinstance(value, ast.AST):
            yield from _walk(value, (*path, (name, None)))
        elif isinstance(value, list):
            for i, each in enumerate(value):
                if isinstance(each, ast.AST):
                    yield from _walk(each, (*path, (name, i)))


def _replace(root: Any, path: Path, new: ast.AST) -> None:
    for name, i in path[:-1]:
        root = getattr(root, name) if i is None else getattr(root, name)[i]
    name, i = path[-1]
    if i is None:
        setattr(root, name, new)
    else:
        getattr(root, name)[i] = new


def _changes(node: Any) -> Iterator[tuple[str, ast.AST]]:
    """What a node may become."""

    def changed(**fields: Any) -> Any:
        new = copy.deepcopy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        return new

    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        other = COMPARED[type(node.ops[0])]()
        yield f"{type(node.ops[0]).__name__} → {type(other).__name__}", changed(ops=[other, *node.ops[1:]])
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        other = COMPUTED[type(node.op)]()
        yield f"{type(node.op).__name__} → {type(other).__name__}", changed(op=other)
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"{type(node.op).__name__} → {type(other).__name__}", changed(op=other)
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        yield f"without {type(node.op).__name__}", node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} → {not node.value}", changed(value=not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield f"{node.value} → {node.value + 1}", changed(value=node.value + 1)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "condition negated", changed(test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Attribute) and node.attr in RENAMED and isinstance(node.ctx, ast.Load):
        yield f"{node.attr} → {RENAMED[node.attr]}", changed(attr=RENAMED[node.attr])
    elif isinstance(node, ast.keyword) and node.arg in ("min", "max"):
        yield f"{node.arg} → {RENAMED[node.arg]}", changed(arg=RENAMED[node.arg])
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "statement dropped", ast.Pass()
    elif isinstance(node, ast.Call) and _called(node) == "where" and len(node.args) == 3:
        yield "where with its arms swapped", changed(args=[node.args[0], node.args[2], node.args[1]])


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _live(module: Any) -> Iterator[FunctionType]:
    """The functions of a module and of its classes, below what wraps them."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    for value in own:
        members = vars(value).values() if isinstance(value, type) else [value]
        for member in members:
            inner: Any = member
            for name in ("__func__", "fget", "func"):
                inner = getattr(inner, name, None) or inner
            while hasattr(inner, "__wrapped__"):
                inner = inner.__wrapped__
            if isinstance(inner, FunctionType):
                yield inner

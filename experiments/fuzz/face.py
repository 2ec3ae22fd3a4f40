"""Calls of the public face with whatever arguments, and whether what comes back may."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor

import probseq as ps
from probseq import datasets, events
from probseq.oracles import HMM, Automaton
from probseq.saving import SaveError

DOCUMENTED = (ValueError, TypeError, OSError, SaveError, ArithmeticError, ModuleNotFoundError, NotImplementedError)
"""What the documentation says that bad arguments raise; `OverflowError`, though an ArithmeticError, is not meant."""

NEVER = ("fit", "train_lookahead", "score_files", "save", "load", "save_lookahead", "load_lookahead", "exact")
"""What takes long or writes files: tried by `more` in a small way."""


def models() -> dict[str, Any]:
    """Small models of every kind of element."""
    torch.manual_seed(0)
    return {
        "symbols": ps.SequenceModel(ps.Tokens(3, symbols="abc"), ps.GRU(4), ps.Categorical(), ps.EndSymbol()),
        "labelled": ps.SequenceModel(ps.Tokens(3), ps.LSTM(4), ps.Categorical(), ps.BernoulliStop(), ps.Labels(2)),
        "reals": ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.FixedLength(3)),
        "planned": ps.SequenceModel(ps.Tokens(2), ps.Elman(4), ps.Categorical(), ps.PlannedLength(3)),
        "bits": ps.SequenceModel(ps.Bits(2), ps.MinGRU(4), ps.Bernoulli(), ps.LengthStop(4)),
        "tagger": ps.recipes.tagger(3, 2, size=4),
        "source": ps.recipes.seq2seq(3, 3, size=4),
        "oracle": ps.SequenceModel(ps.Reals(1), ps.GRU(4), ps.Poisson(), ps.BernoulliStop()),
    }


MODELS = models()

PROTOCOL = ("start", "extend", "emit", "unroll", "chain", "first", "read", "conform", "forward", "stop_bound", "leak")
"""What the library calls of a model, and says nothing of what a user may give it."""


@functools.cache
def objects() -> dict[str, Any]:
    """What calls give back, and what users hold, whose methods are called in their turn."""
    model, copied = MODELS["symbols"], MODELS["source"]
    y, x = ps.Sequences.of([[0, 2], [], [1]]), ps.Sequences.of([[0, 2, 1], [1]])
    return {
        "Sequences": y, "Sequences of vectors": ps.Sequences(torch.ones(2, 3, 2), [3, 1]),
        "Alphabet": datasets.Alphabet("abc"), "beam": ps.beam(copied, x, width=3, n_best=2, max_length=4),
        "SequenceDistribution": ps.SequenceDistribution(model, max_length=3), "Program": ps.Program(model, 3),
        "infill": ps.infill(model, "a_", particles=20, generator=0),
        "forecast": ps.forecast(MODELS["reals"], ps.Sequences.of([[[0.0, 1.0]]], ended=False), 2, num_samples=5),
        "Mixture": ps.Mixture([model, model]), "ProductOfSteps": ps.ProductOfSteps([model, model]),
        "Automaton": Automaton("ab", [{"a": (0.6, 1), "b": (0.4, 0)}, {}]),
        "HMM": HMM(torch.ones(2) / 2, torch.ones(2, 2) / 2, torch.ones(2, 3) / 3),
    }  # fmt: skip


def methods(owner: Any) -> dict[str, Callable[..., Any]]:
    """Those of its own class, and what a call of it does."""
    found = {
        name: getattr(owner, name)
        for cls in type(owner).__mro__ if cls.__module__.startswith("probseq")
        for name, each in vars(cls).items()
        if name[0] != "_" and inspect.isroutine(each) and name not in PROTOCOL
    }  # fmt: skip
    return {**found, "()": owner} if callable(owner) and not isinstance(owner, torch.nn.Module) else found


def tensors() -> st.SearchStrategy[Tensor]:
    """Of any small shape and dtype, with anything in them."""
    numbers = st.sampled_from([0.0, 1.0, -1.0, 2.5, math.nan, math.inf, -math.inf, 1e30, 7.0])
    shapes = st.lists(st.integers(0, 4), max_size=4)
    kinds = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64])

    def make(shape: list[int], value: float, kind: torch.dtype) -> Tensor:
        if not kind.is_floating_point and not math.isfinite(value):
            value = 3.0
        return (
            torch.full(shape, value, dtype=torch.float64).clamp(-100, 100).to(kind)
            if value != value or not (kind.is_floating_point)
            else torch.full(shape, value).to(kind)
        )

    return st.builds(make, shapes, numbers, kinds)


def sequences() -> st.SearchStrategy[ps.Sequences]:
    """Of tokens, vectors, or what fits no model; ragged, empty, open."""
    rows = st.lists(st.lists(st.integers(-1, 3), max_size=4), max_size=4)
    tokens = rows.map(lambda each: ps.Sequences.of(each, dtype=torch.int64))
    opened = rows.map(lambda each: ps.Sequences.of(each, ended=False, dtype=torch.int64))
    wide = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(
        lambda shape: ps.Sequences(torch.zeros(shape), [min(shape[1], i) for i in range(shape[0])])
    )
    broken = wide.map(lambda y: ps.Sequences(y.values * math.nan, y.lengths))
    return st.one_of(tokens, opened, wide, broken)


def anything() -> st.SearchStrategy[Any]:
    """A value of any kind that a user may have at hand."""
    plain = st.sampled_from([
        None, True, False, -2, -1, 0, 1, 2, 3, 5, 10**6 + 3, 0.0, 0.5, 1.0, -0.5, 2.5, math.nan, math.inf, 1e-9, "",
        "a", "ab_", "*", "b*_", "both", "input", "smc", (), (1, 2), (0,), [], [0, 1], [[0], [1, 2]], [None, 1],
        ["a", "b"], {}, {"a": 1}, b"x", 1j, object(), int, print, torch.float32, [math.nan], range(3), {1, 2},
    ])  # fmt: skip
    parts = st.sampled_from([
        ps.Tokens(3), ps.Reals(2), ps.Bits(2), ps.GRU(3), ps.LSTM(2), ps.Categorical(), ps.Gaussian(), ps.EndSymbol(),
        ps.FixedLength(2), ps.Vector(2), ps.Labels(2), ps.Unidirectional(ps.GRU(2)), ps.Memoryless(3), ps.Affine(),
        events.Length(2), events.At(1), events.Within([0], 2), ps.Gap(0, 2), ps.LengthPenalty(),
    ])  # fmt: skip
    return st.one_of(plain, tensors(), sequences(), parts, st.sampled_from(list(MODELS.values())))


FITTING: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(list(MODELS.values())), "p": st.sampled_from(list(MODELS.values())),
    "q": st.sampled_from(list(MODELS.values())), "y": sequences(), "num_samples": st.integers(0, 3),
    "max_length": st.sampled_from([None, 0, 1, 3]), "generator": st.sampled_from([None, 0, 1]),
    "event": st.sampled_from([events.Length(2), events.At(1), events.Within([0], 2), events.Count([0, 1], 2)]),
    "pattern": st.sampled_from(["a_b", "*", "", "_", [0, None], [None, ps.Gap(0, 1)], ["a", "_"]]),
    "particles": st.integers(1, 5), "budget": st.integers(1, 50), "width": st.integers(1, 4),
    "size": st.integers(1, 4), "steps": st.integers(0, 3), "data": sequences(), "sequences": sequences(),
}  # fmt: skip
"""Arguments that are mostly good, by name: a call all of whose arguments are bad ends at the first."""

LARGE = ("num_samples", "particles", "budget", "max_length", "length", "steps", "sweeps", "longest", "size", "layers",
         "num_paths", "resamples", "permutations", "draws", "epochs", "height", "width", "count", "candidates", "dim",
         "components", "max_steps", "classes", "symbols", "hidden", "horizon", "epoch")  # fmt: skip
"""Numbers of which a large one is a large order, not a mistake."""


def _small(value: Any) -> bool:
    """Not a number whose size alone would take long."""
    return isinstance(value, bool) or not isinstance(value, int | float) or value < 1000


def arguments(function: Callable[..., Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Some arguments of a function, of which most fit."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return st.just({})  # type: ignore[return-value]

    def value(name: str) -> st.SearchStrategy[Any]:
        found = anything()
        if name in LARGE:
            found = found.filter(_small)
        return st.one_of(FITTING[name], FITTING[name], found) if name in FITTING else found

    needed = {
        name: value(name) for name, each in parameters.items()
        if each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }  # fmt: skip
    others = {
        name: value(name) for name, each in parameters.items()
        if each.default is not each.empty and name not in ("capture", "callbacks", "progress", "validate")
    }  # fmt: skip
    return st.fixed_dictionaries(needed, optional=others)  # type: ignore[return-value]


def targets() -> dict[str, Callable[..., Any]]:
    """Every public callable, by name."""
    found = {name: getattr(ps, name) for name in ps.__all__ if callable(getattr(ps, name)) and name not in NEVER}
    recipes = {f"recipes.{name}": getattr(ps.recipes, name) for name in (
        "language_model", "tagger", "classifier", "seq2seq", "regressor", "forecaster", "image_model")}  # fmt: skip
    asked = {
        f"{kind}.{name}": getattr(model, name)
        for kind, model in MODELS.items()
        for name in ("log_prob", "log_prob_steps", "sample", "encode", "plan", "alignments")
    }
    held = {f"{kind}.{name}": each for kind, owner in objects().items() for name, each in methods(owner).items()}
    own = {f"events.{name}": getattr(events, name) for name in ("At", "Within", "Count", "Length", "Before", "FirstAt")}
    return {**found, **recipes, **asked, **held, **own}


def call(function: Callable[..., Any], given: dict[str, Any]) -> str | None:
    """What was wrong with a call, or None: it raised what nobody documented, or gave a NaN that nothing explains."""
    try:
        found = function(**given)
        if isinstance(found, ps.SequenceModel):
            y = found.sample(2, max_length=3) if found.parts.get("context") is None else None
            found = None if y is None else found.log_prob(y)
    except DOCUMENTED as error:
        return f"{type(error).__name__}: {error}" if isinstance(error, OverflowError) else None
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    # NaN marks the unused slots of a dense tensor.
    dense = getattr(function, "__name__", "") == "dense"
    if isinstance(found, Tensor) and found.is_floating_point() and _finite(given) and not dense:
        return "NaN" if bool(found.isnan().any()) else None
    return None


def _finite(given: Any) -> bool:
    """Whether nothing that was given is NaN, infinite or huge."""
    if isinstance(given, dict):
        return all(map(_finite, given.values()))
    if isinstance(given, list | tuple):
        return all(map(_finite, given))
    if isinstance(given, ps.Sequences):
        return _finite(given.values)
    if isinstance(given, Tensor):
        return not given.is_floating_point() or bool((given.isfinite() & (given.abs() < 1e6)).all())
    return not isinstance(given, float) or math.isfinite(given)

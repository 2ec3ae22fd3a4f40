"""Saved models with whatever bytes, and whether reading one may do what it does."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
import pickle
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as dump

import probseq as ps
from probseq.cli.run import Run

CANARY = "executed"
"""A file that only code in a saved folder would make."""


@dataclass(frozen=True)
class Folder:
    """A spoiled folder, and what was done to it."""

    path: Path
    how: str


@functools.cache
def whole() -> tuple[Path, ...]:
    """Saved models, and a look ahead beside one."""
    torch.manual_seed(0)
    made = [
        ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol()),
        ps.SequenceModel(
            ps.Reals(2), ps.Stack((ps.LSTM(3), ps.Elman(3))), ps.MixtureOf(ps.Gaussian(), 2), ps.LengthStop(3),
            ps.Vector(2, "input"), ps.Affine(1.0, 2.0),
        ),
        ps.recipes.seq2seq(3, 3, size=4),
    ]  # fmt: skip
    return tuple(ps.save(model, tempfile.mkdtemp(prefix="probseq-fuzz-")) for model in made)


def spoil(place: Path, seed: int) -> Folder:
    """A saved folder with one thing changed."""
    dice = random.Random(seed)
    folder = place / f"{seed}"
    shutil.copytree(dice.choice(whole()), folder)
    how = dice.choice((_bytes_of_config, _bytes_of_weights, _cut, _config, _config, _config, _weights, _pickle, _names))
    how(folder, dice, place / CANARY)
    return Folder(folder, how.__name__)


def spoiled(folder: Folder) -> str | None:
    """What was wrong with reading it, or None: it raised what nobody documented, or code ran."""
    canary = folder.path.parent / CANARY
    try:
        model = ps.load(folder.path)
        model.start(model.parts["context"] and None) if model.parts.get("context") is None else None
    except ps.SaveError:
        pass
    except ValueError as error:
        # A model that was read, and whose choices were changed into others that are legal.
        if "load" in str(error):
            return f"{folder.how}: {error!r}"
    except Exception as error:
        return f"{folder.how}: {type(error).__name__}: {error}"
    try:
        Run.open(folder.path)
    except (ValueError, OSError):
        pass
    except Exception as error:
        return f"{folder.how}: a run: {type(error).__name__}: {error}"
    return f"{folder.how}: code ran" if canary.exists() else None


def _config_of(folder: Path) -> tuple[Path, dict[str, Any]]:
    path = folder / "config.json"
    return path, json.loads(path.read_text())


def _flip(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 1, 3, 20))):
        data[dice.randrange(len(data))] = dice.randrange(256)
    path.write_bytes(bytes(data))


def _bytes_of_config(folder: Path, dice: random.Random, canary: Path) -> None:
    _flip(folder / "config.json", dice)


def _bytes_of_weights(folder: Path, dice: random.Random, canary: Path) -> None:
    """With a checksum that is right, so that what lies behind it is read."""
    path, config = _config_of(folder)
    weights = folder / config["weights"]
    _flip(weights, dice)
    _resign(path, config, weights)


def _resign(path: Path, config: dict[str, Any], weights: Path) -> None:
    config["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    path.write_text(json.dumps(config))


def _cut(folder: Path, dice: random.Random, canary: Path) -> None:
    path = dice.choice(sorted(folder.iterdir()))
    data = path.read_bytes()
    path.write_bytes(data[: dice.randrange(len(data))])


VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 7, 10**9, 10**18, 10**400, 0.5, -2.5, "", "a", "../x", "LSTM", "os.system", [], [[[]]],
    {}, [1, 2], {"part": "GRU", "size": 3}, {"part": "Tokens"}, {"distribution": "Normal"},
    {"distribution": "__import__"}, {"mapping": {"a": 1}}, {"mapping": 3}, {"part": None}, "float16", "input",
]  # fmt: skip


def _config(folder: Path, dice: random.Random, canary: Path) -> None:
    """One value of the config, at any depth, becomes another; or goes, or comes."""
    path, config = _config_of(folder)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            walk(node[key])

    walk(config)
    for _ in range(dice.choice((1, 1, 2, 4))):
        node, key = dice.choice(places)
        action = dice.random()
        if action < 0.7:
            node[key] = copy.deepcopy(dice.choice(VALUES))
        elif isinstance(node, dict):
            if action < 0.85:
                node.pop(key, None)
            else:
                node[dice.choice(("size", "part", "layers", "x", "__class__"))] = copy.deepcopy(dice.choice(VALUES))
    text = json.dumps(config)
    if dice.random() < 0.05:
        text = '{"a":' * 50_000 + text + "}" * 50_000
    path.write_text(text)


def _weights(folder: Path, dice: random.Random, canary: Path) -> None:
    """Other tensors: of other shapes, dtypes, names."""
    path, config = _config_of(folder)
    weights = folder / config["weights"]
    from safetensors.torch import load

    tensors = load(weights.read_bytes())
    name = dice.choice(sorted(tensors))
    kind = dice.randrange(5)
    if kind == 0:
        tensors[name] = torch.zeros(dice.randrange(5), 3)
    elif kind == 1:
        tensors[name] = tensors[name].to(dice.choice((torch.int8, torch.float16, torch.float64, torch.bool)))
    elif kind == 2:
        del tensors[name]
    elif kind == 3:
        tensors["more"] = torch.zeros(2)
    else:
        tensors[name] = torch.full_like(tensors[name], float("nan"))
    weights.write_bytes(dump(tensors))
    _resign(path, config, weights)


class _Code:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def _pickle(folder: Path, dice: random.Random, canary: Path) -> None:
    """Code in the place of weights."""
    path, config = _config_of(folder)
    weights = folder / config["weights"]
    if dice.random() < 0.5:
        weights.write_bytes(pickle.dumps(_Code(canary)))
    else:
        torch.save({"first": _Code(canary)}, weights)
    _resign(path, config, weights)


def _names(folder: Path, dice: random.Random, canary: Path) -> None:
    """Other files than one thinks."""
    path, config = _config_of(folder)
    config["weights"] = dice.choice(
        ("../../secret", "/etc/passwd", "config.json", ".", "", "a\0b", "x" * 5000, 3, None)
    )
    path.write_text(json.dumps(config))

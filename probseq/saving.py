"""A model on disk: a readable config and safetensors weights, never a pickle."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import torch
from safetensors import safe_open
from safetensors.torch import load as load_weights
from safetensors.torch import save as dump_weights
from torch.utils._python_dispatch import TorchDispatchMode

from probseq import contexts, elements, encoders, likelihoods, recurrences, scalings, stops
from probseq.arguments import as_device, checked
from probseq.disk import write_whole
from probseq.inference.infilling import LearnedLookahead
from probseq.model import SequenceModel
from probseq.part import Part

FORMAT = 1
CONFIG = "config.json"
LOOKAHEAD = "lookahead.safetensors"


class SaveError(Exception):
    """A folder that cannot be read as a saved model, or a model that cannot be written as one."""


@checked
def save(model: SequenceModel, folder: str | Path) -> Path:
    """Write `config.json` and `weights-….safetensors` to `folder`, whole or not at all.

    The weights go first, under a name made of their content; the config that names them replaces the old one in
    one step. A full disk or a crash before that step leaves the old save as it was.

    Raises:
        SaveError: a part's choice cannot be written as plain text, the folder cannot be written, or it holds a
            config.json that is not a saved model's.

    >>> import tempfile, probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> folder = ps.save(model, tempfile.mkdtemp())
    >>> y = ps.Sequences.of([[0, 2, 1]])
    >>> bool(ps.load(folder).log_prob(y) == model.log_prob(y))
    True
    """
    folder = Path(folder)
    parts = {name: _encode(part) for name, part in model.parts.items()}
    weights = dump_weights({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    digest = hashlib.sha256(weights).hexdigest()
    name = f"weights-{digest[:12]}.safetensors"
    config = {
        "format": FORMAT,
        "model": "SequenceModel",
        "parts": parts,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "weights": name,
        "sha256": digest,
    }
    before = _read_config(folder)["weights"] if (folder / CONFIG).exists() else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, weights)
        write_whole(folder / CONFIG, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise SaveError(f"{folder} was not saved: {error}. What stood there before is unchanged.") from error
    if before is not None and before != name:
        (folder / Path(before).name).unlink(missing_ok=True)
    return folder


@checked
def load(folder: str | Path, parts: Sequence[type[Part]] = (), device: Any = "cpu") -> SequenceModel:
    """Read a saved model. Nothing is unpickled, and no code is named by the folder.

    Args:
        folder: what `save` wrote.
        parts: classes of your own that the model is made of.
        device: where its weights go.

    Raises:
        SaveError: no such folder, a foreign or damaged one, or a part that is not known.
        ValueError: there is no such device.
    """
    folder, device = Path(folder), as_device(device)
    config = _read_config(folder)
    known = {cls.__name__: cls for cls in (*_built_in(), *parts)}
    weights, path = _read_weights(folder, config)
    try:
        _require_plain(config["parts"], weights)
        dtype = getattr(torch, config["dtype"])
        with _Bounded(weights):
            model = SequenceModel(**{name: _decode(part, known) for name, part in config["parts"].items()})
        _require_shapes(model, weights, path)
        model.to(dtype).load_state_dict(weights)
    except SaveError:
        raise
    except Exception as error:  # a damaged config can ask for anything
        raise SaveError(f"{folder / CONFIG} is damaged: {error!r}. Restore it, or save the model again.") from error
    return model.to(device)


def _read_weights(folder: Path, config: dict[str, Any]) -> tuple[dict[str, torch.Tensor], Path]:
    """The tensors by name, and the file that they are from, whose checksum is right."""
    try:
        path, expected = folder / Path(config["weights"]).name, config["sha256"]
    except (KeyError, TypeError) as error:
        raise SaveError(f"{folder / CONFIG} is damaged: it names no weights. Save the model again.") from error
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise SaveError(f"the weights of {folder} cannot be read: {error}.") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise SaveError(f"{path} is damaged: its checksum is not the one in {CONFIG}. Restore it, or save again.")
    try:
        return load_weights(data), path
    except Exception as error:  # its header can say anything
        raise SaveError(f"{path} holds no weights: {error}") from error


class _Bounded(TorchDispatchMode):
    """Inside, no tensor is made that is far larger than all the weights: a damaged config can ask for any size."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.most = 10 * sum(tensor.numel() for tensor in weights.values()) + 1_000_000

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _FACTORIES and args:
            sizes = args[0] if isinstance(args[0], list | tuple) else [arg for arg in args if isinstance(arg, int)]
            if math.prod(sizes) > self.most:
                raise SaveError(f"{CONFIG} asks for a tensor of {list(sizes)}, and the file of weights is far smaller.")
        return func(*args, **(kwargs or {}))


_FACTORIES = {
    "empty",
    "empty_strided",
    "zeros",
    "ones",
    "full",
    "rand",
    "randn",
    "randint",
    "arange",
    "eye",
    "linspace",
}


def _require_shapes(model: SequenceModel, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise SaveError unless the file has the tensors of the model, in their shapes."""
    asked = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in asked.keys() | found.keys() if asked.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise SaveError(
            f"{path} does not hold the weights of the model in {CONFIG}: {name} is {found.get(name)}, expected "
            f"{asked.get(name)}."
        )


def _require_plain(choices: Any, weights: Mapping[str, torch.Tensor], name: str = "") -> None:
    """Raise SaveError at a number of layers, or of what else is made one by one, that no file of weights could fill."""
    if isinstance(choices, Mapping):
        for key, value in choices.items():
            _require_plain(value, weights, str(key))
    elif isinstance(choices, list):
        for value in choices:
            _require_plain(value, weights, name)
    elif isinstance(choices, int) and name in ("layers", "components") and choices > 10 * len(weights) + 1000:
        raise SaveError(f"{CONFIG} asks for {choices} {name}, and there are {len(weights)} weights. It is damaged.")


def decode_parts(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of a model by name, from the form that they have in a saved config.json.

    Raises:
        ValueError: a part that is not known, or choices that it does not have.

    >>> decode_parts({"recurrence": {"part": "GRU", "size": 8}})
    {'recurrence': GRU(size=8)}
    """
    known = {cls.__name__: cls for cls in _built_in()}
    try:
        return {name: _decode(part, known) for name, part in parts.items()}
    except (SaveError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"these are no parts of a model: {error}. See the config.json of a saved model.") from error


@checked
def save_lookahead(lookahead: LearnedLookahead, folder: str | Path) -> Path:
    """Write `lookahead.safetensors` to `folder`, whole or not at all; the folder may be that of a saved model.

    Raises:
        SaveError: the folder cannot be written.
    """
    folder = Path(folder)
    sizes = {name: str(getattr(lookahead, name)) for name in ("features", "symbols", "size")}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in lookahead.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / LOOKAHEAD, dump_weights(weights, {"probseq": "LearnedLookahead", **sizes}))
    except OSError as error:
        raise SaveError(f"{folder / LOOKAHEAD} was not saved: {error}.") from error
    return folder


@checked
def load_lookahead(folder: str | Path, device: Any = "cpu") -> LearnedLookahead:
    """Read a saved look ahead.

    Raises:
        SaveError: none stands there, or it is foreign or damaged.
        ValueError: there is no such device.
    """
    path, device = Path(folder) / LOOKAHEAD, as_device(device)
    if not path.is_file():
        raise SaveError(f"{folder} holds no lookahead: it has no {LOOKAHEAD}.")
    try:
        with safe_open(path, "pt") as file:
            sizes = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            with _Bounded(weights):
                lookahead = LearnedLookahead(int(sizes["features"]), int(sizes["symbols"]), int(sizes["size"]))
            lookahead.load_state_dict(weights)
    except Exception as error:  # its header can say anything
        raise SaveError(f"{path} is no lookahead, or damaged: {error!r}. Train it again.") from error
    return lookahead.eval().requires_grad_(False).to(device)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SaveError(f"{folder} holds no saved model: it has no {CONFIG}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SaveError(f"{folder / CONFIG} cannot be read: {error}.") from error
    if not isinstance(config, dict) or config.get("model") != "SequenceModel":
        raise SaveError(f"{folder / CONFIG} is not the config of a SequenceModel. Was it saved by another program?")
    if config.get("format") != FORMAT:
        raise SaveError(f"{folder} has format {config.get('format')!r}; this version reads format {FORMAT}.")
    return config


def _built_in() -> list[type[Part]]:
    modules = (elements, recurrences, likelihoods, stops, contexts, encoders, scalings)
    found = (value for module in modules for value in vars(module).values())
    return [value for value in found if isinstance(value, type) and issubclass(value, Part)]


def _encode(value: Any) -> Any:
    """A choice of a part, as JSON."""
    if isinstance(value, Part):
        return {"part": type(value).__name__, **{name: _encode(choice) for name, choice in value.choices().items()}}
    if isinstance(value, type):
        if getattr(dist, value.__name__, None) is not value:
            raise SaveError(
                f"{value.__name__} is not in pyro.distributions. Write a likelihood part for it to save it."
            )
        return {"distribution": value.__name__}
    if isinstance(value, Mapping):
        return {"mapping": {str(key): _encode(choice) for key, choice in value.items()}}
    if isinstance(value, tuple | list):
        return [_encode(choice) for choice in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    raise SaveError(f"a part's choices must be plain values to be saved; got {type(value).__name__}.")


def _decode(value: Any, known: Mapping[str, type[Part]]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(choice, known) for choice in value)
    if not isinstance(value, dict):
        return value
    if "distribution" in value:
        return getattr(dist, value["distribution"])
    if "mapping" in value:
        return {key: _decode(choice, known) for key, choice in value["mapping"].items()}
    name = value["part"]
    if name not in known:
        raise SaveError(f"the model has a part {name}, which is not known here. Pass it: load(folder, parts=[{name}]).")
    return known[name](**{key: _decode(choice, known) for key, choice in value.items() if key != "part"})

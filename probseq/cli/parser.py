"""The words of the command line."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

Format = Literal["text", "csv", "tsv", "jsonl", "parquet"]
Shown = Literal["table", "jsonl", "csv", "parquet"]

COMMANDS = {
    "fit": "train a model on data of your own, or on a published set",
    "score": "log-probability of each row",
    "sample": "draw sequences",
    "infill": "complete sequences of which a part is missing",
    "query": "probabilities of what comes later",
    "compare": "nats of several models on the same data, with tests of the differences",
    "report": "one page of pictures of a trained model",
    "data": "list the published sets, describe or export data",
}

FIT: dict[str, tuple[Any, Any, str]] = {
    "max_epochs": (int, 20, "passes over the training data"),
    "batch_tokens": (int | None, 2048, "padded slots of a batch, at most"),
    "batch_size": (int | None, None, "sequences of a batch, at most"),
    "bucket": (bool, True, "put sequences of similar lengths together"),
    "accumulate": (int, 1, "batches for one step of the optimiser"),
    "learning_rate": (float, 2e-3, "of AdamW"),
    "weight_decay": (float, 0.0, "of AdamW"),
    "gradient_clip": (float | None, 1.0, "the greatest norm of the gradient"),
    "schedule": (Literal["constant", "cosine"], "constant", "of the learning rate"),
    "schedule_epochs": (int | None, None, "the horizon of the schedule; by default max_epochs"),
    "warmup_steps": (int, 0, "steps of linear rise"),
    "patience": (int | None, None, "epochs without a better validation score before training stops"),
    "average": (float | None, None, "decay of a moving average of the weights, say 0.999"),
    "max_time": (str | None, None, "as days:hours:minutes:seconds"),
    "accelerator": (str, "auto", "cpu, gpu, …, as Lightning has them"),
    "devices": (int | str | list[int], "auto", "how many, or which"),
    "num_nodes": (int, 1, "machines"),
    "strategy": (str, "auto", "ddp and others, as Lightning has them"),
    "precision": (str, "32-true", "as Lightning has them"),
}
"""The options of `probseq.fit`: type, default, help."""


def parse(arguments: Sequence[str]) -> Namespace:
    """What was asked.

    Raises:
        SystemExit: 2, with a message on stderr; 0 after help and the like.
    """
    # The others are only named: each takes time to set up. Completion needs them all.
    named = next((word for word in arguments if word in COMMANDS), None)
    whole = "_ARGCOMPLETE" in os.environ or any(word.startswith("--print_") for word in arguments)
    parser = ArgumentParser(prog="probseq", description="Recurrent networks as distributions over sequences.")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("probseq"))
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    commands = parser.add_subcommands(required=False)
    for name, what in COMMANDS.items():
        inner = ArgumentParser(description=f"{what[0].upper()}{what[1:]}.")
        if name == named or whole:
            inner.add_argument("--config", action=ActionConfigFile, help="a YAML file with options")
            _OPTIONS[name](inner)
        commands.add_subcommand(name, inner, help=what)
    return parser.parse_args(list(arguments))


def _fit(parser: ArgumentParser) -> None:
    parser.add_argument("data", type=str, help="a file (.txt, .csv, .tsv, .jsonl, .parquet), or the name of a set")
    parser.add_argument("--out", type=str, required=True, help="the folder of the run")
    parser.add_argument("--validation", type=str | None, default=None, help="a file; by default 5 %% of the rows")
    parser.add_argument("--test", type=str | None, default=None, help="a file; by default 5 %% of the rows")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    parser.add_argument("--seed", type=int, default=0, help="of first weights, batches and dropout")
    parser.add_argument("--progress", type=bool | None, default=None, help="a bar on stderr; by default on a terminal")
    _reading(parser)
    group = parser.add_argument_group("the model")
    group.add_argument("--model.size", type=int, default=128, help="units of the recurrent network")
    group.add_argument("--model.layers", type=int, default=1, help="layers of it")
    group.add_argument("--model.dropout", type=float, default=0.0, help="share that is dropped in training")
    group.add_argument("--model.parts", type=dict | None, default=None, help="parts by name, as in a saved config.json")
    group = parser.add_argument_group("training, as probseq.fit takes it")
    for name, (kind, default, text) in FIT.items():
        group.add_argument(f"--fit.{name}", type=kind, default=default, help=text)


def _reading(parser: ArgumentParser) -> None:
    """How rows are read."""
    group = parser.add_argument_group("reading")
    group.add_argument("--data_format", type=Format | None, default=None, help="by default what the file's name says")
    group.add_argument("--column", type=str | None, default=None, help="of the sequences; by default the only one")
    group.add_argument("--words", action="store_true", help="a symbol is a word between blanks, not a character")
    group.add_argument("--min_count", type=int, default=1, help="rarer symbols are read as one unknown one")
    group.add_argument("--labels", type=str | None, default=None, help="column of a category that y depends on")
    group.add_argument("--source", type=str | None, default=None, help="column of a text that y is a translation of")
    group.add_argument("--id", type=str | None, default=None, help="column that names the series of a long table")
    group.add_argument("--time", type=str | None, default=None, help="column of their times")
    group.add_argument("--values", type=list[str] | None, default=None, help="columns of their numbers")
    group.add_argument("--skip-bad", action="store_true", help="leave broken rows out, count them and list them")


def _asking(parser: ArgumentParser, seed: bool = True) -> None:
    """What every question to a run takes."""
    if seed:
        parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, …; auto: a GPU where there is one")
    _showing(parser)


def _showing(parser: ArgumentParser) -> None:
    parser.add_argument("--format", type=Shown | None, default=None, help="a table on a terminal, else jsonl")
    parser.add_argument("--output", type=str | None, default=None, help="a file, by its ending .jsonl, .csv, .parquet")


def _conditioning(parser: ArgumentParser) -> None:
    parser.add_argument("--condition", type=str | None, default=None, help="category, or text, that y depends on")


def _rereading(parser: ArgumentParser) -> None:
    """How other data are read, in the columns of the run."""
    parser.add_argument("--skip-bad", action="store_true", help="leave broken rows out, count them and list them")
    parser.add_argument("--data_format", type=Format | None, default=None, help="by default what the file's name says")


def _score(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="the folder that fit wrote")
    parser.add_argument(
        "data", type=str | None, nargs="?", default=None, help="a file, - for stdin; else its test part"
    )
    _rereading(parser)
    parser.add_argument("--batch_tokens", type=int, default=16384, help="padded slots of a batch")
    _asking(parser, seed=False)


def _sample(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="the folder that fit wrote")
    parser.add_argument("-n", "--number", type=int, default=10, help="how many")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1: sharper than the model's law")
    parser.add_argument("--top_p", type=float | None, default=None, help="draw from the likeliest that hold this share")
    parser.add_argument("--max_length", type=int | None, default=None, help="where sequences without an end are cut")
    _conditioning(parser)
    _asking(parser)


def _infill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="the folder that fit wrote")
    parser.add_argument("patterns", type=str, nargs="+", help="_ is one missing symbol, * any number; - reads stdin")
    parser.add_argument("--particles", type=int, default=1000, help="of the search for completions")
    parser.add_argument("--top", type=int, default=5, help="completions of each pattern that are shown")
    parser.add_argument("--max_length", type=int | None, default=None, help="the longest that a * can make a sequence")
    _conditioning(parser)
    _asking(parser)


def _query(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="the folder that fit wrote")
    parser.add_argument("prefix", type=str, nargs="?", default="", help="what is known so far")
    group = parser.add_argument_group("one question")
    group.add_argument(
        "--at", type=int | None, default=None, help="K: the law of the K-th symbol to come; by default 1"
    )
    group.add_argument(
        "--within", type=list | None, default=None, help="[A, N]: is one of the symbols A among the next N"
    )
    group.add_argument("--first", type=list | None, default=None, help="[A, N]: when the first of A comes")
    group.add_argument("--before", type=list | None, default=None, help="[A, B, N]: one of A, and none of B before it")
    group.add_argument("--count", type=list | None, default=None, help="[A, N]: how many of A are among the next N")
    group.add_argument("--length", type=int | None, default=None, help="N: how many symbols are to come, up to N")
    parser.add_argument("--budget", type=int, default=10_000, help="symbols that the model may read for the answer")
    _conditioning(parser)
    _asking(parser)


def _compare(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=str, nargs="+", help="the folders that fit wrote")
    parser.add_argument("--data", type=str | None, default=None, help="a file; by default the first run's test part")
    _rereading(parser)
    _asking(parser)


def _report(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="the folder that fit wrote")
    parser.add_argument("--data", type=str | None, default=None, help="a file; by default the run's test part")
    parser.add_argument("--baseline", type=str | None, default=None, help="the folder of another run, to compare with")
    parser.add_argument("--output", type=str | None, default=None, help="the page; by default report.html in the run")
    _rereading(parser)
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")


def _data(parser: ArgumentParser) -> None:
    parser.add_argument("name", type=str | None, nargs="?", default=None, help="a file or a set; without it, all sets")
    parser.add_argument("--export", action="store_true", help="write the rows, not what they are like")
    _reading(parser)
    _showing(parser)


_OPTIONS: dict[str, Callable[[ArgumentParser], None]] = {
    "fit": _fit, "score": _score, "sample": _sample, "infill": _infill, "query": _query, "compare": _compare,
    "report": _report, "data": _data,
}  # fmt: skip

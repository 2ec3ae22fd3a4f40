"""`probseq` on the command line: fit, score, sample, infill, query, compare, report, data.

Data go to stdout, messages and progress to stderr. Exit codes: 0, done; 1, the data, the model or the machine refused,
with one line that says why; 2, the command was not understood; 130, interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    Args:
        arguments: the words after `probseq`; None: those of the process.

    >>> main(["--version"]).__class__
    Traceback (most recent call last):
    SystemExit: 0
    """
    from probseq.cli.parser import parse

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(arguments)
    command = options.pop("subcommand")
    if not isinstance(command, str):
        parse(["--help"])
        return 2
    shown = options.pop("traceback")
    try:
        _run(command, options[command])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough. What is left in the buffer must not raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as interrupt:
        print(f"probseq {command}: interrupted. {interrupt}".rstrip(". "), file=sys.stderr)
        return 130
    except Exception as error:
        if shown or not _expected(error):
            raise
        print(f"probseq {command}: {error}", file=sys.stderr)
        return 1
    return 0


def _run(command: str, options: object) -> None:
    from probseq.cli import commands

    getattr(commands, command)(options)


def _expected(error: Exception) -> bool:
    """Whether the message of an error is meant for the user."""
    from probseq.saving import SaveError

    return isinstance(error, ValueError | TypeError | OSError | ArithmeticError | SaveError | ModuleNotFoundError)

"""What each command does."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

import probseq as ps
from probseq.cli.assembly import assemble
from probseq.cli.output import Answer, show
from probseq.cli.parser import FIT
from probseq.cli.questions import list_patterns, number_symbols, parse_event, parse_pattern
from probseq.cli.reader import Reader
from probseq.cli.rows import Bad, Row
from probseq.cli.run import DATA, Run
from probseq.cli.sources import SETS, Asked
from probseq.disk import write_whole
from probseq.saving import save

ROWS = 1024
"""Rows that are scored together."""


def fit(options: Namespace) -> None:
    """Train a model, and leave a run."""
    folder = Path(options.out)
    _clear(folder, options.resume, options.overwrite)
    torch.manual_seed(options.seed)
    bad = Bad(options.skip_bad)
    asked = _asked(options)
    parts = asked.parts(options.validation, options.test, bad)
    reader = _reader(options, asked, parts)
    data = {name: reader.read(rows, bad)[1] for name, rows in parts.items()}
    bad.close()
    count = {name: len(_y(part)) for name, part in data.items()}
    _say(f"{count['train']} sequences to train, {count['validation']} to validate, {count['test']} to test")
    if not count["train"]:
        raise ValueError(f"{options.data} leaves no rows to train on.")
    model = assemble(
        reader, _y(data["train"]), options.model.size, options.model.layers, options.model.dropout, options.model.parts
    )
    _say(f"{model.__class__.__name__}, {sum(p.numel() for p in model.parameters()):,} parameters")
    folder.mkdir(parents=True, exist_ok=True)
    Run(folder, reader, asked.absolute(), _absolute(options.validation), _absolute(options.test)).write()
    _write_config(folder, options)
    asked_of = {name: options.fit[name] for name in FIT}
    held_out = data["validation"] if count["validation"] else None
    resume = options.resume and (folder / "training" / "last.ckpt").exists()
    # Lightning's bar goes to stdout, which belongs to data.
    with contextlib.redirect_stdout(sys.stderr):
        result = ps.fit(
            model, data["train"], held_out, directory=folder / "training", resume=resume, seed=options.seed,
            progress=sys.stderr.isatty() if options.progress is None else options.progress, **asked_of,
        )  # fmt: skip
    write_whole(folder / "history.json", json.dumps(result.history).encode())
    save(model, folder / "model")
    _say(f"{result.nats:.4f} nats a decision after epoch {result.epoch}; the run is in {folder}")


def score(options: Namespace) -> None:
    """A row of answers for each row of data, in its order."""
    run, bad = Run.open(options.run, options.device), Bad(options.skip_bad)
    rows = run.asking(options.data, options.data_format, bad)
    show(_scored(run, rows, bad, options.batch_tokens), options.format, options.output)
    bad.close()


def sample(options: Namespace) -> None:
    """Draws, each with its log-probability under the model."""
    run = Run.open(options.run, options.device)
    x, model, seed = run.reader.condition(options.condition), run.model, options.seed
    if options.temperature == 1 and options.top_p is None:
        y = ps.sample(model, options.number, x, options.max_length, seed)
    else:
        found = ps.tempered(
            model, options.number, x, temperature=options.temperature, top_p=options.top_p,
            max_length=options.max_length, generator=seed,
        )  # fmt: skip
        y = found.sequences
    log_prob = _log_prob(model, y, x)
    texts = run.reader.decode(y.to("cpu"))
    answers = zip(texts, log_prob.tolist(), y.ended.tolist(), strict=True)
    rows = ({"sequence": text, "log_prob": nats, "ended": ended} for text, nats, ended in answers)
    show(rows, options.format, options.output)


def infill(options: Namespace) -> None:
    """The likeliest completions of each pattern."""
    run = Run.open(options.run, options.device)
    x = run.reader.condition(options.condition)

    def answers() -> Iterator[Answer]:
        for asked in list_patterns(options.patterns):
            found = ps.infill(
                run.model, parse_pattern(run.reader, asked), x, options.particles, max_length=options.max_length,
                generator=options.seed,
            )  # fmt: skip
            known = {"log_evidence": float(found.log_evidence[0]), "verdict": found.verdicts[0]}
            if not bool((found.log_weight > -torch.inf).any()):
                yield {"pattern": asked, "completion": None, "probability": 0.0, **known}
                continue
            y, probability = found.ranked(0, options.top)
            for text, share in zip(run.reader.decode(y.to("cpu")), probability.tolist(), strict=True):
                yield {"pattern": asked, "completion": text, "probability": share, **known}

    show(answers(), options.format, options.output)


def query(options: Namespace) -> None:
    """The probability of each outcome."""
    run = Run.open(options.run, options.device)
    asked, names = parse_event(run.reader, options)
    prefix = number_symbols(run.reader, options.prefix)
    found = ps.query(
        run.model, asked, run.reader.condition(options.condition), prefix=ps.Sequences.of([prefix], dtype=torch.int64),
        budget=options.budget, generator=options.seed,
    )  # fmt: skip
    low, high = found.interval()
    estimate, low, high = (each[0].reshape(-1).tolist() for each in (found.estimate, low, high))
    rows = [
        {"outcome": name, "probability": p, "low": least, "high": most, "exact": bool(found.exact[0])}
        for name, p, least, most in zip(names, estimate, low, high, strict=True)
    ]
    if options.length is None and options.count is None and options.first is None:
        rows.sort(key=lambda row: -row["probability"])
    show(rows, options.format, options.output)


def compare(options: Namespace) -> None:
    """Nats of several runs on the same rows, and tests of their differences."""
    runs, bad = [Run.open(folder, options.device) for folder in options.runs], Bad(options.skip_bad)
    names = [str(run.folder) for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(f"each run is named once; got {names}.")
    rows = list(runs[0].asking(options.data, options.data_format, bad))
    read = [run.reader.read(rows, bad) for run in runs]
    kept = [{(row.file, row.number) for row in own} for own, _ in read]
    shared = set.intersection(*kept)
    log_prob = {}
    for name, run, (own, data) in zip(names, runs, read, strict=True):
        index = [i for i, row in enumerate(own) if (row.file, row.number) in shared]
        log_prob[name] = _log_prob(run.model, *_selected(data, index))
    bad.close()
    found = ps.paired(log_prob, generator=options.seed)
    show(found.rows(), options.format, options.output)


def report(options: Namespace) -> None:
    """One page of pictures."""
    run = Run.open(options.run)
    bad = Bad(options.skip_bad)
    data = run.reader.read(run.asking(options.data, options.data_format, bad), bad)[1]
    bad.close()
    baselines = _baselines(run)
    if options.baseline is not None:
        baselines[Path(options.baseline).name] = Run.open(options.baseline).model
    from probseq import report as pages

    page = pages.page(
        run.model, data, history=run.history, title=run.folder.name, decode=run.reader.pieces,
        source=run.reader.source_pieces, baselines=baselines, generator=options.seed,
    )  # fmt: skip
    path = Path(options.output or run.folder / "report.html")
    write_whole(path, page.encode())
    print(path)


def _baselines(run: Run) -> dict[str, Any]:
    """N-grams of the training data, where y is of symbols alone."""
    from probseq.oracles import NGram

    if run.reader.y is None or run.reader.beside:
        return {}
    try:
        y = _y(run.data("train"))
    except (OSError, ValueError) as error:
        _say(f"without n-grams beside it, since the training data are not at hand: {error}")
        return {}
    symbols = len(run.reader.y.symbols)
    return {f"{order}-gram": NGram(order, symbols).fit(y) for order in (1, 2, 4)}


def data(options: Namespace) -> None:
    """What there is, what it is like, or all of it."""
    if options.name is None:
        rows: Iterable[Answer] = ({"name": name, "what": each.what} for name, each in SETS.items())
        show(rows, options.format, options.output)
        return
    bad = Bad(options.skip_bad)
    asked = _asked(options, options.name)
    parts = SETS[asked.data].parts() if asked.data in SETS else {"all": list(asked.rows(bad))}
    if options.export:
        shown = ({"part": part, "sequence": row.value, **row.beside} for part in parts for row in parts[part])
        show(shown, options.format, options.output)
    else:
        show(_described(options, asked, parts, bad), options.format, options.output)
    bad.close()


def _described(options: Namespace, asked: Asked, parts: dict[str, list[Row]], bad: Bad) -> Iterator[Answer]:
    reader = _reader(options, asked, parts)
    for part, rows in parts.items():
        y = _y(reader.read(rows, bad)[1])
        lengths = y.lengths.float()
        yield {
            "part": part, "sequences": len(y), "elements": int(y.lengths.sum()),
            "shortest": int(y.lengths.min()) if len(y) else 0, "mean length": float(lengths.mean()) if len(y) else 0.0,
            "longest": int(y.lengths.max()) if len(y) else 0,
            "symbols": len(reader.y.symbols) if reader.y else None, "numbers": reader.dim,
        }  # fmt: skip


def _asked(options: Namespace, name: str | None = None) -> Asked:
    given = name or options.data
    labels, source = options.labels, options.source
    if given in SETS:
        labels, source = SETS[given].labels, SETS[given].source
    values = tuple(options["values"]) if options["values"] else None
    return Asked(given, options.data_format, options.column, labels, source, options.id, options.time, values)


def _reader(options: Namespace, asked: Asked, parts: dict[str, list[Row]]) -> Reader:
    rows = [row for own in parts.values() for row in own]
    found = Reader.of(rows, asked.column, asked.labels, asked.source, options.words, options.min_count, asked.long)
    if not rows[0].file == "-" and found.y is not None and not found.y.symbols:
        raise ValueError(f"{asked.data} has no symbols: all of its sequences are empty.")
    return found


def _clear(folder: Path, resume: bool, overwrite: bool) -> None:
    """See to it that no run is overwritten by mistake."""
    if not (folder / DATA).exists():
        if resume:
            raise FileNotFoundError(f"{folder} holds no run to resume. Leave --resume out.")
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty, and no run. Choose another folder.")
    elif overwrite:
        shutil.rmtree(folder)
    elif not resume:
        raise ValueError(f"{folder} holds a run. Choose another folder, or say --resume or --overwrite.")


def _write_config(folder: Path, options: Namespace) -> None:
    """The options, so that `--config` fits the same model again."""
    import yaml

    content = options.clone()
    for name in ("config", "resume", "overwrite"):
        content.pop(name, None)
    text = yaml.safe_dump(content.as_dict(), sort_keys=False, allow_unicode=True)
    write_whole(folder / "config.yaml", text.encode())


def _scored(run: Run, rows: Iterable[Row], bad: Bad, tokens: int) -> Iterator[Answer]:
    stream = iter(rows)
    while some := list(itertools.islice(stream, ROWS)):
        kept, data = run.reader.read(some, bad)
        y, x = data if isinstance(data, tuple) else (data, None)
        for row, nats, length, ended in zip(
            kept, _log_prob(run.model, y, x, tokens).tolist(), y.lengths.tolist(), y.ended.tolist(), strict=True
        ):
            a_decision = nats / max(1, length + (ended and not run.model.stop.certain))
            yield {
                "row": row.number, "log_prob": nats, "length": length, "ended": ended, "nats_per_decision": -a_decision,
            }  # fmt: skip


@torch.no_grad()
def _log_prob(model: Any, y: ps.Sequences, x: Any = None, tokens: int = 16384) -> torch.Tensor:
    """log P of each sequence, in batches of similar lengths."""
    found = torch.zeros(len(y), dtype=torch.float64)
    order = y.lengths.argsort(stable=True)
    begin = 0
    while begin < len(y):
        end = begin + max(1, tokens // (int(y.lengths[order[begin:]].max()) + 1))
        index = order[begin:end]
        part, given = _selected((y, x), index)
        found[index] = model.log_prob(part, given).double().cpu()
        begin = end
    return found


def _selected(data: Any, index: Any) -> tuple[ps.Sequences, Any]:
    """Some rows of y, and of x where there are as many; one x for all is repeated."""
    y, x = data if isinstance(data, tuple) else (data, None)
    index = torch.as_tensor(index, dtype=torch.int64)
    part = y.select(index).trim()
    if x is None:
        return part, None
    rows = index if len(x) == len(y) else torch.zeros_like(index)
    return part, x.select(rows) if isinstance(x, ps.Sequences) else x[rows]


def _y(data: Any) -> ps.Sequences:
    return data[0] if isinstance(data, tuple) else data


def _absolute(file: str | None) -> str | None:
    return None if file is None else str(Path(file).resolve())


def _say(text: str) -> None:
    print(text, file=sys.stderr)

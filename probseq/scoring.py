"""log P of every sequence in many files, by many processes, and on from where it was cut off."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.multiprocessing
from torch import Tensor

from probseq.arguments import checked
from probseq.bucketing import arrange, cut
from probseq.datasets import Block, Parquet
from probseq.disk import write_whole
from probseq.memory import Relief
from probseq.sequences import Sequences

MANIFEST = "_manifest.json"


@runtime_checkable
class _Scorer(Protocol):
    """A module that knows the log-probability of sequences: a SequenceModel, or several."""

    def log_prob(self, y: Sequences, context: Any = None) -> Tensor: ...

    def state_dict(self) -> dict[str, Tensor]: ...


@checked
def score_files(
    model: _Scorer,
    data: Parquet,
    folder: str | Path,
    *,
    devices: Sequence[str] = ("cpu",),
    rank: int = 0,
    world: int = 1,
    batch_tokens: int = 16384,
    skip_bad: bool = False,
) -> int:
    """log P(y | x) of every row of parquet files, one part of the answer for each of their row groups, in order.

    `folder/part-000000.parquet` and so on have the columns `row` (its number in all files), `log_prob` (nats), `length`
    and `ended`; `pyarrow.parquet.read_table(folder)` reads them all, in the order of the input. A part is written whole
    or not at all, and never again: called anew, after whatever end, it goes on with the parts that are not there yet.

    Args:
        model: a SequenceModel, or an ensemble; it is copied, and scores as after `eval()`.
        folder: where the parts go, on a disk that all processes see; `_manifest.json` there says of what they are.
        devices: one process for each; several of "cpu" take one thread each, and a script that asks for them needs
            `if __name__ == "__main__":`.
        rank, world: which of `world` such calls, on different machines, this is: part k is for process k modulo all.
        batch_tokens: the padded slots of a batch; one that is too much for a device's memory is done in halves.
        skip_bad: a row that does not fit the model has no log_prob, and a column `reason` says why; else it raises.

    Returns:
        How many parts are not there yet: 0, unless other ranks are still at work.

    Raises:
        ValueError: a row that does not fit the model, named by its file and number; a folder with scores of another
            model, or of other files; rank not below world. With several devices, a `ProcessRaisedException` holds it.

    >>> import tempfile, probseq as ps
    >>> folder = Path(tempfile.mkdtemp())
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> ps.datasets.write_parquet(folder / "y.parquet", model.sample(10), row_group_size=4)
    >>> ps.score_files(model, Parquet(folder / "y.parquet"), folder / "scores")
    0
    >>> sorted(path.name for path in (folder / "scores").glob("*.parquet"))
    ['part-000000.parquet', 'part-000001.parquet', 'part-000002.parquet']
    """
    if not 0 <= rank < world or not devices:
        raise ValueError(f"score_files() needs 0 ≤ rank < world and a device; got {rank}, {world}, {devices}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _agree(folder / MANIFEST, _manifest(model, data, skip_bad))
    host: Any = copy.deepcopy(model)
    host = host.to("cpu").eval()
    first, all_ = rank * len(devices), world * len(devices)
    if len(devices) == 1:
        _work(0, host, data, folder, devices, first, all_, batch_tokens, skip_bad)
    else:
        shared = host, data, folder, devices, first, all_, batch_tokens, skip_bad
        torch.multiprocessing.spawn(_in_process, shared, nprocs=len(devices))
    return sum(not _part(folder, number).exists() for number in range(len(data.blocks)))


def _in_process(local: int, *work: Any) -> None:
    torch.set_num_threads(1)
    _work(local, *work)


def _work(
    local: int,
    model: Any,
    data: Parquet,
    folder: Path,
    devices: Sequence[str],
    first: int,
    world: int,
    tokens: int,
    skip_bad: bool,
) -> None:
    """Score the parts of one process that are not there yet."""
    rank = first + local
    model, relief = model.to(devices[local]), Relief()
    for torn in folder.glob(".part-*"):
        # What a process that was killed had half written: this one has its parts now.
        if int(torn.name[6:12]) % world == rank:
            torn.unlink(missing_ok=True)
    for number in range(rank, len(data.blocks), world):
        path = _part(folder, number)
        if not path.exists():
            write_whole(path, _score(model, data, data.blocks[number], tokens, skip_bad, relief))


@torch.no_grad()
def _score(model: Any, data: Parquet, block: Block, tokens: int, skip_bad: bool, relief: Relief) -> bytes:
    """One part, as a parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    window = data.read([block])
    slots = window.lengths(beside=True)
    log_prob = torch.zeros(len(window), dtype=torch.float64)
    reasons: dict[int, str] = {}

    def score(index: Tensor) -> Tensor:
        return window.checked(index, model.log_prob).double().cpu()

    for index in arrange(slots, cut(slots.sort().values.tolist(), tokens, None), None):
        try:
            log_prob[index] = relief.in_halves(score, index)
        except ValueError:
            if not skip_bad:
                raise
            for row in index.tolist():
                try:
                    log_prob[row] = score(torch.tensor([row]))
                except ValueError as error:
                    reasons[row] = str(error)
    columns: dict[str, Any] = {
        "row": window.numbers,
        "log_prob": log_prob,
        "length": window.lengths(),
        "ended": window.ended(),
    }
    table = {name: pa.array(column.numpy()) for name, column in columns.items()}
    if skip_bad:
        bad = np.isin(np.arange(len(window)), list(reasons))
        table["log_prob"] = pa.array(log_prob.numpy(), mask=bad)
        table["reason"] = pa.array([reasons.get(row) for row in range(len(window))], pa.string())
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(table), sink)
    return sink.getvalue().to_pybytes()


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.parquet"


def _manifest(model: _Scorer, data: Parquet, skip_bad: bool) -> dict[str, Any]:
    """What the scores depend on."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    rows: dict[Path, int] = {}
    for block in data.blocks:
        rows[block.file] = rows.get(block.file, 0) + block.rows
    files = [{"name": path.name, "bytes": path.stat().st_size, "rows": count} for path, count in rows.items()]
    alphabets = {name: [alphabet.symbols, alphabet.unknown] for name, alphabet in data.alphabets.items()}
    return {
        "model": repr(model), "weights": digest.hexdigest(), "columns": [data.names, data.ended, alphabets],
        "parts": len(data.blocks), "files": files, "skip_bad": skip_bad,
    }  # fmt: skip


def _agree(path: Path, manifest: dict[str, Any]) -> None:
    """Write what the scores are of, or raise ValueError where the ones that stand there are of something else."""
    if not path.exists():
        write_whole(path, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    found = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in manifest.items() if found.get(name) != value]
    if other:
        raise ValueError(
            f"{path.parent} holds scores that differ in {', '.join(other)}. Go on with the same model and files, or "
            "choose another folder."
        )

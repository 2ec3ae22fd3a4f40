"""Scores of many files."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

import probseq as ps
from probseq.datasets import Parquet, write_parquet


def model(seed=0, context=None):
    torch.manual_seed(seed)
    parts = ps.Tokens(3, dim=4), ps.LSTM(8), ps.Categorical(), ps.EndSymbol()
    return ps.SequenceModel(*parts, context).double()


@pytest.fixture
def files(tmp_path):
    """Files of 23 and 14 rows in row groups of 4: ten parts."""
    y = model(9).sample(37, max_length=9, generator=0)
    write_parquet(tmp_path / "a.parquet", y.select(range(23)), row_group_size=4)
    write_parquet(tmp_path / "b.parquet", y.select(range(23, 37)), row_group_size=4)
    return tmp_path, y


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def test_every_row_is_scored_in_order(files):
    folder, y = files
    assert ps.score_files(model(), Parquet(folder), folder / "scores", batch_tokens=20) == 0
    table = parquet.read_table(folder / "scores")
    assert table["row"].to_pylist() == list(range(37))
    assert table["length"].to_pylist() == y.lengths.tolist()
    assert table["ended"].to_pylist() == y.ended.tolist()
    found = torch.tensor(table["log_prob"].to_pylist(), dtype=torch.float64)
    torch.testing.assert_close(found, model().log_prob(y).detach(), rtol=1e-12, atol=1e-12)


def test_contexts_go_with_their_rows(tmp_path):
    label, conditioned = torch.arange(20) % 2, model(context=ps.Labels(2))
    y = conditioned.sample(1, label, max_length=9, generator=0)
    write_parquet(tmp_path / "a.parquet", (y, label), row_group_size=8)
    ps.score_files(conditioned, Parquet(tmp_path, context="context"), tmp_path / "scores")
    found = torch.tensor(parquet.read_table(tmp_path / "scores")["log_prob"].to_pylist(), dtype=torch.float64)
    torch.testing.assert_close(found, conditioned.log_prob(y, label).detach(), rtol=1e-12, atol=1e-12)


def test_ranks_share_the_parts(files):
    folder, _ = files
    data = Parquet(folder)
    ps.score_files(model(), data, folder / "one")
    left = [ps.score_files(model(), data, folder / "three", rank=rank, world=3) for rank in (2, 0, 1)]
    assert left == [7, 3, 0]
    assert contents(folder / "one") == contents(folder / "three")


def test_a_run_that_is_killed_goes_on(files):
    """Two processes are killed among their parts; what stands there stays, and another run does the rest."""
    folder, _ = files
    script = folder / "score.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time, torch, probseq as ps
        from tests.test_scoring import model
        def slowly(*_):
            time.sleep(0.3)
        if __name__ == "__main__":
            slow = model()
            slow.recurrence.register_forward_hook(slowly)
            data = ps.datasets.Parquet(sys.argv[1])
            ps.score_files(slow, data, sys.argv[1] + "/killed", devices=["cpu", "cpu"], batch_tokens=20)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    killed, deadline = folder / "killed", time.monotonic() + 120
    while len(contents(killed)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = contents(killed)
    assert 3 <= len(before) < 10
    (killed / ".part-000009.parquet.torn").write_bytes(b"half")
    written = {name: (killed / name).stat().st_mtime_ns for name in before}
    data = Parquet(folder)
    assert ps.score_files(model(), data, killed, batch_tokens=20) == 0
    assert written == {name: (killed / name).stat().st_mtime_ns for name in before}
    ps.score_files(model(), data, folder / "whole", batch_tokens=20)
    assert contents(killed) == contents(folder / "whole")
    assert not list(killed.glob(".part-*"))


def test_scores_of_something_else_are_refused(files):
    folder, y = files
    data = Parquet(folder / "a.parquet")
    ps.score_files(model(), data, folder / "scores")
    with pytest.raises(ValueError, match="differ in weights"):
        ps.score_files(model(1), data, folder / "scores")
    with pytest.raises(ValueError, match="differ in columns"):
        ps.score_files(model(), Parquet(folder / "a.parquet", ended=True), folder / "scores")
    write_parquet(folder / "a.parquet", y.select(range(22)), row_group_size=4)
    with pytest.raises(ValueError, match="differ in files"):
        ps.score_files(model(), Parquet(folder / "a.parquet"), folder / "scores")
    with pytest.raises(ValueError, match="needs 0 ≤ rank < world"):
        ps.score_files(model(), data, folder / "scores", rank=2, world=2)


def test_a_row_that_does_not_fit_is_named_and_what_was_scored_stays(tmp_path):
    y = ps.Sequences.of([[0, 1], [2], [1], [0, 5], [1]])
    write_parquet(tmp_path / "a.parquet", y, row_group_size=2)
    with pytest.raises(ValueError, match=r"a.parquet, row 3: sequence 0, position 1: got 5; expected a token"):
        ps.score_files(model(), Parquet(tmp_path), tmp_path / "scores")
    assert list(contents(tmp_path / "scores")) == ["part-000000.parquet"]

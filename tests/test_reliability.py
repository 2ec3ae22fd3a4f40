"""Nothing is lost: when memory, disk, files or devices fail, what stands is whole, and what goes on is the same."""

import contextlib
import errno
import json
import os
import pickle
import shutil
import warnings

import pytest
import torch
from safetensors.torch import save as dump

import probseq as ps
from probseq.datasets import Parquet, write_parquet
from probseq.memory import Relief
from probseq.training.storage import WholeFiles

quiet = {"progress": False, "accelerator": "cpu"}


def model(seed=0, **changes):
    torch.manual_seed(seed)
    parts = {
        "element": ps.Tokens(4), "recurrence": ps.GRU(8), "likelihood": ps.Categorical(), "stop": ps.EndSymbol(),
    } | changes  # fmt: skip
    return ps.SequenceModel(**parts)


def corpus(n=60, seed=1):
    return model(7).sample(n, generator=seed)


def shrink(monkeypatch, most, backward=False):
    """A device that holds so many sequences: more are too much for the forward or the backward pass."""
    original = ps.SequenceModel.log_prob

    class Full(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise torch.OutOfMemoryError("too much")

    def log_prob(self, y, context=None, validate=True):
        if len(y) > most and not backward:
            raise torch.OutOfMemoryError("too much")
        found = original(self, y, context, validate)
        return Full.apply(found) if len(y) > most and found.requires_grad else found

    monkeypatch.setattr(ps.SequenceModel, "log_prob", log_prob)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_batch_that_is_too_large_is_done_in_halves_to_the_same_effect(monkeypatch, backward, accumulate):
    whole, halved, data, held_out = model().double(), model().double(), corpus(), corpus(20, seed=2)
    options = {
        "max_epochs": 2, "batch_tokens": None, "batch_size": 16, "accumulate": accumulate, "precision": "64-true",
    }  # fmt: skip
    first = ps.fit(whole, data, held_out, **options, **quiet)
    shrink(monkeypatch, 5, backward)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        second = ps.fit(halved, data, held_out, **options, **quiet)
    assert sum("in halves" in str(each.message) for each in said) == 1
    for a, b in zip(whole.parameters(), halved.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    assert second.nats == pytest.approx(first.nats, abs=1e-9)
    for one, other in zip(first.history, second.history, strict=True):
        assert other["train_nats"] == pytest.approx(one["train_nats"], abs=1e-9)


def test_one_sequence_that_is_too_large_is_an_error_that_says_what_to_do(monkeypatch):
    shrink(monkeypatch, 0)
    network, y = model(), corpus()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(torch.OutOfMemoryError, match="one sequence alone"):
            ps.fit(network, y, max_epochs=1, **quiet)


def test_halves_keep_the_order_of_the_rows():
    def work(index):
        if len(index) > 3:
            raise torch.OutOfMemoryError
        return index.float() * 2

    with pytest.warns(RuntimeWarning, match="in halves"):
        assert Relief().in_halves(work, torch.arange(11)).tolist() == [2.0 * i for i in range(11)]


def test_scoring_files_survives_a_small_device(tmp_path, monkeypatch):
    write_parquet(tmp_path / "y.parquet", corpus(), row_group_size=30)
    data, network = Parquet(tmp_path / "y.parquet"), model()
    ps.score_files(network, data, tmp_path / "whole")
    shrink(monkeypatch, 7)
    with pytest.warns(RuntimeWarning, match="in halves"):
        ps.score_files(network, data, tmp_path / "halved")
    from pyarrow import parquet

    one, other = (parquet.read_table(tmp_path / name)["log_prob"].to_numpy() for name in ("whole", "halved"))
    torch.testing.assert_close(torch.from_numpy(one.copy()), torch.from_numpy(other.copy()), rtol=1e-5, atol=1e-5)


def test_broken_rows_of_files_are_skipped_counted_and_named(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = [[0, 1], [9], [2], None, [3, 3, 3]]
    table = pa.table({"sequence": pa.array(rows, pa.list_(pa.int64())), "ended": [True] * 5})
    parquet.write_table(table, tmp_path / "y.parquet")
    data, network = Parquet(tmp_path / "y.parquet"), model()
    with pytest.raises(ValueError, match=r"y\.parquet, row 1"):
        ps.score_files(network, data, tmp_path / "strict")
    assert ps.score_files(network, data, tmp_path / "scores", skip_bad=True) == 0
    found = parquet.read_table(tmp_path / "scores").to_pydict()
    assert [value is None for value in found["log_prob"]] == [False, True, False, True, False]
    assert ["row 1" in (reason or "") for reason in found["reason"]] == [False, True, False, False, False]
    expected = network.log_prob(ps.Sequences.of([[0, 1], [2], [3, 3, 3]])).tolist()
    assert [value for value in found["log_prob"] if value is not None] == pytest.approx(expected)


@contextlib.contextmanager
def full_disk(monkeypatch, after=0):
    """From the `after`-th write on, nothing reaches the disk."""
    count, original = [0], os.fsync

    def fsync(handle):
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


def test_a_full_disk_leaves_the_last_checkpoint_from_which_the_run_ends_as_if_nothing_had_been(tmp_path, monkeypatch):
    whole, cut, data, held_out = model(), model(), corpus(), corpus(20, seed=2)
    ps.fit(whole, data, held_out, max_epochs=4, directory=tmp_path / "whole", **quiet)
    # One probe and two checkpoints an epoch.
    with full_disk(monkeypatch, after=4), pytest.raises(OSError, match=r"The one before it stands.*resume=True"):
        ps.fit(cut, data, held_out, max_epochs=4, directory=tmp_path / "cut", **quiet)
    assert not [path for path in (tmp_path / "cut").iterdir() if path.name.startswith(".")]
    ps.fit(cut, data, held_out, max_epochs=4, directory=tmp_path / "cut", resume=True, **quiet)
    assert all(map(torch.equal, whole.state_dict().values(), cut.state_dict().values()))


def test_a_full_disk_leaves_what_was_saved_and_the_parts_of_scores(tmp_path, monkeypatch):
    network = model()
    ps.save(network, tmp_path / "model")
    with full_disk(monkeypatch), pytest.raises(ps.SaveError, match="What stood there before is unchanged"):
        ps.save(model(5), tmp_path / "model")
    y = corpus()
    assert torch.equal(ps.load(tmp_path / "model").log_prob(y), network.log_prob(y))
    write_parquet(tmp_path / "y.parquet", y, row_group_size=20)
    data = Parquet(tmp_path / "y.parquet")
    with full_disk(monkeypatch, after=2), pytest.raises(OSError, match="No space left"):
        ps.score_files(network, data, tmp_path / "scores")
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["_manifest.json", "part-000000.parquet"]
    assert ps.score_files(network, data, tmp_path / "scores") == 0


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="nothing can be written to"):
        ps.fit(model(), corpus(), max_epochs=1, directory=tmp_path / "file" / "run", **quiet)


@pytest.mark.parametrize("place", [100, 3000, -200])
def test_a_checkpoint_with_a_flipped_byte_is_refused(tmp_path, place):
    ps.fit(model(), corpus(), max_epochs=1, directory=tmp_path, **quiet)
    path = tmp_path / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="is damaged and cannot be resumed"):
        ps.fit(model(), corpus(), max_epochs=2, directory=tmp_path, resume=True, **quiet)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    ps.fit(model(), corpus(), max_epochs=1, directory=tmp_path, **quiet)

    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "last.ckpt").write_bytes(pickle.dumps(Canary()))
    with pytest.raises(ValueError, match="damaged"):
        ps.fit(model(), corpus(), max_epochs=2, directory=tmp_path, resume=True, **quiet)
    torch.save({"epoch": 0, "state_dict": Canary()}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="damaged"):
        ps.fit(model(), corpus(), max_epochs=2, directory=tmp_path, resume=True, **quiet)
    assert not (tmp_path / "executed").exists()


def test_a_run_that_has_ended_is_resumed_to_its_end(tmp_path):
    data, held_out = corpus(), corpus(20, seed=2)
    for options in ({"max_epochs": 2}, {"max_epochs": 60, "patience": 1, "learning_rate": 0.1}):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        once, again = model(), model(3)
        first = ps.fit(once, data, held_out, directory=tmp_path / "run", **options, **quiet)
        second = ps.fit(again, data, held_out, directory=tmp_path / "run", resume=True, **options, **quiet)
        assert all(map(torch.equal, once.state_dict().values(), again.state_dict().values()))
        assert first.nats == second.nats
        assert first.epoch == second.epoch
        assert len(first.history) == len(second.history)


def test_a_device_that_fails_leaves_a_checkpoint_and_says_so(tmp_path, monkeypatch):
    ps.fit(model(), corpus(), max_epochs=1, directory=tmp_path, **quiet)

    def fails(*_, **__):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(ps.SequenceModel, "log_prob", fails)
    with pytest.raises(RuntimeError, match=r"the device failed: CUDA error.*last\.ckpt stands"):
        ps.fit(model(), corpus(), max_epochs=3, directory=tmp_path, resume=True, **quiet)


def test_one_seed_is_one_run(tmp_path):
    """Two runs on a CPU have equal bits: weights, history, draws."""
    found = []
    for _ in range(2):
        network = model(recurrence=ps.LSTM(8, layers=2, dropout=0.3))
        result = ps.fit(network, corpus(), corpus(20, seed=2), max_epochs=2, seed=4, **quiet)
        found.append((network, result, network.sample(20, generator=3), ps.infill(network, [0, None, 1], generator=1)))
    (one, first, y, filled), (other, second, again, refilled) = found
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert first.nats == second.nats
    assert torch.equal(y.values, again.values)
    assert torch.equal(filled.log_weight, refilled.log_weight)


CONFIGS = {
    "other weights": {"weights": "../outside.safetensors"},
    "no weights": {"weights": None},
    "a checksum of another type": {"sha256": 3},
    "no such type of numbers": {"dtype": "float1024"},
    "an attribute of torch that is no type": {"dtype": "load"},
    "no parts": {"parts": None},
    "an unknown part": {"parts": {"element": {"part": "os.system"}}},
    "a large part": {"recurrence": {"part": "GRU", "size": 2_000_000}},
    "many layers": {"recurrence": {"part": "GRU", "size": 8, "layers": 10**9}},
    "a large alphabet": {"element": {"part": "Tokens", "size": 10**15}},
    "a negative size": {"recurrence": {"part": "GRU", "size": -1}},
    "a private name": {"recurrence": {"part": "__class__"}},
    "a foreign distribution": {"likelihood": {"part": "Parametric", "family": {"distribution": "__builtins__"}}},
    "choices of another type": {"recurrence": {"part": "GRU", "size": [[["8"]]]}},
    "a choice that is none": {"recurrence": {"part": "GRU", "size": 8, "evil": 1}},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_refused(tmp_path, name):
    ps.save(model(), tmp_path / "model")
    (tmp_path / "outside.safetensors").write_bytes(dump(dict(model().state_dict())))
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    for key, value in CONFIGS[name].items():
        (config["parts"] if key in config["parts"] else config)[key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ps.SaveError):
        ps.load(tmp_path / "model")


def test_a_pickle_in_the_place_of_the_weights_is_never_executed(tmp_path):
    import hashlib

    ps.save(model(), tmp_path / "model")

    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    config = json.loads((tmp_path / "model/config.json").read_text())
    evil = pickle.dumps(Canary())
    (tmp_path / "model" / config["weights"]).write_bytes(evil)
    config["sha256"] = hashlib.sha256(evil).hexdigest()
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(ps.SaveError, match="holds no weights"):
        ps.load(tmp_path / "model")
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_is_written_beside_its_place_and_moved_there(tmp_path, monkeypatch):
    """Whenever it is cut off, the file is the old one or the new one."""
    store, path = WholeFiles(), tmp_path / "last.ckpt"
    store.save_checkpoint({"step": 1}, path)
    for moment in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def cut(*_):
                raise KeyboardInterrupt

            patch.setattr(os, moment, cut)
            with pytest.raises(KeyboardInterrupt):
                store.save_checkpoint({"step": 2}, path)
        assert torch.load(path, weights_only=True) == {"step": 1}
        assert list(tmp_path.iterdir()) == [path]

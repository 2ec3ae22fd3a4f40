"""Models on disk."""

import json
import os

import pytest
import torch

import probseq as ps


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ps.SequenceModel(ps.Tokens(3), ps.Unrolled(ps.LSTM(4)), ps.Categorical(), ps.EndSymbol(), ps.Labels(2))


def test_the_config_can_be_read(model, tmp_path):
    ps.save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["parts"]["recurrence"]["cell"] == {"part": "LSTM", "size": 4, "layers": 1, "dropout": 0.0}
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", config["weights"]}


def test_a_second_save_takes_the_place_of_the_first(model, tmp_path):
    ps.save(model, tmp_path)
    with torch.no_grad():
        model.first.add_(1)
    ps.save(model, tmp_path)
    assert torch.equal(ps.load(tmp_path).first, model.first)
    assert len(list(tmp_path.glob("weights-*"))) == 1


def test_the_dtype_comes_back(model, tmp_path):
    ps.save(model.double(), tmp_path)
    assert ps.load(tmp_path).first.dtype == torch.float64


@pytest.mark.parametrize("write", ["weights", "config"])
def test_a_full_disk_leaves_the_old_save(model, tmp_path, monkeypatch, write):
    ps.save(model, tmp_path)
    old = model.first.detach().clone()
    with torch.no_grad():
        model.first.add_(1)
    calls, real = [], os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) == (1 if write == "weights" else 2):
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ps.SaveError, match=r"No space left on device.*unchanged"):
        ps.save(model, tmp_path)
    assert torch.equal(ps.load(tmp_path).first, old)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_other_files_are_left_alone(model, tmp_path):
    (tmp_path / "weights-of-another-model.safetensors").write_text("mine")
    ps.save(model, tmp_path)
    ps.save(model, tmp_path)
    assert (tmp_path / "weights-of-another-model.safetensors").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ps.SaveError, match="is not the config of a SequenceModel"):
        ps.save(model, tmp_path / "other")


def test_no_folder(tmp_path):
    with pytest.raises(ps.SaveError, match="holds no saved model"):
        ps.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"model": "Transformer"}', '{"model": "SequenceModel", "format": 99}']
)
def test_a_foreign_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ps.SaveError, match=r"config.json|format"):
        ps.load(tmp_path)


def test_a_config_with_a_hole(model, tmp_path):
    ps.save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["parts"]["recurrence"]["cell"]["size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ps.SaveError, match="is damaged"):
        ps.load(tmp_path)


def test_damaged_weights(model, tmp_path):
    ps.save(model, tmp_path)
    weights = next(tmp_path.glob("weights-*"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ps.SaveError, match="checksum"):
        ps.load(tmp_path)


def test_missing_weights(model, tmp_path):
    ps.save(model, tmp_path)
    next(tmp_path.glob("weights-*")).unlink()
    with pytest.raises(ps.SaveError, match="cannot be read"):
        ps.load(tmp_path)


def test_a_config_cannot_reach_outside_its_folder(model, tmp_path):
    ps.save(model, tmp_path / "inner")
    config = json.loads((tmp_path / "inner" / "config.json").read_text())
    (tmp_path / config["weights"]).write_bytes((tmp_path / "inner" / config["weights"]).read_bytes())
    (tmp_path / "inner" / config["weights"]).unlink()
    config["weights"] = f"../{config['weights']}"
    (tmp_path / "inner" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ps.SaveError, match="cannot be read"):
        ps.load(tmp_path / "inner")


def test_a_part_that_is_not_known(model, tmp_path):
    ps.save(model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"LSTM"', '"Mine"'))
    with pytest.raises(ps.SaveError, match=r"a part Mine, which is not known here. Pass it: load\(folder, parts="):
        ps.load(tmp_path)


def test_a_law_that_has_no_name_in_pyro_cannot_be_saved(tmp_path):
    class Mine(torch.distributions.Normal):
        pass

    model = ps.SequenceModel(ps.Reals(1), ps.GRU(2), ps.Parametric(Mine), ps.FixedLength(2))
    with pytest.raises(ps.SaveError, match=r"Mine is not in pyro\.distributions"):
        ps.save(model, tmp_path)
    assert not list(tmp_path.iterdir())

"""What the documents say runs."""

import re
from pathlib import Path

import torch

import probseq as ps

ROOT = Path(__file__).parents[1]


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)


def test_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("README.md"):
        exec(compile(block, "README.md", "exec"), names)
    y, x = names["y"], names["x"]
    names["latent"](y.dense(20))
    assert torch.equal(ps.load("runs/model").log_prob(y, x), names["model"].log_prob(y, x))


def test_the_parts_of_the_contributing_page_keep_the_laws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("CONTRIBUTING.md"):
        if "tests/parts.py" not in block:
            exec(compile(block, "CONTRIBUTING.md", "exec"), names)
    assert any(isinstance(value, ps.SequenceModel) for value in names.values())


def test_the_assemblies_of_the_models_page_run():
    names = {}
    for block in blocks("docs/models.md"):
        exec(compile(block, "docs/models.md", "exec"), names)
    assert names["five"].lengths.tolist() == [5, 5]


def test_the_ensembles_of_their_page_run():
    names = {}
    for block in blocks("docs/ensembles.md"):
        exec(compile(block, "docs/ensembles.md", "exec"), names)
    mixture, members, y, x = names["mixture"], names["members"], names["y"], names["x"]
    mean = torch.stack([member.log_prob(y, x) for member in members]).mean(0)
    assert (mixture.log_prob(y, x) >= mean).all()


def test_the_gradient_of_the_bptt_page_is_that_of_autograd():
    names = {}
    for block in blocks("docs/bptt.md"):
        exec(compile(block, "docs/bptt.md", "exec"), names)
    assert set(names["errors"]) == {"h", "W", "U", "V", "b", "c", "start vector", "embedding"}
    assert max(names["errors"].values()) <= 1e-12


def test_the_queries_page_runs():
    names = {}
    for block in blocks("docs/queries.md"):
        exec(compile(block, "docs/queries.md", "exec"), names)
    answer = names["answer"]
    assert float(answer.lower) <= float(answer.estimate) <= float(answer.upper)
    assert names["certificate"].certified
    assert names["found"].survival.shape == (1, 22)


def test_the_search_page_runs():
    names = {}
    for block in blocks("docs/search.md"):
        exec(compile(block, "docs/search.md", "exec"), names)
    drawn = names["drawn"]
    torch.testing.assert_close(drawn.log_prob, names["model"].log_prob(drawn.sequences), rtol=0, atol=1e-10)
    assert all(word.startswith("str") for word in names["letters"].decode(names["chosen"].sequences))

"""What the documents say runs."""

import math
import re
import textwrap
from pathlib import Path

import pytest
import torch

import probseq as ps

ROOT = Path(__file__).parents[1]


PAGES = sorted(str(path.relative_to(ROOT)) for path in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])


def blocks(name):
    """The python blocks of a page, those within lists too."""
    found = re.findall(r"^( *)```python\n(.*?)^ *```", (ROOT / name).read_text(encoding="utf-8"), re.S | re.M)
    return [textwrap.dedent(block) for _, block in found]


# What is asserted of a page beyond that it runs stands in a test of its own, by its name.
OWN = set(re.findall(r'blocks\("([^"]+)"\)', Path(__file__).read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page not in OWN])
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)


def anchors(page):
    """The headings of a page, as links name them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    names = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", name.lower()).strip().replace(" ", "-") for name in names}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:")):
            continue
        place, _, anchor = link.partition("#")
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_picture_is_used():
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert not [path.name for path in (ROOT / "docs/img").iterdir() if f"img/{path.name}" not in text]


def test_every_page_is_in_the_table_of_contents():
    named = set(re.findall(r"- (\S+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert named == {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}


def test_the_reference_has_every_public_name_once():
    named = re.findall(r"^::: probseq\.([\w.]+)$", (ROOT / "docs/reference.md").read_text(encoding="utf-8"), re.M)
    assert len(named) == len(set(named))
    assert set(ps.__all__) <= {name.rpartition(".")[2] for name in named}


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


def test_the_likelihoods_page_runs():
    names = {}
    for block in blocks("docs/likelihoods.md"):
        exec(compile(block, "docs/likelihoods.md", "exec"), names)
    assert names["found"].log_evidence.isfinite().all()


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
    assert len({tuple(y.tolist()) for y in names["more"].hypotheses.sequences}) == len(names["more"]) == 20
    assert names["best"].proven.all()


def test_the_infill_page_runs():
    names = {}
    for block in blocks("docs/infill.md"):
        exec(compile(block, "docs/infill.md", "exec"), names)
    found = names["found"]
    assert len(found) == 2
    assert bool((names["low"] <= 0).all() and torch.isfinite(names["high"]).all())


def test_the_comparison_page_runs():
    names = {}
    for block in blocks("docs/comparison.md"):
        exec(compile(block, "docs/comparison.md", "exec"), names)
    assert names["found"].standard_error < names["found"].plain_error / 2
    assert names["test_of"].p_value < 0.01


def test_the_training_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("docs/training.md"):
        exec(compile(block, "docs/training.md", "exec"), names)
    whole = names["model"].log_prob(names["y"].select([1]))
    torch.testing.assert_close(names["found"].log_evidence[1:], whole.detach())
    assert len(names["result"].history) <= 4


def test_the_tables_page_runs():
    names = {}
    for block in blocks("docs/tables.md"):
        exec(compile(block, "docs/tables.md", "exec"), names)
    assert names["same"].equals(names["sales"].reset_index(drop=True))
    assert names["table"].time.iloc[0] == names["sales"].time.max() + names["panel"].step
    assert names["missing"] == 3
    assert [row.tolist() for row in names["spoken"].y] == [[0, 2, 1], [2, 1]]


def test_the_constraints_page_runs():
    names = {}
    for block in blocks("docs/constraints.md"):
        exec(compile(block, "docs/constraints.md", "exec"), names)
    drawn, letters = names["drawn"], names["letters"]
    assert all(re.fullmatch("c.l.red", word) for word in letters.decode(drawn.sequences))
    assert names["returns"](names["found"].sample(2, generator=0).sequences).all()


def test_the_forecasting_page_runs():
    names = {}
    for block in blocks("docs/forecasting.md"):
        exec(compile(block, "docs/forecasting.md", "exec"), names)
    assert bool((names["low"] <= names["high"]).all())
    assert len(names["windows"]) == 2


def test_the_scale_page_runs_and_its_table_is_what_it_computes():
    names, page = {}, (ROOT / "docs/scale.md").read_text()
    for block in blocks("docs/scale.md"):
        exec(compile(block, "docs/scale.md", "exec"), names)
    assert names["left"] == 0
    assert len(names["scores"]) == len(names["train"])
    assert names["result"].epoch == 1
    for row in (
        f"| {names['weights'] / 1e6:.1f} million |",
        f"| {names['flops_per_token'] / 1e6:.0f} MFLOP a token",
        f"| {round(names['steps'], -2):,.0f} |",
        f"| {names['gradient_bytes'] / 1e6:.0f} MB; {names['seconds_reduce'] * 1e3:.0f} ms on 400 Gbit/s",
        f"| {names['hours']['LSTM']:.2f} h, {names['utilisation']:.0%}".replace("%", " %"),
        f"| {names['hours']['MinGRU']:.2f} h |",
        f"| {names['gpu_gb']:.1f} GB: {names['states_gb']:.1f} weights",
        f"| {names['checkpoint_gb']:.2f} GB |",
        f"| {names['parquet_gb']:.0f} GB in {math.ceil(names['files'])} files",
        f"| {names['read_mb_per_second']:.0f} MB/s a node |",
        f"| {names['window_mb']:.0f} MB a process |",
    ):
        assert row in page

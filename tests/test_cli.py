"""The command line: what goes in, what comes out, and what is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import probseq as ps
from probseq.cli import main
from probseq.cli.parser import COMMANDS, FIT
from probseq.cli.reader import UNKNOWN, Reader, Vocabulary
from probseq.cli.rows import Bad, read_rows
from probseq.cli.run import Run
from probseq.training import fit

WORDS = [a + b + c for a in "bdt" for b in "aei" for c in ("", "n", "rt", "nd", "st")] * 3
QUICK = ["--model.size", "8", "--fit.max_epochs", "1", "--fit.accelerator", "cpu", "--progress", "false"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the lines of a text."""
    place = tmp_path_factory.mktemp("cli")
    (place / "words.txt").write_text("\n".join(WORDS) + "\n")
    assert main(["fit", str(place / "words.txt"), "--out", str(place / "run"), *QUICK]) == 0
    return place / "run"


@pytest.fixture
def ask(capsys):
    """What a command writes, as JSON, and what it says."""

    def asked(*words, code=0):
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        out, err = capsys.readouterr()
        return [json.loads(line) for line in out.splitlines()] if code == 0 else out, err

    return asked


def test_scores_are_those_of_the_model_a_row_for_each_row(run, ask, tmp_path):
    (tmp_path / "more.txt").write_text("ban\n\nteest\n")
    rows, err = ask("score", run, tmp_path / "more.txt")
    own = Run.open(run)
    y = ps.Sequences.of([own.reader.y.encode(word) for word in ("ban", "", "teest")], dtype=torch.int64)
    assert [row["log_prob"] for row in rows] == pytest.approx(own.model.log_prob(y).tolist(), abs=1e-5)
    assert [(row["row"], row["length"]) for row in rows] == [(1, 3), (2, 0), (3, 5)]
    assert rows[0]["nats_per_decision"] == pytest.approx(-rows[0]["log_prob"] / 4)
    assert err == ""


def test_the_parts_are_split_by_what_is_in_the_rows(run, ask):
    own = Run.open(run)
    parts = {name: {row.value for row in own.rows(name, Bad(False))} for name in ("train", "validation", "test")}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert set.union(*parts.values()) == set(WORDS)
    rows, _ = ask("score", run)
    assert len(rows) == len(own.rows("test", Bad(False)))


def test_a_broken_row_is_named_or_skipped_and_counted(run, ask, tmp_path):
    (tmp_path / "more.txt").write_bytes(b"ban\nxyz\n\xff\xfe\nten\n")
    (tmp_path / "one.txt").write_text("ban\nxyz\n")
    out, err = ask("score", run, tmp_path / "one.txt", code=1)
    assert out == ""
    assert "one.txt, row 2: the symbol 'x'" in err
    assert "--skip-bad" in err
    rows, err = ask("score", run, tmp_path / "more.txt", "--skip-bad")
    assert [row["row"] for row in rows] == [1, 4]
    assert "row 3: it is no UTF-8" in err
    assert "2 rows left out" in err


@pytest.mark.parametrize("options", [[], ["--temperature", "0.5"], ["--top_p", "0.9", "--max_length", "4"]])
def test_draws_follow_the_seed_and_have_the_models_probability(run, ask, options):
    first, _ = ask("sample", run, "-n", 6, "--seed", 3, *options)
    again, _ = ask("sample", run, "-n", 6, "--seed", 3, *options)
    other, _ = ask("sample", run, "-n", 6, "--seed", 4, *options)
    assert first == again != other
    own = Run.open(run)
    y = ps.Sequences.of([own.reader.y.encode(row["sequence"]) for row in first], dtype=torch.int64)
    y = ps.Sequences(y.values, y.lengths, torch.tensor([row["ended"] for row in first]))
    assert [row["log_prob"] for row in first] == pytest.approx(own.model.log_prob(y).tolist(), abs=1e-4)


def test_gaps_are_filled_as_the_library_fills_them(run, ask):
    rows, _ = ask("infill", run, "b_n", "t*", "--top", 2, "--max_length", 4, "--seed", 1)
    own = Run.open(run)
    numbers = own.reader.y.encode("bn")
    found = ps.infill(own.model, [numbers[0], None, numbers[1]], particles=1000)
    best, p = found.ranked(0, 1)
    assert rows[0]["completion"] == own.reader.y.decode(best[0].tolist())
    assert rows[0]["probability"] == pytest.approx(float(p[0]), rel=1e-5)
    assert [row["pattern"] for row in rows] == ["b_n", "b_n", "t*", "t*"]
    assert all(row["completion"].startswith("t") for row in rows[2:])


def test_questions_are_answered_exactly(run, ask):
    rows, _ = ask("query", run, "ba")
    own = Run.open(run)
    state = own.model.start(None)
    _, state = own.model.extend(state, torch.tensor([own.reader.y.encode("ba")]))
    step = own.model.emit(state.features, state.position, state.context)
    answer = {row["outcome"]: row["probability"] for row in rows}
    assert answer["(ended)"] == pytest.approx(float(step.log_stop.detach().exp()), rel=1e-4)
    n = own.reader.y.encode("n")[0]
    log_n = step.log_go + step.element.log_prob(torch.tensor(n))
    assert answer["n"] == pytest.approx(float(log_n.detach().exp()), rel=1e-4)
    assert sum(answer.values()) == pytest.approx(1, abs=1e-4)
    length, _ = ask("query", run, "--length", 2)
    assert [row["outcome"] for row in length] == [0, 1, 2, "more than 2"]
    (within,), _ = ask("query", run, "--within", "[aei, 3]")
    (before,), _ = ask("query", run, "--before", "[a, e, 3]")
    assert 0 <= before["probability"] <= within["probability"] <= 1
    count, _ = ask("query", run, "--count", "[a, 2]")
    first, _ = ask("query", run, "--first", "[a, 2]")
    assert len(count) == len(first) == 3
    assert "one question at a time" in ask("query", run, "--length", 2, "--at", 3, code=1)[1]


@pytest.mark.parametrize("form", ["jsonl", "csv", "table", "parquet"])
def test_answers_come_in_four_forms(run, tmp_path, capsys, form):
    path = tmp_path / "answers.out"
    assert main(["score", str(run), "--format", form, "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    if form == "parquet":
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
    elif form == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        head, *lines = path.read_text().splitlines()
        assert head.replace(",", " ").split() == ["row", "log_prob", "length", "ended", "nats_per_decision"]
        rows = lines
    assert len(rows) == len(Run.open(run).rows("test", Bad(False)))
    assert [each.name for each in tmp_path.iterdir()] == ["answers.out"]


def test_tables_have_columns_labels_and_sources(ask, tmp_path):
    lines = ["text,kind,plain"] + [f"{word},{'long' if len(word) > 3 else 'short'},{word[:2]}" for word in WORDS]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    ask("fit", tmp_path / "t.csv", "--out", tmp_path / "a", "--labels", "kind", *QUICK)
    assert isinstance(Run.open(tmp_path / "a").model.parts["context"], ps.Labels)
    rows, _ = ask("sample", tmp_path / "a", "-n", 2, "--condition", "long")
    assert len(rows) == 2
    assert "--condition, one of ['long', 'short']" in ask("sample", tmp_path / "a", code=1)[1]
    assert "none of the 2 known ones" in ask("sample", tmp_path / "a", "--condition", "wide", code=1)[1]
    ask("fit", tmp_path / "t.csv", "--out", tmp_path / "b", "--source", "plain", *QUICK)
    assert ask("score", tmp_path / "b")[0]
    assert len(ask("sample", tmp_path / "b", "-n", 2, "--condition", "ba")[0]) == 2
    assert len(ask("infill", tmp_path / "b", "b_", "--condition", "ba", "--top", 1)[0]) == 1


def test_lists_of_symbols_words_and_numbers(ask, tmp_path):
    def fitted(name, rows, *options):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        ask("fit", tmp_path / f"{name}.jsonl", "--out", tmp_path / name, *options, *QUICK)
        return ask("sample", tmp_path / name, "-n", 3)[0]

    drawn = fitted("items", [["C", "G", 3], ["G"], []] * 20)
    assert all(set(row["sequence"]) <= {"C", "G", 3} for row in drawn)
    drawn = fitted("words", [{"text": "to be or not"}, {"text": "to do"}, {"text": "rarely"}] * 20, "--words")
    assert all(set(row["sequence"].split()) <= {"to", "be", "or", "not", "do", "rarely"} for row in drawn)
    drawn = fitted("vectors", [[[100.0 + i, 2.0], [101.0, 2.5]] for i in range(40)])
    assert all(len(each) == 2 for row in drawn for each in row["sequence"])
    mean = sum(row["log_prob"] for row in ask("score", tmp_path / "vectors", tmp_path / "vectors.jsonl")[0]) / 40
    assert mean > -40  # the units are the data's: a normal law about 0 with scale 1 would find −5,000
    drawn = fitted("numbers", [[1.5, 2.5, 3.5]] * 40)
    assert all(isinstance(each, float) for row in drawn for each in row["sequence"])
    assert "of numbers" in ask("infill", tmp_path / "numbers", "a_", code=1)[1]


def test_series_of_a_long_table(ask, tmp_path):
    lines = ["shop,day,sold"] + [f"s{i},{day},{day + i}.5" for i in range(30) for day in range(1, 6)]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    options = ["--id", "shop", "--time", "day", "--values", "[sold]"]
    ask("fit", tmp_path / "long.csv", "--out", tmp_path / "run", *options, *QUICK)
    rows, _ = ask("score", tmp_path / "run", tmp_path / "long.csv")
    assert [row["length"] for row in rows] == [5] * 30
    assert not any(row["ended"] for row in rows)


def test_rare_symbols_are_read_as_one_that_is_unknown():
    vocabulary = Vocabulary.of("characters", ["aab", "ab", "z"], least=2)
    assert vocabulary.symbols == ("a", "b", UNKNOWN)
    assert vocabulary.encode("qa") == [2, 0]
    reader = Reader(y=vocabulary)
    assert Reader.from_json(json.loads(json.dumps(reader.to_json()))) == reader


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    values = ["ab", "", 'q"u,o', "é"]
    (tmp_path / "t.txt").write_text("\n".join(values))
    (tmp_path / "t.csv").write_text('text\nab\n""\n"q""u,o"\né\n')
    (tmp_path / "t.tsv").write_text('text\nab\n""\n"q""u,o"\né\n')
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": value}) for value in values))
    parquet.write_table(pa.table({"text": values}), tmp_path / "t.parquet")
    for kind in ("txt", "csv", "tsv", "jsonl", "parquet"):
        assert [row.value for row in read_rows(str(tmp_path / f"t.{kind}"))] == values, kind


BROKEN = {
    "cells.csv": ("text,b\n1\n", "row 2: it has 1 cells, the first line 2"),
    "quote.csv": ('a\n"x\n', "row"),
    "head.csv": ('a,"b\n1,2\n', "the first line, with the names of the columns, is broken"),
    "two.csv": ("a,b\n1,2\n", "which holds the sequences"),
    "json.jsonl": ('["a"]\n{"text": \n', "row 2: it is no JSON"),
    "type.jsonl": ("3\n", "row 1: expected a text or a list"),
    "deep.jsonl": ("[" * 100_000 + "\n", "row 1: it is no JSON"),
    "huge.jsonl": ("[1e999]\n", "expected finite numbers"),
    "mixed.jsonl": ('[1.5]\n["a"]\n', "row 2"),
    "ragged.jsonl": ("[[1.0, 2.0]]\n[[1.0]]\n", "row 2: element 0: expected 2 numbers"),
    "empty.csv": ("", "expected a first line"),
    "none.txt": ("", "have no rows"),
    "file.parquet": ("no parquet", "is no parquet file"),
    "odd.xyz": ("a\n", "its name does not say"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_says_where_and_why(ask, tmp_path, name):
    content, reason = BROKEN[name]
    (tmp_path / name).write_text(content)
    _, err = ask("fit", tmp_path / name, "--out", tmp_path / "run", *QUICK, code=1)
    assert reason in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_is_not_overwritten_and_can_be_gone_on_with(run, ask, tmp_path):
    text = tmp_path / "words.txt"
    text.write_text("\n".join(WORDS))
    once, cut = tmp_path / "once", tmp_path / "cut"
    quick = [*QUICK[:2], *QUICK[4:]]
    ask("fit", text, "--out", once, *quick, "--fit.max_epochs", 3)
    ask("fit", text, "--out", cut, *quick, "--fit.max_epochs", 1)
    assert "holds a run" in ask("fit", text, "--out", cut, *quick, code=1)[1]
    ask("fit", text, "--out", cut, *quick, "--fit.max_epochs", 3, "--resume")
    first, second = (Run.open(folder).model.state_dict() for folder in (once, cut))
    assert all(map(torch.equal, first.values(), second.values()))
    ask("fit", "--config", once / "config.yaml", "--out", tmp_path / "again")
    third = Run.open(tmp_path / "again").model.state_dict()
    assert all(map(torch.equal, first.values(), third.values()))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    assert "is not empty, and no run" in ask("fit", text, "--out", tmp_path / "other", *quick, code=1)[1]
    assert "no run to resume" in ask("fit", text, "--out", tmp_path / "new", *quick, "--resume", code=1)[1]


def test_a_model_can_be_spelled_out(ask, tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    config = {"data": str(tmp_path / "words.txt"), "out": str(tmp_path / "run"), "progress": False}
    config["model"] = {"parts": {"recurrence": {"part": "MinGRU", "size": 8}, "stop": {"part": "BernoulliStop"}}}
    config["fit"] = {"max_epochs": 1, "accelerator": "cpu"}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(config))
    ask("fit", "--config", tmp_path / "fit.yaml")
    model = Run.open(tmp_path / "run").model
    assert isinstance(model.recurrence, ps.MinGRU)
    assert isinstance(model.stop, ps.BernoulliStop)
    config["model"]["parts"]["recurrence"]["part"] = "os.system"
    (tmp_path / "evil.yaml").write_text(yaml.safe_dump(config))
    assert "no parts of a model" in ask("fit", "--config", tmp_path / "evil.yaml", "--overwrite", code=1)[1]


def test_runs_are_compared_on_the_same_rows(run, ask, tmp_path):
    ask("fit", run.parent / "words.txt", "--out", tmp_path / "other", *QUICK, "--seed", 5)
    rows, _ = ask("compare", run, tmp_path / "other")
    test = Run.open(run).data("test")
    nats = {row["model"]: row["nats"] for row in rows}
    assert nats[str(run)] == pytest.approx(-float(Run.open(run).model.log_prob(test).mean()), rel=1e-4)
    assert rows[0]["behind"] == 0 <= rows[1]["behind"]
    assert rows[1]["p_value"] is not None
    assert "named once" in ask("compare", run, run, code=1)[1]


def test_the_report_has_the_runs_curves_and_n_grams(run, capsys):
    assert main(["report", str(run)]) == 0
    path = Path(capsys.readouterr().out.strip())
    page = path.read_text()
    assert path == run / "report.html"
    assert "could not be made" not in page
    assert "4-gram" in page
    assert "1 epochs" in page


def test_data_are_listed_described_and_exported(ask, tmp_path):
    (tmp_path / "w.txt").write_text("ab\nb\n\n")
    (row,), _ = ask("data", tmp_path / "w.txt")
    assert (row["sequences"], row["elements"], row["longest"], row["symbols"]) == (3, 3, 2, 2)
    assert [each["sequence"] for each in ask("data", tmp_path / "w.txt", "--export")[0]] == ["ab", "b", ""]
    assert {"names", "words"} <= {each["name"] for each in ask("data")[0]}


@pytest.mark.skipif("PROBSEQ_DATA" not in os.environ, reason="PROBSEQ_DATA names no folder with the published sets")
def test_published_sets_are_read_by_name(ask):
    described, _ = ask("data", "names")
    assert [row["sequences"] for row in described] == [25626, 3203, 3204]
    assert ask("data", "vowels")[0][0]["numbers"] == 12


def test_usage_errors_exit_with_2_and_help_with_0(capsys):
    for words in (
        ["fly"],
        ["fit"],
        ["score", "run", "--sed", "3"],
        ["fit", "x.txt", "--out", "r", "--fit.max_epochs", "a"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2, words
    for words in (["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), []):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 0
    capsys.readouterr()


def test_what_is_no_run_is_said_to_be_none(ask, tmp_path, run):
    assert "is no run" in ask("score", tmp_path, code=1)[1]
    for content in ("{", "[]", "{}", '{"format": 99}', "[" * 100_000):
        (tmp_path / "data.json").write_text(content)
        assert "is damaged" in ask("score", tmp_path, code=1)[1]
    kept = json.loads((run / "data.json").read_text())
    (tmp_path / "data.json").write_text(json.dumps(kept))
    assert "has not ended. Go on with it" in ask("score", tmp_path, code=1)[1]


def test_the_options_of_fit_are_those_of_the_function():
    import inspect

    parameters = inspect.signature(fit).parameters
    assert {name: default for name, (_, default, _) in FIT.items()} == {name: parameters[name].default for name in FIT}
    rest = {"model", "train", "validation", "objective", "directory", "resume", "seed", "callbacks", "progress"}
    assert set(parameters) == {*FIT, *rest}


def test_it_is_one_of_many_in_a_pipe(run, tmp_path):
    """Data on stdin and stdout alone; a reader that has enough is no error."""
    command = f"{sys.executable} -c 'import sys; from probseq.cli import main; sys.exit(main())'"
    line = (
        f"set -o pipefail; {command} sample {run} -n 3000 | head -2 | {sys.executable} -c "
        f"'import sys, json; [print(json.loads(line)[\"sequence\"]) for line in sys.stdin]' | {command} score {run} -"
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=Path(ps.__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2

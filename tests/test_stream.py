"""Data sets that are read piece by piece."""

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

import probseq as ps
from probseq.datasets import Alphabet, Parquet, write_parquet
from probseq.training import Batches, Data, Stream


def rows(n, seed=0, longest=12):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, longest + 1, (n,), generator=generator)
    values = torch.randint(0, 3, (n, longest), generator=generator)
    return ps.Sequences(values, lengths, torch.rand(n, generator=generator) < 0.8)


def stream(path, tokens=64, size=None, seed=3, bucket=True, rank=0, world=1, **options):
    found = Stream(Parquet(path, **options), lambda y, x: Data(y, x), tokens, size, seed, bucket)
    found.join(rank, world)
    return found


def same(a, b):
    return [row.tolist() for row in a] == [row.tolist() for row in b] and torch.equal(a.ended, b.ended)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64])
@pytest.mark.parametrize("element", [(), (2,)])
def test_what_is_written_is_read(tmp_path, dtype, element):
    y = rows(25)
    y = ps.Sequences(torch.randn(25, 12, *element).mul(9).to(dtype), y.lengths, y.ended)
    x = (torch.arange(25) % 3, torch.randn(25, 2), rows(25, seed=1))
    pieces = [(y.select(part), (x[0][part], x[1][part], x[2].select(part))) for part in torch.arange(25).split(4)]
    write_parquet(tmp_path / "a.parquet", iter(pieces), row_group_size=10)
    names = ("context_0", "context_1", "context_2")
    data = Parquet(tmp_path, context=names)
    assert [block.rows for block in data.blocks] == [10, 10, 5]
    read, beside = data.read(data.blocks).decode()
    assert same(read, y)
    assert read.values.dtype == dtype
    assert torch.equal(beside[0], x[0])
    assert torch.equal(beside[1], x[1])
    assert [row.tolist() for row in beside[2]] == [row.tolist() for row in x[2]]


def test_strings_are_read_by_their_alphabets(tmp_path):
    table = pa.table({"word": ["cab", "", "bb"], "sound": ["xy", "y", ""], "freq": [0.5, 1.0, 2.0]})
    parquet.write_table(table, tmp_path / "words.parquet")
    letters, sounds = Alphabet("abc"), Alphabet("xy")
    alphabets = {"word": letters, "sound": sounds}
    data = Parquet(tmp_path / "*.parquet", "sound", True, ("word", "freq"), alphabets)
    y, (x, freq) = data.read(data.blocks).decode()
    assert sounds.decode(y) == ["xy", "y", ""]
    assert letters.decode(x) == ["cab", "", "bb"]
    assert freq.tolist() == [[0.5], [1.0], [2.0]]


def test_numbers_that_are_missing_are_marked(tmp_path):
    table = pa.table({"sequence": [[1, None], [0]], "x": [[0.5, None], []]})
    parquet.write_table(table, tmp_path / "gaps.parquet")
    y, x = Parquet(tmp_path, ended=False, context="x").read(Parquet(tmp_path, ended=False).blocks).decode()
    assert [row.tolist() for row in y] == [[1, -1], [0]]
    assert x[0][1].isnan()
    assert not y.ended.any()


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(("tokens", "size", "bucket"), [(64, None, True), (64, 3, True), (None, 10, False)])
def test_every_sequence_once_an_epoch_in_as_many_steps_in_every_process(tmp_path, world, tokens, size, bucket):
    y = rows(97)
    for i, part in enumerate(torch.arange(97).split(40)):
        write_parquet(tmp_path / f"part-{i}.parquet", y.select(part), row_group_size=7)
    each = [stream(tmp_path, tokens, size, bucket=bucket, rank=r, world=world, window=3) for r in range(world)]
    for epoch in (0, 1):
        seen = []
        for batches in each:
            batches.epoch = epoch
            made = list(batches)
            # Alone, a process knows of no others: it ends with its own batches.
            assert len(made) == len(batches)
            for batch in made:
                own = batch.data.sequences
                assert same(own, y.select(batch.index))
                assert tokens is None or len(own) == 1 or len(own) * (int(own.lengths.max()) + 1) <= tokens
                assert size is None or len(own) <= size
                seen += batch.index.tolist()
        assert sorted(seen) == list(range(97))
    assert sum(batches.count()[0] for batches in each) == int(y.lengths.sum())
    assert sum(batches.count()[1] for batches in each) == int(y.ended.sum())


def test_processes_with_less_to_do_keep_in_step(tmp_path):
    write_parquet(tmp_path / "a.parquet", rows(50), row_group_size=10)
    each = [stream(tmp_path, None, 10, rank=r, world=2) for r in range(2)]
    assert [len(batches) for batches in each] == [3, 2]
    for batches in each:
        batches.join(batches.rank, 2, lambda x, by: torch.tensor(3) if by == "max" else x)
        weights = [batch.weight for batch in batches]
        assert weights == [1.0] * 3 if batches.rank == 0 else weights == [1.0, 1.0, 0.0]
        batches.resume_at = 2
        assert [batch.weight for batch in batches] == weights[2:]
    with pytest.raises(ValueError, match="has 5 row groups for 6 processes"):
        stream(tmp_path, world=6)


def test_one_window_makes_the_batches_of_memory(tmp_path):
    """A window of all rows, in the order of the file, has the cuts and the padding of `Batches`."""
    y, x = rows(97), rows(97, seed=5, longest=30)
    write_parquet(tmp_path / "a.parquet", (y, x), row_group_size=97)
    memory = Batches(Data.of((y, x)), 64, None, None)
    streamed = list(stream(tmp_path, 64, seed=None, context="context"))
    for ours, theirs in zip(streamed, memory, strict=True):
        assert torch.equal(ours.index, theirs.index)
        assert torch.equal(ours.data.sequences.values, theirs.data.sequences.filled(0).values)
        assert torch.equal(ours.data.context.values, theirs.data.context.filled(0).values)


def test_the_order_depends_on_seed_and_epoch_alone_and_can_be_begun_anywhere(tmp_path):
    write_parquet(tmp_path / "a.parquet", rows(97), row_group_size=10)
    first, again, other = (stream(tmp_path, seed=s, window=2) for s in (3, 3, 4))
    order = [batch.index.tolist() for batch in first]
    assert order == [batch.index.tolist() for batch in again]
    assert order != [batch.index.tolist() for batch in other]
    for begin in range(len(first) + 1):
        again.load_state_dict({"epoch": 0, "taken": begin, "batches": len(again)})
        assert [batch.index.tolist() for batch in again] == order[begin:]
    first.epoch = 1
    assert order != [batch.index.tolist() for batch in first]


def model(context=None):
    torch.manual_seed(0)
    parts = ps.Tokens(3, dim=4), ps.LSTM(8), ps.Categorical(), ps.EndSymbol()
    return ps.SequenceModel(*parts, context)


def test_a_row_that_does_not_fit_is_named(tmp_path):
    y = rows(30, longest=5)
    wrong = ps.Sequences(y.values + 3 * (torch.arange(30) == 17).unsqueeze(1), torch.full((30,), 5))
    write_parquet(tmp_path / "good.parquet", y)
    write_parquet(tmp_path / "wrong.parquet", wrong, row_group_size=10)
    with pytest.raises(ValueError, match=r"wrong.parquet, row 17: sequence 0, position 0: got \d; expected a token"):
        ps.fit(model(), Parquet(tmp_path), max_epochs=1, progress=False, accelerator="cpu")
    parquet.write_table(pa.table({"sequence": [[1], None]}), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"none.parquet, row 1: 1 of 1 are missing"):
        list(stream(tmp_path / "none.parquet", ended=True))


def test_files_that_cannot_be_read_are_refused_at_once(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"sequence": [[1]], "text": ["b"], "when": [1.5]}), path)
    with pytest.raises(ValueError, match=r"no column 'ended'; it has .* say ended=True or ended=False"):
        Parquet(path)
    with pytest.raises(ValueError, match="column 'text': strings need an alphabet"):
        Parquet(path, "text", True)
    with pytest.raises(ValueError, match="column 'when': expected lists of numbers"):
        Parquet(path, "when", True)
    with pytest.raises(ValueError, match="column 'when': whether a sequence ended is true or false; got double"):
        Parquet(path, ended="when")
    other = tmp_path / "b.parquet"
    parquet.write_table(pa.table({"sequence": pa.array([[1]], pa.list_(pa.int8()))}), other)
    with pytest.raises(ValueError, match=r"b.parquet, column 'sequence': it is list<element: int8>, and list<"):
        Parquet([path, other], ended=True)
    other.unlink()
    with pytest.raises(FileNotFoundError, match="no pattern that fits any"):
        Parquet(tmp_path / "b-*.parquet")
    with pytest.raises(ValueError, match="there are no sequences to write"):
        write_parquet(tmp_path / "c.parquet", [])
    assert [found.name for found in tmp_path.iterdir()] == ["a.parquet"]


def test_sequences_with_gaps_are_streamed_to_the_objective_that_takes_them(tmp_path):
    y = ps.Sequences.of([[0, -1, 2], [1, 1], [], [2, -1]])
    write_parquet(tmp_path / "a.parquet", y)
    objective = ps.MissingValues(particles=2)
    fitted = model()
    before = fitted.first.detach().clone()
    ps.fit(fitted, Parquet(tmp_path), objective=objective, max_epochs=1, progress=False, accelerator="cpu")
    assert not torch.equal(before, fitted.first)
    with pytest.raises(ValueError, match=r"a.parquet, row 0: .* position 1: got -1"):
        ps.fit(fitted, Parquet(tmp_path), max_epochs=1, progress=False, accelerator="cpu")


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder\. Name a file in it"):
        write_parquet(tmp_path, ps.Sequences.of([[0]]))

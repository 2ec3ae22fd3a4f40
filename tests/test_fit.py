"""Maximum likelihood."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import lightning as L
import pytest
import torch

import probseq as ps
from probseq.datasets import Parquet, write_parquet
from probseq.oracles import HMM
from probseq.training import Batches, Data, MaximumLikelihood, NonFiniteLossError


def letters(seed=0, dropout=0.0, context=None, stop=None):
    torch.manual_seed(seed)
    return ps.SequenceModel(
        ps.Tokens(3, dim=8, dropout=dropout), ps.LSTM(8), ps.Categorical(), stop or ps.EndSymbol(), context
    )


def corpus(n=120, seed=1):
    return letters(seed=99).sample(n, max_length=12, generator=seed)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


quiet = {"progress": False, "accelerator": "cpu"}


def test_fitting_reaches_the_optimum_of_a_closed_form():
    """Independent symbols with a geometric length: the best nats are those of the empirical frequencies."""
    generator = torch.Generator().manual_seed(0)
    length = torch.distributions.Geometric(0.3)
    torch.manual_seed(0)
    rows = [torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), max(1, int(n)) + 1, True, generator=generator)[: int(n)]
            for n in length.sample((2_000,))]  # fmt: skip
    y = ps.Sequences.of(rows)
    result = ps.fit(letters(), y, max_epochs=12, batch_tokens=512, learning_rate=5e-3, schedule="cosine", **quiet)
    counts = torch.bincount(torch.cat([*rows]), minlength=3).double()
    outcomes = torch.cat([counts, torch.tensor([float(len(rows))])])
    entropy = -(outcomes / outcomes.sum() * (outcomes / outcomes.sum()).log()).sum()
    assert result.nats < entropy + 0.01


def test_the_reported_nats_are_those_of_the_model_it_leaves():
    train, held_out = corpus(), corpus(seed=2)
    model = letters()
    result = ps.fit(model, train, held_out, max_epochs=4, **quiet)
    nats = -model.log_prob(held_out).sum().item() / int(held_out.decisions.sum())
    assert result.nats == pytest.approx(nats, rel=1e-6)
    assert result.nats == min(epoch["validation_nats"] for epoch in result.history)
    assert not model.training
    assert len(result.history) == 4


def test_a_certain_end_is_not_counted():
    model = letters(stop=ps.FixedLength(5))
    y = model.sample(50, generator=0)
    result = ps.fit(model, y, y, max_epochs=1, **quiet)
    assert result.nats == pytest.approx(-model.log_prob(y).mean().item() / 5, rel=1e-6)


def test_overfitting_is_undone():
    """With patience, training stops, and the best weights come back."""
    model, train, held_out = letters(), corpus(8), corpus(40, seed=2)
    result = ps.fit(model, train, held_out, max_epochs=200, patience=3, learning_rate=0.05, **quiet)
    assert len(result.history) < 200
    assert result.epoch == len(result.history) - 4


@pytest.mark.parametrize("options", [{}, {"schedule": "cosine", "schedule_epochs": 20, "warmup_steps": 3}])
@pytest.mark.parametrize("validated", [True, False])
def test_ten_and_ten_epochs_are_twenty(tmp_path, options, validated):
    train, held_out = corpus(), corpus(seed=2) if validated else None
    once, twice, last = letters(dropout=0.2), letters(dropout=0.2), letters(seed=5, dropout=0.2)
    common = {**quiet, **options, "batch_tokens": 128, "learning_rate": 1e-2}
    at_once = ps.fit(once, train, held_out, max_epochs=20, directory=tmp_path / "a", **common)
    ps.fit(twice, train, held_out, max_epochs=10, directory=tmp_path / "b", **common)
    resumed = ps.fit(last, train, held_out, max_epochs=20, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(last))
    without_time = [[{k: v for k, v in e.items() if k != "seconds"} for e in r.history] for r in (at_once, resumed)]
    assert without_time[0] == without_time[1]


class _StopAt(L.Callback):
    """Presses Ctrl-C once, after a step."""

    def __init__(self, step):
        self.step, self.pressed = step, False

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step and not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as Python begins with it, which a shell that runs the tests in the background has ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals need the main thread")
@pytest.mark.parametrize("step", [0, 3, 4, 5, 6, 7, 8, 9, 15])
@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_run_resumes_to_the_bit(tmp_path, step):
    train, held_out = corpus(), corpus(seed=2)
    once, twice = letters(dropout=0.2), letters(dropout=0.2)
    common = {**quiet, "batch_tokens": 256, "max_epochs": 4}
    ps.fit(once, train, held_out, directory=tmp_path / "a", **common)
    with pytest.raises(KeyboardInterrupt, match="Resume with resume=True"):
        ps.fit(twice, train, held_out, directory=tmp_path / "b", callbacks=[_StopAt(step)], **common)
    assert not twice.training
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = ps.fit(twice, train, held_out, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(twice))
    assert [e["epoch"] for e in resumed.history] == [0, 1, 2, 3]


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals need the main thread")
@pytest.mark.parametrize("step", [2, 9])
@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_run_on_files_resumes_to_the_bit(tmp_path, step):
    """The second step lies in the first window, the ninth in the second one of the first epoch."""
    for name, seed in (("train", 1), ("held-out", 2)):
        write_parquet(tmp_path / f"{name}.parquet", corpus(seed=seed), row_group_size=20)
    train, held_out = (Parquet(tmp_path / f"{name}.parquet", window=3) for name in ("train", "held-out"))
    once, twice = letters(dropout=0.2), letters(dropout=0.2)
    common = {**quiet, "batch_tokens": 64, "max_epochs": 2}
    at_once = ps.fit(once, train, held_out, directory=tmp_path / "a", **common)
    with pytest.raises(KeyboardInterrupt, match="Resume with resume=True"):
        ps.fit(twice, train, held_out, directory=tmp_path / "b", callbacks=[_StopAt(step)], **common)
    ps.fit(twice, train, held_out, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(twice))
    in_memory = corpus(seed=2)
    nats = -once.log_prob(in_memory).sum().item() / int(in_memory.decisions.sum())
    assert at_once.nats == pytest.approx(nats, rel=1e-6)


def test_training_leaves_the_global_random_state():
    model, train = letters(dropout=0.3), corpus()
    before = torch.get_rng_state()
    ps.fit(model, train, max_epochs=1, **quiet)
    assert torch.equal(before, torch.get_rng_state())


def gradient(batch_size, accumulate):
    """What one optimiser step of plain descent moves, over all the data."""
    model, train = letters().double(), corpus(32)

    class Plain(MaximumLikelihood):
        def configure_optimizers(self):
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

    batches = Batches(Data.of(train), None, batch_size, seed=0)
    module = Plain(model, batches, accumulate, 1.0, 0.0, "constant", 1, 0, fused=False)
    before = weights(model)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", accumulate_grad_batches=accumulate, logger=False, precision="64-true",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, batches)
    return before - weights(model)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 32), (5, 7), (8, 4)])
def test_the_gradient_is_that_of_the_likelihood_under_any_batching(batch_size, accumulate):
    torch.testing.assert_close(gradient(batch_size, accumulate), gradient(32, 1), rtol=1e-9, atol=1e-12)


def test_the_step_is_the_gradient_of_the_mean_nats():
    model, train = letters().double(), corpus(32)
    nats = -model.log_prob(train).sum() / int(train.decisions.sum())
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(nats, list(model.parameters()))])
    torch.testing.assert_close(gradient(32, 1), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_batches_hold_every_sequence_once(world):
    train = corpus(97)
    seen = []
    for rank in range(world):
        batches = Batches(Data.of(train), 64, None, seed=3)
        batches.rank, batches.world = rank, world
        made = list(batches)
        assert len(made) == len(batches)
        for batch in made:
            y = batch.data.sequences
            assert len(y) == 1 or len(y) * (int(y.lengths.max()) + 1) <= 64
            if batch.weight:
                seen += batch.index.tolist()
    assert sorted(seen) == list(range(97))


def test_a_long_x_counts_as_much_as_a_long_y():
    y = corpus(97)
    x = ps.Sequences.of([[0] * (int(n) * 37 % 50) for n in range(97)])
    encoded = ps.Context(torch.zeros(97, 0), source=torch.zeros(97, 50, 1), source_lengths=x.lengths)
    for context in (x, (torch.zeros(97, 2), x), encoded):
        batches = Batches(Data.of((y, context)), 64, None, seed=3)
        for epoch in range(3):
            order = batches.indices(epoch)
            assert sorted(torch.cat(order).tolist()) == list(range(97))
            for index in order:
                longer = int(torch.maximum(y.lengths[index], x.lengths[index]).max())
                assert len(index) == 1 or len(index) * (longer + 1) <= 64
    plain, beside = (Batches(Data.of(data), None, 10, seed=3).indices(0) for data in (y, (y, x)))
    assert [index.tolist() for index in plain] == [index.tolist() for index in beside]


def test_batches_of_any_lengths_hold_every_sequence_once_in_an_order_of_their_own():
    data = Data.of(corpus(97))
    batches = Batches(data, None, 10, seed=3, bucket=False)
    first, second = batches.indices(0), batches.indices(1)
    for order in (first, second):
        assert sorted(len(index) for index in order) == [7] + [10] * 9
        assert sorted(torch.cat(order).tolist()) == list(range(97))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()

    def spread(order):
        lengths = [data.sequences.lengths[index] for index in order]
        return sum(int(each.max() - each.min()) for each in lengths)

    assert spread(first) > 3 * spread(Batches(data, None, 10, seed=3).indices(0))
    with pytest.raises(ValueError, match="bucket=False makes batches of a number of sequences"):
        Batches(data, 64, None, seed=3, bucket=False)


def test_the_order_depends_on_seed_and_epoch_alone():
    data = Data.of(corpus(97))
    first, again, other = (Batches(data, 64, None, seed=s) for s in (3, 3, 4))
    order = [i.tolist() for i in first.indices(0)]
    assert order == [i.tolist() for i in again.indices(0)]
    assert order != [i.tolist() for i in other.indices(0)]
    assert order != [i.tolist() for i in first.indices(1)]


def test_contexts_go_with_their_sequences():
    """Sequences of symbol k, labelled k: the label is learned only if each keeps its own."""
    label = torch.arange(90) % 3
    y = ps.Sequences(label.unsqueeze(-1).expand(90, 4), torch.full((90,), 4))
    model = letters(context=ps.Labels(3), stop=ps.FixedLength(4))
    ps.fit(model, (y, label), (y, label), max_epochs=20, learning_rate=0.05, batch_size=10, **quiet)
    assert (model.log_prob(y, label).exp() > 0.99).all()


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true", "32-true"])
def test_precisions(precision):
    train = corpus()
    model = letters()
    before = model.log_prob(train).mean().item()
    result = ps.fit(model, train, train, max_epochs=3, learning_rate=1e-2, precision=precision, **quiet)
    assert all(torch.isfinite(torch.tensor(e["train_nats"])) for e in result.history)
    assert model.log_prob(train).mean().item() > before
    # Held-out nats are exact in any training precision.
    nats = -model.log_prob(train).sum().item() / int(train.decisions.sum())
    assert result.nats == pytest.approx(nats, rel=1e-6)


def test_logs_and_checkpoints_are_kept(tmp_path):
    ps.fit(letters(), corpus(), corpus(seed=2), max_epochs=2, directory=tmp_path, **quiet)
    assert {"best.ckpt", "last.ckpt"} <= {p.name for p in tmp_path.iterdir()}
    log = (tmp_path / "logs" / "version_0" / "metrics.csv").read_text()
    assert "validation_nats" in log
    assert "train_nats" in log


def test_nothing_is_kept_without_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ps.fit(letters(), corpus(), max_epochs=1, **quiet)
    assert not list(tmp_path.iterdir())


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="the data set is empty"):
        ps.fit(letters(), ps.Sequences.of([]), **quiet)


def test_bad_data_is_refused_before_training():
    with pytest.raises(ValueError, match=r"validation: sequence 0, position 0: got 7; expected a token"):
        ps.fit(letters(), corpus(), ps.Sequences.of([[7]]), **quiet)
    with pytest.raises(ValueError, match="train: this model has no context"):
        ps.fit(letters(), (corpus(3), torch.zeros(3, 2)), **quiet)
    with pytest.raises(ValueError, match="the context has batch 2, the sequences 3"):
        ps.fit(letters(context=ps.Vector(2)), (corpus(3), torch.zeros(2, 2)), **quiet)
    with pytest.raises(TypeError, match="data must be Sequences or a pair"):
        ps.fit(letters(), [[0, 1]], **quiet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be 1 or more"),
        ({"batch_tokens": 0}, "batch_tokens must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"accumulate": 0}, "accumulate must be 1 or more"),
        ({"patience": 2}, "patience needs validation data"),
        ({"gradient_clip": -1.0}, "gradient_clip must be positive"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"warmup_steps": -1}, "warmup_steps must be 0 or more"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ps.fit(letters(), corpus(), **quiet, **options)


def test_resuming_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is nothing to resume"):
        ps.fit(letters(), corpus(), directory=tmp_path, resume=True, **quiet)


class _Spoil(L.Callback):
    """Breaks the weights at the start of an epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            next(pl_module.model.parameters()).data.fill_(float("nan"))


def test_a_loss_that_turns_nan_stops_training_and_names_the_batch(tmp_path):
    model, train = letters(), corpus(12)
    with pytest.raises(NonFiniteLossError, match=r"epoch 2, step 2, in the batch of training sequences \d+"):
        ps.fit(model, train, max_epochs=5, directory=tmp_path, batch_size=12, callbacks=[_Spoil()], **quiet)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1
    assert all(w.isfinite().all() for w in kept["state_dict"].values())


def test_an_impossible_sequence_is_named():
    model = letters(stop=ps.FixedLength(3))
    with pytest.raises(ValueError, match=r"train: sequence 1 ended after 1 elements, but FixedLength\(length=3\)"):
        ps.fit(model, ps.Sequences.of([[0, 0, 0], [1]]), max_epochs=1, **quiet)


class _SpoilLast(L.Callback):
    """Breaks the weights after the last step of the third epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 2:
            next(pl_module.model.parameters()).data.fill_(float("nan"))


@pytest.mark.parametrize("validated", [True, False])
def test_broken_weights_never_reach_a_checkpoint(tmp_path, validated):
    model, train = letters(), corpus(12)
    with pytest.raises(NonFiniteLossError, match="not finite at the end of epoch 2"):
        ps.fit(model, train, train if validated else None, max_epochs=3, directory=tmp_path, batch_size=12,
               callbacks=[_SpoilLast()], **quiet)  # fmt: skip
    for path in tmp_path.glob("*.ckpt"):
        kept = torch.load(path, weights_only=True)
        assert all(w.isfinite().all() for w in kept["state_dict"].values())


def test_a_new_run_does_not_take_an_old_ones_checkpoints(tmp_path):
    train = corpus()
    ps.fit(letters(), train, train, max_epochs=2, directory=tmp_path, **quiet)
    model = letters(seed=7)
    before = weights(model)
    result = ps.fit(model, train, train, max_epochs=3, directory=tmp_path, max_time={"seconds": 0}, **quiet)
    assert result.history == []
    assert result.epoch == -1
    assert torch.equal(before, weights(model))
    assert (tmp_path / "last.previous.ckpt").is_file()


def test_the_best_epoch_is_kept_when_the_directory_moves(tmp_path):
    train, held_out = corpus(8), corpus(40, seed=2)
    common = {**quiet, "learning_rate": 0.05}
    first = ps.fit(letters(), train, held_out, max_epochs=15, directory=tmp_path / "a", **common)
    assert first.epoch < 14
    (tmp_path / "a").rename(tmp_path / "b")
    second = ps.fit(letters(), train, held_out, max_epochs=16, directory=tmp_path / "b", resume=True, **common)
    assert second.nats == min(epoch["validation_nats"] for epoch in second.history) == first.nats


def test_resuming_what_cannot_be_resumed(tmp_path):
    ps.fit(letters(), corpus(), max_epochs=3, directory=tmp_path, **quiet)
    with pytest.raises(ValueError, match="is from epoch 2, and max_epochs is 2"):
        ps.fit(letters(), corpus(), max_epochs=2, directory=tmp_path, resume=True, **quiet)
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is damaged and cannot be resumed"):
        ps.fit(letters(), corpus(), max_epochs=4, directory=tmp_path, resume=True, **quiet)


def test_an_epoch_is_finished_with_the_batches_it_was_begun_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ps.fit(letters(), corpus(), batch_size=10, directory=tmp_path, callbacks=[_StopAt(2)], **quiet)
    with pytest.raises(ValueError, match="in the middle of an epoch of 12 batches"):
        ps.fit(letters(), corpus(), batch_size=40, directory=tmp_path, resume=True, **quiet)


def test_a_gradient_under_way_is_not_lost(tmp_path):
    once, twice = letters(), letters()
    common = {**quiet, "batch_size": 10, "accumulate": 3, "max_epochs": 2}
    ps.fit(once, corpus(), directory=tmp_path / "a", **common)
    with pytest.raises(KeyboardInterrupt):
        ps.fit(twice, corpus(), directory=tmp_path / "b", callbacks=[_StopAt(2)], **common)
    ps.fit(twice, corpus(), directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(twice))


@pytest.mark.parametrize("stop", [ps.FixedLength(0), ps.LengthStop(0), ps.EndSymbol()])
def test_sequences_that_are_all_empty(stop):
    model = letters(stop=stop)
    ps.fit(model, ps.Sequences.of([[], [], []]), max_epochs=1, **quiet)
    assert model.log_prob(ps.Sequences.of([[]])).isfinite().all()


def test_an_encoded_context_is_data_too():
    model = letters(context=ps.Vector(2))
    ps.fit(model, (corpus(30), ps.Context(torch.randn(30, 2))), max_epochs=1, **quiet)


def test_several_processes_are_one(tmp_path):
    """Fifty steps of two processes are those of one, in memory and from files: the gradients are averaged."""
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import sys, torch, probseq as ps
        from probseq.datasets import Parquet, write_parquet
        torch.set_num_threads(1)
        def main(devices, folder):
            torch.manual_seed(0)
            start = ps.SequenceModel(ps.Tokens(3, dim=8), ps.LSTM(8), ps.Categorical(), ps.EndSymbol()).double()
            y = start.sample(64, max_length=10, generator=1)
            write_parquet(folder + ".parquet", y, row_group_size=32)
            files = Parquet(folder + ".parquet")
            runs = ("memory", y, None, 50), ("files", files, None, 50), ("both", files, y, 2)
            for name, train, held_out, steps in runs:
                model = ps.SequenceModel(**start.parts).double()
                model.load_state_dict(start.state_dict())
                ps.fit(model, train, held_out, max_epochs=steps, directory=f"{folder}/{name}",
                       batch_size=64 // devices, batch_tokens=None, accelerator="cpu", devices=devices,
                       strategy="ddp" if devices > 1 else "auto", progress=False)
                ps.save(model, f"{folder}/{name}/model")
        if __name__ == "__main__":
            main(int(sys.argv[1]), sys.argv[2])
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    for devices in (1, 2):
        command = [sys.executable, str(script), str(devices), str(tmp_path / str(devices))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-2000:]
    for name in ("memory", "files", "both"):
        one, two = (ps.load(tmp_path / devices / name / "model") for devices in ("1", "2"))
        torch.testing.assert_close(weights(one), weights(two), rtol=1e-9, atol=1e-11)


def test_an_hmm_is_learned():
    """Held-out nats per symbol approach those of the truth (the whole figure is in experiments/recovery)."""
    truth = HMM.random(2, 3, length=20, generator=0, concentration=0.3)
    train, held_out = truth.sample(600, generator=1), truth.sample(300, generator=2)
    torch.manual_seed(0)
    model = ps.SequenceModel(ps.Tokens(3, dim=8), ps.GRU(16), ps.Categorical(), ps.FixedLength(20))
    result = ps.fit(model, train, held_out, max_epochs=15, learning_rate=1e-2, schedule="cosine", **quiet)
    exact = -truth.log_prob(held_out).mean().item() / 20
    assert result.nats < exact + 0.05


def test_importing_the_package_leaves_what_is_heavy_alone():
    code = "import sys, probseq; print({'lightning', 'matplotlib', 'zuko'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""Averages of weights: over the steps of one training, and over several models."""

import lightning as L
import pytest
import torch

import probseq as ps
from tests.test_fit import _StopAt, corpus, letters, quiet, weights


class _Record(L.Callback):
    """Notes the weights after every optimiser step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step > len(self.seen):
            self.seen.append(weights(pl_module.model).double())


def average_of(seen, decay):
    """Σᵢ dⁿ⁻ⁱ wᵢ / Σᵢ dⁿ⁻ⁱ, written out."""
    factors = [decay ** (len(seen) - i) for i in range(1, len(seen) + 1)]
    return sum(factor * each for factor, each in zip(factors, seen, strict=True)) / sum(factors)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_model_is_left_with_the_average_over_the_steps(decay, accumulate):
    model, record = letters(), _Record()
    ps.fit(model, corpus(), max_epochs=2, batch_size=8, average=decay, accumulate=accumulate, callbacks=[record],
           learning_rate=1e-2, **quiet)  # fmt: skip
    assert len(record.seen) == 2 * -(-15 // accumulate)
    torch.testing.assert_close(weights(model).double(), average_of(record.seen, decay), rtol=1e-5, atol=1e-6)


def test_an_average_that_forgets_at_once_is_the_last_weights():
    averaged, plain = letters(), letters()
    for model, average in ((averaged, 1e-12), (plain, None)):
        ps.fit(model, corpus(), max_epochs=2, average=average, **quiet)
    torch.testing.assert_close(weights(averaged), weights(plain), rtol=1e-6, atol=1e-7)


def test_training_goes_on_from_the_weights_and_not_from_their_average():
    histories = [
        ps.fit(letters(), corpus(), corpus(seed=2), max_epochs=3, average=average, **quiet).history
        for average in (None, 0.99)
    ]
    plain, averaged = ([epoch["train_nats"] for epoch in history] for history in histories)
    assert plain == averaged


def test_held_out_nats_are_those_of_the_average():
    model, train, held_out = letters(), corpus(), corpus(seed=2)
    result = ps.fit(model, train, held_out, max_epochs=4, average=0.9, learning_rate=1e-2, **quiet)
    nats = -model.log_prob(held_out).sum().item() / int(held_out.decisions.sum())
    assert result.nats == pytest.approx(nats, rel=1e-6)
    assert result.nats == min(epoch["validation_nats"] for epoch in result.history)


@pytest.mark.parametrize("validated", [True, False])
def test_three_and_three_averaged_epochs_are_six(tmp_path, validated):
    train, held_out = corpus(), corpus(seed=2) if validated else None
    once, twice, last = letters(dropout=0.2), letters(dropout=0.2), letters(seed=5, dropout=0.2)
    common = {**quiet, "batch_tokens": 128, "learning_rate": 1e-2, "average": 0.95}
    at_once = ps.fit(once, train, held_out, max_epochs=6, directory=tmp_path / "a", **common)
    ps.fit(twice, train, held_out, max_epochs=3, directory=tmp_path / "b", **common)
    resumed = ps.fit(last, train, held_out, max_epochs=6, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(last))
    for epoch, again in zip(at_once.history, resumed.history, strict=True):
        assert epoch["train_nats"] == again["train_nats"]
        assert epoch.get("validation_nats") == again.get("validation_nats")


@pytest.mark.parametrize("step", [0, 3, 5, 6])
def test_an_interrupted_average_resumes_to_the_bit(tmp_path, step):
    train, held_out = corpus(), corpus(seed=2)
    once, twice = letters(dropout=0.2), letters(dropout=0.2)
    common = {**quiet, "batch_tokens": 256, "max_epochs": 4, "average": 0.9}
    ps.fit(once, train, held_out, directory=tmp_path / "a", **common)
    with pytest.raises(KeyboardInterrupt, match="Resume with resume=True"):
        ps.fit(twice, train, held_out, directory=tmp_path / "b", callbacks=[_StopAt(step)], **common)
    ps.fit(twice, train, held_out, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(twice))


def test_a_run_is_resumed_with_an_average_or_without_as_it_was_begun(tmp_path):
    for average, folder, said in ((None, "a", "without"), (0.9, "b", "with")):
        ps.fit(letters(), corpus(8), max_epochs=1, directory=tmp_path / folder, average=average, **quiet)
        with pytest.raises(ValueError, match=f"was written {said} an average"):
            ps.fit(letters(), corpus(8), max_epochs=2, directory=tmp_path / folder, resume=True,
                   average=0.9 if average is None else None, **quiet)  # fmt: skip


@pytest.mark.parametrize("average", [0.0, 1.0, -1.0])
def test_a_decay_lies_between_0_and_1(average):
    with pytest.raises(ValueError, match="average is the decay of a moving average, between 0 and 1"):
        ps.fit(letters(), corpus(), average=average, **quiet)


def test_the_average_of_models_has_the_mean_of_their_weights():
    models = [letters(seed=seed) for seed in range(3)]
    mean = ps.average(models)
    torch.testing.assert_close(weights(mean), torch.stack([weights(m) for m in models]).mean(0))
    assert not mean.training
    weights_before = [weights(letters(seed=seed)) for seed in range(3)]
    assert all(torch.equal(weights(m), before) for m, before in zip(models, weights_before, strict=True))


def test_models_of_different_assemblies_have_no_average():
    with pytest.raises(ValueError, match=r"model 1 has stop=BernoulliStop\(\), model 0 stop=EndSymbol\(\)"):
        ps.average([letters(), letters(stop=ps.BernoulliStop())])
    with pytest.raises(ValueError, match="model 1 has context=Vector"):
        ps.average([letters(), letters(context=ps.Vector(2))])
    with pytest.raises(ValueError, match="one model at least"):
        ps.average([])

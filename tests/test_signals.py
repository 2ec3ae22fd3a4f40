"""Training signals: the likelihood in less memory, signals that are none, and the meter of exposure."""

import lightning as L
import pyro.distributions as dist
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import probseq as ps
from probseq.inference.openloop import read_own
from probseq.inference.segments import score_segments, walk_segments
from probseq.objectives import Objective
from probseq.oracles import HMM
from probseq.testing import ragged
from tests.parts import ALIGNED, COMPOSED, STOPS, build
from tests.test_fit import corpus, letters, quiet, weights

OBJECTIVES = {
    "teacher forcing": ps.TeacherForcing(),
    "checkpointed": ps.TeacherForcing(checkpoint=True),
    "truncated": ps.TruncatedBPTT(3),
    "scheduled sampling": ps.ScheduledSampling(ps.Schedule(0.0, 0.8, "inverse sigmoid")),
    "free running": ps.FreeRunning(0.5),
    "label smoothing": ps.LabelSmoothing(0.1),
}

PARTS = {
    stop: (ps.Tokens(3, dim=4), ps.LSTM(5, layers=2), ps.Categorical(), law, ps.Vector(3))
    for stop, law in STOPS.items()
} | {
    "Gaussian": (ps.Reals(2), ps.GRU(5), ps.Gaussian(), ps.BernoulliStop(), ps.Labels(4, dim=3)),
    "Bits": (ps.Bits(2), ps.Unrolled(ps.Elman(4)), ps.Bernoulli(), ps.LengthStop(5)),
    "PlannedLength": (ps.Tokens(3, dim=4), ps.GRU(5), ps.Categorical(), ps.PlannedLength(5, dim=3), ps.Vector(3)),
    "aligned": (ps.Tokens(3, dim=4), ps.GRU(5), ps.Categorical(), ps.AlignedLength(), ALIGNED["bidirectional"]),
    "stack": (ps.Tokens(3, dim=4), COMPOSED["Stack with skips"], ps.Categorical(), ps.EndSymbol()),
    "window": (ps.Tokens(3, dim=4), ps.CausalConv(5, window=3), ps.Categorical(), ps.EndSymbol()),
}
KNOWN = {name: parts for name, parts in PARTS.items() if name != "PlannedLength"}


def ragged_batch(parts, batch=6):
    """A model, and sequences of its own with empty and open ones among them."""
    model, context = build(parts, batch)
    y = ragged(model, context, batch)
    y = ps.Sequences(y.values, y.lengths, y.ended & (torch.arange(batch) != 2))
    return model, model.element.conform(y).trim(), context


def gradients(model, loss):
    found = torch.autograd.grad(loss.sum(), list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([each.flatten() for each in found])


def independent(likelihood, stop, element=None):
    """A law whose elements do not depend on what was read."""
    torch.manual_seed(0)
    model = ps.SequenceModel(element or ps.Tokens(3), ps.GRU(4), likelihood, stop).double()
    with torch.no_grad():
        model.likelihood.project.weight.zero_()
    return model


# Segments


@pytest.mark.parametrize("objective", [ps.TeacherForcing(True), ps.TruncatedBPTT(100), ps.ScheduledSampling(0.0)])
def test_a_planned_length_is_scored_in_one_pass_by_every_objective(objective):
    model, y, context = ragged_batch(PARTS["PlannedLength"])
    ended = y.ended.nonzero().squeeze(-1)
    y, context = y.select(ended), context[ended]
    plain = model.log_prob(y, context)
    loss = objective.loss(model, y, context, 0.0)
    torch.testing.assert_close(-loss, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(model, -loss), gradients(model, plain), rtol=1e-10, atol=1e-10)


def test_a_planned_length_of_an_open_sequence_is_not_known_to_the_segments():
    model, y, context = ragged_batch(PARTS["PlannedLength"])
    with pytest.raises(ValueError, match="sequence 2 has not ended, so its planned length is not known"):
        ps.TruncatedBPTT(2).loss(model, y, context, 0.0)


@pytest.mark.parametrize("segment", [1, 2, 3, 100])
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_segments_add_up_to_the_likelihood_and_its_gradient(parts, segment):
    model, y, context = ragged_batch(parts)
    plain = model.log_prob(y, context)
    expected = gradients(model, plain)
    for checkpoint in (False, True):
        walked = score_segments(model, y, context, segment, checkpoint=checkpoint)
        torch.testing.assert_close(walked, plain, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients(model, walked), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("objective", [ps.TeacherForcing(checkpoint=True), ps.TeacherForcing(checkpoint=4)])
def test_checkpointed_gradients_in_single_precision(objective):
    model, train = letters(), corpus(40)
    plain = gradients(model, ps.TeacherForcing().loss(model, train, None, 0.0))
    checkpointed = gradients(model, objective.loss(model, train, None, 0.0))
    assert float((checkpointed - plain).norm() / plain.norm()) <= 1e-6


def test_checkpointing_draws_the_same_dropout():
    torch.manual_seed(0)
    model = ps.SequenceModel(
        ps.Tokens(3, dim=8, dropout=0.3), ps.LSTM(6, layers=2, dropout=0.4), ps.Categorical(), ps.EndSymbol()
    ).double()
    model.train()
    found = []
    for checkpoint in (False, True):
        torch.manual_seed(1)
        loss = score_segments(model, corpus(20), segment=3, checkpoint=checkpoint)
        found.append((loss.detach(), gradients(model, loss), torch.get_rng_state()))
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-10, atol=1e-10)


def test_segments_need_nothing_but_the_contract():
    model = HMM.random(3, 4, generator=0, stop=0.1)
    y = model.sample(5, max_length=9, generator=0)
    torch.testing.assert_close(score_segments(model, y, segment=2), model.log_prob(y))


def test_no_sequence_and_no_element_at_all():
    model = letters()
    for y in (ps.Sequences.of([]), ps.Sequences.of([[], []])):
        plain = model.log_prob(y)
        for name, objective in OBJECTIVES.items():
            loss = objective.loss(model, model.element.conform(y), None, 0.0)
            # The end is a decision, and is smoothed.
            assert name == "label smoothing" or torch.allclose(loss, -plain)
            if loss.requires_grad:
                loss.sum().backward()


def test_a_segment_has_one_element_at_least():
    with pytest.raises(ValueError, match="segment must be 1 or more elements; got 0"):
        score_segments(letters(), corpus(2), segment=0)
    with pytest.raises(ValueError, match="TruncatedBPTT needs steps ≥ 1; got 0"):
        ps.TruncatedBPTT(0)
    with pytest.raises(ValueError, match=r"checkpoint to be True, False or a number of elements ≥ 1; got 0"):
        ps.TeacherForcing(checkpoint=0)


def peak_bytes(run):
    """The most memory of tensors at once, by the allocator's own account: the same in every run."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def memory_of(objective, length):
    torch.manual_seed(0)
    model = ps.SequenceModel(ps.Tokens(8, dim=16), ps.LSTM(32), ps.Categorical(), ps.EndSymbol())
    y = ps.Sequences(torch.randint(0, 8, (2, length)), [length] * 2)
    objective.loss(model, y, None, 0.0).sum().backward()
    return peak_bytes(lambda: objective.loss(model, y, None, 0.0).sum().backward())


def test_checkpointing_takes_an_eighth_of_the_memory_at_4096_steps():
    plain, checkpointed = (memory_of(objective, 4096) for objective in (ps.TeacherForcing(), ps.TeacherForcing(True)))
    assert checkpointed <= plain / 8


def test_the_memory_of_checkpointing_grows_as_the_root_of_the_length():
    short, long = (memory_of(ps.TeacherForcing(checkpoint=True), length) for length in (256, 4096))
    assert long <= 6 * short


def test_the_memory_of_truncated_back_propagation_does_not_grow_with_the_length():
    short, long = (memory_of(ps.TruncatedBPTT(32), length) for length in (512, 4096))
    elements = 2 * (4096 - 512) * 8
    assert long <= 1.2 * short + elements


# Truncated back-propagation


@pytest.mark.parametrize("parts", KNOWN.values(), ids=KNOWN)
def test_truncation_leaves_the_likelihood_exact(parts):
    model, y, context = ragged_batch(parts)
    loss = ps.TruncatedBPTT(2).loss(model, y, context, 0.0)
    torch.testing.assert_close(loss, -model.log_prob(y, context), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(ps.TruncatedBPTT(2).loss(model, y, context, 0.0), loss)


def by_hand(model, y, x, steps):
    """Truncated back-propagation on one sequence that ended, one element at a time, the state cut now and then."""
    state, log_prob = model.start(x), torch.zeros(1, dtype=torch.float64)
    for t in range(y.shape[1]):
        if t and t % steps == 0:
            memory = tuple(tensor.detach() for tensor in state.memory)
            state = ps.State(state.features.detach(), memory, state.position, state.context)
        step = model.emit(state.features, state.position, state.context)
        log_prob = log_prob + step.log_go + step.element.log_prob(y[:, t])
        state = model.extend(state, y[:, t : t + 1])[1]
    return log_prob + model.emit(state.features, state.position, state.context).log_stop


@pytest.mark.parametrize("context", [None, ps.Labels(4, dim=3)])
def test_the_truncated_gradient_is_that_of_a_loop_written_by_hand(context):
    """The length is no multiple of the segment; the embedding of a label gets gradients from every segment."""
    model, x = build((ps.Tokens(3, dim=4), ps.LSTM(5), ps.Categorical(), ps.EndSymbol(), context), 1)
    y = torch.tensor([[0, 2, 1, 1, 0, 2, 2, 1]])
    encoded = model.encode(x, 1)
    expected = gradients(model, -by_hand(model, y, encoded, 3))
    truncated = gradients(model, ps.TruncatedBPTT(3).loss(model, ps.Sequences(y, [8]), x, 0.0))
    torch.testing.assert_close(truncated, expected, rtol=1e-10, atol=1e-10)
    full = gradients(model, -model.log_prob(ps.Sequences(y, [8]), x))
    assert float((truncated - full).norm() / full.norm()) > 1e-3


def test_one_segment_of_everything_is_the_full_gradient():
    model, y, context = ragged_batch(PARTS["EndSymbol"])
    full = gradients(model, -model.log_prob(y, context))
    found = gradients(model, 0.5 * ps.TruncatedBPTT(100).loss(model, y, context, 0.0))
    torch.testing.assert_close(found, 0.5 * full, rtol=1e-10, atol=1e-10)


def test_truncated_gradients_accumulate_at_the_parameters():
    """As those of any loss: hooks fire, and a second backward pass adds."""
    model, y, context = ragged_batch(PARTS["EndSymbol"])
    fired = []
    model.first.register_post_accumulate_grad_hook(lambda parameter: fired.append(parameter))
    ps.TruncatedBPTT(2).loss(model, y, context, 0.0).sum().backward()
    once = model.first.grad.clone()
    ps.TruncatedBPTT(2).loss(model, y, context, 0.0).sum().backward()
    torch.testing.assert_close(model.first.grad, 2 * once)
    assert len(fired) == 2


def test_unequal_weights_of_truncated_losses_are_refused():
    model, y, context = ragged_batch(PARTS["EndSymbol"])
    loss = ps.TruncatedBPTT(2).loss(model, y, context, 0.0)
    with pytest.raises(ValueError, match="Weight the sequences alike"):
        (loss * torch.arange(len(y))).sum().backward()


def test_segments_can_be_taken_one_by_one():
    model, y, context = ragged_batch(PARTS["EndSymbol"])
    pieces = list(walk_segments(model, y, context, 2, detach=True))
    assert len(pieces) == 3
    torch.testing.assert_close(torch.stack(pieces).sum(0), model.log_prob(y, context))


# Reading its own draws


@pytest.mark.parametrize("objective", [ps.ScheduledSampling(0.0), ps.FreeRunning(0.0)])
def test_without_own_draws_every_signal_is_teacher_forcing(objective):
    model, y, context = ragged_batch(PARTS["EndSymbol"])
    assert torch.equal(objective.loss(model, y, context, 0.3), ps.TeacherForcing().loss(model, y, context, 0.3))


def test_reading_true_elements_step_by_step_is_teacher_forcing():
    model, y, context = ragged_batch(PARTS["EndSymbol"])
    features = read_own(model, model.start(model.encode(context)), y, share=0.0)
    torch.testing.assert_close(features, model.unroll(context, y.values)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", KNOWN.values(), ids=KNOWN)
def test_reading_own_draws_gives_finite_gradients_and_changes_no_empty_sequence(parts):
    model, y, context = ragged_batch(parts)
    torch.manual_seed(0)
    loss = ps.ScheduledSampling(1.0).loss(model, y, context, 0.0)
    assert loss.isfinite().all()
    assert gradients(model, loss).isfinite().all()
    untouched = y.lengths == 0
    torch.testing.assert_close(loss[untouched], -model.log_prob(y, context)[untouched])


def test_own_draws_follow_the_models_law():
    """In open loop the second element is scored after a draw: on average, by its marginal."""
    torch.manual_seed(0)
    model = ps.SequenceModel(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.FixedLength(2)).double()
    with torch.no_grad():
        model.likelihood.project.weight.mul_(4)
        y = model.element.conform(ps.Sequences(torch.zeros(20_000, 2, dtype=torch.int64), [2] * 20_000))
        torch.manual_seed(1)
        found = (-ps.ScheduledSampling(0.25).loss(model, y, None, 0.0)).mean()
        first = model.log_prob(ps.Sequences.of([[0]], ended=False))
        second = [
            model.log_prob(ps.Sequences.of([[k, 0]])) - model.log_prob(ps.Sequences.of([[k]], ended=False))
            for k in (0, 1)
        ]
    open_loop = first.exp() * second[0] + (1 - first.exp()) * second[1]
    expected = first + 0.75 * second[0] + 0.25 * open_loop
    assert abs(float(found - expected)) < 4 * float((second[0] - second[1]).abs()) / 2 / 20_000**0.5


def test_discrete_draws_carry_no_gradient_and_gaussian_draws_do():
    discrete, y, context = ragged_batch(PARTS["FixedLength"])
    torch.manual_seed(0)
    features = read_own(discrete, discrete.start(discrete.encode(context)), y, share=1.0)
    assert (
        torch.autograd.grad(
            features[0, 1].sum(), discrete.likelihood.project.weight, allow_unused=True, materialize_grads=True
        )[0]
        .abs()
        .sum()
        == 0
    )
    real, y, context = ragged_batch(PARTS["Gaussian"])
    features = read_own(real, real.start(real.encode(context)), y, share=1.0)
    assert torch.autograd.grad(features[0, 1].sum(), real.likelihood.project.weight)[0].abs().sum() > 0


@pytest.mark.parametrize("objective", [ps.FreeRunning(0.5), ps.ScheduledSampling(1.0)])
def test_a_free_running_pass_needs_reparameterised_samples(objective):
    model, y, _ = ragged_batch((ps.Reals(2), ps.GRU(4), ps.Parametric(dist.VonMises), ps.FixedLength(4)))
    with pytest.raises(ValueError, match="continuous likelihood without reparameterised samples"):
        objective.loss(model, y, None, 0.0)
    ps.exposure(model, y, generator=0)


def test_schedules_go_from_start_to_end():
    for shape in ("linear", "exponential", "inverse sigmoid"):
        schedule = ps.Schedule(0.1, 0.9, shape)
        values = [schedule.at(p / 10) for p in range(11)]
        assert values[0] == pytest.approx(0.1)
        assert values[-1] == pytest.approx(0.9)
        assert values == sorted(values)
    with pytest.raises(ValueError, match=r"Schedule needs end in \[0, 1\], a probability; got 1.2"):
        ps.Schedule(0.0, 1.2)
    with pytest.raises(ValueError, match=r"got -0.1"):
        ps.ScheduledSampling(-0.1)
    with pytest.raises(ValueError, match=r"FreeRunning needs share in \[0, 1\]; got 2"):
        ps.FreeRunning(2.0)


def test_every_objective_says_whether_it_is_a_likelihood():
    said = {name: objective.is_likelihood for name, objective in OBJECTIVES.items()}
    likelihoods = {"teacher forcing", "checkpointed", "truncated"}
    assert said == {name: name in likelihoods for name in OBJECTIVES}
    assert ps.FreeRunning(0.0).is_likelihood
    assert all(isinstance(objective, Objective) for objective in OBJECTIVES.values())


TRUTH = torch.tensor([[0.4, 0.1], [0.1, 0.4]])
"""Two tokens that mostly agree."""


def distance_after(objective):
    """Total variation between the source and what is learned from it (Huszár, 2015)."""
    torch.manual_seed(0)
    model = ps.SequenceModel(ps.Tokens(2, dim=4), ps.GRU(8), ps.Categorical(), ps.FixedLength(2))
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat_interleave((100 * TRUTH.flatten()).long(), 0)
    y = ps.Sequences(pairs.repeat(10, 1), [2] * 1000)
    ps.fit(model, y, objective=objective, max_epochs=30, batch_size=100, learning_rate=2e-2, schedule="cosine", **quiet)
    law = ps.exact(model, 2)
    full = law.sequences.lengths == 2
    learned = law.log_prob[full].exp()
    places = law.sequences.values[full]
    return 0.5 * float((learned - TRUTH[places[:, 0], places[:, 1]]).abs().sum())


def test_maximum_likelihood_recovers_a_two_token_source_and_scheduled_sampling_must_not():
    assert distance_after(None) <= 0.01
    assert distance_after(ps.ScheduledSampling(1.0)) > 0.05


# In fit


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_objective_trains_and_resumes_to_the_bit(tmp_path, objective, validated):
    train, held_out = corpus(), corpus(seed=2) if validated else None
    once, twice, last = letters(dropout=0.2), letters(dropout=0.2), letters(seed=5, dropout=0.2)
    common = {**quiet, "objective": objective, "batch_tokens": 256, "learning_rate": 1e-2, "schedule_epochs": 4}
    before = once.log_prob(train).mean()
    at_once = ps.fit(once, train, held_out, max_epochs=4, directory=tmp_path / "a", **common)
    ps.fit(twice, train, held_out, max_epochs=2, directory=tmp_path / "b", **common)
    resumed = ps.fit(last, train, held_out, max_epochs=4, directory=tmp_path / "b", resume=True, **common)
    assert torch.equal(weights(once), weights(last))
    assert once.log_prob(train).mean() > before
    key = "train_nats" if objective.is_likelihood else "train_objective"
    for epoch, again in zip(at_once.history, resumed.history, strict=True):
        assert epoch[key] == again[key]
        assert ("train_nats" in epoch) == objective.is_likelihood
    if validated:
        assert at_once.nats == resumed.nats == min(epoch["validation_nats"] for epoch in at_once.history)
    else:
        assert (at_once.nats == at_once.nats) == objective.is_likelihood


class _Watching:
    """Teacher forcing that notes how far training was."""

    is_likelihood = True

    def __init__(self):
        self.seen = []

    def loss(self, model, y, context, progress):
        self.seen.append(progress)
        return ps.TeacherForcing().loss(model, y, context, progress)


def test_an_objective_of_your_own_is_told_how_far_training_is():
    watching, train = _Watching(), corpus(40)
    ps.fit(letters(), train, objective=watching, max_epochs=2, batch_size=10, accumulate=2, **quiet)
    assert watching.seen == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_truncated_training_is_clipped_and_accumulated_as_any_other():
    """One segment of everything: the same weights as teacher forcing, through Lightning."""
    found = []
    for objective in (None, ps.TruncatedBPTT(100)):
        model = letters()
        ps.fit(model, corpus(), objective=objective, max_epochs=2, batch_size=10, accumulate=3, gradient_clip=0.1,
               precision="64-true", **quiet)  # fmt: skip
        found.append(weights(model))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-8)


class _Label(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.shown = trainer.progress_bar_metrics | trainer.progress_bar_callback.get_metrics(trainer, pl_module)


@pytest.mark.parametrize(("objective", "label"), [(None, "nats"), (ps.FreeRunning(0.5), "objective")])
def test_the_bar_calls_nats_only_what_is_a_likelihood(objective, label):
    watching = _Label()
    ps.fit(letters(), corpus(20), objective=objective, max_epochs=1, callbacks=[watching], accelerator="cpu")
    assert label in watching.shown
    assert len(watching.shown) == 1


# The meter of exposure


@pytest.mark.parametrize("stop", [ps.FixedLength(4), ps.LengthStop(5)])
def test_a_law_that_forgets_loses_nothing_by_reading_its_own_draws(stop):
    model = independent(ps.Categorical(), stop)
    meter = ps.exposure(model, ragged(model, batch=30), generator=0)
    torch.testing.assert_close(meter.gap, torch.zeros_like(meter.gap), rtol=0, atol=1e-12)
    torch.testing.assert_close(meter.free_running, meter.teacher_forced, rtol=0, atol=1e-12)


def test_a_law_that_copies_loses_by_reading_its_own_draws():
    """Sequences of one symbol repeated: once learned, a drawn past is another symbol's two times in three."""
    label = torch.arange(90) % 3
    y = ps.Sequences(label.unsqueeze(-1).expand(90, 4), torch.full((90,), 4))
    model = letters(stop=ps.FixedLength(4))
    ps.fit(model, y, max_epochs=40, batch_size=30, learning_rate=2e-2, **quiet)
    meter = ps.exposure(model, y, generator=0)
    assert float(meter.gap[0]) == 0
    assert (meter.gap[1:] > 3 * meter.gap_error[1:]).all()
    assert meter.counts.tolist() == [90] * 4


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_the_teacher_forced_side_of_the_meter_is_the_score(parts):
    model, y, context = ragged_batch(parts)
    meter = ps.exposure(model, y, context, generator=0)
    score = model.log_prob_steps(y, context)
    real = y.mask()
    nats = -torch.where(real, score.element + score.stop[:, :-1], 0.0)
    torch.testing.assert_close(meter.teacher_forced * meter.counts, nats.sum(0))
    assert meter.counts.tolist() == real.sum(0).tolist()
    torch.testing.assert_close(meter.gap, meter.free_running - meter.teacher_forced)
    alone = nats[real[:, 1], 1]
    torch.testing.assert_close(meter.teacher_forced_error[1], alone.std() / len(alone) ** 0.5)
    again = ps.exposure(model, y, context, generator=0)
    assert torch.equal(again.free_running, meter.free_running)

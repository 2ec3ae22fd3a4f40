"""Bad input: what, expected, got, cure."""

import pyro.distributions as dist
import pytest
import torch

import probseq as ps
from probseq.inference.segments import score_segments


@pytest.fixture
def letters():
    return ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())


@pytest.fixture
def vectors():
    return ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.BernoulliStop())


@pytest.fixture
def conditioned():
    return ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol(), ps.Vector(2))


def test_a_token_outside_the_alphabet(letters):
    with pytest.raises(ValueError, match=r"sequence 1, position 2: got 3; expected a token in 0…2"):
        letters.log_prob(ps.Sequences.of([[0], [1, 2, 3]]))
    with pytest.raises(ValueError, match="position 0: got -1"):
        ps.score(letters, ps.Sequences.of([[-1]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite(vectors, bad):
    with pytest.raises(ValueError, match=r"sequence 0, position 1: .*expected finite numbers"):
        vectors.log_prob(ps.Sequences.of([[[0.0, 1.0], [bad, 0.0]]]))


def test_garbage_in_the_padding_is_no_error(letters, vectors):
    letters.log_prob(ps.Sequences(torch.tensor([[1, 99]]), [1]))
    vectors.log_prob(ps.Sequences(torch.tensor([[[0.0, 0.0], [float("nan"), 0.0]]]), [1]))


def test_a_wrong_trailing_shape(vectors):
    with pytest.raises(ValueError, match=r"elements of shape \(2,\); got \(3,\)"):
        vectors.log_prob(ps.Sequences.of([[[0.0, 1.0, 2.0]]]))


def test_a_wrong_dtype(letters):
    with pytest.raises(ValueError, match=r"tokens are integers; got torch.float32"):
        letters.log_prob(ps.Sequences.of([[0.0, 1.0]]))


def test_bits_that_are_not():
    model = ps.SequenceModel(ps.Bits(2), ps.GRU(4), ps.Bernoulli(), ps.BernoulliStop())
    with pytest.raises(ValueError, match="expected zeros and ones"):
        model.log_prob(ps.Sequences.of([[[0, 2]]]))


def test_a_value_outside_the_likelihoods_support():
    model = ps.SequenceModel(ps.Reals(1), ps.GRU(4), ps.Parametric(dist.Gamma), ps.BernoulliStop())
    with pytest.raises(ValueError, match=r"sequence 0, position 1: .*support"):
        model.log_prob(ps.Sequences.of([[[1.0], [-1.0]]]))


def test_a_context_of_another_batch(conditioned):
    with pytest.raises(ValueError, match="the context has batch 3, the sequences 2"):
        conditioned.log_prob(ps.Sequences.of([[0], [1]]), torch.zeros(3, 2))


def test_a_context_where_the_model_has_none(letters):
    with pytest.raises(ValueError, match="this model has no context"):
        letters.log_prob(ps.Sequences.of([[0]]), torch.zeros(1, 2))


def test_no_context_where_the_model_needs_one(conditioned):
    for ask in (lambda: conditioned.log_prob(ps.Sequences.of([[0]])), conditioned.sample, conditioned.forward):
        with pytest.raises(ValueError, match=r"conditioned on Vector\(dim=2\): pass a context"):
            ask()


def test_a_context_that_is_not_finite(conditioned):
    with pytest.raises(ValueError, match="the context of sequence 1 is not finite"):
        conditioned.log_prob(ps.Sequences.of([[0], [1]]), torch.tensor([[0.0, 0.0], [0.0, float("nan")]]))


def test_a_label_outside_its_classes():
    model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol(), ps.Labels(2))
    with pytest.raises(ValueError, match=r"the label of sequence 0 is 2; expected 0…1"):
        model.sample(1, torch.tensor([2]))


def test_a_sequence_beyond_the_learned_lengths():
    model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.LengthStop(2))
    for ask in (model.log_prob, lambda y: ps.score(model, y)):
        with pytest.raises(ValueError, match="sequence 1 has 3 elements, but the model's stop law"):
            ask(ps.Sequences.of([[0], [0, 0, 0]]))


def test_an_x_of_another_length_than_the_one_that_is_fixed():
    model = ps.SequenceModel(
        ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.FixedLength(4), ps.Aligned(ps.Tokens(2))
    )  # fmt: skip
    model.log_prob(ps.Sequences.of([[0, 1, 2, 0]]), ps.Sequences.of([[0, 1, 1, 0]]))
    for ask in (model.sample, model.start, lambda context: model(context)):
        with pytest.raises(ValueError, match=r"the x of sequence 0 has 3 elements, but FixedLength\(length=4\) gives"):
            ask(context=ps.Sequences.of([[0, 1, 1]]))


def test_an_end_symbol_beside_a_continuous_likelihood():
    with pytest.raises(ValueError, match=r"needs Categorical\(\); got Gaussian\(\). Use BernoulliStop"):
        ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.EndSymbol())


def test_parts_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"Categorical\(\) needs a Tokens element"):
        ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Categorical(), ps.FixedLength(3))
    with pytest.raises(ValueError, match="needs a vector element"):
        ps.SequenceModel(ps.Tokens(2), ps.GRU(4), ps.Gaussian(), ps.FixedLength(3))
    with pytest.raises(ValueError, match="draws floats"):
        ps.SequenceModel(ps.Tokens(2), ps.GRU(4), ps.Parametric(dist.Poisson), ps.FixedLength(3))
    with pytest.raises(ValueError, match=r"Binomial.total_count cannot be learned; fix it"):
        ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Parametric(dist.Binomial), ps.FixedLength(3))
    with pytest.raises(ValueError, match="no parameter"):
        ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Parametric(dist.Normal, {"mean": 0.0}), ps.FixedLength(3))


def test_a_part_in_another_parts_place():
    with pytest.raises(TypeError, match=r"stop= takes a part of kind stop; got Gaussian\(\), of kind likelihood"):
        ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Gaussian(), ps.Gaussian())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ps.Tokens(0),
        lambda: ps.Reals(0),
        lambda: ps.LSTM(0),
        lambda: ps.GRU(4, dropout=1.0),
        lambda: ps.LengthStop(-1),
        lambda: ps.FixedLength(-1),
        lambda: ps.Gaussian(scale=0.0),
        lambda: ps.Vector(0),
        lambda: ps.Parametric("NoSuchLaw"),
    ],
)
def test_choices_out_of_range(make):
    with pytest.raises(ValueError, match=r"needs|must|has no"):
        make()


def test_enumeration_that_would_never_end():
    model = ps.SequenceModel(ps.Tokens(27), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    with pytest.raises(ValueError, match="sequences up to length 9; exact\\(\\) lists"):
        ps.exact(model, 9)


def test_enumeration_of_reals(vectors):
    with pytest.raises(ValueError, match="needs a discrete element"):
        ps.exact(vectors, 2)


def test_a_dense_value_that_does_not_fit(letters):
    p = letters(max_length=3)
    with pytest.raises(ValueError, match="time ≤ 3"):
        p.log_prob(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="unused slot before"):
        p.log_prob(torch.tensor([-1, 0, 1]))


def test_a_context_of_another_batch_or_length():
    context = ps.Aligned(ps.Tokens(2))
    model = ps.SequenceModel(ps.Tokens(2), ps.GRU(4), ps.Categorical(), ps.BernoulliStop(), context)
    y, x = ps.Sequences.of([[0, 1]]), ps.Sequences.of([[0, 1], [1, 1]])
    for engine in (ps.score, ps.exposure, score_segments):
        with pytest.raises(ValueError, match="the context has batch 2, the sequences 1"):
            engine(model, y, x)
    for engine in (ps.score, ps.exposure):
        with pytest.raises(ValueError, match=r"sequence 0 has 2 elements, but its x .* has 1"):
            engine(model, y, ps.Sequences.of([[0]]))


def test_symbols_must_be_as_many_different_characters_as_there_are_tokens():
    assert ps.Tokens(3, symbols="abc").symbols == "abc"
    for symbols in ("ab", "abb", "abcd"):
        with pytest.raises(ValueError, match=r"3 different characters.*got '" + symbols):
            ps.Tokens(3, symbols=symbols)


def test_rows_of_results_that_are_not_there(letters):
    found = ps.beam(letters, width=2, n_best=2, max_length=3)
    completed = ps.infill(letters, [[0, None]], particles=10, generator=0)
    for act, message in (
        (lambda: found.select([len(found)]), "counted from 0; got row"),
        (lambda: found.select([True]), r"a mask must have shape"),
        (lambda: completed.ranked(1), "there are 1 patterns, counted from 0; got 1"),
        (lambda: completed.ranked(-1), "there are 1 patterns, counted from 0; got -1"),
        (lambda: completed.ranked(0, -1), "count ≥ 0; got -1"),
        (lambda: completed.draw(0), "count ≥ 1; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            act()
    with pytest.raises(TypeError, match="rows must be integers, or bools"):
        found.select([0.5])
    with pytest.raises(TypeError, match="needs row to be int"):
        found.of("a")


def test_a_device_that_is_not_there(letters, tmp_path):
    ps.save(letters, tmp_path)
    with pytest.raises(ValueError, match="there is no device 'nowhere' here"):
        ps.load(tmp_path, device="nowhere")


def test_a_trainer_that_this_machine_cannot_have(letters):
    for options in ({"max_time": "soon"}, {"devices": 0, "accelerator": "cpu"}):
        with pytest.raises(ValueError, match="the trainer cannot be made so"):
            ps.fit(letters, ps.Sequences.of([[0]]), max_epochs=1, progress=False, **options)
    with pytest.raises(TypeError, match="max_time to be str or timedelta"):
        ps.fit(letters, ps.Sequences.of([[0]]), max_epochs=1, progress=False, max_time=3.5)


def test_shapes_that_a_law_does_not_have(letters, conditioned):
    p = letters(max_length=3).expand((2,))
    for shape in ((3,), (-2,)):
        with pytest.raises(ValueError, match=r"the batch shape \(2,\) does not expand to"):
            p.expand(shape)
    for run in (lambda: ps.Program(letters, 2)(batch=0), lambda: ps.Program(conditioned, 2)(torch.zeros(0, 2))):
        with pytest.raises(ValueError, match="one sequence at least; got none"):
            run()
    with pytest.raises(ValueError, match="no sequence but empty ones"):
        ps.train_lookahead(conditioned, torch.zeros(0, 2), num_samples=2, steps=1, progress=False)
    with pytest.raises(ValueError, match="a height and a width of 0 or more; got -1 and -2"):
        ps.unraster(ps.Sequences.of([[0, 1]]), -1, -2)

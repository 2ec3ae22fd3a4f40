"""Every assembly keeps every law."""

import importlib

import pytest

from probseq import testing
from tests.parts import CONTINUOUS, DENSITIES, ENUMERABLE, TABLE, build

every = pytest.mark.parametrize("parts", TABLE.values(), ids=TABLE)
enumerable = pytest.mark.parametrize("parts", ENUMERABLE.values(), ids=ENUMERABLE)


@every
def test_reading_in_pieces_is_reading_at_once(parts):
    testing.check_split(*build(parts, batch=5))


@every
def test_chosen_rows_go_on_as_they_would_have(parts):
    testing.check_select(*build(parts, batch=5))


@every
def test_stop_and_go_exhaust_what_can_happen(parts):
    testing.check_stop_pair(*build(parts, batch=5))


@every
def test_no_factor_sees_the_future(parts):
    testing.check_causal(*build(parts, batch=5))


@every
def test_neither_company_nor_padding_matters(parts):
    testing.check_batch_invariant(*build(parts, batch=5))


@every
def test_the_fused_score_is_the_sum_of_the_factors(parts):
    testing.check_fused(*build(parts, batch=5))


@every
def test_every_parameter_is_reached_by_finite_gradients(parts):
    testing.check_gradients(*build(parts, batch=5))


@every
def test_a_saved_model_comes_back_to_the_bit(parts):
    testing.check_round_trip(*build(parts, batch=5))


@every
def test_the_unfolded_program_has_the_folded_law(parts):
    model, context = build(parts, batch=1)
    testing.check_unfolded(model, 3, context)


@enumerable
def test_probabilities_sum_to_one(parts):
    model, context = build(parts, batch=1)
    testing.check_normalised(model, 5, context)


@enumerable
def test_samples_follow_the_enumerated_law(parts):
    model, context = build(parts, batch=1)
    testing.check_sampler(model, 4, context, draws=5_000)


@pytest.mark.parametrize("stop", ["EndSymbol", "LengthStop"])
@pytest.mark.parametrize("every", [2, 3, 8])
def test_samples_follow_the_law_where_finished_ones_leave_seldom(stop, every, monkeypatch):
    """As on an accelerator."""
    engine = importlib.import_module("probseq.inference.sample")
    monkeypatch.setitem(engine.COMPACT_EVERY, "cpu", every)
    model, context = build(TABLE[f"Tokens, GRU, {stop}, both"], batch=1)
    testing.check_sampler(model, 4, context, draws=5_000)


@pytest.mark.parametrize("parts", DENSITIES.values(), ids=DENSITIES)
def test_densities_integrate_to_one(parts):
    testing.check_density(*build(parts, batch=5))


@pytest.mark.parametrize("parts", CONTINUOUS.values(), ids=CONTINUOUS)
def test_the_mean_score_of_samples_is_zero(parts):
    model, context = build(parts, batch=1)
    testing.check_score_identity(model, context)

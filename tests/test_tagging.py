"""The pieces that the experiments on one sequence given another are made of."""

import pytest
import torch

import probseq as ps
from experiments import tagging
from experiments.harmony.run import LOWER, Reader, shifts, spans
from probseq.datasets import Chorales
from tests.parts import model

SETTINGS = tagging.Settings(budget=30_000, epochs=1, dim=16)


def _contexts(encoder):
    return ps.Aligned(ps.Tokens(5, 8), encoder)


def _pieces():
    piece = torch.tensor([[70, 62, 55, 45], [71, 62, 0, 43], [72, 64, 55, 40]])
    return Chorales.of(*[ps.Sequences.of([piece, piece[:2] + (piece[:2] > 0).long()])] * 3)


@pytest.mark.parametrize("cell", tagging.CELLS, ids=lambda cell: cell.name)
def test_every_cell_has_the_parameters_of_the_budget(cell):
    size = tagging.fitting_size(cell, 4, _contexts, SETTINGS)
    made = tagging.assemble(cell, size, 4, _contexts, SETTINGS)
    assert abs(tagging.count(made) / SETTINGS.budget - 1) < 0.05


@pytest.mark.parametrize("ahead", [False, True])
def test_without_feedback_the_greedy_labels_are_the_mode(ahead):
    encoder = ps.Bidirectional(ps.GRU(3)) if ahead else ps.Unidirectional(ps.GRU(3))
    made = model(
        ps.Tokens(3, feedback=False), ps.GRU(4), ps.Categorical(), ps.AlignedLength(),
        ps.Aligned(ps.Tokens(5), encoder),
    )  # fmt: skip
    x = ps.Sequences.of([[4, 0, 2, 2]])
    mode, _ = ps.exact(made, 5, x).mode()
    assert tagging.greedy(made, x, 4)[0].tolist() == mode.tolist()


def test_the_bootstrap_of_equal_counts_has_the_error_of_a_mean():
    nats = torch.randn(1, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = tagging.bootstrap(nats, torch.ones(400, dtype=torch.float64), seed=0, draws=4000)
    assert float(drawn.std()) == pytest.approx(float(nats.std()) / 20, rel=0.1)
    assert float(drawn.mean()) == pytest.approx(float(nats.mean()), abs=0.01)


def test_frames_become_three_tokens_each_and_come_back():
    data = _pieces()
    reader, pieces = Reader(data), list(data.train)
    y, (soprano, clock) = reader.read(pieces, starts=[0, 17])
    assert y.lengths.tolist() == soprano.lengths.tolist() == clock.lengths.tolist() == [9, 6]
    for row, piece in zip(y, pieces, strict=True):
        assert torch.equal(reader.pitches(row), piece[:, 1:])
    assert soprano[0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert clock[1].tolist() == [LOWER + i for i in range(6)]
    assert int(y.values.max()) < reader.symbols


def test_transpositions_stay_within_every_voice():
    data = _pieces()
    assert shifts(data.train[0], data) == [0]
    assert shifts(data.train[1], data) == [-1, 0]


def test_crops_tile_a_piece():
    assert spans(10, 3, 4) == [(0, 3), (3, 7), (7, 10)]

"""A recurrence that sees values from further back."""

import pytest
import torch

import probseq as ps
from probseq.part import first_memory


def built(lags, dim=1, inputs=1, recurrence=None):
    part = (ps.Lagged(ps.GRU(2) if recurrence is None else recurrence, lags, dim)).fresh()
    part.build(inputs)
    return part.double().eval()


def test_the_features_begin_with_the_lagged_inputs_and_marks_of_what_was_not_there():
    part = built((1, 3), dim=2, inputs=3)
    inputs = torch.arange(1.0, 13).double().reshape(1, 4, 3)
    features, _ = part(inputs, first_memory(part, inputs))
    nothing = torch.tensor([0.0, 0.0, 1.0]).double()
    here = torch.cat([inputs[0, :, :2], torch.zeros(4, 1).double()], -1)
    expected = torch.cat([here, torch.stack([nothing, nothing, here[0], here[1]])], -1)
    torch.testing.assert_close(features[0, :, :6], expected)
    assert features.shape[-1] == part.features == 8


def test_the_seasonal_naive_forecast_is_representable():
    """A law whose mean is the value one season ago, by weights of the likelihood alone, from the first step that has
    one."""
    season, noise = 4, 0.1
    model = ps.SequenceModel(
        ps.Reals(1), ps.Lagged(ps.GRU(2), (1, season)), ps.Gaussian(noise), ps.FixedLength(12)
    ).double()
    with torch.no_grad():
        for parameter in model.likelihood.parameters():
            parameter.zero_()
        model.likelihood.project.weight[0, 2] = 1.0  # type: ignore[index]
    y = torch.randn(3, 12, 1, dtype=torch.float64)
    score = ps.score(model, ps.Sequences(y, [12] * 3))
    naive = torch.distributions.Normal(y[:, :-season, 0], noise).log_prob(y[:, season:, 0])
    torch.testing.assert_close(score.element[:, season:], naive)


def test_only_chosen_inputs_are_lagged():
    part = built((2,), dim=1, inputs=3, recurrence=ps.Memoryless(2))
    inputs = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    features, _ = part(inputs, first_memory(part, inputs))
    (slope,) = torch.autograd.grad(features[0, 3].sum(), inputs)
    reached = slope[0] != 0
    assert reached.tolist() == [[False] * 3, [False] * 3, [True, False, False], [True] * 3, [False] * 3]


@pytest.mark.parametrize(
    "make",
    [lambda: ps.Lagged(ps.Gaussian(), (1,)), lambda: ps.Lagged(ps.GRU(2), ()), lambda: ps.Lagged(ps.GRU(2), (0, 1)),
     lambda: ps.Lagged(ps.GRU(2), (2, 2)), lambda: ps.Lagged(ps.GRU(2), (1,), dim=0),
     lambda: built((1,), dim=2, inputs=1)],
)  # fmt: skip
def test_what_cannot_be_lagged_is_refused(make):
    with pytest.raises(ValueError, match=r"Lagged|lags"):
        make()

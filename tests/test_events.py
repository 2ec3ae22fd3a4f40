"""Marked events in continuous time."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import probseq as ps
from probseq.likelihoods.waiting import NOISES
from probseq.rows import select_rows
from tests.parts import EVENTS, build, model

END, RATE = 3.0, 1.4
SCIPY = {
    "lognormal": lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
    "weibull": lambda loc, scale: stats.weibull_min(1 / scale, scale=np.exp(loc)),
    "loglogistic": lambda loc, scale: stats.fisk(1 / scale, scale=np.exp(loc)),
    "exponential": lambda loc, scale: stats.expon(scale=np.exp(loc)),
}


def renewal(likelihood, bias, end=END):
    """Waits that depend on nothing."""
    made = model(ps.Reals(1), ps.Clock(ps.Memoryless(3)), likelihood, ps.Window(end))
    with torch.no_grad():
        made.likelihood.project.weight.zero_()
        made.likelihood.project.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return made


def times(*rows):
    """Sequences of waits."""
    return ps.Sequences.of([torch.tensor(row, dtype=torch.float64).reshape(-1, 1) for row in rows])


def test_the_log_likelihood_of_a_poisson_process():
    made = renewal(ps.Waiting("exponential"), [-math.log(RATE)])
    y = times([0.5, 1.0, 0.25], [], [2.9], [0.1] * 20)
    expected = y.lengths.double() * math.log(RATE) - RATE * END
    torch.testing.assert_close(made.log_prob(y), expected, rtol=0, atol=1e-10)
    opened = ps.Sequences(y.values, y.lengths, False)
    elapsed = torch.stack([row.sum() for row in y])
    torch.testing.assert_close(
        made.log_prob(opened), y.lengths.double() * math.log(RATE) - RATE * elapsed, rtol=0, atol=1e-10
    )


def test_samples_of_a_poisson_process():
    drawn = renewal(ps.Waiting("exponential"), [-math.log(RATE)]).sample(4_000, generator=0)
    counts = np.bincount(drawn.lengths.clamp(max=10).numpy(), minlength=11)
    law = stats.poisson(RATE * END)
    expected = np.append(law.pmf(np.arange(10)), law.sf(9)) * 4_000
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    # Given their number, the times are as many independent uniform ones.
    moments = torch.cat([row.cumsum(0).flatten() for row in drawn]).numpy()
    assert stats.kstest(moments / END, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("family", NOISES)
def test_a_renewal_process_has_the_density_of_its_waits_and_the_survival_of_the_last(family):
    made = renewal(ps.Waiting(family), [0.3] if family == "exponential" else [0.3, -0.2])
    law = made.likelihood(torch.zeros(1, 4, dtype=torch.float64))
    oracle = SCIPY[family](law.loc.item(), law.scale.item())
    y = times([0.5, 1.0, 0.25], [], [2.9], [0.1] * 20)
    expected = [oracle.logpdf(row.numpy()).sum() + oracle.logsf(END - float(row.sum())) for row in y]
    torch.testing.assert_close(made.log_prob(y), torch.tensor(expected, dtype=torch.float64), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("family", NOISES)
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_tails_of_waiting_times_in_single_precision(family, unit):
    loc, scale = math.log(unit), 1.0 if family == "exponential" else 0.25
    z = torch.tensor([-30.0, -8, -1, 0, 1, 3])
    parameters = [torch.full((6, 1), value, requires_grad=True) for value in (loc, scale)]
    law = ps.Waiting(family)
    law.build(1, ps.Reals(1))
    law = type(law(torch.zeros(6, 1)))(NOISES[family], torch.zeros(6, 1), *parameters)
    time = (loc + scale * z).double().exp().float()
    oracle = SCIPY[family](loc, scale)
    found = [law.log_prob(time.unsqueeze(-1)), law.log_survival(time), law.log_cdf(time)]
    for log, expected in zip(found, (oracle.logpdf, oracle.logsf, oracle.logcdf), strict=True):
        # SciPy's own log-probabilities go to −∞ where 1 − cdf does.
        value = torch.as_tensor(expected(time.double().numpy()))
        known = torch.isfinite(value)
        torch.testing.assert_close(log.double()[known], value[known], rtol=1e-4, atol=1e-5)
        gradients = torch.autograd.grad(log.sum(), parameters, retain_graph=True, allow_unused=True)
        assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("family", NOISES)
def test_waits_until_an_end_are_drawn_from_their_law(family):
    torch.manual_seed(0)
    made = renewal(ps.Waiting(family, 2), [0.5, -0.5, 0.3, -1.0, *([] if family == "exponential" else [0.5, -1.0])])
    law = made.likelihood(torch.zeros(1, 4, dtype=torch.float64))
    for end in (None, 0.3, 40.0):
        given = law if end is None else law.until(torch.tensor([end], dtype=torch.float64))
        drawn = given.sample((2_000,)).squeeze(-1)
        below = law.log_cdf(drawn) - (0 if end is None else law.log_cdf(given.end))
        assert stats.kstest(below.exp().flatten().detach().numpy(), "uniform").pvalue > 1e-3


def marked(waits, marks, made):
    """Waits (n, t) with marks (t), where the model has any, as n sequences' values."""
    columns = [waits, marks.to(waits).expand(waits.shape)][: made.element.shape[0]]
    return torch.stack(columns, -1)


@pytest.mark.parametrize("name", EVENTS)
def test_no_event_one_event_and_two_or_more_exhaust_what_can_happen(name):
    """Σ over marks, ∫ over waits: sequences that ended after none or one, and open ones of two."""
    made, context = build(EVENTS[name], batch=1)
    end, kinds = made.stop.end, torch.arange(3 if made.element.shape == (2,) else 1)
    node, weight = (torch.as_tensor(part) for part in np.polynomial.legendre.leggauss(40))
    # Waits are powers of a share, so that the nodes stand densest at 0.
    share, measure = ((node + 1) / 2) ** 4, 2 * weight * ((node + 1) / 2) ** 3
    first, second = (part.flatten() for part in torch.meshgrid(share * end, share, indexing="ij"))
    second = second * (end - first)
    area = torch.outer(measure, measure).flatten() * end * (end - first)

    def mass(values, ended):
        n, t = values.shape[:2]
        rows = select_rows(context, torch.zeros(n, dtype=torch.int64))
        return made.log_prob(ps.Sequences(values, [t] * n, ended), rows).detach().exp()

    total = float(mass(torch.zeros(1, 0, *made.element.shape).double(), True))
    for kind in kinds:
        total += float(mass(marked((share * end).unsqueeze(1), kind, made), True) @ measure * end)
        for other in kinds:
            pair = torch.stack([first, second], 1)
            total += float(mass(marked(pair, torch.stack([kind, other]), made), False) @ area)
    assert total == pytest.approx(1, abs=1e-6)


def test_the_last_event_may_stand_on_the_edge_and_none_beyond():
    made = renewal(ps.Waiting(), [0.0, 0.0], end=10.0).float()
    edge = ps.Sequences(torch.full((1, 1000, 1), 0.01), [1000])
    assert torch.isfinite(made.log_prob(edge)).all()
    beyond = times([4.0, 6.5], [4.0, 6.5, 1.0], [11.0]).to(dtype=torch.float32)
    value = made.log_prob(beyond)
    assert bool((value == -torch.inf).all())
    inside = made.log_prob(times([4.0, 5.0])).sum()
    gradients = torch.autograd.grad(
        inside + torch.where(value > -torch.inf, value, 0.0).sum(), made.likelihood.parameters()
    )
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_the_elapsed_time_joins_what_a_network_without_a_state_would_keep_apart():
    made = model(*EVENTS["times"])
    assert not ps.graph.independent(made, "y_1", "y_3", given=["y_2", "x"])
    short = model(ps.Reals(1), ps.Memoryless(4), ps.Waiting(), ps.BernoulliStop())
    assert ps.graph.independent(short, "y_1", "y_3", given="y_2")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: ps.Waiting(components=0), "components ≥ 1"),
        (lambda: ps.Window(0.0), "a finite end > 0"),
        (lambda: ps.Clock(ps.Waiting()), "Clock needs a recurrence part"),
        (lambda: model(ps.Reals(1), ps.GRU(3), ps.Waiting(), ps.Window(1.0)), r"Use Clock\(GRU\(size=3\)\)"),
        (lambda: model(ps.Reals(1), ps.Clock(ps.GRU(3)), ps.Gaussian(), ps.Window(1.0)), r"Gaussian\(\) does not know"),
        (
            lambda: model(ps.Reals(2), ps.Clock(ps.GRU(3)), ps.Waiting(), ps.Window(1.0)),
            r"before all else; got Reals\(dim=2",
        ),
        (lambda: model(ps.Reals(2), ps.GRU(3), ps.Waiting(), ps.BernoulliStop()), "the law of one time"),
        (
            lambda: model(ps.Reals(1, feedback=False), ps.Clock(ps.GRU(3)), ps.Waiting(), ps.Window(1.0)),
            "a Clock adds up times that are read",
        ),
    ],
)
def test_parts_that_do_not_go_together(parts, message):
    with pytest.raises(ValueError, match=message):
        parts()


def test_times_that_do_not_go_forward_are_named():
    with pytest.raises(
        ValueError, match=r"sequence 1, position 1: got \[0.0\]; expected a value in the support, .*GreaterThan"
    ):
        renewal(ps.Waiting(), [0.0, 0.0]).log_prob(times([1.0], [0.5, 0.0]))

"""A GPU computes what the processor computes."""

import copy
import functools

import pytest
import torch
from pyro import distributions as dist

import probseq as ps
from probseq import linear, softmax, testing
from tests.parts import ENUMERABLE, TABLE, build, model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SOME = [name for name in ENUMERABLE if any(word in name for word in ("LSTM, EndSymbol", "PlannedLength", "Attentive"))]


def letters(context=None, seed=0):
    return model(ps.Tokens(3, dim=4), ps.LSTM(5), ps.Categorical(), ps.EndSymbol(), context, seed)


def both(made):
    """The model on the processor and on the GPU."""
    return made, copy.deepcopy(made).cuda()


@pytest.mark.parametrize("parts", TABLE.values(), ids=TABLE)
def test_values_and_gradients(parts):
    made, x = build(parts, batch=5)
    y, (host, device) = testing.ragged(made, x), both(made)
    values = [each.log_prob(y, x) for each in (host, device)]
    torch.testing.assert_close(values[1].cpu(), values[0], rtol=1e-9, atol=1e-9)
    found = [torch.autograd.grad(value.sum(), list(each.parameters()), allow_unused=True) for value, each in
             zip(values, (host, device), strict=True)]  # fmt: skip
    for ours, theirs in zip(*found, strict=True):
        if ours is not None:
            torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", list(TABLE)[::7])
def test_reading_in_pieces_is_reading_at_once(name):
    made, x = build(TABLE[name], batch=5)
    testing.check_split(made.cuda(), None if x is None else made.cuda().encode(x))


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("name", SOME[::4])
def test_samples_follow_the_enumerated_law(name, capture, monkeypatch):
    made, x = build(ENUMERABLE[name], batch=1)
    monkeypatch.setattr(testing, "sample", functools.partial(ps.sample, capture=capture))
    testing.check_sampler(made.cuda(), 4, x, draws=5_000)


@pytest.mark.parametrize("law", [ps.Gaussian(covariance="full"), ps.Parametric(dist.StudentT), ps.Poisson()])
def test_densities_are_sampled_and_scored(law):
    _, device = both(model(ps.Reals(2), ps.GRU(4), law, ps.BernoulliStop()))
    y = device.sample(50, max_length=6, generator=0)
    assert y.device.type == "cuda"
    assert torch.isfinite(device.log_prob(y)).all()


def test_search_finds_the_same():
    host, device = both(letters())
    for find in (
        functools.partial(ps.beam, width=3, n_best=3, max_length=8),
        functools.partial(ps.greedy, max_length=8),
    ):
        ours, theirs = (find(each, max_length=8) for each in (host, device))
        assert torch.equal(ours.sequences.values, theirs.sequences.values.cpu())
        torch.testing.assert_close(theirs.log_prob.cpu(), ours.log_prob)


def test_what_is_missing():
    host, device = both(letters())
    pattern = [0, None, None, None, 1]
    exact = ps.infill(host, pattern, method="exact")
    torch.testing.assert_close(ps.infill(device, pattern, method="exact").log_evidence.cpu(), exact.log_evidence)
    found = ps.infill(device, pattern, particles=4_000, method="smc", generator=0)
    assert float((found.log_evidence.cpu() - exact.log_evidence).abs().max()) < 0.1


def test_queries_and_constraints():
    host, device = both(letters())
    event = ps.events.Before([0], [1], 6)
    answers = [ps.query(each, event, budget=2_000, generator=0) for each in (host, device)]
    assert abs(float(answers[0].estimate) - float(answers[1].estimate)) < 0.05
    found = ps.constrain(device, ps.regex("a.*", "abc"), max_length=5, method="rejection", generator=0)
    assert (found.sample(20, generator=1).sequences.values[:, 0] == 0).all()


@pytest.mark.parametrize(("precision", "within"), [("32-true", 1e-3), ("bf16-mixed", 0.05)])
@pytest.mark.parametrize("recurrence", [ps.LSTM(16), ps.GRU(16, layers=2), ps.Attentive(ps.LSTM(8))])
def test_training_comes_to_the_same(recurrence, precision, within):
    source = ps.Source(ps.Tokens(3, dim=2), ps.Bidirectional(ps.GRU(2))) if hasattr(recurrence, "score") else None
    torch.manual_seed(0)
    made = ps.SequenceModel(ps.Tokens(3), recurrence, ps.Categorical(), ps.EndSymbol(), source)
    y = letters(seed=3).sample(400, max_length=8, generator=0)
    data = (y, letters(seed=4).sample(400, max_length=8, generator=1)) if source else y
    nats = []
    for accelerator, own in (("cpu", "32-true"), ("gpu", precision)):
        twin = copy.deepcopy(made)
        nats.append(ps.fit(twin, data, data, max_epochs=3, accelerator=accelerator, devices=1, precision=own,
                           progress=False).nats)  # fmt: skip
    assert abs(nats[0] - nats[1]) < within


def test_a_pyro_site():
    _, device = both(letters(ps.Vector(2)))
    p = device(torch.randn(4, 2, dtype=torch.float64, device="cuda"), max_length=6)
    assert torch.isfinite(p.log_prob(p.sample((3,)))).all()


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05), (torch.float64, 1e-9)])
def test_a_softmax_in_chunks(dtype, within, monkeypatch):
    monkeypatch.setattr(softmax, "LARGE", 2**12)
    torch.manual_seed(0)
    features, weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((100, 16), (5_000, 16), (5_000,)))
    y = torch.randint(5_000, (100,))
    found = []
    for device, own in (("cpu", torch.float64), ("cuda", dtype)):
        leaves = [each.to(device, own).requires_grad_() for each in (features, weight, bias)]
        value = softmax.log_softmax_at(*leaves, y.to(device))
        found.append([value.detach(), *torch.autograd.grad(value.sum(), leaves)])
    for ours, theirs in zip(*found, strict=True):
        assert float((theirs.cpu().double() - ours).norm() / ours.norm()) < within


@pytest.mark.parametrize("steps", [1, 150, 1000])
def test_linear_scans(steps):
    torch.manual_seed(0)
    found = []
    inputs = (torch.rand(2, steps, 70), torch.randn(2, steps, 70), torch.randn(2, 70))
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        a, b, first = (each.to(device, dtype).requires_grad_() for each in inputs)
        hidden = linear.linear_scan(a, b, first)
        gated = linear.gated_scan(torch.cat([b, a], -1), first)
        total = (hidden * hidden).sum() + (gated * hidden).sum()
        found.append([hidden.detach(), gated.detach(), *torch.autograd.grad(total, (a, b, first))])
    for ours, theirs in zip(*found, strict=True):
        assert float((theirs.cpu().double() - ours).norm() / ours.norm()) < 1e-5

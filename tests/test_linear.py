"""Linear recurrences, and the networks made of them, against loops over time."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

import probseq as ps
from probseq import linear, testing

PATHS = {"step by step": 0, "by halves": 10**9}


@pytest.fixture(params=PATHS.values(), ids=PATHS)
def path(request, monkeypatch):
    """Both ways to scan on a CPU, each of them in several blocks of time."""
    monkeypatch.setattr(linear, "NARROW", request.param)
    monkeypatch.setattr(linear, "BLOCK", 24)


def drawn(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype).requires_grad_()


def coefficients(steps, dtype=torch.float64):
    """Inside the unit disk, with 0 and 1 among them."""
    a = torch.randn(2, steps, 3, dtype=dtype).tanh()
    a[:, ::4], a[:, 1::5] = 0, 1
    return (a / a.abs().clamp(min=1)).requires_grad_()


def one_by_one(a, b, state):
    states = []
    for keep, new in zip(a.unbind(1), b.unbind(1), strict=True):
        state = keep * state + new
        states.append(state)
    return torch.stack(states, 1)


@pytest.mark.parametrize("steps", [1, 2, 7, 32, 45])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_scan_is_the_loop(path, dtype, steps):
    inputs = (coefficients(steps, dtype), drawn(2, steps, 3, dtype=dtype), drawn(2, 3, dtype=dtype))
    found, expected = linear.linear_scan(*inputs), one_by_one(*inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((h * weight).sum().abs(), inputs) for h in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_gradient_of_the_scan(path, dtype):
    inputs = (coefficients(6, dtype), drawn(2, 6, 3, dtype=dtype), drawn(2, 3, dtype=dtype))
    assert torch.autograd.gradcheck(linear.linear_scan, inputs)
    # Rates that are the same at every step.
    rate = drawn(3, dtype=dtype)
    assert torch.autograd.gradcheck(
        lambda a, b, h: linear.linear_scan(a.tanh().expand_as(b), b, h), (rate, *inputs[1:])
    )


@pytest.mark.parametrize("steps", [1, 10])
def test_the_gated_scan_is_its_formula(path, steps):
    gates, first = drawn(2, steps, 6), drawn(2, 3)
    write, new = gates[..., :3].sigmoid(), gates[..., 3:]
    candidate = torch.where(new >= 0, new + 0.5, new.sigmoid())
    expected = one_by_one(1 - write, write * candidate, first)
    torch.testing.assert_close(linear.gated_scan(gates, first), expected, rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(linear.gated_scan, (gates, first))


def test_gates_in_16_bits_leave_the_state_in_32(path):
    gates, first = drawn(2, 20, 6, dtype=torch.bfloat16), drawn(2, 3, dtype=torch.float32)
    found, expected = linear.gated_scan(gates, first), linear.gated_scan(gates.float(), first)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    torch.testing.assert_close(*(torch.autograd.grad((h * weight).sum(), gates) for h in (found, expected)))


def test_long_sequences_in_float32(path):
    """Rounding adds up to what the bound for a mean of n terms allows, n times the precision, at most."""
    torch.manual_seed(0)
    a, b, first = torch.rand(1, 10_000, 3) ** 0.01, torch.randn(1, 10_000, 3), torch.randn(1, 3)
    a[:, 5_000:, 0] = 1
    exact = linear.linear_scan(a.double(), b.double(), first.double())
    error = (linear.linear_scan(a, b, first) - exact).abs().amax(1)
    assert bool((error <= 10_000 * torch.finfo(torch.float32).eps * exact.abs().amax(1)).all())


def test_a_recurrence_of_matrices_is_the_loop():
    for steps in (1, 2, 7, 16):
        a, b, state = torch.randn(2, steps, 3, 3).double() / 2, torch.randn(2, steps, 3).double(), torch.zeros(2, 3, 1)
        expected = []
        for matrix, new in zip(a.unbind(1), b.unbind(1), strict=True):
            state = matrix @ state.double() + new.unsqueeze(-1)
            expected.append(state.squeeze(-1))
        torch.testing.assert_close(linear.matrix_scan(a, b), torch.stack(expected, 1), rtol=0, atol=1e-12)


INTERPRETED = """
import torch
from probseq import linear, linear_triton as kernels

torch.manual_seed(0)
kernels.STEPS, kernels.CHANNELS = 8, 4
for batch, steps, size in ((2, 1, 3), (1, 19, 6)):
    a, b, first = torch.rand(batch, steps, size), torch.randn(batch, steps, size), torch.randn(batch, size)
    gates, grad = torch.randn(batch, steps, 2 * size), torch.randn(batch, steps, size)
    for scan, forward, backward, inputs in (
        (linear.linear_scan, kernels.linear_forward, kernels.linear_backward, (a, b, first)),
        (linear.gated_scan, kernels.gated_forward, kernels.gated_backward, (gates, first)),
        (linear.gated_scan, kernels.gated_forward, kernels.gated_backward, (gates.bfloat16(), first)),
    ):
        leaves = [x.clone().requires_grad_() for x in inputs]
        hidden = scan(*leaves)
        torch.testing.assert_close(forward(*inputs), hidden.detach())
        found = backward(inputs[0], first, hidden.detach(), grad)
        torch.testing.assert_close(found, torch.autograd.grad(hidden, leaves, grad))
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_the_kernels_compute_the_same():
    """In triton's interpreter, which has to be asked for before triton is imported."""
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def built(part, inputs=3):
    torch.manual_seed(0)
    fresh = part.fresh()
    fresh.build(inputs)
    return fresh.double().eval()


@pytest.mark.parametrize("part", [ps.MinGRU(4), ps.MinLSTM(4)])
def test_minimal_networks_compute_the_equations_of_their_paper(part):
    network, x, state = built(part), drawn(2, 6, 3), drawn(2, 1, 4)
    features, (last,) = network(x, (state,))
    read, hidden = network.network[0].read, state[:, 0]
    for moment, feature in zip(x.unbind(1), features.unbind(1), strict=True):
        *gates, new = read(moment).chunk(3 if isinstance(part, ps.MinLSTM) else 2, -1)
        candidate = torch.where(new >= 0, new + 0.5, new.sigmoid())
        if isinstance(part, ps.MinLSTM):
            forget, write = (gate.sigmoid() for gate in gates)
            hidden = forget / (forget + write) * hidden + write / (forget + write) * candidate
        else:
            hidden = (1 - gates[0].sigmoid()) * hidden + gates[0].sigmoid() * candidate
        torch.testing.assert_close(feature, hidden, rtol=0, atol=1e-13)
    assert torch.equal(last[:, 0], features[:, -1])


def test_normalised_gates_are_right_where_both_are_closed():
    network = built(ps.MinLSTM(1), 1)
    with torch.no_grad():
        network.network[0].read.weight.zero_()
        network.network[0].read.bias.copy_(torch.tensor([-1000.0, -1001.0, 2.0]))
    features, _ = network(torch.zeros(1, 1, 1).double(), (torch.ones(1, 1, 1).double(),))
    # f / (f + i) = σ(1).
    kept = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(features.flatten(), (kept + (1 - kept) * 2.5).reshape(1))


def test_a_diagonal_network_forgets_at_the_rates_of_its_ring():
    network = built(ps.LRU(500, radii=(0.8, 0.9)))
    layer, state = network.network[0], torch.tensor([1.0, 0.0]).double().expand(1, 1, 500, 2)
    _, (after,) = network(torch.zeros(1, 1, 3).double(), (state,))
    radius = torch.view_as_complex(after).abs().detach()
    assert 0.8 <= float(radius.min()) <= float(radius.max()) <= 0.9
    # γ is what keeps the variance of the state at that of white noise that enters.
    torch.testing.assert_close(layer.log_gain.exp() ** 2, 1 - radius.flatten() ** 2, rtol=1e-5, atol=0)
    with torch.no_grad():
        layer.log_rate.fill_(30.0)
    features, _ = network(drawn(1, 20, 3), (state,))
    assert bool(features.isfinite().all())


@pytest.mark.parametrize(
    "part", [ps.MinGRU(3, layers=2), ps.MinLSTM(3), ps.LRU(3, layers=2), ps.DEER(ps.GRU(3))], ids=repr
)
def test_networks_that_take_all_steps_at_once_do_not_see_the_future(part):
    testing.check_no_leak(part)


@pytest.mark.parametrize(
    "part", [ps.MinGRU(4, layers=2), ps.MinLSTM(4), ps.LRU(4, layers=2), ps.DEER(ps.GRU(4, layers=2))], ids=repr
)
def test_networks_that_take_all_steps_at_once_are_their_cells(part):
    """And so are their gradients, in mixed precision the values to what 16 bits allow."""
    network, x = built(part), drawn(2, 9, 3)
    memory = tuple(drawn(2, *shape) for shape in network.memory_shapes)
    cell = getattr(network, "recurrence", network)
    inputs = (x, *memory, *network.parameters())
    found = []
    for read in (network, lambda inputs, memory: unrolled(cell, inputs, memory)):
        features, (last,) = read(x, memory)
        weight = torch.linspace(-1, 1, features.numel(), dtype=x.dtype).view_as(features)
        found.append((features, last, torch.autograd.grad((features * weight).sum() + last.sum(), inputs)))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    network.float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = network(x.float(), tuple(tensor.float() for tensor in memory))
    torch.testing.assert_close(mixed.double(), found[0][0], rtol=0.05, atol=0.05)


def unrolled(cell, inputs, memory):
    features = []
    for moment in inputs.unbind(1):
        feature, memory = cell.step(moment, memory)
        features.append(feature)
    return torch.stack(features, 1), memory


@pytest.fixture
def calls(monkeypatch):
    """How often a GRU is run step by step."""
    counted = []
    run = ps.GRU.forward
    monkeypatch.setattr(ps.GRU, "forward", lambda *args: counted.append(args) or run(*args))
    return counted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_newton_needs_few_iterations_where_the_past_fades(calls, dtype):
    network = built(ps.DEER(ps.GRU(16, layers=2), iterations=6)).to(dtype)
    x, memory = torch.randn(2, 200, 3, dtype=dtype), (torch.randn(2, 2, 16, dtype=dtype),)
    found = network(x, memory)
    assert not calls
    tolerance = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(found, network.recurrence(x, memory), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_newton_leaves_chaos_to_the_recurrence(calls, dtype):
    network = built(ps.DEER(ps.GRU(16), iterations=4)).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(20)
    x, memory = torch.randn(2, 200, 3, dtype=dtype), (torch.randn(2, 1, 16, dtype=dtype),)
    features, _ = network(x, memory)
    assert len(calls) == 1
    assert torch.equal(features, network.recurrence(x, memory)[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: ps.MinGRU(0),
        lambda: ps.MinLSTM(3, layers=0),
        lambda: ps.LRU(3, dropout=1.0),
        lambda: ps.LRU(3, radii=(0.5, 1.0)),
        lambda: ps.LRU(3, radii=(0.0, 0.9)),
        lambda: ps.DEER(ps.LSTM(3)),
        lambda: ps.DEER(ps.EndSymbol()),
        lambda: ps.DEER(ps.GRU(3), tolerance=0.0),
        lambda: ps.DEER(ps.GRU(3), iterations=0),
    ],
)
def test_choices_that_cannot_be_are_refused(make):
    with pytest.raises(ValueError, match=r"needs|must lie"):
        make()

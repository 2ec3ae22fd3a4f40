"""A softmax over so many symbols that its logits are made in chunks."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pyro.distributions as dist
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import probseq as ps
from probseq import softmax, testing
from tests import parts

TOKENS = ps.Tokens(3, dim=4)
ASSEMBLIES = {
    "EndSymbol": (TOKENS, ps.Categorical(), ps.EndSymbol()),
    "EndSymbol, tied": (TOKENS, ps.Categorical(tied=True), ps.EndSymbol()),
    "BernoulliStop, tied to another width": (ps.Tokens(3, dim=2), ps.Categorical(tied=True), ps.BernoulliStop()),
    "FixedLength": (TOKENS, ps.Categorical(), ps.FixedLength(4)),
    "record": (ps.Record((TOKENS, TOKENS)), ps.Product((ps.Categorical(), ps.Categorical())), ps.LengthStop(5)),
}
WEIGHTS = {"alike": torch.full((20,), 0.3).double(), "unlike": torch.linspace(-1, 2, 20).double()}
weighted = pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)


@pytest.fixture
def chunked(monkeypatch):
    """Every softmax is in chunks of a few rows."""
    monkeypatch.setattr(softmax, "LARGE", 0)


def operands(dtype=torch.float64):
    """Features of 20 rows, weights and biases of 7 symbols, and a symbol for each row."""
    torch.manual_seed(0)
    shapes = (20, 4), (7, 4), (7,)
    leaves = [(2 * torch.randn(shape, dtype=dtype)).requires_grad_() for shape in shapes]
    return leaves, torch.randint(7, (20,))


def plain(features, weight, bias, y):
    return dist.Categorical(logits=features @ weight.T + bias).log_prob(y)


@weighted
def test_chunks_have_the_values_and_gradients_of_the_whole(chunked, weights):
    leaves, y = operands()
    found, expected = softmax.log_softmax_at(*leaves, y), plain(*leaves, y)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected, leaves, weights)
    for _ in range(2):
        # A graph that is kept gives the same again.
        torch.testing.assert_close(torch.autograd.grad(found, leaves, weights, retain_graph=True), wanted)


@weighted
def test_gradients_of_gradients(chunked, weights):
    leaves, y = operands()
    torch.autograd.gradgradcheck(lambda *each: softmax.log_softmax_at(*each, y) * weights, leaves)


@pytest.mark.parametrize("fixed", range(3))
def test_what_is_fixed_has_no_gradient(chunked, fixed):
    leaves, y = operands()
    leaves[fixed].requires_grad_(False)
    rest = [leaf for leaf in leaves if leaf.requires_grad]
    expected = torch.autograd.grad(plain(*leaves, y).sum(), rest)
    softmax.log_softmax_at(*leaves, y).sum().backward()
    torch.testing.assert_close([leaf.grad for leaf in rest], list(expected))
    assert leaves[fixed].grad is None


@weighted
def test_under_autocast_sums_stay_in_full_precision(chunked, weights):
    leaves, y = operands(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = softmax.log_softmax_at(*leaves, y)
    expected = plain(*leaves, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    gradients = torch.autograd.grad(found, leaves, weights.float())
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, leaves, weights.float()), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("assembly", ASSEMBLIES.values(), ids=ASSEMBLIES)
def test_the_score_in_chunks_is_the_sum_of_the_factors(chunked, assembly):
    element, likelihood, stop = assembly
    model = parts.model(element, ps.GRU(4), likelihood, stop)
    testing.check_fused(model)
    testing.check_unfolded(model, 4)


class _Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else (result,)
        self.numel = max([self.numel, *(each.numel() for each in made if isinstance(each, torch.Tensor))])
        return result


@pytest.mark.parametrize("stop", [ps.EndSymbol(), ps.FixedLength(64)], ids=["EndSymbol", "FixedLength"])
def test_the_logits_are_never_there_at_once(monkeypatch, stop):
    monkeypatch.setattr(softmax, "LARGE", 2**14)
    model = ps.SequenceModel(ps.Tokens(1000, dim=4), ps.Memoryless(4), ps.Categorical(), stop)
    y = ps.Sequences(torch.randint(1000, (8, 64)), [64] * 8)
    for weights in (torch.ones(8), torch.arange(8.0)):
        with _Largest() as largest:
            model.log_prob(y).backward(weights)
        assert largest.numel < 8 * 64 * 1000 / 8


@torch.no_grad()
def test_a_law_whose_logits_wait_is_the_law(monkeypatch):
    torch.manual_seed(0)
    likelihood, features = ps.Categorical(), torch.randn(3, 2, 4, dtype=torch.float64)
    likelihood.build(4, ps.Tokens(5))
    likelihood.double()
    expected = likelihood(features)
    monkeypatch.setattr(softmax, "LARGE", 0)
    law = likelihood(features)
    assert type(law) is not type(expected)
    torch.testing.assert_close(law.logits, expected.logits)
    torch.testing.assert_close(law.entropy(), expected.entropy())
    torch.testing.assert_close(law.enumerate_support(), expected.enumerate_support())
    y = law.sample((4,))
    assert y.shape == (4, 3, 2)
    some = y[0] > 2
    for value in (y, y[0]):
        torch.testing.assert_close(law.log_prob(value), expected.log_prob(value))
    torch.testing.assert_close(law.expand((4, 3, 2)).log_prob(y), expected.log_prob(y))
    torch.testing.assert_close(law.mask(some).log_prob(y[0]), expected.mask(some).log_prob(y[0]))


INTERPRETED = """
import torch
from probseq import softmax_triton as kernels

torch.manual_seed(0)
kernels.TILE = 16
for size, dtype, tolerance in ((5, torch.float32, 1e-6), (16, torch.bfloat16, 1e-2), (37, torch.float32, 1e-6)):
    logits, y, log_prob = 4 * torch.randn(3, size + 3).to(dtype), torch.tensor([0, size - 1, 2]), torch.empty(3)
    expected = logits[:, :size].float().log_softmax(-1)
    error = expected.exp() - torch.nn.functional.one_hot(y, size)
    own = expected.gather(1, y.unsqueeze(1)).squeeze(1)
    before = logits.clone()
    kernels.log_softmax_error(logits, size, y, log_prob, False)
    torch.testing.assert_close(log_prob, own)
    assert torch.equal(logits, before)
    kernels.log_softmax_error(logits, size, y, log_prob.zero_(), True)
    torch.testing.assert_close(log_prob, own)
    torch.testing.assert_close(logits[:, :size].float(), error, rtol=0, atol=tolerance)
    assert not logits[:, size:].any()
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_the_kernel_computes_the_same():
    """In triton's interpreter, which has to be asked for before triton is imported."""
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

"""The kernels for a CPU are the functions of torch's modules, to the first derivative."""

import pytest
import torch

import probseq as ps
from probseq.recurrences import kernels

both = pytest.mark.parametrize("part", [ps.Elman(4, layers=2), ps.GRU(4, layers=2)], ids=["Elman", "GRU"])


def built(part, dtype=torch.float64, batch=5, steps=7):
    torch.manual_seed(0)
    part = part.fresh()
    part.build(3)
    part.to(dtype)
    inputs, memory = torch.randn(batch, steps, 3, dtype=dtype), torch.randn(batch, 2, 4, dtype=dtype)
    return part, inputs.requires_grad_(), memory.requires_grad_()


@both
@pytest.mark.parametrize("positions", [1, 4, 1024])
def test_the_derivatives_are_those_of_finite_differences(part, positions, monkeypatch):
    monkeypatch.setattr(kernels, "POSITIONS", positions)
    part, inputs, memory = built(part, batch=2, steps=3)
    given = [inputs.transpose(0, 1), memory[:, 0], *part.weights(0)]
    assert torch.autograd.gradcheck(part.kernel, given)


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_torch(part, dtype, monkeypatch):
    monkeypatch.setattr(kernels, "POSITIONS", 15)
    part, inputs, memory = built(part, dtype)
    leaves, weights = [inputs, memory, *part.parameters()], torch.rand(7, 1, dtype=dtype)
    found, (last,) = part(inputs, (memory,))
    wanted, wanted_last = part.network(inputs, memory.transpose(0, 1).contiguous())
    torch.testing.assert_close([found, last], [wanted, wanted_last.transpose(0, 1)])
    for on_features, on_last in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        ours, theirs = (
            torch.autograd.grad(on_features * (weights * f).sum() + on_last * m.sum(), leaves, retain_graph=True)
            for f, m in ((found, last), (wanted, wanted_last))
        )
        torch.testing.assert_close(ours, theirs)


@both
def test_a_graph_that_is_kept_gives_the_same_again(part):
    part, inputs, memory = built(part)
    value = part(inputs, (memory,))[0].square().sum()
    leaves = [inputs, memory, *part.parameters()]
    once = torch.autograd.grad(value, leaves, retain_graph=True)
    assert all(map(torch.equal, once, torch.autograd.grad(value, leaves)))


@both
@pytest.mark.parametrize("positions", [1, 15, 1024])
def test_several_gradients_at_once_are_those_one_by_one(part, positions, monkeypatch):
    monkeypatch.setattr(kernels, "POSITIONS", positions)
    part, inputs, memory = built(part)
    leaves = [inputs, memory, *part.parameters()]
    for value in (part(inputs, (memory,))[0].sum((1, 2)), part(inputs, (memory,))[1][0].sum((1, 2))):
        together = torch.autograd.grad(value, leaves, torch.eye(5, dtype=value.dtype), True, is_grads_batched=True)
        for row, one in enumerate(value):
            alone = torch.autograd.grad(one, leaves, retain_graph=True)
            torch.testing.assert_close([gradients[row] for gradients in together], list(alone))


@both
def test_overwritten_features_are_noticed(part):
    part, inputs, memory = built(part)
    features, _ = part(inputs, (memory,))
    features.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        features.sum().backward()


@both
def test_second_derivatives_are_refused_and_the_unrolled_cell_has_them(part):
    part, inputs, memory = built(part, batch=1, steps=2)
    (slope,) = torch.autograd.grad(part(inputs, (memory,))[0].square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        slope.sum().backward()
    assert torch.autograd.gradgradcheck(lambda x: ps.Unrolled(part)(x, (memory,))[0], inputs)


@both
def test_what_needs_no_gradient_gets_none(part):
    part, inputs, memory = built(part)
    features, (last,) = part(inputs, (memory,))
    (expected,) = torch.autograd.grad(last.sum(), memory)
    with torch.no_grad():
        assert torch.equal(part(inputs, (memory,))[0], features)
    part.requires_grad_(False)
    (alone,) = torch.autograd.grad(part(inputs.detach(), (memory,))[1][0].sum(), memory)
    assert torch.equal(alone, expected)


@both
@pytest.mark.parametrize("steps", [1, 7])
def test_autocast_leaves_the_precision_of_the_weights(part, steps):
    part, inputs, memory = built(part, torch.float32, steps=steps)
    expected = part(inputs, (memory,))
    with torch.autocast("cpu", torch.bfloat16):
        found = part(inputs, (memory,))
        part(inputs.bfloat16(), (memory.bfloat16(),))[0].sum().backward()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert all(parameter.grad.dtype == torch.float32 for parameter in part.parameters())


@both
def test_no_sequences_at_all(part):
    part, inputs, memory = built(part)
    features, (last,) = part(inputs[:0], (memory[:0],))
    features.sum().backward()
    assert features.shape == (0, 7, 4)
    assert last.shape == (0, 2, 4)


@both
def test_the_compiler_is_given_the_function_of_torch(part, monkeypatch):
    part, inputs, memory = built(part)
    monkeypatch.setattr(type(part), "kernel", None)
    with pytest.raises(TypeError, match="not callable"):
        part(inputs, (memory,))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    part(inputs, (memory,))

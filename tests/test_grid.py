"""Images: the recurrence in two dimensions, the encoder that sees a grid from every side, and raster order."""

import itertools

import pytest
import torch

import probseq as ps
from probseq import testing
from probseq.part import first_memory
from probseq.scan import GridScan
from tests.parts import model, x

SHAPES = {"2 × 3": (2, 3), "3 × 2": (3, 2), "one column": (4, 1), "one row": (1, 4)}
CONTEXTS = {"none": None, "both": ps.Vector(3, enters="both")}
ASSEMBLIES = {
    f"{shape}, window {window}, context {name}": (SHAPES[shape], window, context)
    for shape, window, (name, context) in itertools.product(SHAPES, (0, 3), CONTEXTS.items())
}


def image_model(shape, window=3, context=None, parallel=True):
    height, width = shape
    grid = ps.Grid(height, width, 4, window, parallel)
    return model(ps.Bits(1), grid, ps.Bernoulli(), ps.FixedLength(height * width), context)


def recurrence(height, width, size=4, inputs=2, **choices):
    torch.manual_seed(0)
    grid = ps.Grid(height, width, size, **choices)
    grid.build(inputs)
    return grid.double()


every = pytest.mark.parametrize(("shape", "window", "context"), ASSEMBLIES.values(), ids=ASSEMBLIES)


@every
def test_a_model_of_images_keeps_the_laws(shape, window, context):
    made, given = image_model(shape, window, context), x(context, 5)
    testing.check_split(made, given)
    testing.check_select(made, given)
    testing.check_stop_pair(made, given)
    testing.check_causal(made, given)
    testing.check_batch_invariant(made, given)
    testing.check_fused(made, given)
    testing.check_round_trip(made, given)


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_the_probabilities_of_all_images_sum_to_one(context):
    made, given = image_model((2, 3), context=context), x(context, 1)
    testing.check_normalised(made, 6, given)
    testing.check_sampler(made, 6, given, draws=5_000)
    testing.check_unfolded(made, 6, given)


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_every_parameter_is_reached(context):
    testing.check_gradients(image_model((3, 3), context=context), x(context, 5))


def test_images_of_any_element_and_of_any_length_up_to_the_last_pixel():
    for stop in (ps.EndSymbol(), ps.LengthStop(6)):
        if stop.symbols:
            with pytest.raises(ValueError, match=r"reads 6 elements at most.*Use FixedLength\(6\)"):
                model(ps.Tokens(3, dim=2), ps.Grid(2, 3, 4), ps.Categorical(), stop)
            continue
        made = model(ps.Tokens(3, dim=2), ps.Grid(2, 3, 4), ps.Categorical(), stop)
        testing.check_split(made)
        testing.check_normalised(made, 6)
        testing.check_gradients(made)


def test_along_the_diagonals_is_pixel_by_pixel():
    """One law, two schedules: features, memories and all gradients, however much is read."""
    fast, slow = recurrence(4, 5), recurrence(4, 5, parallel=False)
    for n in (2, 5, 6, 7, 11, 20, 21):
        results = []
        for grid in (fast, slow):
            generator = torch.Generator().manual_seed(n)
            inputs = torch.randn(3, n, 2, dtype=torch.float64, generator=generator).requires_grad_()
            shapes = [(3, *shape) for shape in grid.memory_shapes]
            border = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
            features, memory = grid(inputs, grid.begin(tuple(border), 3))
            weights = torch.randn(features.shape, dtype=torch.float64, generator=generator)
            total = (weights * features).sum() + sum(part.sin().sum() for part in memory)
            parameters = list(grid.parameters())
            gradients = torch.autograd.grad(total, [inputs, *border, *parameters])
            results.append([features, *memory, *gradients])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("window", [0, 1])
def test_a_pixel_sees_exactly_its_past(window, parallel):
    height, width = 4, 4
    grid = recurrence(height, width, inputs=1, size=16, window=window, parallel=parallel)
    inputs = torch.randn(1, height * width + 1, 1, dtype=torch.float64).requires_grad_()
    features = grid(inputs, first_memory(grid, inputs))[0]
    for q in range(height * width + 1):
        (slope,) = torch.autograd.grad(features[0, q].sum(), inputs, retain_graph=True)
        seen = slope[0, :, 0] != 0
        # The first input is no pixel: it enters the first feature only.
        assert seen[1 : q + 1].all(), f"the feature of pixel {q} misses one before it"
        assert not seen[q + 1 :].any(), f"the feature of pixel {q} sees one after it"


def test_the_feature_after_the_last_pixel_is_finite():
    grid = recurrence(3, 3)
    inputs = torch.randn(2, 10, 2, dtype=torch.float64)
    assert torch.isfinite(grid(inputs, first_memory(grid, inputs))[0]).all()


def test_the_carry_stays_bounded_on_a_large_grid():
    scan = GridScan(1, 3, ((False, False),))
    with torch.no_grad():
        scan.weight.mul_(30)
        hidden, carry = scan(torch.randn(60, 60, 2, 1), torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    assert float(carry.abs().max()) <= 1 + 1e-6
    assert float(hidden.abs().max()) <= 1 + 1e-6


def test_the_schedules_agree_in_reduced_precision():
    grids = [recurrence(3, 4, parallel=parallel).float() for parallel in (True, False)]
    inputs = torch.randn(2, 13, 2, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        fast, slow = (grid(inputs, first_memory(grid, inputs))[0] for grid in grids)
    torch.testing.assert_close(fast, slow, rtol=0.05, atol=0.05)


def test_more_pixels_than_the_grid_has():
    grid = recurrence(2, 2)
    inputs = torch.zeros(1, 6, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"a grid of 2 × 2 has 4 pixels; got 5\. Use FixedLength\(4\)"):
        grid(inputs, first_memory(grid, inputs))
    memory = grid(inputs[:, :4], first_memory(grid, inputs))[1]
    with pytest.raises(ValueError, match=r"has 4 pixels; got 5"):
        grid(inputs[:, :2], memory)


def test_images_out_of_step():
    grid = recurrence(2, 2)
    inputs = torch.zeros(2, 2, 2, dtype=torch.float64)
    memory = grid(inputs, first_memory(grid, inputs))[1]
    with pytest.raises(ValueError, match="from 1 to 2 inputs"):
        grid(inputs[:, :1], memory._replace(count=torch.tensor([1, 2])))


@pytest.mark.parametrize("wrong", [(0, 2, 3), (2, 0, 3), (2, 2, 0), (2, 2, 3, -1)])
def test_a_grid_of_no_size(wrong):
    with pytest.raises(ValueError, match="Grid needs height, width and size ≥ 1"):
        ps.Grid(*wrong)


# The encoder.


def encoder(directions, height=3, width=4, inputs=2):
    torch.manual_seed(0)
    made = ps.GridEncoder(height, width, 5, directions)
    made.build(inputs)
    return made.double()


@pytest.mark.parametrize("directions", [1, 4])
def test_what_each_place_sees(directions):
    """From four corners every place sees every other; from the top left, those above and to the left, and itself."""
    height, width = 3, 4
    made = encoder(directions)
    inputs = torch.randn(1, height * width, 2, dtype=torch.float64).requires_grad_()
    lengths = torch.tensor([height * width])
    features, summary = made(inputs, lengths)
    assert features.shape == (1, height * width, made.features)
    assert summary.shape == (1, made.summary)
    place = torch.arange(height * width)
    for q in range(height * width):
        (slope,) = torch.autograd.grad(features[0, q].sum(), inputs, retain_graph=True)
        before = (place // width <= q // width) & (place % width <= q % width)
        expected = before if directions == 1 else torch.ones_like(before)
        assert torch.equal((slope[0] != 0).all(-1), expected)
    (slope,) = torch.autograd.grad(summary.sum(), inputs)
    assert (slope != 0).all()


def test_the_scans_of_the_four_corners_are_one_scan_of_the_turned_grid():
    made = encoder(4)
    one = made.scan.weight[:1].expand(4, -1, -1).clone()
    with torch.no_grad():
        made.scan.weight.copy_(one)
    grid = torch.randn(2, 3, 4, 2, dtype=torch.float64)
    lengths = torch.tensor([12, 12])
    features, summary = made(grid.flatten(1, 2), lengths)
    for k, axes in enumerate([(), (2,), (1,), (1, 2)]):
        turned, ends = made(grid.flip(axes).flatten(1, 2), lengths)
        back = turned[..., :5].unflatten(1, (3, 4)).flip(axes).flatten(1, 2)
        torch.testing.assert_close(features[..., 5 * k : 5 * k + 5], back, rtol=0, atol=1e-14)
        torch.testing.assert_close(summary[:, 5 * k : 5 * k + 5], ends[:, :5], rtol=0, atol=1e-14)


def labeller(height=2, width=3, directions=4, stop=None):
    stop = stop or ps.FixedLength(height * width)
    context = ps.Aligned(ps.Reals(1), encoder=ps.GridEncoder(height, width, 4, directions))
    return model(ps.Bits(1, feedback=False), ps.Memoryless(4), ps.Bernoulli(), stop, context)


def test_a_model_that_labels_pixels_keeps_the_laws():
    made = labeller()
    given = ps.raster(torch.randn(5, 2, 3, 1, dtype=torch.float64))
    testing.check_split(made, given)
    testing.check_stop_pair(made, given)
    testing.check_gradients(made, given)
    testing.check_round_trip(made, given)
    testing.check_normalised(made, 6, given.select([0]))


def test_a_grid_of_another_shape():
    made = encoder(4)
    with pytest.raises(ValueError, match=r"a grid of 3 × 4 has 12 places; got 6\. Correct"):
        made(torch.zeros(1, 6, 2, dtype=torch.float64), torch.tensor([6]))
    with pytest.raises(ValueError, match=r"has 12 places; a sequence has 7\. Correct"):
        made(torch.zeros(1, 12, 2, dtype=torch.float64), torch.tensor([7]))
    with pytest.raises(ValueError, match="has 6 places; got 4"):
        labeller(stop=ps.AlignedLength()).log_prob(
            ps.raster(torch.zeros(1, 2, 2, 1)), ps.raster(torch.zeros(1, 2, 2, 1))
        )
    with pytest.raises(ValueError, match="the x of sequence 0 has 4 elements, but"):
        labeller().log_prob(ps.raster(torch.zeros(1, 2, 2, 1)), ps.raster(torch.zeros(1, 2, 2, 1)))


def test_no_grids_at_all():
    features, summary = encoder(4)(torch.zeros(0, 12, 2, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    assert features.shape == (0, 12, 20)
    assert summary.shape == (0, 20)


@pytest.mark.parametrize("wrong", [(0, 2, 3), (2, 0, 3), (2, 2, 0)])
def test_an_encoder_of_no_size(wrong):
    with pytest.raises(ValueError, match="GridEncoder needs height, width and size ≥ 1"):
        ps.GridEncoder(*wrong)
    with pytest.raises(ValueError, match="directions must be 1 or 4; got 2"):
        ps.GridEncoder(2, 2, 2, directions=2)


# Raster order.


def test_raster_order_and_back():
    grids = torch.arange(24.0).reshape(2, 3, 2, 2)
    flat = ps.raster(grids, 3, 2)
    assert flat.lengths.tolist() == [6, 6]
    assert flat.ended.all()
    assert torch.equal(flat.values[:, 4], grids[:, 2, 0])
    assert torch.equal(ps.unraster(flat, 3, 2), grids)


def test_grids_that_do_not_fit():
    with pytest.raises(ValueError, match=r"must be 8 × 8; got 8 × 7"):
        ps.raster(torch.zeros(2, 8, 7, 1), 8, 8)
    with pytest.raises(ValueError, match=r"must be \(batch, height, width, \*element\); got \(8, 8\)"):
        ps.raster(torch.zeros(8, 8))
    with pytest.raises(ValueError, match=r"a grid of 2 × 2 has 4 pixels; sequence 1 has 3"):
        ps.unraster(ps.Sequences.of([[1, 2, 3, 4], [1, 2, 3]]), 2, 2)

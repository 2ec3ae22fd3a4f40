"""Whether two sets of sequences come from one law: permutation tests by energy distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.part import require
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

COLUMNS = 1 << 10
"""n-grams that are counted at once: bounds the memory."""


@dataclass(frozen=True)
class TwoSample:
    """What the tests found.

    Args:
        p_value: of the hypothesis that a and b have one law, all statistics taken together.
        p_values: of each statistic alone, by name; several looks, so do not pick the smallest of these.
        statistics: the squared energy distance of each.
    """

    p_value: float
    p_values: dict[str, float]
    statistics: dict[str, float]


@checked
@torch.no_grad()
def two_sample(
    a: Sequences,
    b: Sequences,
    *,
    order: int = 2,
    features: Callable[[Sequences], Tensor] | None = None,
    permutations: int = 999,
    generator: Seed = None,
) -> TwoSample:
    """Test whether two sets of independent sequences come from one law, as the draws of two models, or draws and data.

    Each statistic is the squared energy distance E = 2 E‖f(a) − f(b)‖ − E‖f(a) − f(a′)‖ − E‖f(b) − f(b′)‖ of features
    of whole sequences, which is a kernel's maximum mean discrepancy and sees every difference in the law of f. For
    tokens f is the length, the number of each symbol, and the number of each n-gram up to `order`, begin and end
    among the symbols (the features of the spectrum kernel); for real vectors the length, the means of y and y², and
    those of the products yₜ yₜ₊₁, in units of their spread. The p-values are exact at any sample size: those of random
    relabellings, (1 + #{as far apart}) / (1 + permutations). The one for all statistics together compares the smallest
    of them with the smallest of each relabelling.

    Args:
        a, b: n and m sequences, independent of each other; memory goes with (n + m)².
        order: of the longest n-grams.
        features: more features, a function from sequences to (n, f).
        permutations: relabellings; the smallest p-value is 1 / (1 + permutations).
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: fewer than 2 sequences in a set, elements that differ in shape or kind, values that are not finite,
            or order or permutations below 1.

    Source: Székely & Rizzo, Energy statistics, 2013; Sejdinovic et al., Equivalence of distance-based and RKHS-based
    statistics, 2013; Leslie et al., The spectrum kernel, 2002; Westfall & Young, Resampling-based multiple testing,
    1993 (the smallest p-value).

    >>> from probseq.oracles import Automaton
    >>> model = Automaton("ab", [{"a": (0.5, 0), "b": (0.3, 0)}])
    >>> a, b = model.sample(50, generator=0), model.sample(50, generator=1)
    >>> two_sample(a, b, generator=2).p_value > 0.05
    True
    """
    _check(a, b, order, permutations)
    y = Sequences.cat([a.to("cpu"), b.to("cpu", a.values.dtype)]).filled(0)
    distances = dict(_distances(y, order))
    if features is not None:
        given = features(y)
        require(
            given.ndim == 2 and len(given) == len(y), f"features must give ({len(y)}, f); got {tuple(given.shape)}."
        )
        distances["features"] = _apart(_scaled(given.to(torch.float64)))
    with seeded(generator, torch.device("cpu")):
        shuffled = torch.rand(permutations, len(y)).argsort(1)
    in_a = torch.cat([torch.arange(len(y)).unsqueeze(0), shuffled]) < len(a)
    weights = in_a.to(torch.float64) / len(a) - (~in_a).to(torch.float64) / len(b)
    found = torch.stack([-((weights @ each) * weights).sum(1) for each in distances.values()], 1)
    p_values = _share(found)
    together = _share(-p_values.amin(1, keepdim=True))
    names = list(distances)
    return TwoSample(
        float(together[0, 0]),
        dict(zip(names, p_values[0].tolist(), strict=True)),
        dict(zip(names, found[0].tolist(), strict=True)),
    )


def _check(a: Sequences, b: Sequences, order: int, permutations: int) -> None:
    require(min(len(a), len(b)) >= 2, f"two_sample() needs 2 sequences in each set; got {len(a)} and {len(b)}.")
    require(order >= 1 and permutations >= 1, f"order and permutations must be ≥ 1; got {order}, {permutations}.")
    kinds = [(tuple(y.values.shape[2:]), y.values.is_floating_point()) for y in (a, b)]
    require(
        kinds[0] == kinds[1],
        f"both sets must hold the same elements; got shapes {kinds[0][0]} and {kinds[1][0]}, "
        f"{a.values.dtype} and {b.values.dtype}.",
    )
    for name, y in (("a", a), ("b", b)):
        bad = ~torch.isfinite(y.values) & y.mask().reshape(*y.values.shape[:2], *[1] * (y.values.ndim - 2))
        require(not bool(bad.any()), f"{name} holds NaN or ±∞. Fill in or drop missing values first.")


def _share(values: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
    """For each row, the share of rows that are at least as large, itself counted, in each column."""
    # Equal statistics differ by rounding, and must count as equal.
    grain = 1e-9 * values.abs().amax(0).clamp(min=1e-300)
    ordered = values.sort(0).values.T.contiguous()
    below = torch.searchsorted(ordered, (values - grain).T.contiguous()).T
    return (len(values) - below).to(torch.float64) / len(values)


def _distances(y: Sequences, order: int) -> list[tuple[str, Float[Tensor, "n n"]]]:
    length = _apart(y.lengths.to(torch.float64).unsqueeze(1))
    if not y.values.is_floating_point():
        symbols = _numbered(y)
        return [
            ("length", length),
            ("symbols", _apart_by_counts(*_grams(symbols, 1), len(y))),
            ("n-grams", _apart_by_counts(*_every_gram(symbols, order), len(y))),
        ]
    values = y.values.to(torch.float64).flatten(2) if y.values.ndim > 2 else y.values.to(torch.float64).unsqueeze(2)
    count = y.lengths.to(torch.float64).unsqueeze(1)
    moments = torch.cat([values.sum(1), values.square().sum(1)], 1) / count.clamp(min=1)
    products = (values[:, 1:] * values[:, :-1]).sum(1) / (count - 1).clamp(min=1)
    return [("length", length), ("values", _apart(_scaled(moments))), ("pairs", _apart(_scaled(products)))]


def _scaled(features: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
    """In units of their spread over both sets, which no relabelling changes."""
    return features / features.std(0, keepdim=True).clamp(min=1e-300)


def _apart(features: Float[Tensor, "n f"]) -> Float[Tensor, "n n"]:
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def _numbered(y: Sequences) -> Int[Tensor, "n t2"]:
    """Begin, the symbols numbered from 2, the end where there is one, and −1 in the padding."""
    marked = torch.full((len(y), y.values.shape[1] + 2), -1)
    marked[:, 0] = 0
    if y.values.numel():
        number = torch.unique(y.values.flatten(0, 1), dim=0, return_inverse=True)[1] + 2
        marked[:, 1:-1] = torch.where(y.mask(), number.reshape(len(y), -1), -1)
    ended = y.ended.nonzero().squeeze(-1)
    marked[ended, y.lengths[ended] + 1] = 1
    return marked


def _grams(marked: Tensor, n: int) -> tuple[Int[Tensor, " g"], Int[Tensor, " g"]]:
    """The row of each n-gram, and its number; single symbols without begin and end."""
    if marked.shape[1] < n:
        return marked.new_zeros(0), marked.new_zeros(0)
    windows = marked.unfold(1, n, 1)
    real = (windows >= (2 if n == 1 else 0)).all(-1)
    rows = real.nonzero()[:, 0]
    found = windows[real]
    return rows, torch.unique(found, dim=0, return_inverse=True)[1] if len(found) else rows


def _every_gram(marked: Tensor, order: int) -> tuple[Int[Tensor, " g"], Int[Tensor, " g"]]:
    """n-grams of every n up to `order`, numbered apart."""
    rows, numbers, total = [], [], 0
    for n in range(1, order + 1):
        row, number = _grams(marked, n)
        rows.append(row)
        numbers.append(number + total)
        total += int(number.max()) + 1 if len(number) else 0
    return torch.cat(rows), torch.cat(numbers)


def _apart_by_counts(rows: Tensor, numbers: Tensor, n: int) -> Float[Tensor, "n n"]:
    """Euclidean distances of counts, from their products, a piece of the n-grams at a time."""
    product = torch.zeros(n, n, dtype=torch.float64)
    for begin in range(0, int(numbers.max()) + 1 if len(numbers) else 0, COLUMNS):
        here = (numbers >= begin) & (numbers < begin + COLUMNS)
        counts = torch.zeros(n, COLUMNS, dtype=torch.float64)
        counts.index_put_((rows[here], numbers[here] - begin), torch.ones(()).double(), accumulate=True)
        product += counts @ counts.T
    norm = product.diagonal()
    # Counts are whole numbers, and so are these squares: no rounding to be clamped away.
    return (norm.unsqueeze(0) + norm.unsqueeze(1) - 2 * product).sqrt()

"""Vectors whose dimensions depend on each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import constraints

from probseq.likelihoods.base import LikelihoodPart, floored
from probseq.numerics import at_least_float32
from probseq.part import require
from probseq.protocols import Element

LIMIT = 1 << 16
"""Most values that are listed."""


@dataclass(eq=False, repr=False)
class NADE(LikelihoodPart):
    """Dependence within one element: P(yₜ) = ∏ⱼ P(yₜⱼ | yₜ₍<ⱼ₎), with one hidden layer that all dimensions share.

    sⱼ = σ(B h + b + Σ_{i<j} Wᵢ yᵢ), and the law of yⱼ has the parameters Vⱼ sⱼ + Cⱼ h + cⱼ: for `Bits` a Bernoulli, for
    `Reals` a normal or a mixture of normals, for `Choices` a categorical, where Wᵢ yᵢ is the column of the symbol yᵢ.
    Scored in one pass, drawn in d steps. Needs no order of nature: any one gives a law, a better or a worse one.

    Args:
        size: units of the hidden layer; with 0 the dimensions are independent given the features.
        order: in which the dimensions come: "ascending", "descending", or their numbers as a tuple.
        components: normals in the mixture of each dimension of `Reals`.
        min_scale: the floor of their standard deviations, in the data's units.

    Raises:
        ValueError: size below 0, components below 1, a min_scale that is not positive, or an order that is none; when
            built, an element that is no vector, an order of another length, or components of what is not real.

    Source: Uria, Côté, Gregor, Murray & Larochelle, Neural autoregressive distribution estimation, 2016; on the
        features of a recurrent network: Boulanger-Lewandowski, Bengio & Vincent, Modeling temporal dependencies in
        high-dimensional sequences, 2012.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Bits(3), ps.GRU(4), NADE(8, order="descending"), ps.FixedLength(2)).double()
    >>> round(float(ps.exact(model, 2).log_mass.exp()), 9)
    1.0
    """

    size: int = 64
    order: str | tuple[int, ...] = "ascending"
    components: int = 1
    min_scale: float = 1e-4

    def __post_init__(self) -> None:
        require(self.size >= 0, f"NADE needs size ≥ 0; got {self.size}.")
        require(self.components >= 1, f"NADE needs components ≥ 1; got {self.components}.")
        require(self.min_scale > 0, f"min_scale must be positive; got {self.min_scale}.")
        if not isinstance(self.order, str):
            self.order = tuple(self.order)
        named = self.order in ("ascending", "descending")
        require(
            named or (not isinstance(self.order, str) and sorted(self.order) == list(range(len(self.order)))),
            f"order must be 'ascending', 'descending', or every dimension's number once; got {self.order!r}.",
        )

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        require(
            len(element.shape) == 1,
            f"{self.describe()} needs a vector element such as Bits(2), Reals(2) or Choices((3, 2)); got {element!r}. "
            "For Tokens use Categorical().",
        )
        dim = element.shape[0]
        order = {"ascending": tuple(range(dim)), "descending": tuple(range(dim))[::-1]}.get(self.order, self.order)  # type: ignore[call-overload]
        require(len(order) == dim, f"{element!r} has {dim} dimensions, but order names {len(order)}: {order}.")
        sizes, listed = getattr(element, "sizes", None), getattr(element, "cardinality", None)
        require(
            self.components == 1 or listed is None,
            f"components are normals, for Reals; {element!r} has no use for {self.components}. Leave components out.",
        )
        if sizes is not None:
            self.each: _Bits | _Reals | _Symbols = _Symbols(self.size, order, sizes)
        elif listed is not None:
            self.each = _Bits(self.size, order)
        else:
            self.each = _Reals(self.size, order, self.components, self.min_scale)
        self.project = nn.Linear(features, self.size + dim * self.each.width)

    def forward(self, features: Float[Tensor, "*b h"]) -> Joint:
        hidden, visible = self.raw(features).tensor_split([self.size], -1)
        return Joint(self.each, hidden, visible.unflatten(-1, (-1, self.each.width)))


class Joint(dist.TorchDistribution):
    """∏ⱼ P(yⱼ | y₍<ⱼ₎), as `NADE` has it.

    Shapes:
        hidden: (*b, size), what the hidden layer begins with. visible: (*b, d, p), what the parameters of each
            dimension begin with, in the order of `each`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(
        self, each: _Bits | _Reals | _Symbols, hidden: Float[Tensor, "*b n"], visible: Float[Tensor, "*b d p"]
    ) -> None:
        self.each, self.hidden, self.visible = each, hidden, visible
        super().__init__(hidden.shape[:-1], visible.shape[-2:-1], validate_args=False)

    @property
    def support(self) -> Any:
        return self.each.support

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        return self.support.is_discrete

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        y = value[..., self.each.forth].expand(*shape, -1)
        raw = self.visible + self.each.raw(self.hidden.expand(*shape, -1), y)
        return self.each.law(raw).log_prob(y).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*torch.Size(sample_shape), *self.batch_shape)
        each, dim = self.each, self.event_shape[0]
        total, visible = self.hidden.expand(*shape, -1), self.visible.expand(*shape, -1, -1)
        drawn = []
        for at in (slice(j, j + 1) for j in range(dim)):
            raw = visible[..., at, :] + each.out(total.unsqueeze(-2).sigmoid(), at)
            drawn.append(each.law(raw, at).sample())
            total = total + each.enter(drawn[-1], at).squeeze(-2)
        return torch.cat(drawn, -1)[..., self.each.back]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Joint:
        shape = torch.Size(batch_shape)
        return Joint(self.each, self.hidden.expand(*shape, -1), self.visible.expand(*shape, -1, -1))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every value, (v, *b, d), or (v, 1, …, d).

        Raises:
            NotImplementedError: real vectors.
            ValueError: more than 2¹⁶ values.
        """
        alphabets = self.each.alphabets()
        count = math.prod(map(len, alphabets))
        require(
            count <= LIMIT,
            f"NADE lists the values of one element, {LIMIT:,} at most; this has {count:,}. Use sample() and score().",
        )
        values = torch.cartesian_prod(*(alphabet.to(self.hidden.device) for alphabet in alphabets))
        values = values.reshape(-1, *[1] * len(self.batch_shape), *self.event_shape)
        return values.expand(-1, *self.batch_shape, -1) if expand else values


class _Dimensions(nn.Module):
    """What the laws of d dimensions are made of: how values enter the hidden layer, and what leaves it.

    The dimensions come in their order, `forth` from that of an element; `back` is the way back. `at` is some of them.
    """

    forth: Tensor
    back: Tensor

    def __init__(self, size: int, order: tuple[int, ...], rows: int, width: int) -> None:
        super().__init__()
        dim, self.width = len(order), width
        self.register_buffer("forth", torch.tensor(order), persistent=False)
        self.register_buffer("back", torch.tensor(order).argsort(), persistent=False)
        self.inputs = nn.Parameter(torch.randn(rows, size) / math.sqrt(dim))
        self.outputs = nn.Parameter(torch.randn(dim, size, width) / math.sqrt(max(size, 1)))

    def enter(self, y: Tensor, at: slice = slice(None)) -> Float[Tensor, "*b d n"]:
        """Wⱼ yⱼ."""
        inputs = at_least_float32(self.inputs)[at]
        return y.unsqueeze(-1).to(inputs.dtype) * inputs

    def out(self, hidden: Float[Tensor, "*b d n"], at: slice = slice(None)) -> Float[Tensor, "*b d p"]:
        """Vⱼ sⱼ."""
        return at_least_float32(torch.einsum("...dn,dnp->...dp", hidden, at_least_float32(self.outputs)[at]))

    def raw(self, hidden: Float[Tensor, "*b n"], y: Tensor) -> Float[Tensor, "*b d p"]:
        """Vⱼ σ(hidden + Σ_{i<j} Wᵢ yᵢ)."""
        sums = torch.cat([hidden.unsqueeze(-2), self.enter(y)[..., :-1, :]], -2).cumsum(-2)
        return self.out(sums.sigmoid())

    def alphabets(self) -> list[Tensor]:
        """The values of each dimension of an element, in the element's order."""
        raise NotImplementedError("real vectors cannot be listed")


class _Bits(_Dimensions):
    """Bernoulli laws."""

    def __init__(self, size: int, order: tuple[int, ...]) -> None:
        super().__init__(size, order, len(order), 1)

    def raw(self, hidden: Float[Tensor, "*b n"], y: Tensor) -> Float[Tensor, "*b d p"]:
        # Zeros leave the hidden layer as it is: it is computed once for each one, not for each bit.
        dim, most = y.shape[-1], int(y.sum(-1).max()) if y.numel() else 0
        places = torch.where(y > 0, torch.arange(dim, device=y.device), dim).sort(-1).values[..., :most]
        entering = F.embedding(places, F.pad(at_least_float32(self.inputs), (0, 0, 0, 1)))
        sums = torch.cat([hidden.unsqueeze(-2), entering], -2).cumsum(-2)
        every = at_least_float32(sums.sigmoid() @ at_least_float32(self.outputs).squeeze(-1).T)
        before = (y.cumsum(-1) - y).long().unsqueeze(-2)
        return every.gather(-2, before).squeeze(-2).unsqueeze(-1)

    def law(self, raw: Float[Tensor, "*b d p"], at: slice = slice(None)) -> Any:
        return dist.Bernoulli(logits=raw.squeeze(-1), validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.boolean, 1)

    def alphabets(self) -> list[Tensor]:
        return [torch.tensor([0.0, 1.0], dtype=self.inputs.dtype)] * len(self.back)


class _Reals(_Dimensions):
    """Normal laws, or mixtures of them, whose scales start near 1."""

    def __init__(self, size: int, order: tuple[int, ...], components: int, min_scale: float) -> None:
        # The weights of a mixture are one fewer than its components.
        super().__init__(size, order, len(order), 3 * components - 1)
        self.components, self.min_scale = components, min_scale

    def law(self, raw: Float[Tensor, "*b d p"], at: slice = slice(None)) -> Any:
        loc, scale, logits = raw.split([self.components, self.components, self.components - 1], -1)
        scale = floored(scale, self.min_scale)
        mixing = dist.Categorical(logits=F.pad(logits, (1, 0)), validate_args=False)
        return dist.MixtureSameFamily(mixing, dist.Normal(loc, scale, validate_args=False), validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.real_vector


class _Symbols(_Dimensions):
    """Categorical laws, each over an alphabet of its own."""

    sizes: Tensor
    first: Tensor

    def __init__(self, size: int, order: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        super().__init__(size, order, sum(sizes), max(sizes))
        self.register_buffer("sizes", torch.tensor(sizes)[self.forth], persistent=False)
        self.register_buffer("first", self.sizes.cumsum(0) - self.sizes, persistent=False)

    def enter(self, y: Tensor, at: slice = slice(None)) -> Float[Tensor, "*b d n"]:
        return F.embedding(y + self.first[at], at_least_float32(self.inputs))

    def law(self, raw: Float[Tensor, "*b d p"], at: slice = slice(None)) -> Any:
        beyond = torch.arange(self.width, device=raw.device) >= self.sizes[at].unsqueeze(-1)
        return dist.Categorical(logits=raw.masked_fill(beyond, -torch.inf), validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, self.sizes[self.back] - 1), 1)

    def alphabets(self) -> list[Tensor]:
        return [torch.arange(size) for size in self.sizes[self.back].tolist()]

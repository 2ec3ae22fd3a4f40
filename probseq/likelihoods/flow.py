"""Real vectors of any density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probseq.likelihoods.base import LikelihoodPart, require_vector
from probseq.numerics import at_least_float32
from probseq.part import require
from probseq.protocols import Element

FAMILIES = ("affine", "spline")


@dataclass(eq=False, repr=False)
class Flow(LikelihoodPart):
    """p(yₜ) = N(f(yₜ); 0, I) |det ∂f/∂yₜ|: f a normalising flow, its dimensions dependent on each other and on h.

    Each transform is autoregressive over the dimensions, in alternating order, its parameters a network of h and of the
    dimensions before. "affine" is the masked autoregressive flow (Papamakarios et al., 2017), a Gaussian law in one
    dimension; "spline" is an affine transform, then monotonic rational splines on [−5, 5] (Durkan et al., Neural spline
    flows, 2019), for many modes and hard edges. Scoring takes one pass, drawing one pass a dimension. Needs zuko.

    What the networks say is clipped softly: no affine transform stretches by more than 10³, no spline by more than
    2 · 10³ · bins. That bounds the density, in place of a floor under a scale. Data should be scaled to about 1.

    Args:
        family: "affine" or "spline".
        transforms: how many, beside the affine one of "spline".
        hidden: the widths of the hidden layers of each transform's network.
        bins: the pieces of a spline.

    Raises:
        ImportError: when built, zuko is not installed.
        ValueError: another family, or sizes below 1 (bins below 2).

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Reals(2), ps.GRU(4), ps.Flow(hidden=(16,)), ps.FixedLength(3))
    >>> model.sample(5).values.shape
    torch.Size([5, 3, 2])
    """

    family: str = "spline"
    transforms: int = 2
    hidden: tuple[int, ...] = (64, 64)
    bins: int = 8

    def __post_init__(self) -> None:
        require(self.family in FAMILIES, f"family must be one of {FAMILIES}; got {self.family!r}.")
        self.hidden = tuple(self.hidden)
        require(
            self.transforms >= 1 and min(self.hidden, default=1) >= 1 and self.bins >= 2,
            f"Flow needs transforms ≥ 1, hidden widths ≥ 1 and bins ≥ 2; got {self.describe()}.",
        )

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        zuko = _zuko()
        dim = require_vector(self, element)
        spline, hidden = self.family == "spline", list(self.hidden)
        self.flow = zuko.flows.MAF(dim, features, 1 if spline else self.transforms, hidden_features=hidden)
        if spline:
            bent = zuko.flows.NSF(dim, features, self.bins, transforms=self.transforms, hidden_features=hidden)
            self.flow.transform.transforms.extend(bent.transform.transforms)

    def forward(self, features: Float[Tensor, "*b h"]) -> _Flowing:
        return _Flowing(self.flow(at_least_float32(features)), features.device.type)


class _Flowing(TorchDistribution):
    """A flow of zuko's, with the face of a Pyro distribution; its networks run here, and not in 16 bits."""

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[assignment]

    def __init__(self, flow: Any, device: str) -> None:
        self.flow, self.device = flow, device
        super().__init__(flow.batch_shape, flow.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.real_vector

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        with torch.autocast(self.device, enabled=False):
            return self.flow.log_prob(value.expand(*shape, -1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad(), torch.autocast(self.device, enabled=False):
            return self.flow.sample(torch.Size(sample_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Flowing:
        return _Flowing(self.flow.expand(torch.Size(batch_shape)), self.device)


def _zuko() -> Any:
    """The module.

    Raises:
        ImportError: it is not installed.
    """
    validates = torch.distributions.Distribution._validate_args
    try:
        import zuko
    except ImportError as error:
        raise ImportError("Flow() needs zuko, which is not installed: pip install 'probseq[flows]'.") from error
    # Importing it switches off the validation of every distribution there is.
    torch.distributions.Distribution.set_default_validate_args(validates)
    return zuko

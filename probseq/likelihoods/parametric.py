"""Every Pyro distribution as a likelihood."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from probseq.likelihoods.base import LikelihoodPart
from probseq.part import require
from probseq.protocols import Element

PREFERRED = {
    "logits": ("probs",),
    "gate_logits": ("gate",),
    "scale_tril": ("covariance_matrix", "precision_matrix"),
}
"""Where a family can be written in several ways, the parameter that is learned, and those it replaces."""


SUPPORTS = {"VonMises": constraints.independent(constraints.interval(-math.pi, math.pi), 1)}
"""Where a family declares a larger support than the one it integrates to 1 on."""


@dataclass(eq=False, repr=False)
class Parametric(LikelihoodPart):
    """The law of an element is `family(**parameters)`, each parameter a learned map of the features.

    Features are projected to unconstrained reals and sent through `transform_to(family.arg_constraints[name])`.
    A univariate family stands independently in each dimension of a vector element; a multivariate one covers it.

    Args:
        family: a distribution class, as `pyro.distributions.StudentT`, or its name there.
        fixed: parameters that are not learned, as `{"total_count": 10}`.

    Raises:
        ValueError: a parameter cannot be learned (integers, or a constraint that depends on others) and is not
            fixed, `fixed` names none of the family's parameters, or the family does not fit the element.
    """

    family: Any
    fixed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.family, str):
            require(hasattr(dist, self.family), f"pyro.distributions has no {self.family!r}.")
            self.family = getattr(dist, self.family)
        require(isinstance(self.family, type), f"the family is a class of distributions; got {self.family!r}.")
        # Pyro's classes can be masked and expanded inside Pyro programs; torch's own cannot.
        if self.family.__module__.startswith("torch.distributions"):
            self.family = getattr(dist, self.family.__name__, self.family)
        self.fixed = dict(self.fixed)

    def build(self, features: int, element: Element, symbols: int = 0) -> None:
        learned = self._learned()
        multivariate = any(constraint.event_dim for constraint in learned.values())
        base = element.shape
        if multivariate and not base:
            base = (int(getattr(element, "size", 1)),)
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name, constraint in learned.items():
            shape = base * constraint.event_dim if multivariate else base
            self.shapes[name] = tuple(transform_to(constraint).inverse_shape(torch.Size(shape)))
        self.constraints = learned
        self.event_dims = len(element.shape)
        widths = [torch.Size(shape).numel() for shape in self.shapes.values()]
        self.widths = widths
        self.project = nn.Linear(features, sum(widths))
        self.moving_support = False
        law = self._prototype(features, element)
        self.moving_support = _depends(law)
        if not self.moving_support:
            element.narrow(SUPPORTS.get(self.family.__name__, law.support))

    def _learned(self) -> dict[str, Any]:
        """The constraint of each parameter to learn.

        Raises:
            ValueError: one cannot be learned.
        """
        name = self.family.__name__
        try:
            every = dict(self.family.arg_constraints)
        except TypeError as error:
            raise ValueError(
                f"the parameters of {name} constrain each other. Write a likelihood part for it."
            ) from error
        accepted = set(inspect.signature(self.family).parameters) - {"validate_args"}
        unknown = set(self.fixed) - accepted
        require(not unknown, f"{name} has no parameter {sorted(unknown)}; it has {sorted(accepted)}.")
        for preferred, replaced in PREFERRED.items():
            chosen = next((n for n in (preferred, *replaced) if n in self.fixed), preferred)
            if preferred in every:
                every = {k: v for k, v in every.items() if k == chosen or k not in (preferred, *replaced)}
        learned = {k: v for k, v in every.items() if k not in self.fixed}
        for parameter, constraint in learned.items():
            try:
                learnable = not constraint.is_discrete and constraint.event_dim >= 0
                transform_to(constraint)
            except NotImplementedError:
                learnable = False
            require(learnable, f"{name}.{parameter} cannot be learned; fix it: fixed={{{parameter!r}: …}}.")
        require(bool(learned), f"{name} has nothing to learn: every parameter is fixed.")
        return learned

    def _prototype(self, features: int, element: Element) -> Any:
        """The law at features 0, to see that the family fits the element."""
        name = self.family.__name__
        weight = self.project.weight
        try:
            with torch.no_grad():
                law = self(torch.zeros(1, features, device=weight.device, dtype=weight.dtype))
            shapes = (tuple(law.batch_shape), tuple(law.event_shape))
            integers = not law.sample().is_floating_point()
        except Exception as error:  # whatever a family of Pyro's raises at a shape that it does not take
            raise ValueError(f"{name} does not fit {element!r}: {error}. Write a likelihood part for it.") from error
        expected = ((1,), element.shape)
        require(
            shapes == expected,
            f"{name} does not fit {element!r}: batch and event shape {shapes}, expected {expected}. "
            "Choose another element, or write a likelihood part.",
        )
        require(
            integers or not element.discrete,
            f"{name} draws floats, but {element!r} holds integers. Use Reals(1), which takes any real support.",
        )
        return law

    def forward(self, features: Float[Tensor, "*b h"]) -> Any:
        batch = features.shape[:-1]
        parameters: dict[str, Any] = {
            name: torch.as_tensor(value, dtype=features.dtype, device=features.device)
            for name, value in self.fixed.items()
        }
        raws = self.raw(features).split(self.widths, -1)
        for raw, (name, shape) in zip(raws, self.shapes.items(), strict=True):
            parameters[name] = transform_to(self.constraints[name])(raw.reshape(*batch, *shape))
        law = self.family(**parameters, validate_args=False)
        independent = _WithinSupport if self.moving_support else dist.Independent
        return independent(law, self.event_dims - len(law.event_shape))


class _WithinSupport(dist.Independent):
    """A law whose support moves with its parameters: −∞ outside, where the formula of its density says anything."""

    def log_prob(self, value: Tensor) -> Tensor:
        support: Any = self.support
        inside = support.check(value)
        if bool(inside.all()):
            return super().log_prob(value)
        # A point of the support stands in, so that no NaN reaches the gradients.
        mask = inside.reshape(*inside.shape, *[1] * len(self.event_shape))
        within = torch.where(mask, value, self.sample())
        return torch.where(inside, super().log_prob(within), -torch.inf)


def _depends(law: Any) -> bool:
    """Whether the support depends on parameters, so that it is not one for all steps."""
    base = law
    while isinstance(base, torch.distributions.Independent):
        base = base.base_dist
    support = type(base).__dict__.get("support") or type(base).support
    return isinstance(support, property | constraints._DependentProperty)

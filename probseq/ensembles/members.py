"""What the ensembles share: several models that read the same elements, each with what it makes of the same x."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import constraints

from probseq.arguments import checked, fits
from probseq.context import Context, State
from probseq.distribution import SequenceDistribution
from probseq.face import Face
from probseq.inference.score import check, check_context
from probseq.nextstep import NextStep
from probseq.part import require
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Contexts(Context):
    """What each member makes of x.

    Shapes:
        members: a context of batch b for each.
        widths: (b, 0, h) for each: how wide its features are. Tensors, since a state holds nothing else.
    """

    members: tuple[Context, ...] = ()
    widths: tuple[Tensor, ...] = ()

    def without_source(self) -> Contexts:
        return replace(self, members=tuple(member.without_source() for member in self.members))

    def without_steps(self) -> Contexts:
        return replace(self, members=tuple(member.without_steps() for member in self.members))


class Ensemble(Face, nn.Module, ABC):
    """Models of one element as one model; see `Mixture` and `ProductOfSteps`.

    The members may differ in everything but the element, and each encodes x for itself. They are shared with the
    ensemble, not copied; each is trained and saved by itself. A state holds those of all members.
    """

    @checked
    def __init__(self, models: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.models = tuple(models)
        name = type(self).__name__
        require(bool(self.models), f"{name} needs one model at least; got none.")
        for i, model in enumerate(self.models):
            if not fits(model, Autoregressive):
                raise TypeError(f"{name} needs models; member {i} is {type(model).__name__}.")
        spaces = [_space(model.element) for model in self.models]
        for i, model in enumerate(self.models):
            require(
                spaces[i] == spaces[0],
                f"{name} needs models of one element; model {i} has {model.element!r}, model 0 "
                f"{self.models[0].element!r}, or their likelihoods have different supports.",
            )
        given = [1.0] * len(self.models) if weights is None else [float(weight) for weight in weights]
        require(
            len(given) == len(self.models) and all(weight > 0 and math.isfinite(weight) for weight in given),
            f"{name} needs a positive weight for each of {len(self.models)} models; got {given}.",
        )
        self.weights = tuple(weight / sum(given) for weight in given)
        self.trained = nn.ModuleList(model for model in self.models if isinstance(model, nn.Module))
        self.register_buffer("log_weights", torch.tensor(self.weights, dtype=torch.float64).log(), persistent=False)
        self._watched: list[tuple[list[list[Tensor]], list[Tensor]]] = []
        self.eval()

    @property
    def element(self) -> Any:
        """What one element is."""
        return self.models[0].element

    @abstractmethod
    def _carried(self, before: State | None, each: list[tuple[Tensor, State]], y: Tensor) -> Tensor:
        """The features (b, m, h) of the ensemble, from those of its members and the state before, None at the start."""

    @abstractmethod
    def _bound(self, limits: list[Any]) -> Any:
        """The greatest length, from those of the members, None where there is no bound."""

    @abstractmethod
    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        """The law of the next step."""

    @property
    def max_length(self) -> int | None:
        """The longest sequence with positive probability, or None."""
        bound = self._bound([None if m.max_length is None else torch.tensor(m.max_length) for m in self.models])
        return None if bound is None else int(bound)

    def leak(self) -> tuple[int, int] | None:
        """The steps that show that a member is not causal, or None."""
        every = (getattr(model, "leak", None) for model in self.models)
        return next((found for leak in every if leak is not None and (found := leak()) is not None), None)

    def start(self, context: Any = None) -> State:
        """Nothing of y read yet."""
        states = [model.start(own) for model, own in zip(self.models, self._own(context), strict=True)]
        nothing = torch.zeros(states[0].batch, 0, *self.element.shape, dtype=torch.int64)
        each = [(state.features.unsqueeze(1), state) for state in states]
        return self._together(None, each, nothing)[1]

    def unroll(self, context: Any, y: Tensor) -> tuple[Float[Tensor, "b m h"], State]:
        """Start and extend, in one fused call of each member."""
        each = [model.unroll(own, y) for model, own in zip(self.models, self._own(context), strict=True)]
        return self._together(None, each, y)

    def extend(self, state: State, y: Tensor) -> tuple[Float[Tensor, "b n h"], State]:
        """Read n ≥ 0 elements y (b, n, *e)."""
        if not y.shape[1]:
            return state.features.new_empty(state.batch, 0, state.features.shape[1]), state
        each = [model.extend(own, y) for model, own in zip(self.models, self._states(state), strict=True)]
        return self._together(state, each, y)

    def _own(self, context: Any) -> Sequence[Any]:
        """What each member is conditioned on: what it made of x, or x."""
        if not isinstance(context, Contexts):
            return [context] * len(self.models)
        require(
            len(context.members) == len(self.models),
            f"the context is that of {len(context.members)} models; this is {type(self).__name__} of "
            f"{len(self.models)}. Pass x, or a context of this one.",
        )
        return context.members

    def _together(self, before: State | None, each: list[tuple[Tensor, State]], y: Tensor) -> tuple[Tensor, State]:
        """The members' features and states as the ensemble's."""
        self._watch()
        features = self._carried(before, each, y)
        states = [state for _, state in each]
        memory = tuple(state.memory for state in states)
        context = self._context(states) if before is None else before.context
        return features, State(features[:, -1], memory, states[0].position, context)

    def _context(self, states: list[State]) -> Contexts:
        features, contexts = states[0].features, tuple(state.context for state in states)
        widths = tuple(state.features.unsqueeze(1)[:, :0].detach() for state in states)
        limit = None
        if any(context.limit is not None for context in contexts):
            rows = [_limit(own, model.max_length) for model, own in zip(self.models, contexts, strict=True)]
            limit = self._bound(rows)
        nothing = features.new_empty(len(features), 0)
        # Where all attend to one source, search must know where it ends.
        source = contexts[0].source_lengths
        return Contexts(nothing, source_lengths=source, aligned_lengths=limit, members=contexts, widths=widths)

    def _split(self, features: Tensor, context: Context) -> list[Tensor]:
        """The features of each member."""
        widths: tuple[Tensor, ...] = context.widths  # type: ignore[attr-defined]
        used = features[..., : sum(width.shape[-1] for width in widths)]
        each = used.split([width.shape[-1] for width in widths], -1)
        return [part.to(width.dtype) for part, width in zip(each, widths, strict=True)]

    def _states(self, state: State) -> list[State]:
        context: Any = state.context
        parts = zip(self._split(state.features, context), state.memory, context.members, strict=True)
        return [State(features, memory, state.position, own) for features, memory, own in parts]

    def _steps(self, features: Tensor, position: Tensor, context: Any) -> list[NextStep]:
        """The law of the next step under each member."""
        parts = zip(self.models, self._split(features, context), context.members, strict=True)
        return [model.emit(own, position, conditioning) for model, own, conditioning in parts]

    def conform(self, y: Sequences, context: Any = None) -> tuple[Sequences, Contexts]:
        """y and x checked, by themselves and against each other, and what the members make of x.

        Raises:
            ValueError: values outside their space, batches that differ, or y longer than can be.
        """
        y = check(self, y)
        contexts: Any = self.start(Context.none(len(y)) if context is None else context).context
        check_context(y, contexts)
        return y, contexts

    @contextmanager
    def attention(self) -> Iterator[list[Float[Tensor, "b n s"]]]:
        """Inside the block, each call appends the mean of the weights that the members put on the source.

        Raises:
            ValueError: a member that does not attend.
        """
        with ExitStack() as stack:
            own = []
            for i, model in enumerate(self.models):
                watch = getattr(model, "attention", None)
                require(watch is not None, f"model {i} of {type(self).__name__} attends to nothing.")
                own.append(stack.enter_context(watch()))  # type: ignore[misc]
            found: list[Tensor] = []
            self._watched.append((own, found))
            try:
                yield found
            finally:
                self._watched.pop()

    def _watch(self) -> None:
        for own, found in self._watched:
            if all(own):
                each = [weights.pop() for weights in own]
                require(
                    len({weights.shape for weights in each}) == 1,
                    f"the members attend to sources of different lengths, {[weights.shape[-1] for weights in each]}, "
                    "so their weights have no mean. Watch each member by itself.",
                )
                found.append(torch.stack(each).mean(0))

    def forward(self, context: Any = None, max_length: int | None = None) -> SequenceDistribution:
        """P(y | x), truncated to `max_length`, as a Pyro distribution; x may have any batch shape that members take."""
        if isinstance(context, Contexts):
            return SequenceDistribution(self, context, max_length)
        laws = [model(context, max_length) for model in self.trained]
        if not laws or len(laws) < len(self.models):
            return SequenceDistribution(self, context, max_length)
        contexts = self.start(self._of([law.context for law in laws])).context
        return SequenceDistribution(self, contexts, max_length, tuple(laws[0].batch_shape))

    def _of(self, contexts: list[Context]) -> Contexts:
        return Contexts(contexts[0].summary[:, :0], members=tuple(contexts))


def _space(element: Any) -> tuple[Any, ...]:
    """What must be the same of the elements of all members."""
    if hasattr(element, "members"):
        return tuple(map(_space, element.members))
    size, support = getattr(element, "cardinality", None), getattr(element, "support", None)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    everything = size is not None or support in (None, constraints.real)
    return tuple(element.shape), element.discrete, size, None if everything else str(support)


def _limit(context: Context, longest: int | None) -> Tensor | None:
    """The greatest length of each row under one member."""
    if context.limit is None:
        rows = torch.zeros(context.batch, dtype=torch.int64, device=context.summary.device)
        return None if longest is None else rows + longest
    return context.limit if longest is None else context.limit.clamp(max=longest)

"""A sequence model: the five parts joined."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.context import Context, State
from probseq.distribution import SequenceDistribution
from probseq.face import Face
from probseq.inference.score import check, score_features
from probseq.nextstep import NextStep
from probseq.part import Part
from probseq.sequences import Sequences


class SequenceModel(Face, nn.Module):
    """P(y | x) = ∏ₜ P(yₜ | y₍<t₎, x) with a learned end: a recurrent network as a distribution over sequences.

    The parts are copied and built here; their sizes are found, not given. A model is in evaluation mode, where its
    log-probabilities are exact, except while it is trained.

    Args:
        element: what one element is, and how it is read back in.
        recurrence: how the past is carried.
        likelihood: the law of the next element.
        stop: when the sequence ends.
        context: what it is conditioned on, or None.

    Raises:
        TypeError: a part in another part's place.
        ValueError: parts that do not go together, as EndSymbol with a continuous likelihood.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.LSTM(8), ps.Categorical(), ps.EndSymbol())
    >>> model.log_prob(ps.Sequences.of([[0, 2, 1], []])).shape
    torch.Size([2])
    """

    def __init__(self, element: Any, recurrence: Any, likelihood: Any, stop: Any, context: Any = None) -> None:
        super().__init__()
        self.element = _fresh(element, "element")
        self.recurrence = _fresh(recurrence, "recurrence")
        self.likelihood = _fresh(likelihood, "likelihood")
        self.stop = _fresh(stop, "stop")
        self.context = None if context is None else _fresh(context, "context")
        if self.stop.symbols and not self.likelihood.takes_symbols:
            raise ValueError(
                f"{self.stop.describe()} adds a symbol to the alphabet and needs Categorical(); got "
                f"{self.likelihood.describe()}. Use BernoulliStop(), LengthStop(n) or FixedLength(n)."
            )
        summary, self.enters_input, self.enters_state = 0, False, False
        if self.context is not None:
            self.context.build()
            summary = self.context.width
            self.enters_input = self.context.enters in ("input", "both")
            self.enters_state = self.context.enters in ("state", "both")
        self.summary_width = summary
        self.element.build()
        self.recurrence.build(self.element.width + (summary if self.enters_input else 0))
        self.likelihood.build(self.recurrence.features, self.element, self.stop.symbols)
        self.stop.build(self.recurrence.features, summary)
        self.first = nn.Parameter(torch.randn(self.element.width) * 0.1)
        self.initial = None
        if self.enters_state:
            widths = [torch.Size(shape).numel() for shape in self.recurrence.memory_shapes]
            self.initial = nn.Linear(summary, sum(widths))
        self.eval()

    @property
    def parts(self) -> dict[str, Part | None]:
        """The five parts by name: the model's configuration."""
        return {name: getattr(self, name) for name in ("element", "recurrence", "likelihood", "stop", "context")}

    @property
    def max_length(self) -> int | None:
        """The longest sequence with positive probability, or None."""
        return self.stop.max_length

    def encode(self, context: Any, batch: int = 1, validate: bool = True) -> Context:
        """What x encodes to; a Context is taken as it is, and None stands for `batch` sequences without conditioning.

        Raises:
            ValueError: x where the model has no context, none where it needs one, or x of a wrong shape.
        """
        if isinstance(context, Context):
            encoded = context
        elif self.context is None and context is None:
            encoded = Context.none(batch)
        elif self.context is None:
            raise ValueError("this model has no context, but one was given. Construct it with context=Vector(…).")
        elif context is None:
            raise ValueError(f"this model is conditioned on {self.context.describe()}: pass a context.")
        else:
            encoded = self.context.encode(self.context.conform(context) if validate else context)
        if encoded.summary.shape[-1] != self.summary_width:
            needs = f"{self.context.describe()}: pass a context" if self.context else "no context: pass none"
            raise ValueError(
                f"the context's summary has width {encoded.summary.shape[-1]}; the model is conditioned on {needs}."
            )
        return Context(encoded.summary.to(self.first))

    def start(self, context: Any = None) -> State:
        """Nothing of y read yet."""
        encoded = self.encode(context)
        empty = torch.zeros(encoded.batch, 0, *self.element.shape, dtype=torch.int64, device=self.first.device)
        return self.unroll(encoded, empty)[1]

    def extend(self, state: State, y: Tensor) -> tuple[Float[Tensor, "b n h"], State]:
        """Read n ≥ 0 elements y (b, n, *e)."""
        if not y.shape[1]:
            return state.features.new_empty(state.batch, 0, state.features.shape[1]), state
        inputs = self.element.read(y.to(self.first.device)).to(self.first)
        return self._advance(inputs, state.memory, state.position, state.context)

    def unroll(self, context: Any, y: Tensor) -> tuple[Float[Tensor, "b m h"], State]:
        """Start and extend in one fused call over [start vector, y₁ … yₙ]."""
        encoded = self.encode(context, y.shape[0])
        if encoded.batch != y.shape[0]:
            raise ValueError(
                f"the context has batch {encoded.batch}, the sequences {y.shape[0]}. Pass one row for each."
            )
        inputs = self.first.expand(encoded.batch, 1, -1)
        if y.shape[1]:
            inputs = torch.cat([inputs, self.element.read(y.to(self.first.device)).to(self.first)], 1)
        before = torch.full((encoded.batch,), -1, device=self.first.device)
        return self._advance(inputs, self._memory(encoded), before, encoded)

    def _memory(self, context: Context) -> tuple[Tensor, ...]:
        """The recurrence's memory before the start vector: zero, or a learned map of the context."""
        begin = getattr(self.recurrence, "begin", None)
        memory = self._initial(context)
        return begin(memory) if begin else memory

    def _initial(self, context: Context) -> tuple[Tensor, ...]:
        shapes = self.recurrence.memory_shapes
        if self.initial is None:
            return tuple(context.summary.new_zeros(context.batch, *shape) for shape in shapes)
        flat = self.initial(context.summary).split([torch.Size(shape).numel() for shape in shapes], -1)
        return tuple(part.reshape(-1, *shape) for part, shape in zip(flat, shapes, strict=True))

    def _advance(
        self, inputs: Tensor, memory: tuple[Tensor, ...], position: Tensor, context: Context
    ) -> tuple[Tensor, State]:
        batch, n = inputs.shape[:2]
        if self.enters_input:
            inputs = torch.cat([inputs, context.summary.unsqueeze(1).expand(-1, n, -1)], -1)
        if batch:
            features, memory = self.recurrence(inputs, memory)
        else:
            features = inputs.new_empty(0, n, self.recurrence.features)
        return features, State(features[:, -1], memory, position + n, context)

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        """The law of the next step."""
        return self.stop.emit(self.likelihood, features, position, context)

    def log_prob(self, y: Sequences, context: Any = None, validate: bool = True) -> Float[Tensor, " b"]:
        """log P(y | x) of each sequence, in nats; of an open one, log P(y begins so | x).

        Args:
            y: b sequences.
            context: x, one row for each sequence, or None.
            validate: check the values, which an accelerator waits for. Without it, y and x must have been through
                `element.conform` and `context.conform`.

        Raises:
            ValueError: values outside the element's space, sequences longer than the stop law's longest,
                or a context that does not fit.
        """
        y = check(self, y) if validate else y
        y = y.to(self.first.device)
        features, state = self.unroll(self.encode(context, len(y), validate), y.values)
        fused = self.stop.log_prob(self.likelihood, features, y)
        return score_features(self, features, state.context, y).log_prob if fused is None else fused

    def bind(self, weights: Mapping[str, Tensor]) -> SequenceModel:
        """The same model with other tensors for some of its parameters, for weights that have priors.

        A distribution is evaluated after `model(x)` has returned, so `torch.func.functional_call`, which puts the
        old weights back by then, would be silently ignored; a bound model keeps what it is given, and gradients
        reach it.

        Args:
            weights: tensors by the names and in the shapes of `named_parameters()`.

        Raises:
            ValueError: a name or a shape that the model does not have.
        """
        parameters = dict(self.named_parameters())
        for name, tensor in weights.items():
            if name not in parameters or tensor.shape != parameters[name].shape:
                expected = tuple(parameters[name].shape) if name in parameters else f"one of {sorted(parameters)}"
                raise ValueError(f"cannot bind {name} of shape {tuple(tensor.shape)}; expected {expected}.")
        # deepcopy takes from its memo what it is to stand in for an object; parameters not named stay shared.
        return copy.deepcopy(self, {id(p): weights.get(name, p) for name, p in parameters.items()})

    def forward(self, context: Any = None, max_length: int | None = None) -> SequenceDistribution:
        """P(y | x), truncated to `max_length`, as a Pyro distribution; x may have any batch shape, () included."""
        if self.context is None or context is None or isinstance(context, Context):
            batch_shape = None if isinstance(context, Context) else ()
            return SequenceDistribution(self, self.encode(context), max_length, batch_shape)
        x = torch.as_tensor(context)
        shape = tuple(x.shape[: x.ndim - self.context.event_dims])
        flat = x.reshape(-1, *x.shape[len(shape) :])
        return SequenceDistribution(self, self.encode(flat), max_length, shape)


def _fresh(part: Any, kind: str) -> Any:
    got = getattr(part, "kind", type(part).__name__)
    if not isinstance(part, Part) or got != kind:
        shown = part.describe() if isinstance(part, Part) else repr(part)
        raise TypeError(f"{kind}= takes a part of kind {kind}; got {shown}, of kind {got}.")
    return part.fresh()

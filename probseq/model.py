"""A sequence model: the parts joined."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq import planned
from probseq.arguments import checked
from probseq.causality import find_leak
from probseq.context import Context, State
from probseq.contexts import Several
from probseq.distribution import SequenceDistribution
from probseq.face import Face
from probseq.inference.score import check, check_lengths, score_features
from probseq.joining import check_parts, check_widths, fresh_part
from probseq.nextstep import NextStep, certain_end
from probseq.part import Part, advance, attends, begun, build_recurrence, feature_bound, prepared
from probseq.recurrences.attentive import Attention
from probseq.rows import count_rows, from_list, place
from probseq.scalings import Chain
from probseq.sequences import Sequences
from probseq.shapes import slot_mask


class SequenceModel(Face, nn.Module):
    """P(y | x) = ∏ₜ P(yₜ | y₍<t₎, x) with a learned end: a recurrent network as a distribution over sequences.

    The parts are copied and built here; their sizes are found, not given. A model is in evaluation mode, where its
    log-probabilities are exact, except while it is trained.

    Args:
        element: what one element is, and how it is read back in.
        recurrence: how the past is carried.
        likelihood: the law of the next element.
        stop: when the sequence ends.
        context: what it is conditioned on, a tuple of several such parts, or None.
        scaling: from the data's units to those that the recurrence reads and the likelihood is a law in, a tuple of
            several such parts, or None. Log-probabilities are in the data's units.

    Raises:
        TypeError: a part in another part's place.
        ValueError: parts that do not go together, as EndSymbol with a continuous likelihood.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.LSTM(8), ps.Categorical(), ps.EndSymbol())
    >>> model.log_prob(ps.Sequences.of([[0, 2, 1], []])).shape
    torch.Size([2])
    """

    def __init__(
        self, element: Any, recurrence: Any, likelihood: Any, stop: Any, context: Any = None, scaling: Any = None
    ) -> None:
        super().__init__()
        scaling = Chain(scaling) if isinstance(scaling, tuple | list) else scaling
        context = Several(context) if isinstance(context, tuple | list) else context
        self.element = fresh_part(element, "element")  # type: ignore[reportAttributeAccessIssue]
        self.recurrence = fresh_part(recurrence, "recurrence")
        self.likelihood = fresh_part(likelihood, "likelihood")
        self.stop = fresh_part(stop, "stop")
        self.context = None if context is None else fresh_part(context, "context")
        self.scaling = None if scaling is None else fresh_part(scaling, "scaling")
        check_parts(**self.parts)
        summary, enters, sets = 0, 0, 0
        if self.context is not None:
            self.context.build()
            summary, enters, sets = self.context.width, self.context.input_width, self.context.state_width
        self.element.build()
        self.inputs = self.element.width + enters + self.stop.feed_width
        check_widths(self.recurrence, self.inputs, 0, 0)
        build_recurrence(self.recurrence, self.inputs, self._source)
        self.likelihood.build(self.recurrence.features, self.element, self.stop.symbols)
        if self.scaling is not None:
            self.scaling.build(self.element)
        self.stop.build(self.recurrence.features, summary)
        self.first = nn.Parameter(torch.randn(self.element.width) * 0.1)
        self.watched: list[list[Tensor]] = []
        carried = sum(torch.Size(shape).numel() for shape in self.recurrence.memory_shapes)
        check_widths(self.recurrence, self.inputs, sets, carried)
        self.initial = nn.Linear(sets, carried) if sets else None
        self.eval()

    @property
    def element(self) -> Any:
        """What one element is, and how it is read back in."""
        # A property, since from Python 3.12 on protocols look for attributes where modules do not keep theirs.
        return self._modules["element"]

    @property
    def parts(self) -> dict[str, Part | None]:
        """The parts by name: the model's configuration."""
        names = ("element", "recurrence", "likelihood", "stop", "context", "scaling")
        return {name: getattr(self, name) for name in names}

    @property
    def max_length(self) -> int | None:
        """The longest sequence with positive probability, or None."""
        return self.stop.max_length

    def leak(self) -> tuple[int, int] | None:
        """Inputs t < s of the recurrence where the features at t depend on the input at s, or None: see `find_leak`."""
        return self._leak

    @cached_property
    def _leak(self) -> tuple[int, int] | None:
        return find_leak(self.recurrence, self.inputs, self._source)

    @torch.no_grad()
    def stop_bound(self) -> float | None:
        """ε > 0 such that P(stop) ≥ ε at every step, whatever was read and whatever x is, or None if none is known."""
        known = getattr(self.stop, "least", None)
        bound = feature_bound(self.recurrence, 0.0 if self.initial is None else float("inf"))
        if known is None or bound == float("inf"):
            return None
        # What the model computes may miss the formula by rounding.
        least = known(self.likelihood, bound) * (1 - 64 * torch.finfo(self.first.dtype).eps)
        return least or None

    @checked
    def encode(self, context: Any, batch: int = 1, validate: bool = True) -> Context:
        """What x encodes to; a Context is taken as it is, and None stands for `batch` sequences without conditioning.

        Raises:
            ValueError: x where the model has no context, none where it needs one, or x of a wrong shape.
        """
        x = self._conform(context) if validate else context
        if x is None:
            return Context(self.first.new_empty(batch, 0))
        if isinstance(x, Context):
            return x.to(self.first)
        encoded = self.context.encode(place(x, self.first.device, self.first.dtype)).to(self.first)  # type: ignore[union-attr]
        return encoded if attends(self.recurrence) else encoded.without_source()

    @property
    def _source(self) -> int:
        """The width of what is attended to, 0 where there is nothing."""
        return 0 if self.context is None else getattr(self.context, "source_width", 0)

    def _conform(self, x: Any) -> Any:
        """x checked: what the context part makes of it, a Context of the model's widths, or None."""
        if self.context is None and x is not None and not isinstance(x, Context):
            raise ValueError("this model has no context, but one was given. Construct it with context=Vector(…).")
        if self.context is not None and x is None:
            raise ValueError(f"this model is conditioned on {self.context.describe()}: pass a context.")
        if x is None or not isinstance(x, Context):
            return x if self.context is None else self._conform_lengths(self.context.conform(x))
        summary, aligned = (0, 0) if self.context is None else (self.context.width, self.context.aligned_width)
        got = 0 if x.aligned is None else x.aligned.shape[-1]
        if x.summary.shape[-1] != summary or got != aligned:
            needs = f"{self.context.describe()}: pass a context" if self.context else "no context: pass none"
            raise ValueError(
                f"the context's summary has width {x.summary.shape[-1]}, its aligned features {got}; the model is "
                f"conditioned on {needs}."
            )
        scales = 0 if x.scale is None else x.scale.shape[-1]
        if scales != getattr(self.context, "scale_width", 0):
            raise ValueError(f"the context holds {scales} scales of a series; pass what {self.context} takes.")
        width = 0 if x.source is None else x.source.shape[-1]
        if attends(self.recurrence) and width != self._source:
            raise ValueError(f"the context's source has width {width}, the model attends to {self._source}. Encode x.")
        return x

    def _conform_lengths(self, x: Any) -> Any:
        """x, if its lengths are those that a stop law of one length for all sequences asks for."""
        lengths = self.context.lengths(x)  # type: ignore[union-attr]
        if lengths is None or not self.stop.certain or self.max_length is None:
            return x
        wrong = (lengths != self.max_length).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"the x of sequence {row} has {int(lengths[row])} elements, but {self.stop.describe()} gives each y "
                f"{self.max_length}. Use AlignedLength(), or x of that length."
            )
        return x

    def conform(self, y: Sequences, context: Any = None) -> tuple[Sequences, Any]:
        """y and x checked, each by itself and against each other: what `log_prob` takes without validation.

        Raises:
            ValueError: values outside their space, batches that differ, y longer than x or than the longest that
                the stop law allows, or, where the length is certain, y of another one.
        """
        y, x = check(self, y), self._conform(context)
        batch = count_rows(x)
        if batch is not None and batch != len(y):
            raise ValueError(f"the context has batch {batch}, the sequences {len(y)}. Pass one row for each.")
        limit = self._limit(x)
        if limit is not None:
            check_lengths(y, limit, self.stop.certain or self.stop.plans)
        return y, x

    def _limit(self, x: Any) -> Tensor | None:
        """On the host, the greatest length that x and the stop law allow each y, or None where x sets none."""
        if isinstance(x, Context):
            limit = None if x.limit is None else x.limit.to("cpu")
        else:
            limit = None if self.context is None else self.context.lengths(x)
        return limit if limit is None or self.max_length is None else limit.clamp(max=self.max_length)

    def start(self, context: Any = None) -> State:
        """Nothing of y read yet."""
        encoded = self.encode(context)
        empty = torch.zeros(encoded.batch, 0, *self.element.shape, dtype=torch.int64, device=self.first.device)
        return self.unroll(encoded, empty)[1]

    def extend(self, state: State, y: Tensor) -> tuple[Float[Tensor, "b n h"], State]:
        """Read n ≥ 0 elements y (b, n, *e)."""
        if not y.shape[1]:
            return state.features.new_empty(state.batch, 0, state.features.shape[1]), state
        if self._mixes(state.context):
            return planned.extend(self, state, y.to(self.first.device))
        return self._advance(self._read(y, state.context), state.memory, state.position, state.context)

    def unroll(self, context: Any, y: Tensor) -> tuple[Float[Tensor, "b m h"], State]:
        """Start and extend in one fused call over [start vector, y₁ … yₙ]."""
        encoded = self.encode(context, y.shape[0])
        if encoded.batch != y.shape[0]:
            raise ValueError(
                f"the context has batch {encoded.batch}, the sequences {y.shape[0]}. Pass one row for each."
            )
        return self._unroll(encoded, y)

    def _unroll(self, encoded: Context, y: Tensor) -> tuple[Tensor, State]:
        if self._mixes(encoded):
            return planned.unroll(self, encoded, y.to(self.first.device))
        inputs = self.first.expand(encoded.batch, 1, -1)
        if y.shape[1]:
            inputs = torch.cat([inputs, self._read(y, encoded)], 1)
        before = torch.full((encoded.batch,), -1, device=self.first.device)
        encoded = dataclasses.replace(encoded, attended=prepared(self.recurrence, encoded))
        return self._advance(inputs, self._memory(encoded), before, encoded)

    def _mixes(self, context: Context) -> bool:
        """Whether the length is drawn first and not known, and the steps are told of it."""
        return self.stop.plans and self.stop.feed_width > 0 and context.planned is None

    def _read(self, y: Tensor, context: Context) -> Tensor:
        return self.element.read(self.scaled(y.to(self.first.device), context)).to(self.first)

    def scaled(self, y: Tensor, context: Context) -> Tensor:
        """Elements (b, n, *e) in the units that the recurrence reads and the likelihood is a law in."""
        return y if self.scaling is None else self.scaling.transform(context, 1).inv(y)

    def _memory(self, context: Context) -> Any:
        """What the recurrence carries before the start vector: zero, or a learned map of the context."""
        shapes = self.recurrence.memory_shapes
        if self.initial is None:
            memory = tuple(context.summary.new_zeros(context.batch, *shape) for shape in shapes)
        else:
            flat = self.initial(self.context.initial(context))  # type: ignore[union-attr]
            parts = flat.split([torch.Size(shape).numel() for shape in shapes], -1)
            memory = tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
        return begun(self.recurrence, memory, context.batch)

    def _advance(self, read: Tensor, memory: Any, position: Tensor, context: Context) -> tuple[Tensor, State]:
        batch, n = read.shape[:2]
        entering = [read]
        if self.inputs > self.element.width:
            after = position.unsqueeze(1) + torch.arange(1, n + 1, device=position.device)
            if self.context is not None:
                entering.append(self.context.at(context, after))
            entering.append(self.stop.feed(context, after))
        inputs = torch.cat(entering, -1) if len(entering) > 1 else read
        if batch:
            features, memory = advance(self.recurrence, inputs, memory, context)
        else:
            features = inputs.new_empty(0, n, self.recurrence.features)
        return features, State(features[:, -1], memory, position + n, context)

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        """The law of the next step."""
        if self._mixes(context):
            return self._unscaled(planned.emit(self, features, position), context)
        step = self._unscaled(self.stop.emit(self.likelihood, features, position, context), context)
        if context.aligned_lengths is None or self.stop.aligned:
            return step
        # No y goes beyond its x, whatever the stop law says.
        shape = step.log_stop.shape
        limit = context.aligned_lengths.reshape(-1, *[1] * (len(shape) - 1))
        over = (position >= limit).expand(shape)
        log_stop, log_go = certain_end(over, step.log_stop)
        return NextStep(
            step.element, torch.where(over, log_stop, step.log_stop), torch.where(over, log_go, step.log_go)
        )

    def _unscaled(self, step: NextStep, context: Context) -> NextStep:
        """The step with its element in the data's units."""
        if self.scaling is None:
            return step
        law: Any = step.element
        transform = self.scaling.transform(context, len(law.batch_shape) - 1)
        return dataclasses.replace(step, element=dist.TransformedDistribution(law, [transform], validate_args=False))

    @checked
    def log_prob(self, y: Sequences, context: Any = None, validate: bool = True) -> Float[Tensor, " b"]:
        """log P(y | x) of each sequence, in nats; of an open one, log P(y begins so | x).

        Args:
            y: b sequences.
            context: x, one row for each sequence, or None.
            validate: check the values, which an accelerator waits for. Without it, y and x must be what `conform` gave.

        Raises:
            ValueError: see `conform`.
        """
        y, x = self.conform(y, context) if validate else (y, context)
        y = y.to(self.first.device)
        encoded = self.encode(x, len(y), validate=False)
        if self._mixes(encoded):
            return planned.log_prob(self, y, encoded)
        features, _ = self._unroll(encoded, y.values)
        fused = None if encoded.aligned_lengths is not None else self.stop.log_prob(self.likelihood, features, y)
        return score_features(self, features, encoded, y).log_prob if fused is None else fused

    def settle(self, state: State, index: Int[Tensor, " n"]) -> State:
        """Rows `index` of the state, with what is drawn before the elements drawn for each: a planned length."""
        return planned.settle(self, state, index) if self._mixes(state.context) else state.select(index)

    def given(self, y: Sequences, context: Context) -> tuple[Context, Float[Tensor, " b"]]:
        """The context under which one pass scores y, and the log-probability of what that context takes as known.

        With a planned length that is log P(τ = the length of y | x); with any other stop law nothing, 0.

        Raises:
            ValueError: a planned length and a sequence that has not ended, whose length is not known.
        """
        return planned.given(self, y, context) if self._mixes(context) else (context, context.summary.new_zeros(len(y)))

    def plan(self, lengths: Any, context: Any = None) -> Context:
        """The context of sequences whose length is known beforehand, for a model with `PlannedLength`: P(y | τ, x).

        Args:
            lengths: (b,), integers.
            context: x of batch b, or None.

        Raises:
            ValueError: another stop law, or a length below 0 or above the longest.
        """
        lengths = planned.check_lengths(self, lengths)
        encoded = self.encode(context, len(lengths))
        if encoded.batch != len(lengths):
            raise ValueError(
                f"the context has batch {encoded.batch}, the lengths {len(lengths)}. Pass one row for each."
            )
        return dataclasses.replace(encoded, planned=lengths.to(self.first.device))

    @contextmanager
    def attention(self) -> Iterator[list[Float[Tensor, "b n s"]]]:
        """Inside the block, each call of `start`, `extend` and `unroll` appends the weights it put on the source.

        Shapes:
            each: (b, n, s), n being the inputs read in that call, the start vector among them; 0 on padding. Where
            several parts of the recurrence attend, their mean; where a length is planned and not known, the mean over
            the lengths that it may be.

        Raises:
            ValueError: a model that does not attend.
        """
        parts = [module for module in self.recurrence.modules() if isinstance(module, Attention)]
        if not parts:
            raise ValueError(f"{self.recurrence.describe()} attends to nothing. Use Attentive({self.recurrence!r}).")
        # What tries the recurrence on inputs of its own is to be over before anything is kept.
        self.leak()
        found: list[Tensor] = []
        own: list[list[Tensor]] = [[] for _ in parts]

        def keep(at: list[Tensor]) -> Any:
            return lambda _module, _inputs, result: at.append(result[1])

        hooks = [part.register_forward_hook(keep(at)) for part, at in zip(parts, own, strict=True)]

        def collect(*_: Any) -> None:
            found.append(torch.stack([torch.cat(each, 1) for each in own]).mean(0))
            for each in own:
                each.clear()

        hooks.append(self.recurrence.register_forward_hook(collect))
        self.watched.append(found)
        try:
            yield found
        finally:
            self.watched = [other for other in self.watched if other is not found]
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def alignments(self, y: Sequences, context: Any) -> Float[Tensor, "b m s"]:
        """What of the source each step attended to: the weights behind each element of y, and behind its end.

        Shapes:
            y: b sequences of t elements. context: x of batch b. Weights: (b, t + 1, s), 0 beyond either end.

        Raises:
            ValueError: a model that does not attend; see also `conform`.
        """
        y, x = self.conform(y, context)
        y = y.to(self.first.device)
        with self.attention() as weights:
            self.unroll(self.encode(x, len(y), validate=False), y.values)
        if not weights:
            return self.first.new_zeros(0, y.values.shape[1] + 1, 0)
        real = slot_mask(y.lengths.to(y.device) + 1, y.values.shape[1] + 1)
        return torch.where(real.unsqueeze(-1), weights[0], 0.0)

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
        context = from_list(context)
        if not isinstance(context, Tensor | int | float):
            return SequenceDistribution(self, self.encode(context), max_length)
        x = torch.as_tensor(context)
        shape = tuple(x.shape[: x.ndim - self.context.event_dims])
        flat = x.reshape(torch.Size(shape).numel(), *x.shape[len(shape) :])
        return SequenceDistribution(self, self.encode(flat), max_length, shape)

"""Every contract on one page.

Axis letters: b batch, t time, n elements read at once, i input, h feature, v vocabulary, c context, e element.
Every `log_…` is in nats.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions.transforms import Transform

from probseq.context import Context, State
from probseq.nextstep import NextStep
from probseq.sequences import Sequences


@runtime_checkable
class ElementSpace(Protocol):
    """What one element is, so far as an engine must know."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one element, (*e)."""
        ...

    @property
    def discrete(self) -> bool:
        """Integers (unused slots −1), or reals (unused slots NaN)."""
        ...

    def conform(self, y: Sequences) -> Sequences:
        """`y` checked, in the element's dtype, with harmless values in its padding.

        Raises:
            ValueError: wrong trailing shape or dtype, a value outside the element's space, NaN or ±∞;
                the message names the sequence and the position.
        """
        ...


@runtime_checkable
class Autoregressive(Protocol):
    """A distribution over whole sequences, by the chain rule. Everything a user can ask derives from three calls.

    The split law: `extend(s, a + b)` equals `extend(s, a)` and then `extend(·, b)`; `unroll` is start-and-extend
    in one fused call, bound by the same law. There is no `step`: stepping is `extend` with n = 1.

    Where a model has them, five more facts are heeded: `leak()`, a pair of steps that shows that it is not causal, or
    None; `stop_bound()`, what P(stop) is at least at every step, or None; `settle(state, index)`, rows `index` of a
    state with what stands before the elements drawn for each, so that they need not hold all of it; `attention()`, a
    context manager that gives a list, to which each call of `start`, `extend` and `unroll` inside it appends the
    weights (b, n, s) that its n inputs put on the source; and `chain()`, the law as a finite weighted automaton, where
    its states are known beforehand (`inference/automata/chain.py`).
    """

    @property
    def element(self) -> ElementSpace:
        """What one element is."""
        ...

    @property
    def max_length(self) -> int | None:
        """The longest sequence with positive probability, or None where there is no bound."""
        ...

    def start(self, context: Any) -> State:
        """Nothing of y read yet; predicts y₁. `context` is a Context, or what the model encodes to one."""
        ...

    def extend(self, state: State, y: Tensor) -> tuple[Float[Tensor, "b n h"], State]:
        """Read n elements y (b, n, *e); the features after each, and the state after the last."""
        ...

    def unroll(self, context: Any, y: Tensor) -> tuple[Float[Tensor, "b m h"], State]:
        """`start`, then `extend` by y (b, n, *e): the features (floats) before the first element and after each.

        None as context stands for no conditioning, for every sequence of y.
        """
        ...

    def emit(self, features: Float[Tensor, "b *n h"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        """The law of the next step. `position` (elements read) broadcasts to (b, *n); `context` has batch b.

        What the context holds of single elements (aligned, source) may be left out: `features` have seen it.
        After a prefix of probability 0, and where stopping is certain, the element's law may be any, but not NaN.
        """
        ...


@runtime_checkable
class Element(ElementSpace, Protocol):
    """A part: what one element is, and how it is read back in."""

    @property
    def width(self) -> int:
        """The width i of what `read` gives."""
        ...

    def build(self) -> None: ...

    def narrow(self, support: Any) -> None:
        """Let `conform` refuse what lies outside the likelihood's `support`, a constraint over one element."""
        ...

    def read(self, y: Tensor) -> Float[Tensor, "b n i"]:
        """Elements (b, n, *e), as the recurrence reads them."""
        ...


@runtime_checkable
class Recurrence(Protocol):
    """A part: how the past is carried. Causal: features at t depend on inputs up to t.

    Where it has them, eight more facts are heeded: `feature_bound(start)`, what no |feature| exceeds where no number of
    the memory does `start`; `begin(memory, batch)`, which turns tensors of `memory_shapes`
    (zero, or set by the context) into all that is carried, where that is more; `max_length`, the most elements it
    reads; `attends`, whether it reads the source in the context: it is then built by `build(inputs, source)`, with the
    source's width, and called as `recurrence(inputs, memory, context)`; `prepare(context)`, what it makes of the source
    before its first step, a tree of tensors (b, …), which it then may find in `context.attended`; `copies`, how many
    weights to copy symbols by stand last among its features; `clocked`, whether the time that has passed stands there;
    and, for the graph, `links(steps)`: what depends on what inside (`probseq.structure`). Without the last, every step
    is taken to read the one before it. Encoders and contexts may have `links` too.
    """

    @property
    def features(self) -> int:
        """The width h of its features."""
        ...

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each tensor of the memory, without the batch axis."""
        ...

    def build(self, inputs: int) -> None: ...

    def __call__(
        self, inputs: Float[Tensor, "b n i"], memory: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "b n h"], tuple[Tensor, ...]]:
        """Read n ≥ 1 inputs: the features after each, and the memory after the last."""
        ...


@runtime_checkable
class Cell(Recurrence, Protocol):
    """A recurrence written out for one step, for `Unrolled`."""

    def step(
        self, inputs: Float[Tensor, "b i"], memory: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "b h"], tuple[Tensor, ...]]: ...


@runtime_checkable
class Likelihood(Protocol):
    """A part: the law of the next element, given features, and given that there is one.

    Where it is `timed`, the element is, or begins with, a waiting time whose survival is known, and it has
    `within(features, rest)`: a `NextStep` with the law of elements whose time is at most `rest` (*b), and the
    log-probabilities that there is none and that there is one. The stop law `Window` asks for it.
    """

    takes_symbols: bool
    """Whether `build` can add outcomes to the alphabet, as EndSymbol asks. Such a likelihood has `logits(features)`,
    those of the added outcomes last, and `end`, the number of the first of them, which its `log_prob` takes too."""

    def build(self, features: int, element: Element, symbols: int = 0) -> None: ...

    def __call__(self, features: Float[Tensor, "*b h"]) -> TorchDistributionMixin: ...

    def log_prob(self, features: Float[Tensor, "n h"], y: Tensor) -> Float[Tensor, " n"]:
        """`self(features).log_prob(y)`, possibly fused; the fused law binds the two."""
        ...

    def mix(self, features: Float[Tensor, "*b k h"], log_weights: Float[Tensor, "*b k"]) -> TorchDistributionMixin:
        """Σₖ exp(log_weights)ₖ · self(features)ₖ, for normalised weights."""
        ...


@runtime_checkable
class Stop(Protocol):
    """A part: when the sequence ends, as a hazard. The decision comes before the element.

    Where it is `timed`, the recurrence must be `clocked` and the likelihood `timed`. Where it has them, `sees` tells
    the graph what decides: of the step's features and the context's summary, both or one (`StopPart.sees`); and
    `least(likelihood, bound)`, what P(stop) is at least for features within the bound.
    """

    symbols: int
    """How many outcomes it adds to the likelihood's alphabet: 1 for EndSymbol, else 0."""

    certain: bool
    """Whether the length is known beforehand, so that the end costs no nats and is not counted as a decision."""

    aligned: bool
    """Whether the length is that of the aligned x."""

    plans: bool
    """Whether the length is drawn first (`Context.planned`): the model then mixes over it, by `log_pmf(context)`."""

    @property
    def max_length(self) -> int | None: ...

    @property
    def feed_width(self) -> int:
        """The width f of what it feeds to each step."""
        ...

    def feed(self, context: Context, position: Int[Tensor, "b n"]) -> Float[Tensor, "b n f"]:
        """What enters the steps after `position` elements."""
        ...

    def build(self, features: int, summary: int) -> None: ...

    def emit(
        self, likelihood: Likelihood, features: Float[Tensor, "b *n h"], position: Tensor, context: Context
    ) -> NextStep: ...

    def log_prob(
        self, likelihood: Likelihood, features: Float[Tensor, "b m h"], y: Sequences
    ) -> Float[Tensor, " b"] | None:
        """log P(y | x) from the features that `unroll` gave, where there is a faster way than by factors, else None.

        The fused law binds it to `emit`.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """A part: what becomes of a sequence x that is known as a whole.

    Where it has it, `stride` says that of n elements it makes ⌈n / stride⌉ features, in place of n.
    """

    @property
    def features(self) -> int:
        """The width h of the features of each xₜ."""
        ...

    @property
    def summary(self) -> int:
        """The width c of what sums the sequence up."""
        ...

    def build(self, inputs: int) -> None: ...

    def __call__(
        self, inputs: Float[Tensor, "b t i"], lengths: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b t h"], Float[Tensor, "b c"]]:
        """Features that go with each input, and the summary; what stands beyond `lengths` must not matter."""
        ...


@runtime_checkable
class Conditioning(Protocol):
    """A part: what the model is conditioned on, and where it enters.

    Where it has them, `source_width` is the width f of the source that it leaves to be attended to, and `scale_width`
    that of the elements whose location and scale it gives.
    """

    event_dims: int
    """How many axes one row of a tensor x has."""

    @property
    def aligned(self) -> bool:
        """Whether something of x goes with each element, so that y has no more elements than x."""
        ...

    @property
    def width(self) -> int:
        """The width c of the summary."""
        ...

    @property
    def aligned_width(self) -> int:
        """The width a of what goes with each element."""
        ...

    @property
    def input_width(self) -> int:
        """The width of what enters each step."""
        ...

    @property
    def state_width(self) -> int:
        """The width of what the initial state is a map of."""
        ...

    def build(self) -> None: ...

    def conform(self, x: Any) -> Any:
        """`x` checked: a tensor, batch axis first, Sequences, or a tuple of them.

        Raises:
            ValueError: wrong shape or dtype, or values outside the context's space.
        """
        ...

    def lengths(self, x: Any) -> Int[Tensor, " b"] | None:
        """On the host, how many elements of a checked x go along with y, or None where there is nothing aligned."""
        ...

    def encode(self, x: Any) -> Context:
        """What a checked x becomes."""
        ...

    def at(self, context: Context, position: Int[Tensor, "b n"]) -> Float[Tensor, "b n i"]:
        """What enters the steps after `position` elements."""
        ...

    def initial(self, context: Context) -> Float[Tensor, "b w"]:
        """What the initial state is a map of."""
        ...


@runtime_checkable
class Scaling(Protocol):
    """A part: the units that the recurrence reads and the likelihood is a law in, z, with y = g(z) the data."""

    per_series: bool
    """Whether it needs the scale of each series in the context."""

    def build(self, element: Element) -> None:
        """Refuse elements, or a support, that it cannot scale."""
        ...

    def transform(self, context: Context, dims: int) -> Transform:
        """g, elementwise and increasing, for values (b, *n, *e), n being `dims` axes; `context` has batch b."""
        ...

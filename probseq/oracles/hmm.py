"""The hidden Markov model as an autoregressive model."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context
from probseq.elements import Tokens
from probseq.inference.automata.chain import Chain
from probseq.inference.queries import events
from probseq.inference.queries.question import ask
from probseq.nextstep import NextStep
from probseq.oracles.stepwise import Stepwise, fixed_end, log_law
from probseq.randomness import Seed, seeded


class HMM(Stepwise):
    """z₁ ~ initial, zₜ₊₁ ~ transition[zₜ], yₜ ~ emission[zₜ], with the hidden path summed out exactly.

    The features are the predictive belief log P(zₜ = i | y₍<t₎), so that the chain rule is the forward algorithm:
    P(yₜ | y₍<t₎) = Σᵢ P(zₜ = i | y₍<t₎) · emission[i, yₜ]. Held in log space: no length underflows it.

    Shapes:
        initial: (k,). transition: (k, k), from row to column. emission: (k, v).

    Args:
        length: every sequence has exactly this many elements.
        stop: the probability of stopping before each element (lengths are geometric from 0); 0 means never.

    Raises:
        ValueError: shapes disagree, rows that are not laws, a stop outside [0, 1], a negative length, or both ends.

    Source: Rabiner, A tutorial on hidden Markov models, 1989, section III A.

    >>> import probseq as ps
    >>> model = HMM([0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], [[1.0, 0.0], [0.5, 0.5]], length=2)
    >>> round(float(model.log_prob(ps.Sequences.of([[0, 1]])).exp()), 9)  # 0.5·0.05 + 0.25·0.4
    0.125
    """

    def __init__(
        self,
        initial: Tensor | Sequence,
        transition: Tensor | Sequence,
        emission: Tensor | Sequence,
        length: int | None = None,
        stop: float = 0.0,
    ) -> None:
        self.log_initial = log_law(initial, "initial", None)
        states = len(self.log_initial)
        self.log_transition = log_law(transition, "transition", states, states)
        self.log_emission = log_law(emission, "emission", states, None)
        if not 0 <= stop <= 1 or (length is not None and (length < 0 or stop > 0)):
            raise ValueError(
                f"expected length ≥ 0 or a stop in [0, 1], not both; got length {length}, stop {stop}. Drop one."
            )
        self.length, self.stop = length, stop
        self.element = Tokens(self.log_emission.shape[1])
        self.max_length = length

    @staticmethod
    @checked
    def random(
        states: int,
        symbols: int,
        length: int | None = None,
        generator: Seed = None,
        concentration: float = 1.0,
        stop: float = 0.0,
    ) -> HMM:
        """An HMM whose laws are drawn from symmetric Dirichlet(concentration) ones: below 1 they are peaked.

        Args:
            generator: a torch.Generator or an integer seed; by default torch's global state.

        Raises:
            ValueError: states or symbols below 1, or a concentration that is not positive.
        """
        if states < 1 or symbols < 1 or concentration <= 0:
            raise ValueError(
                f"expected states ≥ 1, symbols ≥ 1 and concentration > 0; got {states}, {symbols}, {concentration}."
            )

        def law(*shape: int) -> Tensor:
            return dist.Dirichlet(torch.full(shape, concentration, dtype=torch.float64)).sample()

        with seeded(generator, torch.device("cpu")):
            return HMM(law(states), law(states, states), law(states, symbols), length, stop)

    def chain(self) -> Chain:
        """The law as a finite weighted automaton, for exact constraints: an arrow for each symbol and next state."""
        (states, symbols), stop = self.log_emission.shape, torch.as_tensor(self.stop, dtype=self.log_initial.dtype)
        arrows = torch.log1p(-stop) + self.log_emission.unsqueeze(2) + self.log_transition.unsqueeze(1)
        symbol = torch.arange(symbols).reshape(1, -1, 1).expand_as(arrows)
        target = torch.arange(states).expand_as(arrows)
        log_stop = torch.zeros_like(self.log_initial) if self.length is not None else stop.log().expand(states)
        return Chain(self.log_initial, log_stop, arrows.flatten(1), symbol.flatten(1), target.flatten(1), self.length)

    @checked
    def query(self, event: events.Event) -> Float[Tensor, " m"]:
        """The exact answer to `probseq.query`, by the forward algorithm over pairs of hidden and automaton states.

        What is open after the last step counts low. It costs steps · s · v · k², where enumeration costs v to the
        power steps.
        """
        question = ask(self, event, None, None)
        monitor, moves = question.monitor, question.moves
        emission, transition = self.log_emission.exp().to(torch.float64), self.log_transition.exp().to(torch.float64)
        joint = torch.zeros(len(moves), len(emission), dtype=torch.float64)
        joint[0] = self.log_initial.exp()
        outcomes = torch.zeros(len(monitor.low), dtype=torch.float64)
        for t in range(monitor.steps + 1):
            over = t == self.length if self.length is not None else False
            stop = 1.0 if over else self.stop
            if t == monitor.steps:
                found = outcomes.index_add(0, monitor.last, joint.sum(1)) @ monitor.low
                # A probability of 1 must not be more by rounding.
                return found.maximum(monitor.low.amin(0)).minimum(monitor.high.amax(0))
            outcomes = outcomes.index_add(0, monitor.end, stop * joint.sum(1))
            flow = (1 - stop) * joint.unsqueeze(1) * emission.T
            joint = torch.zeros_like(joint).index_add(0, moves.flatten(), flow.flatten(0, 1)) @ transition
        raise AssertionError("unreachable")

    def first(self) -> Float[Tensor, " k"]:
        return self.log_initial

    def read(self, features: Float[Tensor, "b k"], y: Int[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """log P(zₜ₊₁ | y₍≤t₎): Bayes' rule, then one transition. An impossible symbol leaves the belief as it was."""
        log_joint = features + self.log_emission.T[y]
        log_evidence = log_joint.logsumexp(-1, keepdim=True)
        log_belief = torch.where(log_evidence > -torch.inf, log_joint - log_evidence, features)
        return (log_belief.unsqueeze(-1) + self.log_transition).logsumexp(-2)

    def emit(self, features: Float[Tensor, "b *n k"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        log_symbols = (features.unsqueeze(-1) + self.log_emission).logsumexp(-2)
        element = dist.Categorical(logits=log_symbols, validate_args=False)
        like = features[..., 0]
        if self.length is not None:
            return NextStep(element, *fixed_end(self.length, position, like))
        stop = torch.as_tensor(self.stop, dtype=like.dtype, device=like.device).expand(like.shape)
        return NextStep(element, stop.log(), torch.log1p(-stop))

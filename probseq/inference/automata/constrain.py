"""Conditioning on a property of the whole sequence: a pattern, an automaton, or any test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.inference.automata.chain import Backward, Chain
from probseq.inference.automata.descent import Space
from probseq.inference.automata.dfa import DFA, FAR
from probseq.inference.automata.particles import swarm
from probseq.inference.automata.regex import regex
from probseq.inference.automata.rejection import Predicate, Rejection
from probseq.inference.score import score
from probseq.inference.search.hypotheses import Hypotheses
from probseq.inference.text import letters
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded

Method = Literal["exact", "rejection", "smc"]

ATTEMPTS = 1 << 18
"""Attempts a row after which rejection gives up."""


@dataclass(frozen=True)
class Constrained:
    """P(y | y is accepted), and the probability that was divided by.

    Shapes:
        log_prob: (b,), nats, log P(accepted | x) of each row: exact, or an estimate.
        standard_error: (b,), of log_prob; 0 where it is exact, ∞ where one particle says nothing of it.
        lower, upper: (b,), nats, what log P(accepted | x) certainly is at least and at most; equal where it is exact.
        method: "exact": dynamic programming over the model's states. "rejection": draws from a trie; `sample` is exact,
            `log_prob` an estimate within the bounds. "smc": weighted particles. exp(log_prob) is unbiased.
        particles: b · n weighted sequences of "smc", those of a row side by side, `search_score` their log-weight; None
            for the other methods.
        log_weights: (b, n), of the particles, Σ exp = 1 in each row.
        ess: (b,), their effective number.
    """

    log_prob: Float[Tensor, " b"]
    standard_error: Float[Tensor, " b"]
    lower: Float[Tensor, " b"]
    upper: Float[Tensor, " b"]
    method: Method
    particles: Hypotheses | None = None
    log_weights: Float[Tensor, "b n"] | None = None
    ess: Float[Tensor, " b"] | None = None
    _draw: Callable[[int, int], Hypotheses] | None = field(default=None, repr=False)
    _device: torch.device = field(default_factory=lambda: torch.device("cpu"), repr=False)

    @torch.no_grad()
    def sample(self, num_samples: int = 1, generator: Seed = None, attempts: int = ATTEMPTS) -> Hypotheses:
        """Exact, independent draws from P(y | accepted, x), for each row of the context, side by side.

        Args:
            generator: a torch.Generator or an integer seed; by default torch's global state.
            attempts: of rejection, for each row, after which it gives up.

        Returns:
            Hypotheses with the model's log P(y | x); of the exact method also with log P(y | accepted), as
            `proposal_log_prob`.

        Raises:
            ValueError: nothing is accepted; rejection gave up; or the particles of "smc", which are not exact draws.
        """
        if num_samples < 0 or attempts < 1:
            raise ValueError(f"expected num_samples ≥ 0 and attempts ≥ 1; got {num_samples}, {attempts}.")
        if self._draw is None:
            raise ValueError(
                "method='smc' gives weighted particles, not draws from the conditional law. Use `particles` with "
                "`log_weights`, or method='rejection'."
            )
        with seeded(generator, self._device):
            return self._draw(num_samples, attempts)


@checked
@torch.no_grad()
def constrain(
    model: Autoregressive,
    constraint: str | DFA | Predicate,
    context: Any = None,
    *,
    particles: int = 256,
    max_length: int | None = None,
    method: Method | None = None,
    generator: Seed = None,
) -> Constrained:
    """Condition on what a whole sequence is like: log P(accepted | x), and draws from P(y | accepted, x).

    Accepted are sequences that have ended after at most `max_length` elements and that the constraint accepts. To mask
    at each step what is forbidden and renormalise does not give this law: it does not ask how likely it is that
    what was begun can be finished. The methods here do; "smc" masks too, and weighs what comes of it.

    Args:
        constraint: a regular expression over the model's characters, which the whole text must match (see `regex`); an
            automaton over its symbols; or a function of n ended sequences that gives n bools, for rejection alone.
        context: what the model is conditioned on, or None.
        particles: draws for each row that `log_prob` is estimated from.
        max_length: the longest sequences. By default the longest that the stop law or an aligned x allows, else 256.
        method: by default "exact" where the model has finitely many states that are known beforehand (it says so by
            `chain()`, as `NGram`, `HMM` and `Automaton` do), else "rejection".
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: a pattern that cannot be read or that has unknown symbols, an automaton of another alphabet, sizes
            out of range, a method that the model or the constraint does not allow, or a continuous element.

    >>> from probseq.oracles import Automaton
    >>> model = Automaton("ab", [{"a": (0.5, 0), "b": (0.25, 1)}, {}])
    >>> found = constrain(model, regex("a{1,3}b?", "ab"))
    >>> round(float(found.log_prob.exp()), 6), found.method  # (1/2 + 1/4 + 1/8) (1/4 + 1/4)
    (0.4375, 'exact')
    """
    if particles < 1:
        raise ValueError(f"particles must be 1 or more; got {particles}.")
    if method is not None and method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)}; got {method!r}.")
    dfa, predicate = _read(model, constraint)
    if predicate is not None and method not in (None, "rejection"):
        raise ValueError(f"a predicate allows method='rejection' alone; got {method!r}. Pass a pattern or a DFA.")
    space = Space.of(model, context, max_length, dfa, "constrain()")
    chain = None if predicate is not None or method not in (None, "exact") else _chain(model, method)
    if dfa is not None and int(dfa.distance[0]) > space.longest:
        return _impossible(space, dfa)
    with seeded(generator, space.state.features.device):
        if chain is not None:
            return _exact(space, chain)
        return _swarm(space, particles) if method == "smc" else _rejection(space, predicate, particles)


def _read(model: Autoregressive, constraint: Any) -> tuple[DFA | None, Predicate | None]:
    """The constraint as an automaton, or as a predicate."""
    if isinstance(constraint, str):
        return regex(constraint, letters(model, "constrain()").symbols), None
    if isinstance(constraint, DFA):
        return constraint, None
    if callable(constraint):
        return None, cast(Predicate, constraint)
    got = type(constraint).__name__
    raise ValueError(f"a constraint is a pattern, a DFA or a function of sequences; got {got}.")


def _chain(model: Autoregressive, method: Method | None) -> Chain | None:
    chain = getattr(model, "chain", None)
    if chain is None and method == "exact":
        raise ValueError(
            f"method='exact' needs a model with finitely many states; {type(model).__name__} has no chain(). Use "
            "method='rejection', whose draws are exact."
        )
    return None if chain is None else chain()


def _impossible(space: Space, dfa: DFA) -> Constrained:
    least = int(dfa.distance[0])
    what = "accepts no sequence" if least >= FAR else f"accepts no sequence of fewer than {least} elements"
    cure = "Loosen it." if least >= FAR else f"The longest here have {space.longest}: raise max_length, or shorten it."

    def refuse(num_samples: int, attempts: int) -> Hypotheses:
        raise ValueError(f"the constraint {what}, so there is nothing to draw. {cure}")

    zero = torch.zeros(space.state.batch, dtype=torch.float64, device=space.state.features.device)
    never = zero - torch.inf
    return Constrained(never, zero, never, never, "exact", _draw=refuse, _device=zero.device)


def _exact(space: Space, chain: Chain) -> Constrained:
    """Dynamic programming over the pairs of a state of the model and one of the automaton."""
    backward = chain.within(space.dfa).backward(space.longest)
    log_prob = backward.log_mass.reshape(1)
    zero = torch.zeros_like(log_prob)

    def draw(num_samples: int, attempts: int) -> Hypotheses:
        if log_prob == -torch.inf:
            raise ValueError(
                f"the model gives no probability to any accepted sequence of at most {space.longest} elements. Loosen "
                "the constraint, or raise max_length."
            )
        return _walk(space, backward, num_samples)

    return Constrained(log_prob, zero, log_prob, log_prob, "exact", _draw=draw)


def _walk(space: Space, backward: Backward, num_samples: int) -> Hypotheses:
    y = space.sequences(*backward.draw(num_samples))
    log_prob = score(space.model, y).log_prob
    rows = torch.zeros(num_samples, dtype=torch.int64)
    return Hypotheses(y, log_prob, log_prob, rows, log_prob - backward.log_mass)


def _rejection(space: Space, predicate: Predicate | None, particles: int) -> Constrained:
    engine = Rejection(space, predicate)
    engine.explore(particles // 2)
    low, high = (bound.clone() for bound in engine.bounds())
    mean, error = engine.estimate(particles - particles // 2)
    # Where nothing was accepted, the estimate is 0, and says nothing of its error.
    relative = torch.where(mean > 0, error / mean, torch.where(high > low, torch.inf, 0.0))
    return Constrained(
        mean.log(), relative, low.log(), high.log(), "rejection", _draw=engine.sample, _device=low.device
    )


def _swarm(space: Space, particles: int) -> Constrained:
    found = swarm(space, particles)
    zero = torch.zeros_like(found.log_evidence)
    return Constrained(
        found.log_evidence,
        found.relative_error,
        zero - torch.inf,
        zero,
        "smc",
        found.hypotheses,
        found.log_weight,
        found.ess,
    )

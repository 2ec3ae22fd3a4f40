"""Probabilistic finite automata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.datasets.alphabet import Alphabet
from probseq.elements import Tokens
from probseq.inference.automata.chain import Chain, deterministic
from probseq.nextstep import NextStep
from probseq.oracles.stepwise import Stepwise
from probseq.sequences import Sequences


class Automaton(Stepwise):
    """A deterministic automaton, each of whose states has a law over the symbols and the end.

    log P(y) = Σₜ log P(yₜ | stateₜ) + log P(stop | last state), where a state and a symbol give the next state. It
    starts in state 0. What the probabilities of a state leave of 1 is its probability of stopping: nothing means
    that it goes on, an empty state stops with certainty. An impossible symbol has log-probability −∞ and is read
    as if nothing had been.

    Args:
        symbols: the alphabet, a character for each token, in the order of the tokens.
        transitions: for each state, a symbol's probability and the state after it: {"T": (0.5, 2), "P": (0.5, 3)}.

    Raises:
        ValueError: no state, a symbol twice in the alphabet or not in it, a next state that does not exist, or
            probabilities of a state that are negative or sum to more than 1.

    >>> coin = Automaton("ab", [{"a": (0.5, 0), "b": (0.25, 1)}, {}])
    >>> round(coin.mean_length(), 9), coin.text(coin.sequences(["aab", ""]))
    (1.5, ['aab', ''])
    """

    def __init__(self, symbols: str, transitions: Sequence[Mapping[str, tuple[float, int]]]) -> None:
        states, size = len(transitions), len(symbols)
        if not states or len(set(symbols)) != size:
            raise ValueError(f"expected one state at least and distinct symbols; got {states} states, {symbols!r}.")
        self.symbols = symbols
        self.element = Tokens(size)
        self.go = torch.zeros(states, size, dtype=torch.float64)
        self.next = torch.arange(states).unsqueeze(1).repeat(1, size)
        for state, arrows in enumerate(transitions):
            for symbol, (probability, after) in arrows.items():
                if len(symbol) != 1 or symbol not in symbols or not 0 <= after < states or probability < 0:
                    raise ValueError(
                        f"state {state}: expected a symbol of {symbols!r}, a probability ≥ 0 and a next state in "
                        f"0…{states - 1}; got {symbol!r}: ({probability}, {after})."
                    )
                self.go[state, symbols.index(symbol)] = probability
                self.next[state, symbols.index(symbol)] = after
        self._normalise()
        self.max_length = self._longest()

    def _normalise(self) -> None:
        """The tables that `emit` looks up; a sum within rounding of 1 is 1, so that certainty is exact."""
        total = self.go.sum(-1)
        if bool((total > 1 + 1e-9).any()):
            worst = int(total.argmax())
            raise ValueError(
                f"state {worst}: probabilities must sum to 1 at most; got {float(total[worst]):.9g}. Divide by the sum."
            )
        whole = total > 1 - 1e-9
        self.go = torch.where(whole.unsqueeze(-1), self.go / total.unsqueeze(-1), self.go)
        total = torch.where(whole, torch.ones_like(total), total)
        self.log_go, self.log_stop = total.log(), torch.log1p(-total)
        # A state that surely stops has no law of the next symbol: any that is normalised will do.
        law = torch.where(total.unsqueeze(-1) > 0, self.go, torch.ones_like(self.go))
        self.log_symbols = (law / law.sum(-1, keepdim=True)).log()

    def _moves(self) -> Float[Tensor, "s s"]:
        """P(the next state is j, going on | state i)."""
        states = len(self.go)
        return torch.zeros(states, states, dtype=torch.float64).scatter_add(1, self.next, self.go)

    def _longest(self) -> int | None:
        moves = (self._moves() > 0).to(torch.float64)
        reached = torch.zeros(len(moves), dtype=torch.float64)
        reached[0] = 1
        for length in range(len(moves)):
            reached = (reached @ moves).clamp(max=1)
            if not bool(reached.any()):
                return length
        return None

    def visits(self) -> Float[Tensor, " s"]:
        """How often each state is visited in a sequence, on average: N = e₀ + Mᵀ N, M the moves.

        Raises:
            ValueError: some sequence never ends.
        """
        moves = self._moves()
        one = torch.eye(len(moves), dtype=torch.float64)
        reach = one + moves
        for _ in range(len(moves).bit_length()):
            reach = (reach @ reach > 0).to(torch.float64)
        reached = reach[0] > 0
        endless = reached & ~(reach[:, self.log_stop > -torch.inf] > 0).any(-1)
        if bool(endless.any()):
            raise ValueError(
                f"state {int(endless.nonzero()[0])}: expected an end that can be reached; got none, so that the mean "
                "is infinite. Leave some probability to the end in a state it leads to."
            )
        # A state that is never reached may have no end: it is left out, or the system would be singular.
        inside = reached.nonzero().squeeze(-1)
        system = (one - moves.T)[inside][:, inside]
        return torch.zeros_like(one[0]).index_put((inside,), torch.linalg.solve(system, one[0, inside]))

    def entropy(self) -> float:
        """−E[log P(y)] in nats: Σ over states of visits · the entropy of its next step, the end included.

        Raises:
            ValueError: some sequence never ends.
        """
        steps = torch.cat([self.go, self.log_stop.exp().unsqueeze(-1)], -1)
        return float(self.visits() @ torch.special.entr(steps).sum(-1))

    def mean_length(self) -> float:
        """E[length]: Σ over states of visits · P(go on).

        Raises:
            ValueError: some sequence never ends.
        """
        return float(self.visits() @ self.go.sum(-1))

    def sequences(self, texts: Sequence[str]) -> Sequences:
        """Strings as ended sequences of tokens.

        Raises:
            ValueError: a character that is not in the alphabet.
        """
        for text in texts:
            if not set(text) <= set(self.symbols):
                raise ValueError(f"expected characters of {self.symbols!r}; got {text!r}.")
        return Alphabet(self.symbols).encode(texts)

    def text(self, sequences: Sequences) -> list[str]:
        """Sequences of tokens as strings.

        Raises:
            ValueError: a token that is no symbol's number.
        """
        return Alphabet(self.symbols).decode(sequences)

    def chain(self) -> Chain:
        """The law as a finite weighted automaton, for exact constraints."""
        return deterministic(self.go.log(), self.log_stop, self.next, 0)

    def first(self) -> Float[Tensor, " 1"]:
        return self.go.new_zeros(1)

    def read(self, features: Float[Tensor, "b 1"], y: Int[Tensor, " b"]) -> Float[Tensor, "b 1"]:
        return self.next[features[:, 0].long(), y].to(features).unsqueeze(-1)

    def emit(self, features: Float[Tensor, "b *n 1"], position: Int[Tensor, "*p"], context: Context) -> NextStep:
        state = features[..., 0].long()
        element = dist.Categorical(logits=self.log_symbols[state], validate_args=False)
        return NextStep(element, self.log_stop[state], self.log_go[state])

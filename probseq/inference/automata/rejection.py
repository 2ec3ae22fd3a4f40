"""Rejection that learns: what was proved rejected is taken out of the law that is drawn from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probseq.inference.automata.descent import Descent, Space, descend
from probseq.inference.automata.trie import Trie
from probseq.inference.search.hypotheses import Hypotheses
from probseq.sequences import Sequences

ROUNDS = 4
"""Rounds in which the space is explored before P(accepted) is estimated."""

ALIKE = 1e-9
"""A relative difference that is rounding."""

CROWD = 4096
"""Most walkers of one round."""

Predicate = Callable[[Sequences], Tensor]
"""n sequences that ended → (n,), bool: whether each is accepted."""


class Rejection:
    """Draws from P(y | accepted), and bounds of P(accepted), by a trie.

    An attempt is a draw from the law restricted to R, what is not proved rejected. Whatever R is, as long as it holds
    all that is accepted, P(y | the attempt is accepted) = P(y) / P(accepted): the draws are exact and independent,
    while R shrinks to what is accepted. P(not proved rejected) and P(found accepted) bound P(accepted).

    Source: Park et al., Grammar-aligned decoding, 2024 (expected futures in a trie); Lipkin et al., Fast controlled
    generation from language models with adaptive weighted rejection sampling, 2025.
    """

    def __init__(self, space: Space, predicate: Predicate | None) -> None:
        self.space, self.predicate = space, predicate
        self.trie = Trie(space.state.batch, len(space.alphabet) + 1, space.state.features.device)

    def estimate(self, particles: int) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """P(accepted) of each row and its standard error: `explore` first, or nothing is known beforehand.

        P(found accepted) + P(not settled) · mean(kept · accepted), over draws from what is not settled: unbiased,
        whatever was settled before, exact where all was, and within the bounds as they were before these draws.
        """
        won, open_ = self.trie.root_won.clone(), self.trie.root_open.clone()
        found = descend(self.space, self.trie, self._rows(particles), won=False)
        value = (found.log_kept.exp() * self._judge(found)).view(-1, particles)
        # One draw says nothing of the spread, and draws that are all alike say little: as if one in n were not.
        spread = value.std(1) if particles > 1 and len(value) else torch.full_like(open_, torch.inf)
        most = torch.where((value > 0).any(1), value.amax(1), 1.0)
        spread = torch.where(spread < ALIKE * most, most * particles**-0.5, spread)
        error = torch.where(open_ > 0, open_ * spread / particles**0.5, 0.0)
        return won + open_ * value.mean(1), error

    def explore(self, particles: int) -> None:
        """Settle what so many draws find, in rounds: what one settles, the next need not draw."""
        for size in torch.arange(particles).tensor_split(min(ROUNDS, max(particles, 1))):
            self._judge(descend(self.space, self.trie, self._rows(len(size)), won=False))

    def _rows(self, each: int) -> Tensor:
        return torch.arange(self.space.state.batch, device=self.trie.device).repeat_interleave(each)

    def bounds(self) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """What P(accepted) of each row is at least, and at most."""
        return self.trie.root_won, self.trie.root_won + self.trie.root_open

    def _judge(self, found: Descent) -> Bool[Tensor, " n"]:
        """Whether each walker came to an accepted sequence; put down in the trie."""
        accepted = found.ended & (found.log_kept > -torch.inf)
        if self.predicate is not None and bool(accepted.any()):
            ended = accepted.nonzero().squeeze(-1)
            y = self.space.sequences(found.numbers[ended], found.lengths[ended])
            accepted[ended] = self._ask(y).to(accepted.device)
        self.trie.settle(found.node, found.outcome.clamp(min=0), accepted)
        self.trie.back_up(found.levels)
        return accepted

    def _ask(self, y: Sequences) -> Bool[Tensor, " n"]:
        answer = torch.as_tensor(self.predicate(y))  # type: ignore[misc]
        if answer.shape != (len(y),) or answer.dtype != torch.bool:
            raise ValueError(
                f"the predicate must give a bool for each of {len(y)} sequences; got {answer.dtype} of shape "
                f"{tuple(answer.shape)}."
            )
        return answer

    def sample(self, num_samples: int, attempts: int) -> Hypotheses:
        """Exact, independent draws for each row, in the order of drawing.

        Raises:
            ValueError: nothing is accepted, or too little for so many attempts a row.
        """
        batch = self.space.state.batch
        need, tried = torch.full((batch,), num_samples), torch.zeros(batch, dtype=torch.int64)
        pieces: list[Hypotheses] = []
        while bool((need > 0).any()):
            self._require(need, tried, num_samples, attempts)
            wanting = (need > 0).nonzero().squeeze(-1)
            each = max(min(2 * int(need.max()), CROWD // len(wanting), attempts - int(tried.max())), 1)
            rows = wanting.repeat_interleave(each).to(self.trie.device)
            # The chance to have been kept, all along the way: less than a uniform number, and the draw was rejected.
            log_least = torch.rand(len(rows), dtype=torch.float64, device=rows.device).log()
            found = descend(self.space, self.trie, rows, won=True, log_least=log_least)
            accepted = self._judge(found).cpu().view(-1, each)
            first = accepted & (accepted.cumsum(1) <= need[wanting].unsqueeze(1))
            pieces.append(self._read(found, first.flatten()))
            need[wanting] -= first.sum(1)
            tried[wanting] += each
        return self._join(pieces)

    def _require(self, need: Tensor, tried: Tensor, num_samples: int, attempts: int) -> None:
        high = self.bounds()[1].cpu()
        for row in (need > 0).nonzero().squeeze(-1).tolist():
            if high[row] == 0:
                raise ValueError(
                    f"row {row}: the model gives no probability to any accepted sequence of at most "
                    f"{self.space.longest} elements. Loosen the constraint, or raise max_length."
                )
            if tried[row] >= attempts:
                raise ValueError(
                    f"row {row}: {num_samples - int(need[row])} of {num_samples} draws were accepted in {attempts:,} "
                    f"attempts; log P(accepted) is at most {float(high[row].log()):.2f}. Use method='smc', whose "
                    "particles are weighted, or more attempts."
                )

    def _read(self, found: Descent, chosen: Bool[Tensor, " n"]) -> Hypotheses:
        index = chosen.nonzero().squeeze(-1).to(found.rows.device)
        y = self.space.sequences(found.numbers[index], found.lengths[index])
        return Hypotheses(y, found.log_prob[index], found.log_prob[index], found.rows[index])

    def _join(self, pieces: list[Hypotheses]) -> Hypotheses:
        """Side by side by rows."""
        if not pieces:
            empty = self.trie.root_open.new_zeros(0)
            none = torch.zeros(0, 0, *self.space.alphabet.symbols.shape[1:], dtype=torch.int64, device=empty.device)
            return Hypotheses(Sequences(none, []), empty, empty, torch.zeros_like(empty, dtype=torch.int64))
        rows, log_prob = torch.cat([p.rows for p in pieces]), torch.cat([p.log_prob for p in pieces])
        every = Hypotheses(Sequences.cat([p.sequences for p in pieces]), log_prob, log_prob, rows)
        return every.select(rows.argsort(stable=True))

"""Sampling without replacement, one after the other, and on where it was left."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from probseq.inference.automata.descent import Descent, Space, descend
from probseq.inference.automata.trie import Trie
from probseq.inference.decode.replacement import WithoutReplacement, below, row_of
from probseq.inference.search.hypotheses import Hypotheses, first_of_equals
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

CROWD = 4096
"""Most walkers of one round."""


class Distinct:
    """Draws that never repeat one: a trie from which the probability of what was drawn is taken out.

    Several walk at once. Draws with replacement, of which those that were seen before are dropped, are draws without:
    so a round keeps each first sight, and takes it out before the next.

    Args:
        context: what the model is conditioned on, or None.
        max_length: where a sequence that has not ended is cut, as in `sample`.

    Raises:
        ValueError: a continuous element, a model that is not causal, or a max_length below 0.

    Source: Shi et al., Incremental sampling without replacement for sequence models, 2020.

    >>> from probseq.oracles import Automaton
    >>> drawer = Distinct(Automaton("ab", [{"a": (0.9, 1), "b": (0.1, 1)}, {}]))
    >>> one, both = drawer.draw(1), drawer.draw(1)
    >>> len(one), len(both)
    (1, 2)
    """

    @torch.no_grad()
    def __init__(self, model: Autoregressive, context: Any = None, *, max_length: int | None = None) -> None:
        self.space = Space.of(model, context, max_length, None, "Distinct()")
        self.batch, self.device = self.space.state.batch, self.space.state.features.device
        self.trie = Trie(self.batch, len(self.space.alphabet) + 1, self.device)
        # Without an element to draw, all sequences are one.
        self.whole = self.space.longest > 0
        # G of the draw to come: it is drawn with the first.
        self.last = torch.full_like(self.trie.root_open, torch.inf)
        self.threshold, self.begun = self.last, False
        self.drawn: Hypotheses | None = None

    @torch.no_grad()
    def draw(self, num_samples: int, generator: Seed = None) -> WithoutReplacement:
        """Draw so many more for each row: all that were drawn by now, in order. Fewer where there are no more.

        Raises:
            ValueError: num_samples below 0, or too many prefixes to keep.
        """
        if num_samples < 0:
            raise ValueError(f"num_samples must be 0 or more; got {num_samples}.")
        with seeded(generator, self.device):
            if not self.begun:
                self.threshold, self.begun = below(torch.zeros_like(self.last), self.last), True
            need = torch.full((self.batch,), num_samples, device=self.device)
            while bool(((need > 0) & (self.trie.root_open > 0)).any()):
                need = need - self._round(need)
        return WithoutReplacement(self._all(), self.threshold)

    def _round(self, need: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Keep up to `need` sequences that are new for each row; how many were kept."""
        wanting = ((need > 0) & (self.trie.root_open > 0)).nonzero().squeeze(-1)
        each = max(min(int(need.max()), CROWD // len(wanting)), 1)
        found = descend(self.space, self.trie, wanting.repeat_interleave(each), won=False, cut=True)
        if self.trie.full:
            raise ValueError(
                f"what was visited has more than {self.trie.size:,} prefixes, too many to keep. Draw fewer, or lower "
                "max_length."
            )
        y = self.space.sequences(found.numbers, found.lengths, found.ended)
        # A walker that came to nothing has no last step; with no element at all, nobody has.
        real = found.node >= 0 if self.whole else torch.ones_like(found.ended)
        first = first_of_equals(found.rows, y) == torch.arange(len(y), device=self.device)
        fresh = (first & real).view(-1, each)
        kept = (fresh & (fresh.cumsum(1) <= need[wanting].unsqueeze(1))).flatten()
        node = found.node.masked_fill(~kept, -1)
        self.trie.settle(node, found.outcome.clamp(min=0), torch.zeros_like(kept))
        self.trie.back_up(found.levels)
        if not self.whole:
            self.trie.root_open[wanting] = 0.0
        return self._append(found, y, kept.nonzero().squeeze(-1))

    def _append(self, found: Descent, y: Sequences, kept: Tensor) -> Int[Tensor, " b"]:
        """Put the new ones behind those before, with the largest G that each can have by what was left."""
        rows, log_prob = found.rows[kept], found.log_prob[kept]
        place = row_of(rows, self.batch)
        count = torch.bincount(rows, minlength=self.batch)
        table = self.last.new_zeros(self.batch, int(count.max()) + 1 if len(kept) else 1)
        table[rows, place] = log_prob.exp()
        # What was left before each draw: what is left now, and all from that draw on. A sum, so nothing cancels.
        table[torch.arange(self.batch, device=rows.device), count] = self.trie.root_open
        left = table.flip(1).cumsum(1).flip(1).log()
        scores = torch.full_like(left, -torch.inf)
        for k in range(table.shape[1]):
            here = k <= count
            # The threshold of the last call is the score of the next draw.
            drawn = self.threshold if k == 0 else below(left[:, k], self.last)
            scores[:, k] = torch.where(here, drawn, -torch.inf)
            self.last = torch.where(here, drawn, self.last)
        index = torch.arange(self.batch, device=rows.device)
        self.threshold = torch.where(self.trie.root_open > 0, scores[index, count], -torch.inf)
        new = Hypotheses(y.select(kept.cpu()), log_prob, scores[rows, place], rows)
        self.drawn = new if self.drawn is None else _join(self.drawn, new)
        return count

    def _all(self) -> Hypotheses:
        if self.drawn is None:
            none = self.space.alphabet.symbols.new_zeros(0, 0, *self.space.alphabet.symbols.shape[1:])
            empty = self.last.new_zeros(0)
            return Hypotheses(Sequences(none, []), empty, empty, torch.zeros_like(empty, dtype=torch.int64))
        return self.drawn


def _join(old: Hypotheses, new: Hypotheses) -> Hypotheses:
    """Side by side by rows, the old ones before the new ones."""
    every = Hypotheses(
        Sequences.cat([old.sequences, new.sequences]),
        torch.cat([old.log_prob, new.log_prob]),
        torch.cat([old.search_score, new.search_score]),
        torch.cat([old.rows, new.rows]),
    )
    return every.select(every.rows.argsort(stable=True))


def distinct(
    model: Autoregressive,
    num_samples: int,
    context: Any = None,
    *,
    max_length: int | None = None,
    generator: Seed = None,
) -> WithoutReplacement:
    """num_samples draws without replacement for each row, one after the other: `Distinct` in one call.

    The law is that of `stochastic_beam`. `Distinct.draw` can go on from here; the beam takes a single pass.

    Raises:
        ValueError: see `Distinct`; num_samples below 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be 1 or more; got {num_samples}.")
    return Distinct(model, context, max_length=max_length).draw(num_samples, generator)

"""What a search may use: a beginning that is forced, and symbols that are banned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.inference.score import score
from probseq.inference.search.alphabet import Alphabet, allowed_symbols
from probseq.protocols import Autoregressive
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Constraints:
    """Impossible for the search, whatever the model says; what is left keeps the model's probability.

    Shapes:
        allowed: (b or 1, v), which symbols may be used after the forced beginning, or None: all.
        prefix: b sequences, the forced beginnings, or None.
        numbers: (b, t), the numbers of their symbols.
    """

    allowed: Bool[Tensor, "b1 v"] | None
    prefix: Sequences | None
    numbers: Tensor | None

    @staticmethod
    def of(
        model: Autoregressive,
        alphabet: Alphabet,
        batch: int,
        max_length: int,
        prefix: Sequences | None,
        banned: Any,
        allowed: Any,
    ) -> Constraints:
        """From what a user gives.

        Raises:
            ValueError: a prefix of another batch or beyond `max_length`, or elements outside the alphabet.
        """
        mask = allowed_symbols(model, alphabet, batch, banned, allowed)
        if prefix is None:
            return Constraints(mask, None, None)
        if len(prefix) != batch:
            raise ValueError(f"prefix has {len(prefix)} sequences, the context {batch} rows. Pass one for each.")
        try:
            prefix = model.element.conform(prefix).trim()
        except ValueError as error:
            raise ValueError(f"prefix: {error}") from error
        if prefix.values.shape[1] > max_length:
            row = int(prefix.lengths.argmax())
            raise ValueError(
                f"the forced prefix of source {row} has {int(prefix.lengths[row])} elements; expected {max_length} at "
                "most, the longest length. Raise max_length or cut the prefix."
            )
        values = prefix.values.to(alphabet.symbols.device)
        return Constraints(mask, Sequences(values, prefix.lengths, False), alphabet.numbers(values))

    def apply(
        self,
        log_symbols: Float[Tensor, "n k v"],
        log_stop: Float[Tensor, "n k"],
        rows: Int[Tensor, " n"],
        position: int,
    ) -> tuple[Float[Tensor, "n k v"], Float[Tensor, "n k"]]:
        """The law of the step after `position` elements with −∞ for what is ruled out; n beams, of sources `rows`."""
        if self.allowed is not None:
            mask = self.allowed if len(self.allowed) == 1 else self.allowed[rows]
            onward = log_symbols.masked_fill(~mask.unsqueeze(1), -torch.inf)
        else:
            onward = log_symbols
        if self.prefix is None or self.numbers is None or position >= self.numbers.shape[1]:
            return onward, log_stop
        forced = (position < self.prefix.lengths.to(rows.device))[rows].reshape(-1, 1, 1)
        number = torch.arange(log_symbols.shape[2], device=rows.device)
        other = number != self.numbers[rows, position].reshape(-1, 1, 1)
        onward = torch.where(forced, log_symbols.masked_fill(other, -torch.inf), onward)
        return onward, log_stop.masked_fill(forced.squeeze(2), -torch.inf)

    def explain(self, model: Autoregressive, context: Context, row: int) -> str:
        """Why nothing is left for a source."""
        if self.prefix is not None:
            index = torch.tensor([row], device=context.summary.device)
            found = score(model, self.prefix.select([row]), context.select(index)).log_prob
            if not bool(found > -torch.inf):
                return f"the forced prefix of source {row} has probability 0. Force another beginning."
        return (
            f"source {row} has no sequence of positive probability that keeps to the allowed symbols and was within "
            "the beam. Allow more symbols, or widen the beam."
        )

"""A look ahead: what a symbol now is worth for what is known of later ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from probseq.context import State
from probseq.inference.infilling.particles import Potential
from probseq.inference.infilling.pattern import Templates
from probseq.inference.search.alphabet import Alphabet
from probseq.numerics import log_sum
from probseq.protocols import Autoregressive

LIMIT = 30.0
"""Features are read within ± this: those of a hidden Markov model are log-probabilities, and may be −∞."""


@runtime_checkable
class Lookahead(Protocol):
    """What tells the particles of `infill` what is to come."""

    def of(self, model: Autoregressive, templates: Templates, alphabet: Alphabet) -> Potential:
        """log ψₜ(v), an estimate of log P(all that is known beyond t | y₍<t₎, yₜ = v) up to a constant for each
        template and t. Any values that are not all −∞ keep the estimates of `infill` unbiased."""
        ...


@dataclass(frozen=True)
class ExactLookahead:
    """The best look ahead, by enumeration: every weight is then the probability of what was observed.

    Its cost is the number of symbols to the power of the missing elements, for each particle: a yardstick.
    """

    def of(self, model: Autoregressive, templates: Templates, alphabet: Alphabet) -> Potential:
        y, holes = templates.y, templates.holes
        numbers = alphabet.numbers(y.values.to(alphabet.symbols.device))

        def beyond(state: State, rows: Tensor, t: int) -> Float[Tensor, " m"]:
            """log P(all that is known from t on)."""
            lengths = y.lengths.to(rows.device)[rows]
            ended = y.ended.to(rows.device)[rows]
            log_p, log_stop = alphabet.law(model, state)
            over = torch.where((lengths == t) & ended, log_stop, 0.0)
            if not bool((lengths > t).any()):
                return over
            hole = holes.to(rows.device)[rows, t]
            onward = log_p + each(state, rows, t) if bool(hole.any()) else torch.full_like(log_p, -torch.inf)
            own = numbers[rows, t].unsqueeze(1)
            if not bool(hole.all()):
                after = model.extend(state, alphabet.symbols[own])[1]
                seen = log_p.gather(1, own).squeeze(1) + beyond(after, rows, t + 1)
            else:
                seen = over
            return torch.where(lengths > t, torch.where(hole, log_sum(onward), seen), over)

        def each(state: State, rows: Tensor, t: int) -> Float[Tensor, "m v"]:
            size = len(alphabet)
            index = torch.arange(state.batch, device=rows.device).repeat_interleave(size)
            values = alphabet.symbols.repeat(state.batch, *[1] * (alphabet.symbols.ndim - 1)).unsqueeze(1)
            after = model.extend(state.select(index), values)[1]
            return beyond(after, rows[index], t + 1).view(-1, size)

        return each


class LearnedLookahead(nn.Module):
    """A recurrent network that reads what is known from right to left, and a small one that joins it to the model.

    log ψₜ(v) = [W tanh(A · features + B · rₜ + c)]ᵥ, where rₜ is what an LSTM has read of the elements beyond t, the
    missing ones and the end among its symbols. `train_lookahead` makes one.

    Args:
        features: the width of the model's features.
        symbols: how many an element can be.
        size: of the network.

    Source: Lin & Eisner, Neural particle smoothing for sampling from conditional sequence models, 2018.
    """

    def __init__(self, features: int, symbols: int, size: int = 128) -> None:
        super().__init__()
        self.features, self.symbols, self.size = features, symbols, size
        # The symbols, a missing one, an end, and the beginning of what may go on.
        self.embedding = nn.Embedding(symbols + 3, size)
        self.reader = nn.LSTM(size, size, batch_first=True)
        self.norm = nn.LayerNorm(features)
        self.now, self.later = nn.Linear(features, size), nn.Linear(size, size, bias=False)
        self.hidden = nn.Linear(size, size)
        self.score = nn.Linear(size, symbols)

    def read(
        self, numbers: Int[Tensor, "n t"], holes: Tensor, lengths: Int[Tensor, " n"], ended: Tensor
    ) -> Float[Tensor, "n t r"]:
        """rₜ for each position t: what is known beyond it, read from the end."""
        time = numbers.shape[1]
        hole, end, open_ = self.symbols, self.symbols + 1, self.symbols + 2
        known = torch.where(holes, hole, numbers)
        # Reading step j sees the element at lengths − j; the mark of the end stands first.
        step = torch.arange(time, device=numbers.device)
        backward = (lengths.unsqueeze(1) - step).clamp(0, max(time - 1, 0))
        items = known.gather(1, backward)
        mark = torch.where(ended, end, open_)
        items = torch.where(step == 0, mark.unsqueeze(1), items)
        read = self.later(self.reader(self.embedding(items))[0])
        place = (lengths.unsqueeze(1) - 1 - step).clamp(0, max(time - 1, 0))
        return read.gather(1, place.unsqueeze(2).expand(-1, -1, read.shape[2]))

    def forward(self, features: Float[Tensor, "*b h"], later: Float[Tensor, "*b r"]) -> Float[Tensor, "*b v"]:
        """log ψ of each symbol."""
        now = self.now(self.norm(features.to(later.dtype).clamp(-LIMIT, LIMIT)))
        return self.score(torch.relu(self.hidden(torch.relu(now + later))))

    def of(self, model: Autoregressive, templates: Templates, alphabet: Alphabet) -> Potential:
        """The potential of some templates.

        Raises:
            ValueError: a model of other features or symbols than the one this was trained for.
        """
        if len(alphabet) != self.symbols:
            raise ValueError(
                f"the lookahead was trained for {self.symbols} symbols, the model has {len(alphabet)}. Train another."
            )
        device = self.score.weight.device
        numbers = alphabet.numbers(templates.y.values.to(alphabet.symbols.device)).to(device)
        lengths, ended = templates.y.lengths.to(device), templates.y.ended.to(device)
        later = self.read(numbers, templates.holes.to(device), lengths, ended)

        def potential(state: State, rows: Tensor, t: int) -> Tensor:
            if state.features.shape[-1] != self.features:
                raise ValueError(
                    f"the lookahead was trained for features of width {self.features}, the model has "
                    f"{state.features.shape[-1]}. Train one for it."
                )
            return self(state.features, later[rows, t]).to(state.features.dtype)

        return potential

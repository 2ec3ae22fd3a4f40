"""What a model says of held-out sequences, as numbers whose law is known if the model is right.

Given the past, an element y is exchangeable with draws y′ from the model's law of it. So the rank of any function of y
among those of the draws, ties broken at random, is uniform, whatever the likelihood; and independent of all that came
before (Rosenblatt, 1952; Gneiting et al., 2007). Where the values of an element can be listed, no draws are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import Context
from probseq.evaluation.steps import Decisions, decisions, few_symbols, over_symbols
from probseq.inference.score import check, check_context
from probseq.numerics import promoted
from probseq.protocols import Autoregressive
from probseq.randomness import Seed, seeded
from probseq.sequences import Sequences

DRAWS = 49
"""Draws that each element is ranked among."""

COORDINATES = 8
"""Coordinates of an element that are looked at, the first ones."""


@dataclass(frozen=True)
class Streams:
    """One entry for each element that was seen, and one for each decision to go on or to stop that was not certain.

    Shapes:
        row, column: (n,), of which sequence, after how many elements.
        log_prob, entropy, varentropy: (n,), nats, of the element; the last two NaN where they are not known.
        surprise: (n,), uniform: the probability of an element that is likelier, ties at random.
        coordinates: (n, d), uniform each: the rank of a coordinate.
        pairs: (n, c), uniform each: the rank of the product of the deviations of two coordinates.
        values: (n, d), the coordinates themselves; symbols: (n,), the element's number, or −1.
        laws: (n, v), the probability of each symbol, or None.
        top: (n,) the highest probability of a symbol, `right` whether it came.
        draws: (n, k, d), from the law of each element, and `observed` (n, d), or None where they are symbols.
        stop_row, stop_column, stopped, hazard: (m,), which decision; whether it was to stop; P(stop).
        last: (m,), the symbol before, v at the start, −1 where elements are no symbols.
        length: (b,), uniform: the probability of a shorter sequence along the way that was gone.
    """

    row: Int[Tensor, " n"]
    column: Int[Tensor, " n"]
    log_prob: Float[Tensor, " n"]
    entropy: Float[Tensor, " n"]
    varentropy: Float[Tensor, " n"]
    surprise: Float[Tensor, " n"]
    coordinates: Float[Tensor, "n d"]
    pairs: Float[Tensor, "n c"]
    values: Float[Tensor, "n d"]
    symbols: Int[Tensor, " n"]
    laws: Float[Tensor, "n v"] | None
    draws: Float[Tensor, "n k d"] | None
    stop_row: Int[Tensor, " m"]
    stop_column: Int[Tensor, " m"]
    stopped: Bool[Tensor, " m"]
    hazard: Float[Tensor, " m"]
    last: Int[Tensor, " m"]
    length: Float[Tensor, " b"] | None


@dataclass
class _Pieces:
    """Columns that grow."""

    kept: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, **columns: Tensor) -> None:
        for name, column in columns.items():
            self.kept.setdefault(name, []).append(column.cpu())

    def get(self, name: str) -> Tensor | None:
        return torch.cat(self.kept[name]) if name in self.kept else None


@torch.no_grad()
def streams(model: Autoregressive, y: Sequences, context: Any = None, generator: Seed = None) -> Streams:
    """Every decision of the sequences, seen by the model.

    Raises:
        ValueError: y does not fit the model.
    """
    y = check(model, y)
    encoded = model.start(Context.none(len(y), y.device) if context is None else context).context
    check_context(y, encoded)
    y = y.to(encoded.summary.device)
    found = _Pieces()
    with seeded(generator, y.device):
        for each in decisions([model], [encoded], y):
            _ends(found, each)
            _elements(model, found, each)
        return _collect(model, found, y)


def _ends(found: _Pieces, each: Decisions) -> None:
    hazard = each.steps[0].log_stop.double().exp().clamp(0, 1)
    ends = ~each.goes
    uncertain = (hazard > 0) & (hazard < 1)
    found.add(
        every_row=each.rows, every_column=each.columns, every_hazard=hazard, every_end=ends, uncertain=uncertain,
    )  # fmt: skip


def _elements(model: Autoregressive, found: _Pieces, each: Decisions) -> None:
    """The elements of some decisions, where there are any."""
    law, values = each.steps[0].element, promoted(each.values, each.steps[0].log_go)
    event = law.event_shape
    there = each.goes
    known = torch.where(there.reshape(-1, *[1] * (values.ndim - 1)), values, _filling(law, values))
    log_prob = law.log_prob(known).double()
    symbols = few_symbols(model, law)
    uniform = torch.rand(len(values), dtype=torch.float64, device=values.device)
    columns: dict[str, Tensor] = {}
    if symbols is not None and not event:
        over = over_symbols(law, symbols).double()
        p = over.exp()
        number = (symbols == known.unsqueeze(-1)).to(torch.int64).argmax(-1)
        own = over.gather(-1, number.unsqueeze(-1))
        tie = (over - own).abs() <= 1e-9
        columns["surprise"] = (p * ((over > own) & ~tie)).sum(-1) + uniform * (p * tie).sum(-1)
        below = (p.cumsum(-1) - p).gather(-1, number.unsqueeze(-1)).squeeze(-1)
        again = torch.rand_like(uniform)
        columns["coordinates"] = (below + again * p.gather(-1, number.unsqueeze(-1)).squeeze(-1)).unsqueeze(-1)
        entropy = -torch.where(p > 0, p * over, 0.0).sum(-1)
        spread = torch.where(p > 0, p * (over + entropy.unsqueeze(-1)).square(), 0.0).sum(-1)
        columns |= {"entropy": entropy, "varentropy": spread, "symbols": number, "laws": p}
        shown = known.unsqueeze(-1)
        columns["pairs"] = log_prob.new_zeros(len(values), 0)
    else:
        draws = law.sample(torch.Size([DRAWS]))
        over = law.log_prob(draws).double()
        columns["surprise"] = _rank(-log_prob, -over, uniform)
        shown = known.reshape(len(values), -1)[:, :COORDINATES]
        drawn = draws.reshape(DRAWS, len(values), -1)[..., :COORDINATES].double()
        columns["coordinates"] = _rank(
            shown.double(), drawn, torch.rand(shown.shape, dtype=torch.float64, device=values.device)
        )
        columns["pairs"] = _pairs(shown.double(), drawn)
        columns |= {"entropy": -over.mean(0), "varentropy": over.var(0)}
        columns |= {"symbols": torch.full_like(each.rows, -1), "draws": drawn.movedim(0, 1)}
    columns |= {"row": each.rows, "column": each.columns, "log_prob": log_prob, "values": shown.double()}
    found.add(**{name: column[there] for name, column in columns.items()})


def _filling(law: Any, values: Tensor) -> Tensor:
    """What stands where a sequence ended: a draw, which every law finds possible."""
    return law.sample().to(values.dtype)


def _rank(value: Tensor, drawn: Tensor, uniform: Tensor) -> Tensor:
    """(number of draws below, and a random part of those that are equal) over all."""
    below, equal = (drawn < value).sum(0), (drawn == value).sum(0)
    return (below + uniform * (equal + 1)) / (len(drawn) + 1)


def _pairs(value: Tensor, drawn: Tensor) -> Tensor:
    """Of two coordinates each: the rank of the product of their deviations from the mean of all."""
    every = torch.cat([value.unsqueeze(0), drawn])
    away = every - every.mean(0)
    d = value.shape[-1]
    first, second = torch.triu_indices(d, d, 1)
    product = away[..., first] * away[..., second]
    return _rank(product[0], product[1:], torch.rand(product.shape[1:], dtype=torch.float64, device=value.device))


def _collect(model: Autoregressive, found: _Pieces, y: Sequences) -> Streams:
    def column(name: str) -> Tensor:
        kept = found.get(name)
        return torch.zeros(0, dtype=torch.float64) if kept is None else kept

    uncertain = column("uncertain").bool()
    row, place, hazard, ends = (column(f"every_{name}") for name in ("row", "column", "hazard", "end"))
    symbols = column("symbols").long()
    table = found.get("laws")
    last = torch.full((len(row),), -1)
    if table is not None:
        last = _last(y, row, place, table.shape[1])
    order = _rows_in_order(row, place)
    return Streams(
        column("row").long(), column("column").long(), column("log_prob"), column("entropy"), column("varentropy"),
        column("surprise"), _wide(column("coordinates")), _wide(column("pairs")), _wide(column("values")), symbols,
        table, found.get("draws"), row[uncertain].long(), place[uncertain].long(), ends[uncertain].bool(),
        hazard[uncertain], last[uncertain], _lengths(y, row[order], hazard[order], ends[order], bool(uncertain.any())),
    )  # fmt: skip


def _wide(column: Tensor) -> Tensor:
    return column if column.ndim == 2 else column.reshape(len(column), -1 if len(column) else 0)


def _last(y: Sequences, row: Tensor, place: Tensor, none: int) -> Tensor:
    """The number of the symbol before each decision, `none` at the start."""
    values = y.values.cpu().long()
    if not values.shape[1]:
        return torch.full((len(row),), none)
    before = values[row.long(), (place.long() - 1).clamp(min=0)]
    return torch.where(place.long() > 0, before, none)


def _rows_in_order(row: Tensor, place: Tensor) -> Tensor:
    return (row.long() * (int(place.max()) + 2 if len(place) else 1) + place.long()).argsort()


def _lengths(y: Sequences, row: Tensor, hazard: Tensor, ends: Tensor, any_: bool) -> Tensor | None:
    """1 − ∏ (1 − hazard), with a random part of the last factor; of an open sequence, of all that is left."""
    if not any_:
        return None
    log_go = torch.log1p(-hazard.clamp(max=1 - 1e-15)) * (~ends.bool())
    survival = torch.zeros(len(y), dtype=torch.float64).index_add(0, row.long(), log_go).exp()
    last = torch.ones(len(y), dtype=torch.float64)
    at = ends.bool()
    last[row[at].long()] = hazard[at]
    return 1 - survival * (1 - torch.rand(len(y), dtype=torch.float64) * last)

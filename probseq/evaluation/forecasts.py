"""How good forecasts are."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.inference.forecasting import Forecast, forecast
from probseq.inference.score import score
from probseq.protocols import Autoregressive
from probseq.randomness import Seed
from probseq.sequences import Sequences

LEVELS = tuple(i / 10 for i in range(1, 10))


@dataclass(frozen=True)
class ForecastScores:
    """Scores of forecasts against what came, over all values that are known; smaller is better but for coverage.

    Args:
        crps: the mean continuous ranked probability score, in the data's units (Gneiting & Raftery, 2007).
        energy: the mean energy score of whole paths, each history's t · e numbers as one vector; in the data's units.
        quantile_loss: the weighted quantile loss at each level q, 2 Σ ρ_q(y, ŷ_q) / Σ |y|, ρ_q the pinball loss.
        coverage: for each level p, the share of values within the central interval of probability p.
    """

    crps: float
    energy: float
    quantile_loss: dict[float, float]
    coverage: dict[float, float]

    @property
    def mean_quantile_loss(self) -> float:
        """The mean over the levels: with 0.1 … 0.9 the mean weighted quantile loss of GluonTS and GIFT-Eval."""
        return sum(self.quantile_loss.values()) / len(self.quantile_loss)


@checked
def forecast_scores(
    forecast: Forecast,
    actual: Float[Tensor, "b t *e"],
    levels: Sequence[float] = LEVELS,
    intervals: Sequence[float] = (0.5, 0.8, 0.95),
) -> ForecastScores:
    """Score sample paths against what came; NaN in `actual` is left out, and of paths with NaN there no energy.

    CRPS and energy are the unbiased ("fair") estimates from the paths. The extra `forecast` brings scoringrules.

    Args:
        levels: of the quantile loss.
        intervals: probabilities of the central intervals whose coverage is counted.

    Raises:
        ValueError: shapes that differ, paths that end before the horizon, fewer than two paths, nothing known, a level
            outside (0, 1), or paths of symbols.
        ModuleNotFoundError: scoringrules is not installed.
    """
    rules = importlib.import_module("scoringrules")
    paths, y = forecast.numbers.double().flatten(2).cpu(), actual.double().flatten(1).cpu()
    _check(paths, y, (*levels, *intervals))
    known = ~torch.isnan(y)
    whole = known.all(1)
    seen, drawn = y[known].numpy(), paths.movedim(1, -1)[known].numpy()
    # All pairs of paths are compared: one history at a time.
    energy = [
        rules.es_ensemble(came.numpy(), own.numpy(), estimator="fair")
        for came, own in zip(y[whole], paths[whole], strict=True)
    ]

    def quantiles(wanted: Sequence[float]) -> list[Any]:
        found = torch.quantile(torch.as_tensor(drawn), torch.tensor(list(wanted), dtype=torch.float64), -1)
        return list(found.numpy())

    loss = {
        q: float(2 * rules.quantile_score(seen, at, q).sum() / abs(seen).sum())
        for q, at in zip(levels, quantiles(levels), strict=True)
    }
    lower, upper = (quantiles([0.5 + side * p / 2 for p in intervals]) for side in (-1, 1))
    return ForecastScores(
        float(rules.crps_ensemble(seen, drawn, estimator="fair").mean()),
        float(sum(energy) / len(energy)) if energy else float("nan"),
        loss,
        {p: float(((a <= seen) & (seen <= b)).mean()) for p, a, b in zip(intervals, lower, upper, strict=True)},
    )


def _check(paths: Tensor, y: Tensor, levels: Sequence[float]) -> None:
    if paths.ndim != 3 or paths[:, 0].shape != y.shape or paths.shape[1] < 2:
        raise ValueError(
            f"forecast_scores() needs at least 2 paths, of the shape of what came; got paths {tuple(paths.shape)} for "
            f"{tuple(y.shape)} (histories, numbers)."
        )
    if bool(torch.isnan(paths).any()):
        raise ValueError(
            "some paths end before the horizon, and have no value there to score. Use a model without end."
        )
    if not bool((~torch.isnan(y)).any()) or not all(0 < level < 1 for level in levels):
        raise ValueError(f"forecast_scores() needs a known value and levels within (0, 1); got levels {levels}.")


@dataclass(frozen=True)
class Backtest:
    """One origin of a backtest.

    Shapes:
        forecast: paths (b, s, t, *e) from the origin on. actual: (b, t, *e), what came.
        log_prob: (b, t), nats, the exact density of each element given all that stands before it, and that it came.
    """

    forecast: Forecast
    actual: Tensor
    log_prob: Float[Tensor, "b t"]


@checked
def backtest(
    model: Autoregressive,
    y: Sequences,
    horizon: int,
    windows: int = 1,
    stride: int | None = None,
    context: Any = None,
    num_samples: int = 100,
    generator: Seed = None,
) -> list[Backtest]:
    """Forecasts from rolling origins in the past, each of which sees only what stands before it.

    The last window of each series ends with it, the one before `stride` elements earlier, and so on. The model stays
    as it is: that it was not fitted to the windows is for the caller to see to.

    Args:
        y: b series.
        horizon: how many elements a forecast has.
        windows: how many origins.
        stride: from one to the next; None: the horizon.
        context: x of batch b, known at every origin; or a function that makes it of the history, as open Sequences,
            where it depends on the past, as the scale of a series does.
        num_samples, generator: as for `forecast`.

    Raises:
        ValueError: a series that is too short, horizon, windows or stride below 1; see also `forecast`.
    """
    stride = horizon if stride is None else stride
    if min(horizon, windows, stride) < 1:
        raise ValueError(f"backtest() needs horizon, windows, stride ≥ 1; got {horizon}, {windows}, {stride}.")
    spent = horizon + (windows - 1) * stride
    short = (y.lengths < spent).nonzero()
    if len(short):
        row = int(short[0])
        raise ValueError(f"series {row} has {int(y.lengths[row])} elements, the windows take {spent}. Take fewer.")
    return [
        _window(model, y, y.lengths - horizon - i * stride, horizon, context, num_samples, generator)
        for i in reversed(range(windows))
    ]


def _window(
    model: Autoregressive, y: Sequences, origins: Tensor, horizon: int, context: Any, num_samples: int, generator: Seed
) -> Backtest:
    history = Sequences(y.values, origins, False).trim()
    x = context(history) if callable(context) else context
    columns = (origins.unsqueeze(1) + torch.arange(horizon)).to(y.device)
    rows = torch.arange(len(y), device=y.device).unsqueeze(1)
    with torch.no_grad():
        element = score(model, Sequences(y.values, origins + horizon, False), x).element
    drawn = forecast(model, history, horizon, x, num_samples, generator)
    return Backtest(drawn, y.values[rows, columns], element[rows.to(element.device), columns.to(element.device)])

"""How good are sample paths of hourly series, two days ahead?"""

from __future__ import annotations

import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jsonargparse
import matplotlib
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
matplotlib.use("Agg")

import matplotlib.pyplot as plt

import probseq as ps
from experiments.report import destination, table, write
from probseq.datasets import m4_hourly

HORIZON = 48
PUBLISHED = {"seasonal naive": 0.0376, "AutoARIMA": 0.0337, "DeepAR": 0.133, "TFT": 0.0401, "PatchTST": 0.0390,
             "Chronos-bolt-small": 0.0203}  # fmt: skip
"""Mean weighted quantile loss, as GIFT-Eval lists it."""


@dataclass(frozen=True)
class Settings:
    """Of the model and its training."""

    size: int = 64
    lags: tuple[int, ...] = (1, 2, 3, 23, 24, 25, 47, 48, 49, 167, 168, 169)
    df: float = 5.0
    centre: bool = False
    categories: bool = True
    dropout: float = 0.1
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 4e-3
    average: float = 0.99


SMOKE = Settings(size=8, lags=(1, 24), epochs=1, batch_size=3)


@dataclass(frozen=True)
class Series:
    """Histories and what came after.

    Shapes:
        past: b open series. actual: (b, HORIZON, 1).
    """

    past: ps.Sequences
    actual: Tensor


def held_out(y: ps.Sequences) -> Series:
    """The last HORIZON values of each series apart."""
    origin = y.lengths - HORIZON
    columns = origin.unsqueeze(1) + torch.arange(HORIZON)
    actual = y.values[torch.arange(len(y)).unsqueeze(1), columns]
    return Series(ps.Sequences(y.values, origin, False).trim(), actual)


def m4(part: str) -> Series:
    """The test part of M4, or its training part with the last two days apart for validation."""
    data = m4_hourly()
    train = data.train.to(dtype=torch.float32)
    return Series(train, data.test.values.float()) if part == "test" else held_out(train)


def made_up() -> Series:
    """A few series with a day and noise, for a smoke run."""
    generator = torch.Generator().manual_seed(0)
    hours = torch.arange(24.0 * 12 + HORIZON)
    level = 10 ** torch.linspace(1, 4, 6).reshape(-1, 1)
    noise = torch.randn(6, len(hours), generator=generator)
    y = level * (3 + torch.sin(2 * math.pi * hours / 24) + 0.2 * noise)
    return held_out(ps.Sequences(y.unsqueeze(-1), [len(hours)] * 6, False))


class Forecaster:
    """A model of all series: fitted to their histories, then asked what comes after."""

    def __init__(self, data: Series, settings: Settings, seed: int) -> None:
        self.data, self.settings, self.seed = data, settings, seed
        self.scale = ps.SeriesScale.of(data.past, settings.centre)
        self.kinds = len(data.past) if settings.categories else None
        torch.manual_seed(seed)
        self.model = ps.recipes.forecaster(
            size=settings.size, covariates=4, dropout=settings.dropout, lags=settings.lags, categories=self.kinds,
            likelihood=ps.Parametric("StudentT", {"df": settings.df}), scaling=ps.PerSeries(),
        )  # fmt: skip

    def context(self, past: ps.Sequences, ahead: int = 0) -> Any:
        """The phases of day and week, counted from each series's first value, and its scale in the training part."""
        lengths = past.lengths + ahead
        phases = ps.cycles(torch.arange(int(lengths.max()))).expand(len(past), -1, -1)
        which = () if self.kinds is None else (torch.arange(self.kinds),)
        return ps.Sequences(phases, lengths), *which, self.scale

    def fit(self) -> dict[str, float]:
        """Nats a value over the last epoch, and seconds of processor time."""
        s, begin = self.settings, time.process_time()
        result = ps.fit(
            self.model, (self.data.past, self.context(self.data.past)), max_epochs=s.epochs, batch_tokens=None,
            batch_size=s.batch_size, bucket=False, learning_rate=s.learning_rate, schedule="cosine",
            average=s.average, seed=self.seed, accelerator="cpu", progress=False,
        )  # fmt: skip
        return {"train_nats": result.nats, "fit_seconds": time.process_time() - begin}

    def forecast(self, paths: int) -> tuple[ps.Forecast, float]:
        """Sample paths, and seconds of processor time."""
        begin, past = time.process_time(), self.data.past
        found = ps.forecast(self.model, past, HORIZON, self.context(past, HORIZON), paths, self.seed)
        return found, time.process_time() - begin

    @torch.no_grad()
    def one_step(self) -> float:
        """Nats a value of what came, each value given all before it: exact densities, in the data's units."""
        past, ahead = self.data.past, self.data.actual
        rows, columns = torch.arange(len(past)).unsqueeze(1), past.lengths.unsqueeze(1) + torch.arange(HORIZON)
        values = past.pad(past.values.shape[1] + HORIZON).values.clone()
        values[rows, columns] = ahead
        whole = ps.Sequences(values, past.lengths + HORIZON, False)
        element = ps.score(self.model, whole, self.context(past, HORIZON)).element
        return -float(element[rows, columns].mean())


def naive(data: Series) -> ps.Forecast:
    """What was a day before, in every path."""
    rows = torch.arange(len(data.past)).unsqueeze(1)
    day = data.past.values[rows, data.past.lengths.unsqueeze(1) - 24 + torch.arange(HORIZON) % 24]
    return ps.Forecast(day.unsqueeze(1).expand(-1, 2, -1, -1))


def judged(forecast: ps.Forecast, data: Series) -> dict[str, Any]:
    """The scores by name."""
    scores = ps.forecast_scores(forecast, data.actual)
    return {"mean_quantile_loss": scores.mean_quantile_loss, **asdict(scores)}


def draw(data: Series, found: ps.Forecast, folder: Path) -> None:
    """Fans of nine series: the central intervals of 50 and 90 %, the median, and what came."""
    figure, axes = plt.subplots(3, 3, figsize=(13, 8), layout="constrained")
    every = max(len(data.past) // 9, 1)
    quantiles = found.quantiles([0.05, 0.25, 0.5, 0.75, 0.95]).squeeze(-1)
    ahead = torch.arange(HORIZON)
    for axis, i in zip(axes.flat, range(0, len(data.past), every), strict=False):
        low, lower, middle, upper, high = quantiles[i]
        recent = data.past[i][-72:, 0]
        axis.plot(torch.arange(-len(recent), 0), recent, color="0.4", lw=1)
        axis.fill_between(ahead, low, high, color="C0", alpha=0.2, lw=0)
        axis.fill_between(ahead, lower, upper, color="C0", alpha=0.35, lw=0)
        axis.plot(ahead, middle, color="C0", lw=1)
        axis.plot(ahead, data.actual[i, :, 0], color="black", lw=1)
        axis.set_title(f"series {i + 1}", fontsize="medium")
    figure.suptitle("Three days of the past, then two days: median, 50 % and 90 % intervals (blue), what came (black)")
    figure.savefig(folder / "fans.png", dpi=70)
    plt.close(figure)


def run(data: Series, settings: Settings, seed: int, paths: int) -> tuple[dict[str, Any], ps.Forecast]:
    """One fitted model, judged."""
    torch.set_num_threads(1)
    one = Forecaster(data, settings, seed)
    fitted = one.fit()
    found, seconds = one.forecast(paths)
    row = {"seed": seed, **judged(found, data), "one_step_nats": one.one_step(), **fitted, "forecast_seconds": seconds}
    print(f"seed {seed}: {row['mean_quantile_loss']:.4f}, {row['fit_seconds']:.0f} s", flush=True)
    return row, found


def every_seed(
    data: Series, settings: Settings, seeds: list[int], paths: int, workers: int
) -> list[tuple[dict[str, Any], ps.Forecast]]:
    """One run for each seed."""
    if workers == 1:
        return [run(data, settings, seed, paths) for seed in seeds]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return list(pool.map(partial(run, data, settings, paths=paths), seeds))


def show(results: dict[str, Any]) -> str:
    """The results as a table."""
    keys = ("mean_quantile_loss", "crps", "energy")
    rows = [["seasonal naive", *(results["naive"][key] for key in keys), *[""] * 4]]
    for row in results["runs"]:
        cover = [row["coverage"][level] for level in (0.5, 0.8, 0.95)]
        rows.append([f"seed {row['seed']}", *(row[key] for key in keys), row["one_step_nats"], *cover])
    return table(["", "quantile loss", "CRPS", "energy", "one-step nats", "in 50 %", "in 80 %", "in 95 %"], rows)


def main() -> None:
    """Fit, forecast, judge, draw."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="made-up series, seconds, into a temporary folder")
    parser.add_argument("--validation", action="store_true", help="judge on the last two days of the training part")
    parser.add_argument("--seeds", type=list[int], default=[0, 1, 2])
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1, help="seeds that are run at a time, one thread each")
    parser.add_class_arguments(Settings, "settings")
    options = parser.parse_args()
    settings = SMOKE if options.smoke else Settings(**options.settings.as_dict())
    data = made_up() if options.smoke else m4("validation" if options.validation else "test")
    paths, seeds = (10, [0]) if options.smoke else (options.paths, options.seeds)
    rows, fans = zip(*every_seed(data, settings, seeds, paths, options.workers), strict=True)
    losses = sorted(row["mean_quantile_loss"] for row in rows)
    results = {"question": __doc__, "settings": asdict(settings), "paths": paths, "published": PUBLISHED,
               "naive": judged(naive(data), data), "runs": list(rows), "median": losses[len(losses) // 2],
               "worst": losses[-1]}  # fmt: skip
    folder = destination(__file__, options.smoke or options.validation)
    draw(data, fans[0], folder)
    write(results, folder)
    print(f"\n{show(results)}\n\nmedian {results['median']:.4f}, worst {results['worst']:.4f}, in {folder}")


if __name__ == "__main__":
    main()

"""What a model is worth, measured."""

from probseq.evaluation.divergence import Divergence, kl
from probseq.evaluation.entropy import EntropyDrift, EntropyRate, entropy_drift, entropy_rate
from probseq.evaluation.exposure import Exposure, exposure
from probseq.evaluation.forecasts import Backtest, ForecastScores, backtest, forecast_scores
from probseq.evaluation.two_sample import TwoSample, two_sample

__all__ = [
    "Backtest",
    "Divergence",
    "EntropyDrift",
    "EntropyRate",
    "Exposure",
    "ForecastScores",
    "TwoSample",
    "backtest",
    "entropy_drift",
    "entropy_rate",
    "exposure",
    "forecast_scores",
    "kl",
    "two_sample",
]

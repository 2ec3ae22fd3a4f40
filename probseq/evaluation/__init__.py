"""What a model is worth, measured."""

from probseq.evaluation.anomaly import Anomaly, anomaly
from probseq.evaluation.calibration import CalibrationTest
from probseq.evaluation.divergence import Divergence, kl
from probseq.evaluation.entropy import EntropyDrift, EntropyRate, entropy_drift, entropy_rate
from probseq.evaluation.evaluate import Evaluation, evaluate
from probseq.evaluation.exposure import Exposure, exposure
from probseq.evaluation.forecasts import Backtest, ForecastScores, backtest, forecast_scores
from probseq.evaluation.intervals import Comparison, Difference, Interval, compare, paired
from probseq.evaluation.reliability import Reliability
from probseq.evaluation.two_sample import TwoSample, two_sample

__all__ = [
    "Anomaly",
    "Backtest",
    "CalibrationTest",
    "Comparison",
    "Difference",
    "Divergence",
    "EntropyDrift",
    "EntropyRate",
    "Evaluation",
    "Exposure",
    "ForecastScores",
    "Interval",
    "Reliability",
    "TwoSample",
    "anomaly",
    "backtest",
    "compare",
    "entropy_drift",
    "entropy_rate",
    "evaluate",
    "exposure",
    "forecast_scores",
    "kl",
    "paired",
    "two_sample",
]

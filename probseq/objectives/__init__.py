"""What training minimises: the likelihood, and signals that are none."""

from probseq.objectives.likelihood import Objective, TeacherForcing, TruncatedBPTT
from probseq.objectives.missing import MissingValues
from probseq.objectives.own import FreeRunning, Schedule, ScheduledSampling
from probseq.objectives.smoothing import LabelSmoothing

__all__ = [
    "FreeRunning",
    "LabelSmoothing",
    "MissingValues",
    "Objective",
    "Schedule",
    "ScheduledSampling",
    "TeacherForcing",
    "TruncatedBPTT",
]

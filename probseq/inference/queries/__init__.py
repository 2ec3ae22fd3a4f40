"""Predictive queries: events of a sequence's future, their probabilities and how sure they are."""

from probseq.inference.queries import events
from probseq.inference.queries.answer import Answer
from probseq.inference.queries.monitors import Monitor
from probseq.inference.queries.query import query

__all__ = ["Answer", "Monitor", "events", "query"]

"""How many numbers a model has, beside those of the tables that it stands in for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from probseq.graph.unfolding import unfold


@dataclass(frozen=True)
class ParameterCount:
    """Free parameters of four ways to give sequences of up to `steps` elements a law.

    Attributes:
        network: those of the model: the same for every number of steps.
        table: of the table of the whole joint law: as many as there are sequences, but one: O(kᵗ).
        markov: of the tables of Markov models of order n = 0…steps − 1, P(yₜ | the last n elements), which share their
            parameters over time; at the start they condition on what there is. O(kⁿ).
    """

    network: int
    table: int
    markov: dict[int, int]


def count_parameters(model: Any, steps: int) -> ParameterCount:
    """The parameters of a model of discrete elements, against those of tables over the same sequences.

    With k different elements, a sequence of known length has k^steps values. One that may end has
    Σ_{t ≤ steps} kᵗ values, those of `steps` elements not told apart by what comes then, and the end is one more
    outcome of each table. What the model is conditioned on is not counted into the tables: they are those of one x.

    Args:
        model: a SequenceModel.
        steps: how many elements, 1 or more.

    Raises:
        ValueError: an element without a finite number of values, or steps out of range.

    Source: Goodfellow et al., Deep Learning, section 10.2.3.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(10, dim=4), ps.Elman(8), ps.Categorical(), ps.FixedLength(20))
    >>> count = count_parameters(model, 6)
    >>> count.table, count.markov[1], count.network == count_parameters(model, 12).network
    (999999, 99, True)
    """
    unfold(model, steps)
    k = getattr(model.element, "cardinality", None)
    if k is None:
        raise ValueError(
            f"count_parameters() needs elements of finitely many values; got {model.element.describe()}. Use Tokens(k) "
            "or Bits(d)."
        )
    free = k - 1 if model.stop.certain else k
    laws = [k**t for t in range(steps)]
    markov = {n: free * sum(laws[: n + 1]) for n in range(steps)}
    return ParameterCount(sum(p.numel() for p in model.parameters()), free * sum(laws), markov)

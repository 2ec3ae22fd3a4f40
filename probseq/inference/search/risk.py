"""Minimum Bayes risk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.inference.search.edits import edit_distance
from probseq.inference.search.hypotheses import Hypotheses, best_first, first_of_equals
from probseq.sequences import Sequences

Weights = Literal["probability", "equal", "importance"]

PAIRS = 1 << 16
"""Pairs that a loss is asked for at once."""


@checked
@torch.no_grad()
def minimum_bayes_risk(
    candidates: Hypotheses,
    loss: Callable[[Sequences, Sequences], Tensor] = edit_distance,
    evidence: Hypotheses | None = None,
    weights: Weights = "probability",
) -> Hypotheses:
    """The different candidates by expected loss, least first: `best()` is the choice of least risk.

    risk(c) = Σ_y w(y) loss(c, y) over the evidence y of the same source, weights w that sum to 1;
    search_score = −risk. Open candidates rank behind those that ended, whatever their risk.

    Args:
        candidates: what may be chosen, as `beam(…, n_best=50)` or `tempered(…)` gives it.
        loss: of n pairs of sequences (candidate, evidence), (n,): 0 where nothing is lost.
        evidence: what stands for the model's law; by default the candidates themselves.
        weights: "probability": w ∝ P(y | x) of each different sequence, for what a search found; "equal": each draw
            counts once, for draws from the model; "importance": w ∝ P(y | x) / q(y | x), for draws from another law.

    Raises:
        ValueError: a source without evidence, other weights, importance without a proposal, or a loss of another shape.

    Source: Kumar & Byrne, Minimum Bayes-risk decoding for statistical machine translation, 2004; Eikema & Aziz, Is MAP
    decoding all you need?, 2020 (samples as evidence).
    """
    if weights not in get_args(Weights):
        raise ValueError(f"weights must be one of {get_args(Weights)}; got {weights!r}.")
    evidence = candidates if evidence is None else evidence
    candidates = candidates.select(_different(candidates))
    if weights == "probability":
        evidence = evidence.select(_different(evidence))
    share = _weigh(evidence, weights)
    risk = torch.zeros_like(candidates.log_prob)
    mine, theirs = _pairs(candidates.rows, evidence.rows)
    for some, others in zip(mine.split(PAIRS), theirs.split(PAIRS), strict=True):
        lost = loss(candidates.sequences.select(some.cpu()), evidence.sequences.select(others.cpu()))
        if lost.shape != some.shape:
            raise ValueError(f"loss must give one number for each of {len(some)} pairs; got {tuple(lost.shape)}.")
        risk = risk.index_add(0, some, share[others] * lost.to(share))
    order = best_first(candidates.rows, candidates.sequences, -risk)
    chosen = candidates.select(order)
    return Hypotheses(chosen.sequences, chosen.log_prob, -risk[order], chosen.rows, chosen.proposal_log_prob)


def _pairs(candidates: Int[Tensor, " m"], evidence: Int[Tensor, " n"]) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """The places of every candidate with every evidence of its source."""
    order = evidence.argsort(stable=True)
    ordered = evidence[order]
    first = torch.searchsorted(ordered, candidates)
    count = torch.searchsorted(ordered, candidates, right=True) - first
    if bool((count == 0).any()):
        row = int(candidates[count == 0][0])
        raise ValueError(f"source {row} has candidates but no evidence. Pass evidence for each source.")
    mine = torch.arange(len(candidates), device=candidates.device).repeat_interleave(count)
    within = torch.arange(len(mine), device=candidates.device) - (count.cumsum(0) - count)[mine]
    return mine, order[first[mine] + within]


def _different(hypotheses: Hypotheses) -> Int[Tensor, " n"]:
    """The first of each set of equal sequences of one source."""
    places = torch.arange(len(hypotheses), device=hypotheses.rows.device)
    return places[first_of_equals(hypotheses.rows, hypotheses.sequences) == places]


def _weigh(evidence: Hypotheses, weights: Weights) -> Float[Tensor, " n"]:
    """Weights that sum to 1 for each source."""
    log_weight = torch.zeros_like(evidence.log_prob)
    if weights == "probability":
        log_weight = evidence.log_prob
    if weights == "importance":
        if evidence.proposal_log_prob is None:
            raise ValueError("importance weights need evidence that was drawn, with proposal_log_prob. Use tempered().")
        log_weight = evidence.log_prob - evidence.proposal_log_prob
    if not len(evidence):
        return log_weight
    sources = int(evidence.rows.max()) + 1
    largest = log_weight.new_full((sources,), -torch.inf).scatter_reduce(0, evidence.rows, log_weight, "amax")
    weight = (log_weight - largest[evidence.rows]).exp()
    return weight / weight.new_zeros(sources).index_add(0, evidence.rows, weight)[evidence.rows]

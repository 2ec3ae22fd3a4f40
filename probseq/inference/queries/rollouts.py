"""Draws from a law that leaves the question open as long as the model may."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.context import State
from probseq.inference.queries.question import Question


def roll(
    question: Question, state: State, at: Int[Tensor, " n"], depth: Int[Tensor, " n"], owner: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n o"], Int[Tensor, " b"]]:
    """From each of n prefixes an unbiased estimate of P(each outcome | prefix), and the elements read for each row.

    yₜ ~ p(v | y₍<t₎) / Zₜ over the symbols v after which the question is still open, Zₜ being the sum of these p. What
    decides it, the end among it, is added up: at each step outcome o gets ∏_{s<t} Z_s · P(o is decided now | y₍<t₎).
    The estimates of all outcomes sum to 1.

    Args:
        at, depth: the automaton's state after the prefix, and how many elements it read.
        owner: the row of the question that each belongs to.

    Source: Boyd et al., Predictive querying for autoregressive neural sequence models, 2022.
    """
    alphabet, monitor, moves = question.alphabet, question.monitor, question.moves
    count, outcomes, device = len(at), len(monitor.low), at.device
    # One column more takes what stays open.
    found = torch.zeros(count, outcomes + 1, dtype=torch.float64, device=device)
    spent = torch.zeros(question.batch, dtype=torch.int64, device=device)
    left, log_weight = torch.arange(count, device=device), torch.zeros(count, dtype=torch.float64, device=device)
    while len(left):
        log_symbols, log_stop = alphabet.law(question.model, state)  # type: ignore[union-attr]
        found[left, monitor.end[at]] += (log_weight + log_stop).exp()
        onward = log_weight.unsqueeze(1) + log_symbols
        after = moves[at]
        outcome = monitor.decided[(depth + 1).unsqueeze(1), after]
        share = torch.zeros(len(left), outcomes + 1, dtype=torch.float64, device=device)
        found[left] += share.scatter_add(1, torch.where(outcome < 0, outcomes, outcome), onward.exp())
        onward = onward.masked_fill(outcome >= 0, -torch.inf)
        log_weight = onward.logsumexp(1)
        going = (log_weight > -torch.inf).nonzero().squeeze(-1)
        left, log_weight, onward = left[going], log_weight[going], onward[going]
        if not len(left):
            break
        drawn = (onward - log_weight.unsqueeze(1)).exp().multinomial(1).squeeze(1)
        at, depth = after[going, drawn], depth[going] + 1
        spent += torch.bincount(owner[left], minlength=question.batch)
        y = alphabet.symbols[drawn].unsqueeze(1)  # type: ignore[union-attr]
        state = question.model.extend(state.select(going), y)[1]
    return found[:, :outcomes], spent

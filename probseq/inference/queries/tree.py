"""The tree of prefixes that leave a question open, and what has been decided on the way down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.context import State
from probseq.inference.queries.question import Question
from probseq.tree import cat, leaves, select

MERGE_LIMIT = 1 << 22
"""Most numbers that are compared to merge the prefixes of one level; beyond, none is merged."""


@dataclass(frozen=True)
class Nodes:
    """n prefixes: each is what a stored state becomes with one more symbol, which has not been read yet.

    Shapes:
        log_mass: (n,), log P(prefix | what is known), in float64.
        row: (n,), of which of the b laws. place: (n,), of the state in the store. number: (n,), of the symbol.
        at: (n,), the automaton's state, the symbol read. depth: (n,), how many elements, the symbol counted.
    """

    log_mass: Float[Tensor, " n"]
    row: Int[Tensor, " n"]
    place: Int[Tensor, " n"]
    number: Int[Tensor, " n"]
    at: Int[Tensor, " n"]
    depth: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.row)

    def select(self, index: Int[Tensor, " m"]) -> Nodes:
        return select(self, index)


class Tree:
    """The walk of one question: masses that are decided, states that were reached, elements that were read.

    Shapes:
        decided: (b, o), the mass of each outcome so far.
        spent: (b,), int64, elements read.
    """

    def __init__(self, question: Question) -> None:
        self.question, self.monitor = question, question.monitor
        if question.alphabet is None:
            raise ValueError("a tree of prefixes needs a discrete element.")
        self.moves, self.alphabet = question.moves, question.alphabet
        device, outcomes = question.state.features.device, len(question.monitor.low)
        self.decided = torch.zeros(question.batch, outcomes, dtype=torch.float64, device=device)
        self.spent = torch.zeros(question.batch, dtype=torch.int64, device=device)
        self.store: list[Any] = []
        self.stored = 0

    def root(self) -> Nodes:
        """The children of what is known; none where it decides already."""
        rows = torch.arange(self.question.batch, device=self.spent.device)
        known = int(self.monitor.decided[0, 0])
        if known >= 0:
            self.decided[:, known] = 1.0
            rows = rows[:0]
        zero = torch.zeros_like(rows)
        nodes = Nodes(zero.to(torch.float64), rows, zero, zero, zero, zero)
        return self.expand(self.question.state.select(rows), nodes)

    def read(self, nodes: Nodes) -> State:
        """The states of nodes, after their symbols."""
        newest = self.stored - self.store[-1][0].shape[0]
        if len(self.store) > 1 and int(nodes.place.min()) < newest:
            self.store, newest = [cat(self.store)], 0
        features, memory, position = select(self.store[-1], nodes.place - newest)
        state = State(features, memory, position, self.question.state.context.select(nodes.row))
        self.spent += torch.bincount(nodes.row, minlength=self.question.batch)
        return self.question.model.extend(state, self.alphabet.symbols[nodes.number].unsqueeze(1))[1]

    def expand(self, state: State, nodes: Nodes) -> Nodes:
        """The children of nodes that leave the question open; the mass of the others is decided."""
        if not len(nodes):
            return nodes
        log_symbols, log_stop = self.alphabet.law(self.question.model, state)
        outcomes, flat = self.decided.shape[1], self.decided.view(-1)
        flat.index_add_(0, nodes.row * outcomes + self.monitor.end[nodes.at], (nodes.log_mass + log_stop).exp())
        onward = nodes.log_mass.unsqueeze(1) + log_symbols
        after = self.moves[nodes.at]
        outcome = self.monitor.decided[(nodes.depth + 1).unsqueeze(1), after]
        i, v = (outcome >= 0).nonzero().unbind(1)
        flat.index_add_(0, nodes.row[i] * outcomes + outcome[i, v], onward[i, v].exp())
        i, v = ((outcome < 0) & (onward > -torch.inf)).nonzero().unbind(1)
        children = Nodes(onward[i, v], nodes.row[i], i + self.stored, v, after[i, v], nodes.depth[i] + 1)
        self.store.append((state.features, state.memory, state.position))
        self.stored += state.batch
        return children


def best(nodes: Nodes, width: Int[Tensor, " b"]) -> Bool[Tensor, " n"]:
    """Which nodes are among the `width` most probable of their row."""
    order = nodes.log_mass.argsort(descending=True)
    order = order[nodes.row[order].argsort(stable=True)]
    rows = nodes.row[order]
    rank = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
    chosen = torch.zeros_like(rows, dtype=torch.bool)
    chosen[order] = rank < width[rows]
    return chosen


def mass(nodes: Nodes, batch: int) -> Float[Tensor, " b"]:
    """Σ P of each row's nodes."""
    total = torch.zeros(batch, dtype=torch.float64, device=nodes.row.device)
    return total.index_add(0, nodes.row, nodes.log_mass.exp())


def merge(state: State, nodes: Nodes) -> tuple[State, Nodes]:
    """Nodes that no continuation can tell apart as one: those of one row, automaton state, depth and model state.

    Such are the prefixes of a model with finitely many states, as an n-gram: its tree is then a path of few nodes.
    """
    own: list[Tensor] = [nodes.row.unsqueeze(1), nodes.at.unsqueeze(1), nodes.depth.unsqueeze(1)]
    own += [leaf.flatten(1) for leaf in leaves((state.features, state.memory))]
    if sum(leaf.numel() for leaf in own) > MERGE_LIMIT:
        return state, nodes
    first = _first_of_equals(torch.cat([leaf.to(torch.float64) for leaf in own], 1))
    kept = (first == torch.arange(len(first), device=first.device)).nonzero().squeeze(-1)
    if len(kept) == len(nodes):
        return state, nodes
    top = torch.full_like(nodes.log_mass, -torch.inf).scatter_reduce(0, first, nodes.log_mass, "amax")
    total = torch.zeros_like(nodes.log_mass).index_add(0, first, (nodes.log_mass - top[first]).exp())
    return state.select(kept), replace(nodes, log_mass=top + total.log()).select(kept)


def _first_of_equals(rows: Float[Tensor, "n f"]) -> Int[Tensor, " n"]:
    """For each row the first that equals it, bit for bit; one that is missed counts as different."""
    # A hash that the same numbers give in any row: a product of matrices may round rows differently.
    weights = torch.sin(torch.arange(1, rows.shape[1] + 1, device=rows.device, dtype=torch.float64).square())
    key = torch.nan_to_num(rows, nan=0.5, neginf=-1e6).mul(weights).sum(1)
    _, group = torch.round(key, decimals=9).unique(return_inverse=True)
    places = torch.arange(len(group), device=group.device)
    first = torch.full_like(places, len(group)).scatter_reduce(0, group, places, "amin")[group]
    return torch.where((rows == rows[first]).all(1), first, places)

"""The same model twice: ours, and by hand with its weights."""

from __future__ import annotations

import torch

import probseq as ps
from experiments.speed.by_hand import CharLSTM, ChordLSTM

EMBEDDING = 64


def letters(symbols: int, hidden: int, embedding: int = EMBEDDING) -> ps.SequenceModel:
    """A language model of letters."""
    return ps.SequenceModel(ps.Tokens(symbols, embedding), ps.LSTM(hidden), ps.Categorical(), ps.EndSymbol())


def chords(bits: int, hidden: int) -> ps.SequenceModel:
    """A model of chords, vectors of bits."""
    return ps.SequenceModel(ps.Bits(bits), ps.LSTM(hidden), ps.Bernoulli(), ps.BernoulliStop())


@torch.no_grad()
def letters_by_hand(model: ps.SequenceModel) -> CharLSTM:
    """The hand-written model with the weights of `model`."""
    size, embedding = model.element.embedding.weight.shape
    copy = CharLSTM(size, embedding, model.recurrence.size).to(model.first.device)
    copy.embedding.weight.copy_(torch.cat([model.element.embedding.weight, model.first.unsqueeze(0)]))
    copy.lstm.load_state_dict(model.recurrence.network.state_dict())
    copy.project.load_state_dict(model.likelihood.project.state_dict())
    return copy


@torch.no_grad()
def chords_by_hand(model: ps.SequenceModel) -> ChordLSTM:
    """The same for chords."""
    copy = ChordLSTM(model.element.shape[0], model.recurrence.size).to(model.first.device)
    copy.first.copy_(model.first)
    copy.lstm.load_state_dict(model.recurrence.network.state_dict())
    copy.project.load_state_dict(model.likelihood.project.state_dict())
    copy.stop.load_state_dict(model.stop.project.state_dict())
    return copy

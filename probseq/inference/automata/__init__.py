"""Conditioning on what a whole sequence is like, by automata."""

from probseq.inference.automata.chain import Chain
from probseq.inference.automata.constrain import Constrained, constrain
from probseq.inference.automata.dfa import DFA
from probseq.inference.automata.regex import regex

__all__ = ["DFA", "Chain", "Constrained", "constrain", "regex"]

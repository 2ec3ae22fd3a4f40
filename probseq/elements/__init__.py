"""What one element of a sequence is, and how it is read back in."""

from probseq.elements.reals import Bits, Reals
from probseq.elements.record import Record
from probseq.elements.symbols import Choices, Tokens

__all__ = ["Bits", "Choices", "Reals", "Record", "Tokens"]

"""Published data as Sequences."""

from probseq.datasets.alphabet import Alphabet
from probseq.datasets.digits import Images, digits, mnist
from probseq.datasets.names import names
from probseq.datasets.words import words

__all__ = ["Alphabet", "Images", "digits", "mnist", "names", "words"]

"""Published data as Sequences."""

from probseq.datasets.alignment import align
from probseq.datasets.alphabet import Alphabet
from probseq.datasets.captions import Captions, captions, cardinal
from probseq.datasets.chorales import Chorales, chorales
from probseq.datasets.digits import Images, digits, mnist
from probseq.datasets.midi import piano_roll, read_midi, write_midi
from probseq.datasets.names import names
from probseq.datasets.polyphony import Rolls, jsb_chorales, nottingham
from probseq.datasets.pronunciations import Pronunciations, pronunciations
from probseq.datasets.sigmorphon import sigmorphon2020
from probseq.datasets.spellings import Spellings, aligned_cmudict, nettalk
from probseq.datasets.splits import Pairs, Texts
from probseq.datasets.vowels import Utterances, vowels
from probseq.datasets.words import words

__all__ = [
    "Alphabet",
    "Captions",
    "Chorales",
    "Images",
    "Pairs",
    "Pronunciations",
    "Rolls",
    "Spellings",
    "Texts",
    "Utterances",
    "align",
    "aligned_cmudict",
    "captions",
    "cardinal",
    "chorales",
    "digits",
    "jsb_chorales",
    "mnist",
    "names",
    "nettalk",
    "nottingham",
    "piano_roll",
    "pronunciations",
    "read_midi",
    "sigmorphon2020",
    "vowels",
    "words",
    "write_midi",
]

"""Published data as Sequences."""

from probseq.datasets.alignment import align
from probseq.datasets.alphabet import Alphabet
from probseq.datasets.captions import Captions, captions, cardinal
from probseq.datasets.chorales import Chorales, chorales
from probseq.datasets.digits import Images, digits, mnist
from probseq.datasets.m4 import Hourly, m4_hourly
from probseq.datasets.midi import piano_roll, read_midi, write_midi
from probseq.datasets.names import names
from probseq.datasets.parquet import Block, Parquet, Window, write_parquet
from probseq.datasets.polyphony import Rolls, jsb_chorales, nottingham
from probseq.datasets.pronunciations import Pronunciations, pronunciations
from probseq.datasets.sigmorphon import sigmorphon2020
from probseq.datasets.spellings import Spellings, aligned_cmudict, nettalk
from probseq.datasets.splits import Pairs, Texts
from probseq.datasets.strokes import Drawings, kanji
from probseq.datasets.tables import Columns, Panel, from_table, to_table
from probseq.datasets.timestamps import calendar
from probseq.datasets.vowels import Utterances, vowels
from probseq.datasets.words import words

__all__ = [
    "Alphabet",
    "Block",
    "Captions",
    "Chorales",
    "Columns",
    "Drawings",
    "Hourly",
    "Images",
    "Pairs",
    "Panel",
    "Parquet",
    "Pronunciations",
    "Rolls",
    "Spellings",
    "Texts",
    "Utterances",
    "Window",
    "align",
    "aligned_cmudict",
    "calendar",
    "captions",
    "cardinal",
    "chorales",
    "digits",
    "from_table",
    "jsb_chorales",
    "kanji",
    "m4_hourly",
    "mnist",
    "names",
    "nettalk",
    "nottingham",
    "piano_roll",
    "pronunciations",
    "read_midi",
    "sigmorphon2020",
    "to_table",
    "vowels",
    "words",
    "write_midi",
    "write_parquet",
]

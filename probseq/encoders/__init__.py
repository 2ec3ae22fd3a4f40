"""What becomes of a sequence that is known as a whole."""

from probseq.encoders.deep import Convolutional, Deep
from probseq.encoders.grid import GridEncoder
from probseq.encoders.recurrent import Bidirectional, Unidirectional

__all__ = ["Bidirectional", "Convolutional", "Deep", "GridEncoder", "Unidirectional"]

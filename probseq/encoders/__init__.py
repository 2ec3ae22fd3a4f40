"""What turns an x-sequence into features for each of its elements, and into a summary."""

from probseq.encoders.grid import GridEncoder

__all__ = ["GridEncoder"]

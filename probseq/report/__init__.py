"""A trained model on one page of pictures."""

from probseq.report.page import page, write

__all__ = ["page", "write"]

"""A trained model on one page of pictures."""

from probseq.report.page import page

__all__ = ["page"]

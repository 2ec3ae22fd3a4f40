"""Links from the pages to files of the repository that are not pages: their text stays, as code has no page here."""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[words](../experiments/x/README.md)` as the words and the place in the repository."""
    return re.sub(r"\[([^\]]+)\]\(\.\./(experiments/[^)]+)\)", r"\1 (`\2`)", markdown)

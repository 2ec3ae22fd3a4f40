"""Run the python blocks of a page in order, as its reader would: `python blocks.py PAGE`."""

import re
import sys
from pathlib import Path

page = Path(sys.argv[1])
names: dict[str, object] = {"__name__": "__main__"}
for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
    exec(compile(block, str(page), "exec"), names)

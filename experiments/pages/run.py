"""How large are reports, and how fast does a browser open them?"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments.report import destination, table, write
from probseq import report

TARGETS = {"bytes": 5e6, "seconds": 2.0}
OPENED = 3
"""Times that each page is opened in a new window; the median counts."""


def cases(count: int) -> dict[str, tuple[ps.SequenceModel, Any]]:
    """Models with `count` sequences: of symbols, of vectors, with attention, of pictures."""
    torch.manual_seed(0)
    letters = ps.recipes.language_model(26, size=64)
    vectors = ps.SequenceModel(ps.Reals(3), ps.GRU(32), ps.Gaussian(), ps.FixedLength(100))
    pairs = ps.recipes.seq2seq(26, 26, size=32)
    x = letters.sample(count, max_length=40, generator=1)
    pictures = ps.recipes.image_model(12, 12, size=16)
    return {
        "symbols": (letters, letters.sample(count, max_length=60, generator=0)),
        "vectors": (vectors, vectors.sample(count, generator=0)),
        "attention": (pairs, (pairs.sample(1, x, max_length=40, generator=0), x)),
        "pictures": (pictures, pictures.sample(min(count, 100), generator=0)),
    }


def look(path: Path, browser: Any) -> tuple[list[float], list[str]]:
    """Seconds until the page and all in it is there, and what it says to the console."""
    seconds, said = [], []
    for _ in range(OPENED):
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        begin = time.perf_counter()
        page.goto(path.as_uri(), wait_until="load")
        seconds.append(time.perf_counter() - begin)
        for tab in page.query_selector_all("[role=tab]"):
            tab.click()
        context.close()
    return seconds, said


def main() -> None:
    """Write, open, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small pages, into a temporary folder")
    options = parser.parse_args()
    folder = destination(__file__, options.smoke)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, (model, data) in cases(30 if options.smoke else 500).items():
            begin = time.perf_counter()
            path = Path(place, f"{name}.html")
            path.write_text(report.page(model, data, title=name), encoding="utf-8")
            found[name] = {"bytes": path.stat().st_size, "seconds_to_make": round(time.perf_counter() - begin, 2)}
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if chromium is None:
            print("there is no Chromium: pages were made, and not opened")
        else:
            from playwright.sync_api import sync_playwright

            with sync_playwright() as run:
                browser = run.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                for name in found:
                    seconds, said = look(Path(place, f"{name}.html"), browser)
                    found[name] |= {"seconds_to_open": round(statistics.median(seconds), 3), "console": said}
                browser.close()
    met = all(
        each["bytes"] <= TARGETS["bytes"] and each.get("seconds_to_open", 0) <= TARGETS["seconds"]
        and not each.get("console")
        for each in found.values()
    )  # fmt: skip
    write({"question": __doc__, "targets": TARGETS, "targets_met": met, "pages": found}, folder)
    head = ["page", "bytes", "seconds to make", "seconds to open", "console"]
    rows = [
        [name, each["bytes"], each["seconds_to_make"], each.get("seconds_to_open", ""), len(each.get("console", []))]
        for name, each in found.items()
    ]
    print(table(head, rows), f"\ntargets met: {met}, in {folder}")


if __name__ == "__main__":
    main()

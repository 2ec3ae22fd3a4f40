"""Draw the pictures of graph.md: `python docs/graphs.py`."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

import probseq as ps

FOLDER = Path(__file__).parent / "img"

Y, ALONE = ps.Tokens(9), ps.Tokens(9, feedback=False)
NET, LAW, LONG = ps.LSTM(8), ps.Categorical(), ps.FixedLength(9)
X = ps.Reals(3)

KINDS = {
    "hidden-to-hidden recurrence": (Y, NET, LAW, LONG),
    "output-to-hidden recurrence only: Memoryless": (Y, ps.Memoryless(8), LAW, LONG),
    "a window: CausalConv(window=2)": (Y, ps.CausalConv(8, window=2), LAW, LONG),
    "no feedback": (ALONE, NET, LAW, ps.AlignedLength(), ps.Aligned(X)),
    "deep: layers=2": (Y, ps.LSTM(8, layers=2), LAW, LONG),
    "deep: Stack(…, skip=True)": (Y, ps.Stack((ps.LSTM(8), ps.LSTM(8)), skip=True), LAW, LONG),
}

CONTEXTS = {
    "vector x as input": (Y, NET, LAW, LONG, ps.Vector(3, enters="input")),
    "vector x as initial state": (Y, NET, LAW, LONG, ps.Vector(3, enters="state")),
    "x-sequence, with output feedback": (Y, NET, LAW, ps.AlignedLength(), ps.Aligned(X)),
    "a vector and an x-sequence": (Y, NET, LAW, ps.AlignedLength(), (ps.Vector(3, enters="input"), ps.Aligned(X))),
    "bidirectional": (ALONE, ps.Memoryless(8), LAW, ps.AlignedLength(), ps.Aligned(X, ps.Bidirectional(NET))),
    "encoder–decoder": (Y, NET, LAW, ps.EndSymbol(), ps.Source(X, ps.Unidirectional(NET))),
}

ENDS = {
    "EndSymbol, BernoulliStop": (Y, NET, LAW, ps.EndSymbol()),
    "LengthStop, given x": (Y, NET, LAW, ps.LengthStop(9), ps.Vector(3, enters="state")),
    "PlannedLength": (Y, NET, LAW, ps.PlannedLength(9)),
    "PlannedLength(remaining=False)": (Y, NET, LAW, ps.PlannedLength(9, remaining=False)),
}

GRIDS = {
    "Grid(2, 2, …, window=0): raster order": (Y, ps.Grid(2, 2, 8, window=0), LAW, ps.FixedLength(4)),
    "GridEncoder(2, 2, …), four directions": (
        ALONE, ps.Memoryless(8), LAW, ps.AlignedLength(), ps.Aligned(X, ps.GridEncoder(2, 2, 8)),
    ),
}  # fmt: skip

TITLE = 30
"""The height of a title, in pixels."""


def picture(parts: tuple, folded: bool, steps: int) -> Image.Image:
    """One graph."""
    buffer = io.BytesIO()
    ps.graph.draw(ps.SequenceModel(*parts), steps, folded=folded).savefig(buffer, dpi=100, format="png")
    return Image.open(buffer).convert("RGB")


def sheet(assemblies: dict[str, tuple], path: Path, columns: int = 2, steps: int = 3) -> None:
    """Each assembly folded out, and folded beside it."""
    pairs = [(picture(parts, False, steps), picture(parts, True, steps)) for parts in assemblies.values()]
    wide = [max(pair[i].width for pair in pairs) for i in (0, 1)]
    high = [
        TITLE + max(each.height for pair in pairs[n : n + columns] for each in pair)
        for n in range(0, len(pairs), columns)
    ]
    page = Image.new("RGB", (columns * sum(wide), sum(high)), "white")
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), 14)
    for n, (name, pair) in enumerate(zip(assemblies, pairs, strict=True)):
        row, column = divmod(n, columns)
        left, top = column * sum(wide), sum(high[:row])
        ImageDraw.Draw(page).text((left + sum(wide) / 2, top + TITLE / 2), name, "black", font, anchor="mm")
        for one, start in zip(pair, (left, left + wide[0]), strict=True):
            page.paste(one, (start, top + high[row] - one.height))
    page.quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    sheet(KINDS, FOLDER / "graph_kinds.png")
    sheet(CONTEXTS, FOLDER / "graph_contexts.png")
    sheet(ENDS, FOLDER / "graph_ends.png")
    sheet(GRIDS, FOLDER / "graph_grids.png", columns=1, steps=4)

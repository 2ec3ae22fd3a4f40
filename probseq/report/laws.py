"""Sections on what holds over all sequences: lengths and calibration."""

from __future__ import annotations

import torch

import probseq.inference as engines
from probseq.report.html import figure, number, paragraph, table
from probseq.report.subject import Subject
from probseq.report.svg import Line, bars, lines

BARS = 40
"""Bars of a histogram, at most."""

ROWS = 64
"""Rows of the context over which the law of the length is averaged."""


def lengths(subject: Subject) -> str:
    """How long the data are, and how long the model makes sequences."""
    longest = int(subject.y.lengths.max())
    _, x = subject.first(ROWS)
    found = engines.lengths(subject.model, longest, x, generator=subject.seed)
    law = found.pmf.double().mean(0)
    width = -(-(longest + 1) // BARS)
    edges = [float(t) for t in range(0, longest + 1 + width, width)]
    counts = torch.bincount(subject.y.lengths, minlength=longest + 1).double() / len(subject.y)

    def binned(values: torch.Tensor) -> list[float]:
        padded = torch.cat([values, values.new_zeros(width * (len(edges) - 1) - len(values))])
        return padded.reshape(-1, width).sum(1).tolist()

    heights, smooth = binned(counts), binned(law)
    centres = [edge + width / 2 for edge in edges[:-1]]
    title = "Lengths of the data, and their law in the model"
    picture = bars(title, "elements", "share", heights, edges, Line("model", centres, smooth))
    rows = [[int(a), h, s] for a, h, s in zip(edges, heights, smooth, strict=False)]
    cut = float(found.truncated[0].double().mean())
    certificate = str(engines.tightness(subject.model, x))
    said = paragraph(
        f"P(more than {longest} elements) = {number(cut)} under the model.",
        f"Whether sequences end for certain: {certificate}.",
    )
    return said + figure(picture, title, table(["from", "data", "model"], rows, "Shares by length"))


def calibration(subject: Subject) -> str:
    """Tests that can reject the model, and pictures of where it is wrong."""
    found = subject.evaluation
    verdict = "is rejected" if found.rejected else "is not rejected"
    said = paragraph(
        f"All tests together: p = {number(found.p_value)}. At {found.level:.0%} the model {verdict}:",
        "could these sequences be its own draws? A model that is right is rejected that often by chance.",
    )
    rows = [[test.name, test.p_value] for test in sorted(found.tests, key=lambda test: test.p_value)]
    rows += [[name, f"not tested: {why}"] for name, why in found.skipped.items()]
    return said + table(["what was looked at", "p"], rows, "Each test") + _reliability(subject) + _ranks(subject)


def _reliability(subject: Subject) -> str:
    found = subject.evaluation.reliability
    if found is None:
        return ""
    kept = (found.count > 0).nonzero().squeeze(-1)
    p, share, spread, count = (
        column[kept].tolist() for column in (found.probability, found.frequency, found.deviation, found.count)
    )
    low, high = (
        [a - 2 * d for a, d in zip(p, spread, strict=True)],
        [a + 2 * d for a, d in zip(p, spread, strict=True)],
    )
    curves = [
        Line("what came, by what was said", p, share),
        Line("chance alone, two deviations", p, p, low, high),
    ]
    title = "Reliability: of all symbols that were given a probability p, the share that came"
    picture = lines(title, "p", "share that came", curves, diagonal=True, points=True)
    said = f"Expected calibration error {number(found.error)}; chance alone would make {number(found.chance)}."
    numbers = table(["p", "came", "deviation", "count"], zip(p, share, spread, count, strict=True), "By p")
    return figure(picture, f"{title}. {said}", numbers)


def _ranks(subject: Subject) -> str:
    """Histograms of what is uniform if the model is right."""
    body = []
    for name, ranks in list(subject.evaluation.pit.items())[:5]:
        if len(ranks) < 20:
            continue
        count = 20 if len(ranks) >= 200 else 10
        heights = (torch.histc(ranks.float(), count, 0, 1) * count / len(ranks)).tolist()
        edges = [i / count for i in range(count + 1)]
        title = f"Ranks of {name}: flat if the model is right"
        picture = bars(title, "rank among the model's own", "density", heights, edges, Line("flat", [0, 1], [1, 1]))
        rows = [[a, height] for a, height in zip(edges, heights, strict=False)]
        body.append(figure(picture, title, table(["from", "density"], rows, "By rank")))
    return "".join(body)

"""How fast are training and search beside JoeyNMT, on the same words, at the same sizes?"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments.peers.joey import Clock
from experiments.report import destination, table, write
from experiments.transduction import judge
from probseq.datasets import Pronunciations, pronunciations

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-peers" / "bin" / "python"
ABSENT = "Skipped: JoeyNMT is not installed in .venv-peers. The README has the command."
TARGETS = {"train": 2.0, "decode": 3.0}


@dataclass(frozen=True)
class Settings:
    """The words, the sizes, which are those of `pronounce`, and how often is measured.

    Args:
        pairs, words: to train on in an epoch, and to search answers for.
        embedding: of letters and of phonemes.
        size: of the encoder's LSTM in each direction; the decoder's has twice that.
        epochs: that are timed, after one that is not; the models that are searched have seen so many.
        searches: that are timed, after one that is not.
    """

    pairs: int
    words: int
    embedding: int = 64
    size: int = 128
    batch_size: int = 32
    width: int = 5
    max_length: int = 30
    epochs: int = 6
    searches: int = 6
    learning_rate: float = 1e-3
    seed: int = 0


FULL = Settings(pairs=3200, words=512)
SMOKE = Settings(pairs=64, words=16, embedding=8, size=8, batch_size=16, epochs=1, searches=1)

Pair = tuple[list[int], list[int]]
"""The tokens of a word and those of its phonemes."""


@dataclass(frozen=True)
class Work:
    """What both are given: batches of pairs, and batches of words with their references."""

    batches: list[list[Pair]]
    words: list[list[list[int]]]
    references: list[list[list[int]]]


def share(data: Pronunciations, settings: Settings) -> Work:
    """Training pairs in random order, and validation words, the longest first, in batches."""
    chance = random.Random(settings.seed)
    train: list[Pair] = [
        (data.train.x[i].tolist(), data.train.y[i].tolist())  # type: ignore[union-attr]
        for i in chance.sample(range(len(data.train.y)), settings.pairs)
    ]
    words = chance.sample(sorted(data.validation_references), settings.words)
    words.sort(key=lambda word: -len(word))
    number = {phoneme: i for i, phoneme in enumerate(data.phonemes)}
    references = [[[number[p] for p in spoken] for spoken in data.validation_references[word]] for word in words]
    tokens = [row.tolist() for row in data.letters.encode(words)]
    return Work(batched(train, settings.batch_size), batched(tokens, settings.batch_size), references)


def batched(items: list[Any], size: int) -> list[list[Any]]:
    """In order, `size` at a time."""
    return [items[i : i + size] for i in range(0, len(items), size)]


class Ours:
    """This project's model, trained and searched as JoeyNMT's is.

    The training loop is the plainest one: batches that are ready, a fused Adam, the norm of the gradient clipped.
    """

    def __init__(self, data: Pronunciations, work: Work, settings: Settings, feed: bool) -> None:
        torch.manual_seed(settings.seed)
        letters = ps.Tokens(len(data.letters), settings.embedding)
        self.model = ps.SequenceModel(
            ps.Tokens(len(data.phonemes), settings.embedding),
            ps.Attentive(ps.LSTM(2 * settings.size), score="general", feed=feed),
            ps.Categorical(),
            ps.EndSymbol(),
            ps.Source(letters, ps.Bidirectional(ps.LSTM(settings.size)), enters="state"),
        )
        self.settings, self.parameters = settings, sum(p.numel() for p in self.model.parameters())
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate, fused=True)
        self.batches = [tuple(ps.Sequences.of(side) for side in zip(*pairs, strict=True)) for pairs in work.batches]
        self.words = [ps.Sequences.of(words) for words in work.words]

    def train(self) -> dict[str, Any]:
        """An epoch: seconds of wall and processor, and nats a sequence."""
        self.model.train()
        total, count, begin = 0.0, 0, Clock()
        for x, y in self.batches:
            self.optimiser.zero_grad()
            loss = -self.model.log_prob(y, x).sum()
            (loss / len(y)).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            total, count = total + loss.item(), count + len(y)
        return {**begin.elapsed(), "nats": total / count}

    def decode(self) -> dict[str, Any]:
        """Seconds for the likeliest answers by beam search, and the answers, in the order of the words."""
        self.model.eval()
        found: list[ps.Sequences] = []
        begin = Clock()
        with torch.no_grad():
            for x in self.words:
                found.append(
                    ps.beam(self.model, x, width=self.settings.width, max_length=self.settings.max_length).best()
                )
        return {**begin.elapsed(), "answers": [row.tolist() for y in found for row in y]}


class Theirs:
    """JoeyNMT in a process of its own, which waits while it is not asked."""

    def __init__(self, process: Any, task: Path) -> None:
        self.process = process
        ready = self._ask(str(task))
        self.parameters, self.torch = ready["parameters"], ready["torch"]

    def train(self) -> dict[str, Any]:
        """As `Ours.train`."""
        return self._ask("train")

    def decode(self) -> dict[str, Any]:
        """As `Ours.decode`."""
        return self._ask("decode")

    def _ask(self, line: str) -> dict[str, Any]:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"JoeyNMT ended with {self.process.wait()} when asked {line!r}; see its message above.")
        return json.loads(answer)


@contextmanager
def joey(data: Pronunciations, work: Work, settings: Settings, feed: bool) -> Iterator[Theirs]:
    """JoeyNMT with the same work, on one thread."""
    task = {
        **asdict(settings), "feed": feed, "letters": len(data.letters), "phonemes": len(data.phonemes),
        "batches": work.batches, "words": work.words,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        path.write_text(json.dumps(task))
        process = subprocess.Popen(
            [str(PYTHON), str(HERE / "joey.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            yield Theirs(process, path)
        finally:
            process.terminate()
            process.wait()


def compare(data: Pronunciations, work: Work, settings: Settings, feed: bool) -> dict[str, Any]:
    """Epochs in turn, then searches in turn; the first of each is not counted."""
    with joey(data, work, settings, feed) as theirs:
        ours = Ours(data, work, settings, feed)
        rounds = settings.epochs + 1, settings.searches + 1
        epochs = [(ours.train(), theirs.train()) for _ in range(rounds[0])][1:]
        searches = [(ours.decode(), theirs.decode()) for _ in range(rounds[1])][1:]
        found: dict[str, Any] = {"feed": feed, "parameters": {"ours": ours.parameters, "theirs": theirs.parameters}}
        found["torch"] = {"ours": torch.__version__, "theirs": theirs.torch}
    for name, pairs in (("train", epochs), ("decode", searches)):
        found[name] = {"target": TARGETS[name], **ratios(pairs, "processor"), "wall": ratios(pairs, "wall")}
    last, answers = epochs[-1], searches[-1]
    found["nats"] = {"ours": last[0]["nats"], "theirs": last[1]["nats"]}
    for side, answer in zip(("ours", "theirs"), answers, strict=True):
        judged = judge(answer["answers"], work.references)
        wrong = 1 - float(judged.right.double().mean())
        length = sum(map(len, answer["answers"])) / len(answer["answers"])
        found[f"answers_of_{side}"] = {"wrong": wrong, "mean_length": length}
    return found


def ratios(pairs: list[tuple[dict[str, Any], dict[str, Any]]], kind: str) -> dict[str, float]:
    """Median seconds of both, and theirs over ours: median, least and greatest over the rounds."""
    seconds = [(ours[kind], theirs[kind]) for ours, theirs in pairs]
    each = sorted(theirs / ours for ours, theirs in seconds)
    return {
        "ours_seconds": median(ours for ours, _ in seconds), "theirs_seconds": median(theirs for _, theirs in seconds),
        "ratio": median(each), "least": each[0], "greatest": each[-1],
    }  # fmt: skip


def show(rows: list[dict[str, Any]]) -> str:
    """The results as a table."""
    cells = []
    for row in rows:
        for name in ("train", "decode"):
            one = row[name]
            shown = [one[key] for key in ("ours_seconds", "theirs_seconds", "ratio", "least", "greatest")]
            shown += [one["wall"]["ratio"], one["target"]]
            feed = "with" if row["feed"] else "without"
            cells.append([f"{name}, {feed} input feeding", *shown])
    return table(["", "probseq (s)", "JoeyNMT (s)", "JoeyNMT / probseq", "least", "greatest", "wall", "target"], cells)


def main() -> None:
    """Measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    arguments = parser.parse_args()
    if not PYTHON.exists():
        print(ABSENT)
        return
    torch.set_num_threads(1)
    settings = SMOKE if arguments.smoke else FULL
    data = pronunciations()
    work = share(data, settings)
    rows = [compare(data, work, settings, feed) for feed in (False, True)]
    folder = destination(__file__, arguments.smoke)
    write({"question": __doc__, "joeynmt": "2.3.0", "settings": asdict(settings), "rows": rows}, folder)
    print(f"{show(rows)}\n\nin {folder}")


if __name__ == "__main__":
    main()

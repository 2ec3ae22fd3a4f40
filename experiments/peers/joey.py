"""JoeyNMT's side of the comparison: a model of given sizes, trained and searched on command.

It runs in an environment of its own, and imports nothing of this project. The first line that it reads names a task in
JSON (see `run.py`); each further one is "train" or "decode", and is answered by a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

UNKNOWN, PAD, BEGIN, END = range(4)
SPECIAL = SimpleNamespace(
    unk_id=UNKNOWN, pad_id=PAD, bos_id=BEGIN, eos_id=END, unk_token="<unk>", pad_token="<pad>", bos_token="<s>",
    eos_token="</s>", sep_id=None, sep_token=None, lang_tags=[],
)  # fmt: skip
FIRST = 4
"""Symbol i of the task is i + 4 here."""


class Clock:
    """Seconds since it was made, of the wall and of the processor."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def elapsed(self) -> dict[str, float]:
        """Both, by name."""
        return {"wall": time.perf_counter() - self.wall, "processor": time.process_time() - self.processor}


def build(task: dict[str, Any]) -> Any:
    """The untrained model."""
    from joeynmt.model import build_model  # type: ignore[import-not-found]
    from joeynmt.vocabulary import Vocabulary  # type: ignore[import-not-found]

    shared = {"type": "recurrent", "rnn_type": "lstm", "num_layers": 1, "dropout": 0.0}
    embeddings = {"embedding_dim": task["embedding"], "dropout": 0.0}
    encoder = {**shared, "embeddings": embeddings, "hidden_size": task["size"], "bidirectional": True}
    decoder = {
        **shared, "embeddings": embeddings, "hidden_size": 2 * task["size"], "hidden_dropout": 0.0,
        "attention": "luong", "input_feeding": task["feed"], "init_hidden": "bridge",
    }  # fmt: skip
    vocabularies = [Vocabulary([str(i) for i in range(task[name])], SPECIAL) for name in ("letters", "phonemes")]
    torch.manual_seed(task["seed"])
    model = build_model({"encoder": encoder, "decoder": decoder}, *vocabularies)
    model.loss_function = ("crossentropy", 0.0)
    return model


def rectangle(rows: list[list[int]]) -> torch.Tensor:
    """Rows of tokens, padded on the right."""
    width = max(map(len, rows))
    return torch.tensor([[i + FIRST for i in row] + [PAD] * (width - len(row)) for row in rows])


def batches(task: dict[str, Any]) -> list[Any]:
    """The training batches; within one, the longest source first, as packing asks for."""
    from joeynmt.batch import Batch  # type: ignore[import-not-found]

    made = []
    for pairs in task["batches"]:
        pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
        y = [[BEGIN - FIRST, *spoken, END - FIRST] for _, spoken in pairs]
        lengths = torch.tensor([len(word) for word, _ in pairs])
        x, everyone, device = rectangle([word for word, _ in pairs]), torch.arange(len(pairs)), torch.device("cpu")
        made.append(Batch(x, lengths, None, rectangle(y), None, everyone, device, PAD, END))
    return made


def train(model: Any, optimiser: Any, clip: Any, every: list[Any]) -> dict[str, Any]:
    """An epoch: seconds of wall and processor, and nats a sequence."""
    model.train()
    total, begin = 0.0, Clock()
    for batch in every:
        optimiser.zero_grad()
        loss, *_ = model(return_type="loss", **vars(batch))
        (loss / batch.nseqs).backward()
        clip(model.parameters())
        optimiser.step()
        total += loss.item()
    return {**begin.elapsed(), "nats": total / sum(batch.nseqs for batch in every)}


@torch.no_grad()
def decode(model: Any, task: dict[str, Any]) -> dict[str, Any]:
    """Seconds for the likeliest answers by beam search, and the answers, in the order of the words."""
    from joeynmt.search import beam_search  # type: ignore[import-not-found]

    model.eval()
    found: list[list[int]] = []
    begin = Clock()
    for words in task["words"]:
        x, lengths = rectangle(words), torch.tensor([len(word) for word in words])
        mask = (x != PAD).unsqueeze(1)
        encoded, hidden, _, _ = model(return_type="encode", src=x, src_length=lengths, src_mask=mask)
        rows, _, _ = beam_search(
            model, task["width"], encoded, hidden, mask, task["max_length"], alpha=0.0, n_best=1, generate_unk=True
        )
        found += rows.tolist()
    return {**begin.elapsed(), "answers": [symbols(row) for row in found]}


def symbols(row: list[int]) -> list[int]:
    """The tokens before the end as symbols of the task; −1 for one that is none."""
    before = row[: row.index(END)] if END in row else row
    return [token - FIRST if token >= FIRST else -1 for token in before if token != PAD]


def main() -> None:
    """Answer until there are no more commands."""
    from joeynmt.builders import build_gradient_clipper, build_optimizer  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    task = json.loads(Path(sys.stdin.readline().strip()).read_text())
    model, every = build(task), batches(task)
    optimiser = build_optimizer({"optimizer": "adam", "learning_rate": task["learning_rate"]}, model.parameters())
    clip = build_gradient_clipper({"clip_grad_val": None, "clip_grad_norm": 1.0})
    ready = {"parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}
    print(json.dumps(ready), flush=True)
    for command in sys.stdin:
        answer = train(model, optimiser, clip, every) if command.strip() == "train" else decode(model, task)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

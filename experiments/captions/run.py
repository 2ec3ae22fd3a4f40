"""Can a picture be the fixed vector x of a sequence model, and where should it enter?"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import matplotlib
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
matplotlib.use("Agg")

import matplotlib.pyplot as plt

import probseq as ps
from experiments.report import destination, table, write
from probseq.datasets import Captions, captions, cardinal

NUMBERS = [cardinal(number) for number in range(100)]
LONGEST = max(map(len, NUMBERS))


@dataclass(frozen=True)
class Size:
    """How many pairs of digits there are for each purpose, and how long is trained, with how many seeds.

    Args:
        named: of how many test pictures the probability of all 100 names is computed.
    """

    pairs: tuple[int, int, int]
    epochs: int
    seeds: int
    named: int


FULL = Size(pairs=(20_000, 1_000, 2_000), epochs=6, seeds=3, named=200)
SMOKE = Size(pairs=(400, 100, 100), epochs=1, seeds=1, named=10)

WAYS: dict[str, Any] = {
    "input": ps.Vector(128, enters="input"),
    "state": ps.Vector(128, enters="state"),
    "both": ps.Vector(128, enters="both"),
    "columns": ps.Source(ps.Reals(8), ps.Bidirectional(ps.LSTM(32)), enters="both"),
}
"""128 pixels as the vector x, entering in one of three ways; or read by an encoder, a column after the other."""


def picture(way: str, x: Any) -> Tensor:
    """Pixels (n, 128) as the model takes them: as they are, or as 16 columns of 8."""
    return x.reshape(-1, 8, 16).transpose(1, 2).contiguous() if way == "columns" else x


def fit(way: str, data: Captions, epochs: int, seed: int) -> tuple[Any, Any]:
    """A fitted model and what its training came to."""
    torch.manual_seed(seed)
    model = ps.SequenceModel(
        ps.Tokens(len(data.letters), dim=16), ps.LSTM(96, dropout=0.3), ps.Categorical(), ps.EndSymbol(), WAYS[way]
    )
    train, validation = ((part.y, picture(way, part.x)) for part in (data.train, data.validation))
    outcome = ps.fit(
        model, train, validation, max_epochs=epochs, batch_size=64, batch_tokens=None, learning_rate=6e-3,
        schedule="cosine", seed=seed, progress=False,
    )  # fmt: skip
    return model, outcome


@torch.no_grad()
def greedy(model: Any, x: Tensor) -> ps.Sequences:
    """The caption that takes the most probable letter, or the end, at every step."""
    state = model.start(x)
    going = torch.ones(len(x), dtype=torch.bool)
    columns, lengths = [], torch.zeros(len(x), dtype=torch.int64)
    for _ in range(LONGEST):
        step = model.emit(state.features, state.position, state.context)
        best, letter = step.element.logits.log_softmax(-1).max(-1)
        going &= step.log_go + best >= step.log_stop
        lengths += going
        columns.append(letter)
        state = model.extend(state, letter.unsqueeze(1))[1]
    return ps.Sequences(torch.stack(columns, 1), lengths)


@torch.no_grad()
def named(model: Any, data: Captions, x: Tensor) -> Tensor:
    """log P of each of the 100 names of each picture, (n, 100)."""
    names = data.letters.encode(NUMBERS)
    rows = torch.arange(100)
    found = []
    for some in x.split(10):
        y = names.select(rows.repeat(len(some)))
        found.append(model.log_prob(y, some.repeat_interleave(100, 0)).view(-1, 100))
    return torch.cat(found)


@torch.no_grad()
def examine(way: str, model: Any, data: Captions, size: Size) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is measured of one fitted model on the test pairs, and what the figures show of it."""
    y, x = data.test.y, picture(way, data.test.x)
    truth = data.letters.decode(y)
    own = model.log_prob(y, x)
    best = greedy(model, x)
    texts = data.letters.decode(best)
    confidence = model.log_prob(best, x)
    right = torch.tensor([text == true for text, true in zip(texts, truth, strict=True)])
    some = named(model, data, x[: size.named])
    number = torch.tensor([NUMBERS.index(text) for text in truth[: size.named]])
    row = {
        "nats": float(-own.mean()),
        "exact_match": float(right.float().mean()),
        "confidence": float(confidence.exp().mean()),
        "calibration_error": calibration_error(confidence.exp(), right),
        "greedy_is_a_name": float(torch.tensor([text in NUMBERS for text in texts]).float().mean()),
        "mass_on_names": float(some.logsumexp(1).exp().mean()),
        "best_name_match": float((some.argmax(1) == number).float().mean()),
        "greedy_match_on_the_same": float(right[: size.named].float().mean()),
    }
    seen = {"truth": truth, "texts": texts, "own": own, "confidence": confidence, "right": right}
    return row, seen


def bins(probability: Tensor, right: Tensor, count: int = 10) -> list[tuple[float, float, int]]:
    """Mean probability, share right, and number, in `count` bins of equal width that are not empty."""
    place = (probability * count).long().clamp(max=count - 1)
    every = ((place == i).nonzero().squeeze(-1) for i in range(count))
    return [(float(probability[i].mean()), float(right[i].float().mean()), len(i)) for i in every if len(i)]


def calibration_error(probability: Tensor, right: Tensor) -> float:
    """Σ over bins of (their share) · |mean probability − share right|."""
    return sum(n * abs(p - share) for p, share, n in bins(probability, right)) / len(right)


def digits(data: Captions, part: Any) -> tuple[Tensor, Tensor]:
    """Both halves of each picture (2n, 64), and the digit on each (2n,)."""
    halves = part.x.reshape(-1, 8, 2, 8).transpose(1, 2).reshape(-1, 64)
    number = torch.tensor([NUMBERS.index(text) for text in data.letters.decode(part.y)])
    return halves, torch.stack([number // 10, number % 10], 1).flatten()


def baselines(data: Captions) -> dict[str, dict[str, float]]:
    """What is known without a picture, and with one cut in two by hand and given to a softmax regression."""
    from sklearn.linear_model import LogisticRegression

    (train_x, train_y), (test_x, test_y) = digits(data, data.train), digits(data, data.test)
    share = torch.bincount(train_y.view(-1, 2) @ torch.tensor([10, 1]), minlength=100).float() / (len(train_y) // 2)
    prior = share.clamp(min=1e-9).log()[test_y.view(-1, 2) @ torch.tensor([10, 1])]
    kept = slice(0, 6_000)
    regression = LogisticRegression(max_iter=200).fit(train_x[kept].numpy(), train_y[kept].numpy())
    log_prob = torch.as_tensor(regression.predict_log_proba(test_x.numpy()))
    right = (log_prob.argmax(-1) == test_y).view(-1, 2).all(-1)
    own = log_prob.gather(1, test_y.unsqueeze(1)).view(-1, 2).sum(-1)
    return {
        "no picture": {"nats": float(-prior.mean()), "exact_match": float(share.max())},
        "regression on halves": {"nats": float(-own.mean()), "exact_match": float(right.float().mean())},
    }


def mean_error(values: list[float]) -> tuple[float, float]:
    """A mean over seeds and its standard error, 0 for one seed."""
    found = torch.tensor(values, dtype=torch.float64)
    return float(found.mean()), float(found.std() / len(found) ** 0.5) if len(found) > 1 else 0.0


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Each figure as mean and standard error over seeds."""
    keys = [key for key, value in runs[0].items() if isinstance(value, float)]
    return {key: dict(zip(("mean", "error"), mean_error([run[key] for run in runs]), strict=True)) for key in keys}


def show(results: dict[str, Any]) -> str:
    """The results as a table."""
    head = ["x enters by", "nats/caption", "±", "exact match", "±", "calibration error", "mass on names"]
    rows = []
    for name, row in {**results["baselines"], **results["models"]}.items():
        cells = [row["summary"].get(key, {"mean": math.nan, "error": math.nan}) for key in ("nats", "exact_match")]
        more = [row["summary"].get(key, {"mean": math.nan})["mean"] for key in ("calibration_error", "mass_on_names")]
        rows.append([name, *(cell[key] for cell in cells for key in ("mean", "error")), *more])
    return table(head, rows)


def draw_captions(data: Captions, seen: dict[str, Any], folder: Path) -> None:
    """Test pictures with their greedy captions: the first ones, then the first that are wrong."""
    wrong = (~seen["right"]).nonzero().squeeze(-1).tolist()[:6]
    chosen = [*range(6), *wrong]
    figure, axes = plt.subplots(2, 6, figsize=(13, 4.6), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    x: Any = data.test.x
    for axis, i in zip(axes.flat, chosen, strict=False):
        axis.imshow(x[i].reshape(8, 16), cmap="gray_r")
        title = f"{seen['texts'][i]}\nlog P = {float(seen['confidence'][i]):.2f}"
        if not seen["right"][i]:
            title += f"\n({seen['truth'][i]}: {float(seen['own'][i]):.2f})"
        axis.set_title(title, fontsize="medium", color="black" if seen["right"][i] else "C3")
    figure.suptitle("Greedy captions of test pictures: the first six, and the first six that are wrong (truth below)")
    figure.savefig(folder / "captions.png", dpi=100)
    plt.close(figure)


def draw_calibration(seen: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """P of the greedy caption against how often it is right, all seeds together."""
    figure, axis = plt.subplots(figsize=(5.6, 5), layout="constrained")
    axis.plot([0, 1], [0, 1], color="black", lw=1)
    for way, runs in seen.items():
        probability = torch.cat([run["confidence"].exp() for run in runs])
        right = torch.cat([run["right"] for run in runs])
        found = bins(probability, right)
        p, share, n = (torch.tensor(column, dtype=torch.float64) for column in zip(*found, strict=True))
        axis.errorbar(p, share, (share * (1 - share) / n).sqrt(), fmt="o-", ms=4, capsize=2, label=way)
    axis.set(xlabel="P(greedy caption | picture)", ylabel="share of these captions that are right")
    axis.set_title("Held-out captions, in bins of 0.1 (bars: one standard error)", fontsize="medium")
    axis.legend(frameon=False, title="x enters by")
    figure.savefig(folder / "calibration.png", dpi=100)
    plt.close(figure)


def study(size: Size) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], Captions]:
    """Every way with every seed: the results, what the figures show, and the first seed's data."""
    models: dict[str, list[Any]] = {way: [] for way in WAYS}
    seen: dict[str, list[Any]] = {way: [] for way in WAYS}
    simple: list[Any] = []
    first = None
    for seed in range(size.seeds):
        data = captions(size.pairs, seed)
        first = first or data
        simple.append(baselines(data))
        for way in WAYS:
            begin = time.process_time()
            model, outcome = fit(way, data, size.epochs, seed)
            seconds = time.process_time() - begin
            row, found = examine(way, model, data, size)
            weights = sum(parameter.numel() for parameter in model.parameters())
            more = {"seed": seed, "best_epoch": outcome.epoch, "weights": weights, "fit_seconds": round(seconds)}
            models[way].append(row | more)
            seen[way].append(found)
            print(
                f"seed {seed}, {way}: {row['nats']:.3f} nats, {row['exact_match']:.3f} right, {seconds:.0f} s",
                flush=True,
            )
    results = {
        "baselines": {name: {"summary": summary([run[name] for run in simple])} for name in simple[0]},
        "models": {way: {"summary": summary(runs), "runs": runs} for way, runs in models.items()},
    }
    return results, seen, first  # type: ignore[return-value]


def main() -> None:
    """Fit, measure, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.process_time()
    size = SMOKE if arguments.smoke else FULL
    results, seen, data = study(size)
    folder = destination(__file__, arguments.smoke)
    draw_captions(data, seen["both"][0], folder)
    draw_calibration(seen, folder)
    content = {
        "question": __doc__, "seeds": list(range(size.seeds)), "size": vars(size), **results,
        "processor_seconds": round(time.process_time() - begin),
    }  # fmt: skip
    write(content, folder)
    print(f"\n{show(results)}\n\n{content['processor_seconds']} s of processor time, in {folder}")


if __name__ == "__main__":
    main()

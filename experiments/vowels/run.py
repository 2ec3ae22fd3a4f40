"""Who speaks? The speaker by Bayes' rule, from the density that sequence models give an utterance."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
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
from probseq.datasets import Utterances, vowels

SPEAKERS, WIDTH, LONGEST = 9, 12, 29

FOLDS, TRIED_FOLDS = 5, 2
"""Of the training utterances, to choose settings by; and how many of them are held out, one after the other."""

PUBLISHED = {"5-state HMM for each speaker, at most": 0.962, "Kudo et al., 1999": 0.941}


@dataclass(frozen=True)
class Setting:
    """A kind of model and how it is trained.

    Args:
        past: whether a frame's law knows the frames before it; else it knows who speaks, and how far he is.
        shared: one model with the speaker as context, or one model for each speaker.
        size: of the LSTM.
        dropout: of its features, the same ones in a whole utterance.
    """

    past: bool
    shared: bool
    epochs: int
    size: int = 32
    dropout: float = 0.2
    batch_size: int = 18


SETTINGS = {
    "one model, the past not read": Setting(past=False, shared=True, epochs=40, dropout=0.1),
    "one model": Setting(past=True, shared=True, epochs=120, dropout=0.3),
    "nine models": Setting(past=True, shared=False, epochs=20, size=16, batch_size=12),
}


def build(setting: Setting) -> ps.SequenceModel:
    """P(utterance | speaker), or of one speaker; frames are normal with a full covariance."""
    recurrence = ps.SharedDropout(ps.LSTM(setting.size), after=setting.dropout)
    element, likelihood = ps.Reals(WIDTH, feedback=setting.past), ps.Parametric("MultivariateNormal")
    if setting.shared:
        return ps.SequenceModel(element, recurrence, likelihood, ps.LengthStop(LONGEST), ps.Labels(SPEAKERS))
    return ps.SequenceModel(element, recurrence, likelihood, ps.BernoulliStop())


def train(setting: Setting, y: ps.Sequences, speakers: Tensor, seed: int) -> Callable[[ps.Sequences], Tensor]:
    """log P(utterance | speaker) for each of n utterances and all speakers, (n, 9), as a function of the utterances."""

    def fitted(data: Any) -> ps.SequenceModel:
        torch.manual_seed(seed)
        model = build(setting)
        ps.fit(
            model, data, max_epochs=setting.epochs, batch_size=setting.batch_size, batch_tokens=None, bucket=False,
            learning_rate=1e-2, schedule="cosine", weight_decay=0.01, average=0.98, seed=seed, progress=False,
            accelerator="cpu",
        )  # fmt: skip
        return model

    if setting.shared:
        model = fitted((y, speakers))
        return lambda held: torch.stack([model.log_prob(held, torch.full((len(held),), s)) for s in range(SPEAKERS)], 1)
    every = [fitted(y.select(speakers == s)) for s in range(SPEAKERS)]
    return lambda held: torch.stack([model.log_prob(held) for model in every], 1)


def standardised(data: Utterances) -> tuple[ps.Sequences, ps.Sequences, float]:
    """Both parts in the units of the training part, and what that takes from the log-density of a frame."""
    frames = data.train.values[data.train.mask()]
    mean, deviation = frames.mean(0), frames.std(0)

    def scaled(y: ps.Sequences) -> ps.Sequences:
        return ps.Sequences((y.values - mean) / deviation, y.lengths, y.ended).filled(0.0)

    return scaled(data.train), scaled(data.test), float(deviation.log().sum())


def posterior(log_prob: Tensor) -> Tensor:
    """log P(speaker | utterance) by Bayes' rule, speakers being equally probable, (n, 9)."""
    return log_prob.double().log_softmax(-1)


def measure(log_prob: Tensor, speakers: Tensor, frames: Tensor, log_scale: float) -> dict[str, Any]:
    """How good the posterior is, and the density: nats per frame, given the speaker, in the data's own units."""
    log_posterior = posterior(log_prob)
    own = log_posterior.gather(1, speakers.unsqueeze(1)).squeeze(1)
    sure, said = log_posterior.exp().max(1)
    right = said == speakers
    density = log_prob.gather(1, speakers.unsqueeze(1)).double().sum() - log_scale * frames.sum()
    return {
        "accuracy": float(right.double().mean()), "wrong": int((~right).sum()), "nats": -float(own.mean()),
        "mean_confidence": float(sure.mean()), "calibration_error": calibration_error(sure, right),
        "bits_of_the_wrong": [round(-bits / math.log(2), 2) for bits in own[~right].tolist()],
        "density_nats_per_frame": -float(density / frames.sum()),
    }  # fmt: skip


def calibration_error(sure: Tensor, right: Tensor, bins: int = 10) -> float:
    """Σ over ten bins as large as each other, by confidence: share · |mean confidence − share that is right|."""
    order = sure.argsort()
    gaps = [
        len(own) / len(sure) * float((sure[own].mean() - right[own].double().mean()).abs())
        for own in order.tensor_split(bins)
        if len(own)
    ]
    return sum(gaps)


def fold_of(speakers: Tensor) -> Tensor:
    """The fold of each utterance, as many of each speaker in each."""
    fold = torch.empty_like(speakers)
    for s in range(SPEAKERS):
        own = (speakers == s).nonzero().squeeze(-1)
        order = torch.randperm(len(own), generator=torch.Generator().manual_seed(s))
        fold[own[order]] = torch.arange(len(own)) % FOLDS
    return fold


@dataclass(frozen=True)
class Job:
    """One training: of a kind, with a seed, on the training utterances, or on those outside a fold of them."""

    kind: str
    seed: int
    fold: int | None = None


def run(job: Job, setting: Setting, data: Utterances) -> tuple[Tensor, float]:
    """log P(utterance | speaker) of the test utterances, or of those of the fold, (n, 9); and processor seconds."""
    torch.set_num_threads(1)
    begin, (y, test, _) = time.process_time(), standardised(data)
    speakers = data.train_speakers
    if job.fold is not None:
        out = fold_of(speakers) == job.fold
        y, test, speakers = y.select(~out), y.select(out), speakers[~out]
    score = train(setting, y, speakers, job.seed)
    with torch.no_grad():
        return score(test), time.process_time() - begin


def every(jobs: list[Job], settings: dict[str, Setting], data: Utterances, processes: int) -> dict[Job, Any]:
    """What `run` gives for each job, several at a time."""
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        waiting = {job: pool.submit(run, job, settings[job.kind], data) for job in jobs}
        found = {}
        for job, result in waiting.items():
            found[job] = result.result()
            print(f"{job}: {found[job][1]:.0f} s", flush=True)
    return found


def study(data: Utterances, settings: dict[str, Setting], seeds: list[int], processes: int) -> tuple[dict, dict]:
    """Every kind on every seed and in cross-validation: the results, and log P of the test utterances by kind."""
    jobs = [Job(kind, seed) for kind in settings for seed in seeds]
    jobs += [Job(kind, 0, fold) for kind in settings for fold in range(TRIED_FOLDS)]
    found = every(jobs, settings, data, processes)
    log_scale, fold = standardised(data)[2], fold_of(data.train_speakers)
    results: dict[str, Any] = {}
    scores: dict[str, Tensor] = {}
    for kind in settings:
        own = [found[Job(kind, seed)][0] for seed in seeds]
        # The mixture of the models of all seeds is a density too.
        mixed = torch.stack(own).logsumexp(0) - math.log(len(own))
        test = [measure(each, data.test_speakers, data.test.lengths, log_scale) for each in (*own, mixed)]
        held = [fold == k for k in range(TRIED_FOLDS)]
        tried = torch.cat([found[Job(kind, 0, k)][0] for k in range(TRIED_FOLDS)])
        results[kind] = {
            "setting": vars(settings[kind]), "seeds": dict(zip(map(str, seeds), test[:-1], strict=True)),
            "mean_accuracy": sum(each["accuracy"] for each in test[:-1]) / len(seeds), "mixture": test[-1],
            "cross_validation": measure(
                tried, torch.cat([data.train_speakers[own] for own in held]),
                torch.cat([data.train.lengths[own] for own in held]), log_scale,
            ),
            "processor_seconds": round(sum(seconds for job, (_, seconds) in found.items() if job.kind == kind), 1),
        }  # fmt: skip
        scores[kind] = mixed
    return results, scores


def show(results: dict[str, Any]) -> str:
    """The results as a table."""
    rows = []
    for kind, found in results.items():
        of_seeds = [(f"seed {seed}", row) for seed, row in found["seeds"].items()]
        for name, row in [("cross-validation", found["cross_validation"]), *of_seeds, ("all mixed", found["mixture"])]:
            figures = (row["nats"], row["calibration_error"], row["density_nats_per_frame"])
            rows.append([kind, name, f"{row['accuracy']:.2%}", row["wrong"], *figures])
        rows.append([kind, "mean of the seeds", f"{found['mean_accuracy']:.2%}", "", "", "", ""])
    return table(["", "", "right", "wrong", "nats", "calibration error", "density, nats/frame"], rows)


def draw(scores: dict[str, Tensor], speakers: Tensor, folder: Path) -> None:
    """Who is taken for whom, and how often what is said with a confidence is right; the models of all seeds mixed."""
    figure, axes = plt.subplots(1, len(scores) + 1, figsize=(4 * len(scores) + 4, 4), layout="constrained")
    for axis, (kind, log_prob) in zip(axes, scores.items(), strict=False):
        said = log_prob.argmax(1)
        counts = torch.zeros(SPEAKERS, SPEAKERS).index_put_((speakers, said), torch.ones(()), accumulate=True)
        axis.imshow(counts.sqrt(), cmap="Blues")
        for i, j in counts.nonzero().tolist():
            axis.text(j, i, int(counts[i, j]), ha="center", va="center", color="C1" if i != j else "white")
        axis.set(xlabel="taken for", ylabel="speaker", title=kind, xticks=range(SPEAKERS), yticks=range(SPEAKERS))
        # The probability of being wrong, so that the many that are almost certain lie apart.
        doubt = 1 - posterior(log_prob).exp().amax(1)
        order = doubt.argsort(descending=True)
        wrong = (said != speakers).double()[order].cumsum(0)
        axes[-1].plot(doubt[order].cumsum(0), wrong, label=kind)
    limit = max(axes[-1].get_xlim()[1], axes[-1].get_ylim()[1])
    axes[-1].plot([0, limit], [0, limit], color="grey", lw=1, ls=":")
    axes[-1].set(xlabel="wrong ones expected, Σ (1 − confidence)", ylabel="wrong ones", title="Least certain first")
    axes[-1].legend(frameon=False, fontsize="small")
    figure.savefig(folder / "posterior.png", dpi=80)
    plt.close(figure)


def noise() -> Utterances:
    """What a smoke run works on where there are no data."""
    values, lengths, speakers = torch.randn(90, 12, WIDTH), torch.full((90,), 9), torch.arange(90) % SPEAKERS
    return Utterances(ps.Sequences(values, lengths), ps.Sequences(values, lengths), speakers, speakers)


def main() -> None:
    """Train, classify, report."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small run into a temporary folder")
    parser.add_argument("--processes", type=int, default=1, help="how many models are trained at a time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings, seeds = SETTINGS, [0, 1, 2]
    if options.smoke:
        settings, seeds = {kind: dataclasses.replace(each, epochs=1, size=4) for kind, each in SETTINGS.items()}, [0]
    data = noise() if options.smoke and "PROBSEQ_DATA" not in os.environ else vowels()
    results, scores = study(data, settings, seeds, options.processes)
    folder = destination(__file__, options.smoke)
    draw(scores, data.test_speakers, folder)
    write({"question": __doc__, "published": PUBLISHED, "folds": [TRIED_FOLDS, FOLDS], **results}, folder)
    print(f"\n{show(results)}\n\nin {folder}")


if __name__ == "__main__":
    main()

"""What a sequence model is trained by (10.2.1, 10.2.2): teacher forcing and open loop, and what a gradient costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

import probseq as ps
from experiments.chapter import checkpointing, common
from experiments.report import table
from probseq.datasets import words

OBJECTIVES = {
    "teacher forcing": ps.TeacherForcing(),
    "truncated, 4 steps": ps.TruncatedBPTT(4),
    "scheduled sampling, 0 to 1": ps.ScheduledSampling(ps.Schedule(0.0, 1.0, "inverse sigmoid")),
    "scheduled sampling, 0.5": ps.ScheduledSampling(0.5),
    "scheduled sampling, 1": ps.ScheduledSampling(1.0),
    "free running, 0.5": ps.FreeRunning(0.5),
}

TRUTH = torch.tensor([0.4, 0.1, 0.1, 0.4])
"""P(00), P(01), P(10), P(11): two tokens that mostly agree. The product of their marginals is 0.3 away."""


def study(smoke: bool, seed: int) -> dict[str, Any]:
    """Every part, with its tables printed."""
    return {
        "checkpointing": checkpointing.study(smoke),
        "exposure": exposure(smoke, seed),
        "two_tokens": two_tokens(smoke, seed),
        "squared_error": squared_error(smoke, seed),
    }


def draw(results: dict[str, Any], folder: Path) -> None:
    """One picture for each part."""
    draw_checkpointing(results["checkpointing"], folder / "checkpointing.png")
    draw_exposure(results["exposure"], folder / "exposure.png")
    draw_two_tokens(results["two_tokens"], folder / "two_tokens.png")
    draw_squared_error(results["squared_error"], folder / "squared_error.png")


def exposure(smoke: bool, seed: int) -> dict[str, Any]:
    """A speller trained by each objective: held-out nats, and the meter by position."""
    data = words(seed)
    alphabet = data.alphabet
    train, held_out = (alphabet.encode(t) for t in (data.train[: 300 if smoke else 4000], data.test[:2000]))
    positions, found = 4 if smoke else 10, {}
    for name, objective in OBJECTIVES.items():
        torch.manual_seed(seed)
        model = ps.SequenceModel(
            ps.Tokens(len(alphabet), dim=16), ps.LSTM(16 if smoke else 64), ps.Categorical(), ps.EndSymbol()
        )
        ps.fit(model, train, objective=objective, max_epochs=1 if smoke else 10, batch_size=64, learning_rate=5e-3,
               schedule="cosine", seed=seed, progress=False, accelerator="cpu")  # fmt: skip
        with torch.no_grad():
            nats = -float(model.log_prob(held_out).sum()) / int(held_out.decisions.sum())
        meter = ps.exposure(model, held_out, generator=seed)
        shown = {key: getattr(meter, key)[:positions].tolist() for key in ("teacher_forced", "free_running", "gap")}
        errors = meter.gap_error[:positions].tolist()
        made = alphabet.decode(model.sample(6, max_length=20, generator=seed))
        found[name] = {"is_likelihood": objective.is_likelihood, "held_out_nats": nats, "gap_error": errors, **shown,
                       "samples": made}  # fmt: skip
    print(f"\nSpelling: {len(train):,} words; nats of a held-out letter, read after the truth and after own draws\n")
    head = ("objective", "likelihood", "held-out nats", "true past", "own past", "gap", "made up")
    last = positions - 1
    rows = [
        (name, "yes" if row["is_likelihood"] else "no", row["held_out_nats"], row["teacher_forced"][last],
         row["free_running"][last], row["gap"][last], " ".join(row["samples"][:4]))
        for name, row in found.items()
    ]  # fmt: skip
    print(table(head, rows))
    print(f"(the three columns before the last: letter {positions})")
    return found


def two_tokens(smoke: bool, seed: int) -> dict[str, Any]:
    """Total variation between a source of two tokens and what each objective learns from its exact frequencies."""
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    y = ps.Sequences(pairs.repeat_interleave((1000 * TRUTH).round().long(), 0), [2] * 1000)
    found = {}
    for name, objective in OBJECTIVES.items():
        if isinstance(objective, ps.TruncatedBPTT):
            continue
        torch.manual_seed(seed)
        model = ps.SequenceModel(ps.Tokens(2, dim=4), ps.GRU(8), ps.Categorical(), ps.FixedLength(2))
        ps.fit(model, y, objective=objective, max_epochs=3 if smoke else 50, batch_size=100, learning_rate=2e-2,
               schedule="cosine", seed=seed, progress=False, accelerator="cpu")  # fmt: skip
        with torch.no_grad():
            learned = model.log_prob(ps.Sequences(pairs, [2] * 4)).exp()
        found[name] = {"law": learned.tolist(), "total_variation": 0.5 * float((learned - TRUTH).abs().sum())}
    print("\nA source of two tokens that mostly agree (Huszár, 2015)\n")
    head = ("objective", "P(00)", "P(01)", "P(10)", "P(11)", "total variation")
    truth = ("the source", *TRUTH.tolist(), 0.0)
    print(table(head, [truth, *((name, *row["law"], row["total_variation"]) for name, row in found.items())]))
    return found


def squared_error(smoke: bool, seed: int) -> dict[str, Any]:
    """A Gaussian of fixed scale is least squares; a learned scale ends at the root of the mean squared error."""
    torch.manual_seed(seed)
    y = _autoregression(20 if smoke else 200, 25)
    gradients = []
    sigma = 0.7
    for scale in (sigma, None):
        torch.manual_seed(seed)
        fixed = ps.SequenceModel(ps.Reals(1), ps.GRU(8), ps.Gaussian(scale=sigma), ps.FixedLength(25)).double()
        if scale is None:
            loss = (y.values - _means(fixed, y)).square().sum() / (2 * sigma**2)
        else:
            loss = -fixed.log_prob(y).sum()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(fixed.parameters()))]))
    difference = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    ps.fit(fixed, y, max_epochs=2 if smoke else 30, learning_rate=1e-2, precision="64-true", seed=seed,
           progress=False, accelerator="cpu")  # fmt: skip
    with torch.no_grad():
        rmse = float((y.values - _means(fixed, y)).square().mean().sqrt())
    learned, curve = _learned_scale(fixed, y)
    print("\nThe mean squared error as a Gaussian likelihood\n")
    rows = [
        (f"gradient of −log P, scale {sigma}, against that of squared error / 2σ²: difference", difference),
        ("root of the mean squared error", rmse),
        ("scale that maximises the likelihood, the means kept", learned),
    ]
    print(table(("", "value"), [(name, f"{value:.3e}" if value < 1e-6 else f"{value:.8f}") for name, value in rows]))
    return {"gradient_difference": difference, "rmse": rmse, "learned_scale": learned, "curve": curve}


def _autoregression(count: int, length: int) -> ps.Sequences:
    """yₜ = 0.8 yₜ₋₁ + noise of scale 0.5, in float64."""
    columns = [torch.zeros(count, dtype=torch.float64)]
    for _ in range(length):
        columns.append(0.8 * columns[-1] + 0.5 * torch.randn(count, dtype=torch.float64))
    return ps.Sequences(torch.stack(columns[1:], 1).unsqueeze(-1), [length] * count)


def _means(model: ps.SequenceModel, y: ps.Sequences) -> torch.Tensor:
    """What a Gaussian model predicts for each element, (b, t, 1)."""
    features, state = model.unroll(None, y.values)
    law: Any = model.emit(features[:, :-1], torch.arange(y.values.shape[1]), state.context).element
    return law.base_dist.loc


def _learned_scale(fixed: ps.SequenceModel, y: ps.Sequences) -> tuple[float, list[tuple[float, float]]]:
    """The one scale that maximises the likelihood under the means of `fixed`; nats an element against the scale."""
    model = ps.SequenceModel(ps.Reals(1), ps.GRU(8), ps.Gaussian(), ps.FixedLength(y.values.shape[1])).double()
    weights = {name: tensor for name, tensor in fixed.state_dict().items() if "likelihood" not in name}
    model.load_state_dict(weights, strict=False)
    project, of_means = model.likelihood.project, fixed.likelihood.project
    with torch.no_grad():
        project.weight.copy_(torch.cat([of_means.weight, torch.zeros_like(of_means.weight)]))
    raw = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    def nats() -> torch.Tensor:
        bound = model.bind({"likelihood.project.bias": torch.cat([of_means.bias.detach(), raw])})
        return -bound.log_prob(y).sum() / y.values.numel()

    optimiser = torch.optim.LBFGS([raw], max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-15,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = nats()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    best, curve = float(raw.detach()), []
    for shift in torch.linspace(-0.5, 0.8, 27).tolist():
        raw.data.fill_(best + shift)
        curve.append((_scale(best + shift), float(nats().detach())))
    return _scale(best), curve


def _scale(raw: float) -> float:
    """Gaussian's map from what the network gives to a standard deviation."""
    return ps.Gaussian().min_scale + math.log1p(math.exp(raw + math.log(math.e - 1)))


def draw_checkpointing(results: dict[str, Any], path: Path) -> None:
    """Memory and time against length, both axes logarithmic."""
    figure, axes = common.figure(2, 8.4)
    for mode in dict.fromkeys(row["mode"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["mode"] == mode]
        for each, key in zip(axes, ("tensors_mb", "seconds"), strict=True):
            each.loglog([row["length"] for row in rows], [row[key] for row in rows], "o-", label=mode, base=2)
    for each, label in zip(axes, ("peak of tensors, MB", "seconds"), strict=True):
        each.set(xlabel="length (elements)", ylabel=label)
    axes[0].set_title("One gradient: memory")
    axes[1].set_title("and time")
    axes[0].legend(frameon=False)
    common.save(figure, path)


def draw_exposure(results: dict[str, Any], path: Path) -> None:
    """Nats by position after the true past and after an own one, for two objectives; gaps for all."""
    figure, axes = common.figure(2, 9.6)
    for color, (name, row) in enumerate(results.items()):
        place = range(1, len(row["gap"]) + 1)
        axes[1].errorbar(place, row["gap"], row["gap_error"], label=name, color=f"C{color}", capsize=2)
        if name in ("teacher forcing", "scheduled sampling, 1"):
            axes[0].plot(place, row["teacher_forced"], color=f"C{color}", label=f"{name}: true past")
            axes[0].plot(place, row["free_running"], "--", color=f"C{color}", label=f"{name}: own past")
    axes[0].set(xlabel="letter", ylabel="nats", title="Nats of the true letter")
    axes[1].set(xlabel="letter", ylabel="nats", title="Gap: own past less true past")
    for each in axes:
        each.legend(frameon=False, fontsize=7)
    common.save(figure, path)


def draw_two_tokens(results: dict[str, Any], path: Path) -> None:
    """Total variation by objective."""
    figure, (axes,) = common.figure(1, 6.4)
    names = list(results)
    axes.barh(names, [results[name]["total_variation"] for name in names], color="C0")
    axes.axvline(0.3, ls="--", color="0.5", lw=1)
    axes.text(0.297, -0.4, "product of the marginals", ha="right", fontsize=8, color="0.4")
    axes.invert_yaxis()
    axes.set(xlabel="total variation to the source", title="Two tokens that mostly agree")
    common.save(figure, path)


def draw_squared_error(results: dict[str, Any], path: Path) -> None:
    """Nats against the scale, with the root mean squared error."""
    figure, (axes,) = common.figure(1, 5.4)
    axes.plot(*zip(*results["curve"], strict=True))
    axes.axvline(results["rmse"], ls="--", color="0.5", label="root of the mean squared error")
    axes.set(xlabel="scale of the Gaussian", ylabel="nats per element (density)", title="The scale that is learned")
    axes.legend(frameon=False)
    common.save(figure, path)

"""How uncertain a model is, and whether that changes while it reads its own draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context
from probseq.evaluation.steps import Decisions, column_means, decisions, few_symbols, over_symbols, pair
from probseq.inference.sample import longest, require_causal, sample
from probseq.inference.score import check, check_context
from probseq.numerics import promoted
from probseq.part import require
from probseq.protocols import Autoregressive
from probseq.randomness import Seed
from probseq.sequences import Sequences


@dataclass(frozen=True)
class EntropyRate:
    """The entropy of a model's law, estimated from its own draws.

    Args:
        rate, standard_error: nats a decision, E[entropy] / E[decisions]. A decision is an element, or an end that was
            not certain.
        entropy, entropy_error: nats a sequence, −E[log P(y | x)].
        decisions: the mean number of them a sequence.
        truncated: the share of the draws that `max_length` cut; the entropy is that of what comes before.
    """

    rate: float
    standard_error: float
    entropy: float
    entropy_error: float
    decisions: float
    truncated: float


@dataclass(frozen=True)
class EntropyDrift:
    """A model's uncertainty by position, on data and on what it drew itself, in nats a decision.

    Shapes:
        given: (t,), the mean entropy of the step after each number of elements, the true ones being read.
        own: (t,), the same along free-running draws of the model.
        drift: (t,), own less given.
        loss: (t,), −log P of what came next in the data: what `own` would be, were the model the truth.
        given_error, own_error, drift_error, loss_error: (t,), standard errors; NaN where one sequence is so long.
        given_counts, own_counts: (t,), sequences that have a decision there.
    """

    given: Float[Tensor, " t"]
    own: Float[Tensor, " t"]
    drift: Float[Tensor, " t"]
    loss: Float[Tensor, " t"]
    given_error: Float[Tensor, " t"]
    own_error: Float[Tensor, " t"]
    drift_error: Float[Tensor, " t"]
    loss_error: Float[Tensor, " t"]
    given_counts: Int[Tensor, " t"]
    own_counts: Int[Tensor, " t"]


@checked
@torch.no_grad()
def entropy_rate(
    model: Autoregressive,
    num_samples: int = 1000,
    context: Any = None,
    max_length: int | None = None,
    generator: Seed = None,
) -> EntropyRate:
    """Estimate a model's entropy in nats a decision: H = E Σₜ H(next decision | y₍<t₎), over draws of its own.

    The entropy of each step is exact, by the law's own formula or a sum over values; where there is neither it is
    −log P of the draw. For continuous elements it is differential entropy, and may be negative.

    Args:
        num_samples: draws for each row of the context; 2 at least.
        context: what the model is conditioned on, or None.
        max_length: where draws are cut; by default as in `sample`.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: num_samples below 2, or a model that is not causal.

    >>> from probseq.oracles import Automaton
    >>> coin = Automaton("ab", [{"a": (0.5, 1), "b": (0.5, 1)}, {}])
    >>> round(entropy_rate(coin, 10).rate, 4)  # log 2, and an end that is certain
    0.6931
    """
    require(num_samples >= 2, f"num_samples must be 2 or more, for the standard error; got {num_samples}.")
    require_causal(model, "entropy_rate()")
    encoded = model.start(Context.none(1) if context is None else context).context
    limit = longest(model, encoded) if max_length is None else max_length
    y = sample(model, num_samples, encoded, limit, generator)
    which = torch.arange(encoded.batch, device=encoded.summary.device).repeat_interleave(num_samples)
    steps, counted, _ = _table(model, y.to(which.device), encoded.select(which))
    total, count = steps.sum(1), counted.sum(1).to(steps.dtype)
    rate = total.sum() / count.sum() if bool(count.any()) else total.sum()
    n = len(total)
    error = ((total - rate * count).square().sum() / (n - 1) / n).sqrt() / count.mean().clamp(min=1e-300)
    by_row = total.reshape(encoded.batch, num_samples)
    spread = (by_row.var(1).sum() / num_samples).sqrt() / encoded.batch
    truncated = float((~y.ended).double().mean())
    return EntropyRate(float(rate), float(error), float(total.mean()), float(spread), float(count.mean()), truncated)


@checked
@torch.no_grad()
def entropy_drift(
    model: Autoregressive, y: Sequences, context: Any = None, num_samples: int = 1, generator: Seed = None
) -> EntropyDrift:
    """Whether a model grows more, or less, certain than it is on data when it reads what it drew itself.

    A model that is the truth has `own` = `given` = `loss` at every position, up to sampling. Networks that generate
    tend to drift upwards (Braverman et al., Calibration, entropy rates, and memory in language models, 2020).

    Args:
        y: b sequences of data; draws are cut at the longest of them.
        context: what the model is conditioned on, batch b, or None.
        num_samples: draws for each sequence of y.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: num_samples below 1, y that does not fit the model or its x, or a model that is not causal.
    """
    require(num_samples >= 1, f"num_samples must be 1 or more; got {num_samples}.")
    require_causal(model, "entropy_drift()")
    y = check(model, y)
    encoded = model.start(Context.none(len(y), y.device) if context is None else context).context
    check_context(y, encoded)
    device = encoded.summary.device
    drawn = sample(model, num_samples, encoded, y.values.shape[1], generator).to(device).pad(y.values.shape[1])
    which = torch.arange(encoded.batch, device=device).repeat_interleave(num_samples)
    on_data, real, log_prob = _table(model, y.to(device), encoded)
    on_own, own_real, _ = _table(model, drawn, encoded.select(which))
    (given, given_error), (loss, loss_error) = column_means(on_data, real), column_means(-log_prob, real)
    own, own_error = column_means(on_own, own_real)
    drift_error = (given_error.square() + own_error.square()).sqrt()
    return EntropyDrift(
        given, own, own - given, loss, given_error, own_error, drift_error, loss_error, real.sum(0), own_real.sum(0)
    )


def _table(
    model: Autoregressive, y: Sequences, context: Context
) -> tuple[Float[Tensor, "b t1"], Bool[Tensor, "b t1"], Float[Tensor, "b t1"]]:
    """The entropy of each decision, which of them there are, and log P of what was decided."""
    shape = len(y), y.values.shape[1] + 1
    found, log_prob = (torch.zeros(shape, dtype=torch.float64, device=y.device) for _ in range(2))
    counted = torch.zeros(shape, dtype=torch.bool, device=y.device)
    entropy: Callable[[Decisions], Tensor] | None = None
    for piece in decisions([model], [context], y):
        entropy = _choose(model, piece.steps[0].element) if entropy is None else entropy
        place = piece.rows, piece.columns
        found[place] = _step(piece, entropy).to(found)
        counted[place] = piece.steps[0].log_go > -torch.inf
        log_prob[place] = piece.log_prob().to(found)
    return found, counted, log_prob


def _choose(model: Autoregressive, law: Any) -> Callable[[Decisions], Tensor]:
    """How the entropy of the law of one element is had."""
    symbols = few_symbols(model, law)
    if symbols is None:
        try:
            law.entropy()
            return lambda piece: piece.steps[0].element.entropy()
        except NotImplementedError:
            symbols = few_symbols(model, law, None)
    if symbols is None:
        return _surprise
    return lambda piece: shannon(over_symbols(piece.steps[0].element, symbols))


def shannon(log_p: Float[Tensor, "*b o"]) -> Float[Tensor, "*b"]:
    """−Σ p log p over the last axis."""
    return torch.special.entr(log_p.exp()).sum(-1)


def _surprise(piece: Decisions) -> Tensor:
    """−log P of the element that came."""
    step = piece.steps[0]
    element = step.element.log_prob(promoted(piece.values, step.log_go))
    return torch.where(piece.goes, -element, 0.0)


def _step(piece: Decisions, entropy: Callable[[Decisions], Tensor]) -> Float[Tensor, " n"]:
    """The entropy of stopping or going on, and of the element for the share that goes on."""
    step = piece.steps[0]
    share = piece.goes.to(step.log_go) if entropy is _surprise else step.log_go.exp()
    return shannon(pair(step)) + torch.where(share > 0, share * torch.where(share > 0, entropy(piece), 0.0), 0.0)

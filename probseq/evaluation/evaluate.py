"""All that held-out sequences say of a model, in one call."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.evaluation.calibration import CalibrationTest, combine, every_test
from probseq.evaluation.intervals import Interval, bootstrap, log_probs
from probseq.evaluation.reliability import Reliability, reliability
from probseq.evaluation.streams import Streams, streams
from probseq.protocols import Autoregressive
from probseq.randomness import Seed
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on sequences that it was not fitted to, and whether they could be its own draws.

    Args:
        sequences, decisions: how many there are; a decision is an element, or an end that was not certain.
        nats, nats_per_decision: −log P, by sequence and by decision (of a density where elements are continuous).
        tests: each can reject the model.
        p_value: of all tests together.
        level: what it is held against.
        reliability: of symbols that can be listed, else None.
        pit: uniform numbers if the model is right: "surprise" and "coordinate 0" … of the elements, "length".
        scores: mean CRPS of each coordinate, energy and variogram score one step ahead, of real elements, where the
            package scoringrules is installed.
        skipped: what could not be looked at, and why.
    """

    sequences: int
    decisions: int
    nats: Interval
    nats_per_decision: Interval
    tests: tuple[CalibrationTest, ...]
    p_value: float
    level: float
    reliability: Reliability | None
    pit: dict[str, Float[Tensor, " n"]] = field(repr=False)
    scores: dict[str, float]
    skipped: dict[str, str]

    @property
    def rejected(self) -> bool:
        """Whether sequences of the model itself would look so wrong at most `level` of the time."""
        return self.p_value <= self.level

    @property
    def bits_per_decision(self) -> Interval:
        """The same in bits."""
        return self.nats_per_decision.map(lambda value: value / math.log(2))

    @property
    def perplexity(self) -> Interval:
        """exp of the nats a decision."""
        return self.nats_per_decision.map(lambda value: math.exp(value) if value < 700 else math.inf)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the single ranks."""
        content = asdict(replace(self, pit={}, reliability=None))
        del content["pit"]
        content |= {"rejected": self.rejected, "bits_per_decision": asdict(self.bits_per_decision)}
        if self.reliability is not None:
            content["reliability"] = {
                name: value.tolist() if isinstance(value, Tensor) else value
                for name, value in vars(self.reliability).items()
            }
        return content

    def __str__(self) -> str:
        lines = [
            f"{self.sequences} sequences, {self.decisions} decisions",
            f"nats a sequence    {self.nats}",
            f"nats a decision    {self.nats_per_decision}",
            f"bits a decision    {self.bits_per_decision}",
            f"perplexity         {self.perplexity}",
        ]
        if self.reliability is not None:
            lines.append(f"calibration error  {self.reliability.error:.4f}; by chance {self.reliability.chance:.4f}")
        lines += [f"{name:<18} {value:.4f}" for name, value in self.scores.items()]
        lines += [f"p = {test.p_value:.4f}  {test.name}" for test in sorted(self.tests, key=lambda test: test.p_value)]
        lines += [f"not tested  {name.split(':')[0]}: {why}" for name, why in self.skipped.items()]
        verdict = "rejected" if self.rejected else "not rejected"
        return "\n".join([*lines, f"p = {self.p_value:.4f}  all together: the model is {verdict} at {self.level:g}"])


@checked
@torch.no_grad()
def evaluate(model: Autoregressive, data: Any, *, level: float = 0.05, generator: Seed = None) -> Evaluation:
    """Score held-out sequences, and test whether they could be draws of the model.

    Each test looks at numbers whose law is known if the model is right, given all that came before: ranks of what came
    among the model's own draws, which are uniform and independent (Rosenblatt, 1952), and sums of differences whose
    mean given the past is 0. At 5 % it rejects a model that is right in about 5 % of the cases, whatever the
    likelihood and the law of the end. A model that was fitted to the same sequences is not held out, and looks better.

    Args:
        model: any model with `log_prob`.
        data: Sequences, or a pair (Sequences, context). None may have missing elements, whose past is not known:
            `infill` scores those.
        level: how often a model that is right may be rejected.
        generator: a torch.Generator or an integer seed; by default torch's global state.

    Raises:
        ValueError: no sequences, sequences that do not fit the model, or a level outside (0, 1).
        TypeError: data of another type.

    Source: Gneiting, Balabdaoui & Raftery, Probabilistic forecasts, calibration and sharpness, 2007; Neyman, Smooth
    test for goodness of fit, 1937; Liu & Xie, Cauchy combination test, 2020.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> found = ps.evaluate(model, model.sample(300, generator=0), generator=0)
    >>> len(found.tests), found.reliability.count.sum() > 0
    (8, tensor(True))
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}.")
    y, context = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if not isinstance(y, Sequences):
        raise TypeError(f"data must be Sequences or a pair (Sequences, context); got {type(data).__name__}.")
    if not len(y):
        raise ValueError("there are no sequences to evaluate on. Pass at least one.")
    found = streams(model, y, context, generator)
    tests, skipped = every_test(found)
    nats = -log_probs(model, y, context)
    each = _decisions(found, len(y))
    by_sequence, by_decision = bootstrap(nats, torch.ones_like(nats), generator), bootstrap(nats, each, generator)
    p_value = combine(torch.tensor([test.p_value for test in tests], dtype=torch.float64))
    return Evaluation(
        len(y), int(each.sum()), by_sequence, by_decision, tuple(tests), p_value, level, _reliable(found), _pit(found),
        _scores(found, skipped), skipped,
    )  # fmt: skip


def _decisions(found: Streams, batch: int) -> Tensor:
    """Of each sequence: its elements, and its end where that was not certain."""
    counts = torch.zeros(batch, dtype=torch.float64).index_add(0, found.row, torch.ones(len(found.row)).double())
    return counts.index_add(0, found.stop_row, found.stopped.double()).clamp(min=1e-9)


def _reliable(found: Streams) -> Reliability | None:
    if found.laws is None or not len(found.laws):
        return None
    came = torch.nn.functional.one_hot(found.symbols, found.laws.shape[1])
    return reliability(found.laws.flatten(), came.flatten().double())


def _pit(found: Streams) -> dict[str, Tensor]:
    pit = {"surprise": found.surprise}
    if found.laws is None:
        pit |= {f"coordinate {i}": column for i, column in enumerate(found.coordinates.T)}
    return pit | ({} if found.length is None else {"length": found.length})


def _scores(found: Streams, skipped: dict[str, str]) -> dict[str, float]:
    """Of one step ahead, by the draws that the ranks are of."""
    if found.draws is None or not len(found.draws):
        return {}
    try:
        import scoringrules

        rules: Any = scoringrules
    except ModuleNotFoundError:
        skipped["scores"] = "scoringrules is not installed; it comes with probseq[forecast]."
        return {}
    values, draws = found.values.numpy(), found.draws.numpy()
    scores = {"CRPS": float(rules.crps_ensemble(values, draws.swapaxes(1, 2)).mean())}
    if values.shape[1] > 1:
        scores["energy score"] = float(rules.es_ensemble(values, draws).mean())
        scores["variogram score"] = float(rules.vs_ensemble(values, draws).mean())
    return scores

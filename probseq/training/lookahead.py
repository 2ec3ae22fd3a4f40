"""Training of a look ahead on a model's own samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from probseq.arguments import checked
from probseq.context import Context
from probseq.inference.infilling.lookahead import LearnedLookahead
from probseq.inference.outcomes import log_pmf, support
from probseq.inference.sample import sample
from probseq.inference.search.alphabet import Alphabet
from probseq.numerics import log_sum
from probseq.protocols import Autoregressive
from probseq.randomness import seeded
from probseq.rows import count_rows, select_rows
from probseq.sequences import Sequences
from probseq.training.quiet import quiet

TOKENS = 1 << 13
"""Elements in a batch, at most."""


@checked
def train_lookahead(
    model: Autoregressive,
    context: Any = None,
    *,
    num_samples: int = 20_000,
    max_length: int | None = None,
    size: int = 128,
    steps: int = 1500,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    seed: int = 0,
    accelerator: str = "auto",
    progress: bool = True,
) -> LearnedLookahead:
    """A look ahead for `infill`, learned from samples of the model in which elements were hidden at random.

    It maximises the probability of each element given what stands before it, which the model has read, and what is
    known beyond it: E[log q(yₜ | y₍<t₎, known beyond t)], q ∝ P(yₜ | y₍<t₎) ψₜ(yₜ). What ψ says at one step is held to
    what it says at the next, up to what depends on the known part only, so that it can weigh particles.

    Args:
        context: what samples are drawn given, each row as often, or None.
        num_samples: sequences to learn from.
        max_length: where samples are cut, as in `sample`.
        size: of the network.
        steps, batch_size, learning_rate: of the training. Long sequences come in smaller batches.
        seed: of the samples, the weights, and what is hidden.
        accelerator: as in `fit`.
        progress: whether a bar is shown.

    Raises:
        ValueError: sizes out of range, elements that cannot be listed, or samples that are all empty.

    Source: Lin & Eisner, Neural particle smoothing for sampling from conditional sequence models, 2018, section 5.
    """
    if min(num_samples, size, steps, batch_size) < 1 or not learning_rate > 0:
        raise ValueError(
            "train_lookahead() needs num_samples, size, steps, batch_size ≥ 1 and learning_rate > 0; got "
            f"{num_samples}, {size}, {steps}, {batch_size}, {learning_rate}."
        )
    rows = count_rows(context) or 1
    each = math.ceil(num_samples / rows)
    y = sample(model, each, context, max_length, generator=seed)
    if not bool(y.lengths.any()):
        raise ValueError("the model drew no sequence but empty ones: there is nothing to look ahead to.")
    state = model.start(Context.none(1) if context is None else select_rows(context, torch.tensor([0])))
    law = model.emit(state.features, state.position, state.context).element
    alphabet = Alphabet(support(model.element, law, "train_lookahead()", "Infill without one."))
    with seeded(seed, torch.device("cpu")), quiet():
        net = LearnedLookahead(state.features.shape[-1], len(alphabet), size)
        count = max(8, min(batch_size, TOKENS // max(1, int(y.lengths.float().mean()))))
        hidden = _Hidden(y, context, each, count, steps, seed)
        trainer = L.Trainer(
            accelerator=accelerator, devices=1, max_steps=steps, logger=False, enable_checkpointing=False,
            enable_progress_bar=progress, enable_model_summary=False, gradient_clip_val=1.0,
        )  # fmt: skip
        task = _Training(net, model, alphabet, steps, learning_rate)
        trainer.fit(task, DataLoader(hidden, batch_size=None))
    return net.eval().requires_grad_(False).to(state.features.device)


class _Hidden(IterableDataset):
    """Batches of samples of similar lengths, with what is hidden of them."""

    def __init__(self, y: Sequences, context: Any, each: int, count: int, steps: int, seed: int) -> None:
        self.y, self.context, self.each, self.count, self.steps = y, context, each, count, steps
        self.generator = torch.Generator().manual_seed(seed)
        # The empty ones have nothing to hide.
        self.order = y.lengths.argsort(stable=True)[int((y.lengths == 0).sum()) :]

    def __iter__(self) -> Iterator[tuple[Sequences, Any, Tensor]]:
        for _ in range(self.steps):
            first = int(torch.randint(max(1, len(self.order) - self.count + 1), (), generator=self.generator))
            index = self.order[first : first + self.count]
            y = cut_some(self.y.select(index), 0.25, self.generator)
            context = None if self.context is None else select_rows(self.context, index // self.each)
            yield y, context, hide(y, self.generator)


def cut_some(y: Sequences, share: float, generator: torch.Generator) -> Sequences:
    """A share of the sequences cut at a length of their own, so that it is not known how they go on."""
    at = (torch.rand(len(y), generator=generator) * (y.lengths + 1)).long()
    chosen = torch.rand(len(y), generator=generator) < share
    return Sequences(y.values, torch.where(chosen, at, y.lengths), y.ended & ~chosen)


def hide(y: Sequences, generator: torch.Generator) -> Bool[Tensor, "b t"]:
    """What is hidden of each sequence: one or two runs of elements, or elements here and there, a third each."""
    b, t = len(y), y.values.shape[1]

    def rand(*shape: int) -> Float[Tensor, ...]:
        return torch.rand(*shape, generator=generator)

    at, lengths = torch.arange(t), y.lengths.unsqueeze(1)

    def run() -> Tensor:
        size = 1 + (rand(b, 1).square() * lengths).long()
        first = (rand(b, 1) * (lengths - size + 1).clamp(min=1)).long()
        return (at >= first) & (at < first + size)

    kind = torch.randint(3, (b, 1), generator=generator)
    one, two, scattered = run(), run(), rand(b, t) < rand(b, 1)
    return torch.where(kind == 0, one, torch.where(kind == 1, one | two, scattered)) & y.mask().cpu()


class _Training(L.LightningModule):
    """The loss, as Lightning runs it. The model that is looked ahead of is no part of what is trained."""

    def __init__(
        self, net: LearnedLookahead, model: Autoregressive, alphabet: Alphabet, steps: int, learning_rate: float
    ) -> None:
        super().__init__()
        self.net, self.level = net, torch.nn.Linear(net.size, 1)
        self.held = (model, alphabet)
        self.steps, self.learning_rate = steps, learning_rate

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, self.steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Any, _: int) -> Tensor:
        y, context, holes = batch
        log_p, log_end, features, number = self._read(y, context)
        device = self.device
        mask, holes = y.mask().to(device), holes.to(device)
        lengths, ended = y.lengths.to(device), y.ended.to(device)
        later = self.net.read(number, holes, lengths, ended)
        tilted = log_p + self.net(features, later)
        own = number.unsqueeze(2)
        log_norm, chosen = log_sum(tilted), tilted.gather(2, own).squeeze(2)
        loss = torch.where(mask, log_norm - chosen, 0.0).sum() / mask.sum().clamp(min=1)
        # What is known from each position on, as ψ has it; beyond the last element it is the end itself.
        onward = torch.where(holes, log_norm, chosen).detach()
        onward = torch.cat([onward[:, 1:], onward.new_zeros(len(y), 1)], 1)
        last = torch.arange(mask.shape[1], device=device) == lengths.unsqueeze(1) - 1
        onward = torch.where(last, torch.where(ended, log_end, 0.0).unsqueeze(1), onward)
        log_psi = chosen - log_p.gather(2, own).squeeze(2)
        gap = log_psi - onward - self.level(later).squeeze(2)
        apart = torch.nn.functional.huber_loss(gap, torch.zeros_like(gap), reduction="none")
        return loss + 0.1 * torch.where(mask, apart, 0.0).sum() / mask.sum().clamp(min=1)

    @torch.no_grad()
    def _read(self, y: Sequences, context: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log P of each symbol at each position, log P of the end, the features, the numbers of the symbols."""
        model, alphabet = self.held
        features, state = model.unroll(Context.none(len(y)) if context is None else context, y.values)
        small = state.context.without_steps()
        time, device = y.values.shape[1], features.device
        at = torch.arange(time + 1, device=device).expand(len(y), -1)
        step = model.emit(features, at, small)
        log_p = (log_pmf(step.element, alphabet.symbols).movedim(0, -1) + step.log_go.unsqueeze(-1))[:, :time]
        log_end = step.log_stop.gather(1, y.lengths.to(device).unsqueeze(1)).squeeze(1)
        number = alphabet.numbers(y.values.to(alphabet.symbols.device))
        found = (log_p.clamp(min=-60).float(), log_end.clamp(min=-60).float(), features[:, :time].float(), number)
        return tuple(each.to(self.device) for each in found)  # type: ignore[return-value]

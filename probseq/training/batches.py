"""Batches of similar lengths, or of any, sliced from tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from probseq.bucketing import arrange, cut
from probseq.context import Context
from probseq.rows import count_rows, from_list, place, select_rows
from probseq.sequences import Sequences


@dataclass(frozen=True)
class Data:
    """Sequences, and what each is conditioned on.

    Shapes:
        sequences: n sequences.
        context: what the model's context takes, of batch n: a tensor, Sequences, a Context, a tuple of these, or None.

    Raises:
        ValueError: there are no sequences, or the context has another batch.
    """

    sequences: Sequences
    context: Any = None

    def __post_init__(self) -> None:
        n = len(self.sequences)
        if not n:
            raise ValueError("the data set is empty: there is nothing to fit. Pass at least one sequence.")
        batch = count_rows(self.context)
        if batch is not None and batch != n:
            raise ValueError(f"the context has batch {batch}, the sequences {n}. Pass one row for each sequence.")

    @staticmethod
    def of(data: Any) -> Data:
        """From Sequences, a pair (Sequences, context), or Data.

        Raises:
            TypeError: anything else.
        """
        if isinstance(data, Data):
            return data
        if isinstance(data, Sequences):
            return Data(data)
        if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Sequences):
            return Data(data[0], from_list(data[1]))
        raise TypeError(f"data must be Sequences or a pair (Sequences, context); got {type(data).__name__}.")

    def select(self, index: Int[Tensor, " n"]) -> Data:
        """The sequences `index` with their contexts."""
        return Data(self.sequences.select(index), select_rows(self.context, index))


Reduce = Callable[[Tensor, str], Tensor]


def alone(x: Tensor, _: str) -> Tensor:
    """The sum, or the maximum, over one process."""
    return x


class Batch:
    """Some of the data, by index; `weight` is 0 in a batch that only keeps processes in step."""

    # Not a dataclass: Lightning would convert the tensors of one by itself.
    def __init__(self, index: Int[Tensor, " n"], data: Data, weight: float = 1.0) -> None:
        self.index, self.data, self.weight = index, data, weight

    def to(self, device: Any) -> Batch:
        """The batch on a device."""
        data = Data(self.data.sequences.to(device), place(self.data.context, device))
        return Batch(self.index, data, self.weight)

    def halves(self) -> tuple[Batch, Batch]:
        """The first half of its sequences, and the others."""
        half, n = len(self.index) // 2, len(self.index)
        first, second = (torch.arange(*bounds) for bounds in ((half,), (half, n)))
        return tuple(Batch(self.index[part], self.data.select(part), self.weight) for part in (first, second))  # type: ignore[return-value]


def slots(batch: Batch) -> int:
    """The padded slots of a batch, one more than its longest sequence for each."""
    y = batch.data.sequences
    return len(y) * (y.values.shape[1] + 1)


class Loader(ABC):
    """What the trainer takes its batches from, and where it stands there.

    Each process takes as many batches in an epoch as any other. The trainer sets `epoch` when one begins, and `taken`,
    the batches of this process that it has done in it.
    """

    def __init__(self) -> None:
        self.epoch, self.rank, self.world = 0, 0, 1
        self.taken = self.resume_at = 0

    def join(self, rank: int, world: int, reduce: Reduce = alone) -> None:
        """Be one of `world` processes; `reduce` makes the "sum" or "max" of a tensor over all of them."""
        self.rank, self.world = rank, world

    @abstractmethod
    def __len__(self) -> int:
        """How many batches each process takes in an epoch."""

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The batches of this epoch, from `resume_at` on, which it sets back to 0."""

    @abstractmethod
    def count(self) -> tuple[int, int]:
        """How many elements there are, and how many sequences that ended, in all processes."""

    def name(self, index: int) -> str:
        """What to call a sequence."""
        return str(index)

    def state_dict(self) -> dict[str, int]:
        """Where the epoch stands, for a checkpoint in its middle."""
        return {"epoch": self.epoch, "taken": self.taken % len(self), "batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there.

        Raises:
            ValueError: an epoch is to be finished with other batches than it was begun with.
        """
        if state_dict["taken"] and state_dict["batches"] != len(self):
            raise ValueError(
                f"the checkpoint stands in the middle of an epoch of {state_dict['batches']} batches; these data and "
                f"batch sizes make {len(self)}. Resume with the ones it was begun with."
            )
        self.epoch, self.resume_at = state_dict["epoch"], state_dict["taken"]


class Batches(Loader):
    """All sequences once an epoch, in batches of similar lengths, in an order fixed by seed and epoch.

    A batch holds at most `tokens` padded slots (one more than its elements a sequence, for the end), of y and of any
    sequence x that goes with it, and at most `size` sequences, but one sequence at least. Each process takes every
    `world`-th batch; where the number does not divide, the last are repeated with weight 0.

    Args:
        data: the data set.
        tokens: the budget of slots, or None.
        size: the number of sequences, or None.
        seed: of the order; None keeps the batches in order of length, for evaluation.
        bucket: sequences of similar lengths together; without it, any, `size` of them.

    Raises:
        ValueError: tokens or size below 1; without `bucket`, tokens, or no size.
    """

    def __init__(self, data: Data, tokens: int | None, size: int | None, seed: int | None, bucket: bool = True) -> None:
        super().__init__()
        check_sizes(tokens, size, bucket)
        self.data, self.seed, self.bucket = data, seed, bucket
        # The cut points depend on the sorted lengths alone, so they are the same in every epoch.
        self.lengths = data.sequences.lengths
        if tokens is not None:
            # A short y may have an x that fills the memory.
            self.lengths = self.lengths.maximum(_longest(data.context, len(data.sequences)))
        self.cuts = cut(self.lengths.sort().values.tolist(), tokens, size)

    def __len__(self) -> int:
        return -(-len(self.cuts) // self.world)

    def count(self) -> tuple[int, int]:
        return int(self.data.sequences.lengths.sum()), int(self.data.sequences.ended.sum())

    def indices(self, epoch: int) -> list[Int[Tensor, " n"]]:
        """The sequences of every batch of an epoch, of all processes."""
        generator = None if self.seed is None else of_epoch(self.seed, epoch)
        return arrange(self.lengths, self.cuts, generator, self.bucket)

    def __iter__(self) -> Iterator[Batch]:
        indices = self.indices(self.epoch)
        first, self.resume_at = self.resume_at, 0
        for i in range(first, len(self)):
            place = i * self.world + self.rank
            weight = 1.0 if place < len(indices) else 0.0
            index = indices[place % len(indices)]
            yield Batch(index, self.data.select(index), weight)


def check_sizes(tokens: int | None, size: int | None, bucket: bool) -> None:
    """Raise ValueError unless batches can be made of that."""
    for name, value in (("batch_tokens", tokens), ("batch_size", size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be 1 or more; got {value}.")
    if not bucket and (tokens is not None or size is None):
        raise ValueError(
            f"bucket=False makes batches of a number of sequences; got batch_tokens={tokens}, batch_size={size}. "
            "Pass batch_tokens=None and a batch_size."
        )


def of_epoch(seed: int, epoch: int) -> torch.Generator:
    """The random numbers of an epoch."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def _longest(x: Any, rows: int) -> Int[Tensor, " n"]:
    """On the host, how many elements the longest of the sequences has that each row of x holds."""
    lengths = torch.zeros(rows, dtype=torch.int64)
    if isinstance(x, tuple):
        for member in x:
            lengths = torch.maximum(lengths, _longest(member, rows))
    elif isinstance(x, Sequences):
        lengths = x.lengths
    elif isinstance(x, Context):
        for own in (x.source_lengths, x.aligned_lengths):
            lengths = lengths if own is None else torch.maximum(lengths, own.cpu())
    return lengths

"""Batches from files that are larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from probseq.bucketing import arrange, cut
from probseq.datasets import Block, Parquet, Window
from probseq.sequences import Sequences
from probseq.training.batches import Batch, Data, Loader, Reduce, alone, check_sizes, of_epoch


class Stream(Loader):
    """All sequences of parquet files once an epoch, a window of row groups in memory at a time.

    The row groups are dealt to the processes, and each process's to windows, in an order fixed by the seed alone, so
    that every epoch has the same number of batches. The windows come in an order fixed by seed and epoch; inside one,
    the batches are those that `Batches` makes of its rows. A process with fewer batches than another ends with batches
    of weight 0.

    `join` must come first: it reads the lengths of this process's share once, to count its batches.

    Args:
        data: the files.
        conform: what makes Data of y and x of a batch, or raises ValueError.
        tokens, size, seed, bucket: as of `Batches`.

    Raises:
        ValueError: as `Batches`.
    """

    def __init__(
        self,
        data: Parquet,
        conform: Callable[[Sequences, Any], Data],
        tokens: int | None,
        size: int | None,
        seed: int | None,
        bucket: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(tokens, size, bucket)
        self.data, self.conform = data, conform
        self.tokens, self.size, self.seed, self.bucket = tokens, size, seed, bucket
        self._length, self._counted = 0, (0, 0)
        self.windows: list[tuple[Block, ...]] = []
        """The row groups that this process reads together."""
        self.batches: list[int] = []
        """How many batches each window makes."""

    def join(self, rank: int, world: int, reduce: Reduce = alone) -> None:
        """As `Loader.join`.

        Raises:
            ValueError: fewer row groups than processes.
        """
        super().join(rank, world, reduce)
        blocks = list(self.data.blocks)
        if len(blocks) < world:
            raise ValueError(
                f"{self.data.files} has {len(blocks)} row groups for {world} processes, of which each needs one. "
                "Write it with a smaller row_group_size."
            )
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed)
            blocks = [blocks[i] for i in torch.randperm(len(blocks), generator=generator).tolist()]
        own, most = blocks[rank::world], self.data.window
        self.windows = [tuple(own[i : i + most]) for i in range(0, len(own), most)]
        self.batches, elements, ended = [], 0, 0
        for group in self.windows:
            window = self.data.read(group)
            self.batches.append(len(self._cut(self._lengths(window))))
            elements, ended = elements + int(window.lengths().sum()), ended + int(window.ended().sum())
        self._length = int(reduce(torch.tensor(sum(self.batches)), "max"))
        elements, ended = reduce(torch.tensor([elements, ended]), "sum").tolist()
        self._counted = elements, ended

    def __len__(self) -> int:
        return self._length

    def count(self) -> tuple[int, int]:
        return self._counted

    def name(self, index: int) -> str:
        return self.data.where(index)

    def __iter__(self) -> Iterator[Batch]:
        first, self.resume_at = self.resume_at, 0
        done, batch = 0, None
        for number, generator in self._order():
            if done + self.batches[number] > first:
                window = self.data.read(self.windows[number])
                for index in self._indices(window, generator)[max(0, first - done) :]:
                    batch = self._batch(window, index)
                    yield batch
                del window
            done += self.batches[number]
        if batch is None and len(self) > first:
            window = self.data.read(self.windows[0])
            batch = self._batch(window, self._indices(window, None)[0])
        for _ in range(max(done, first), len(self)):
            assert batch is not None
            yield Batch(batch.index, batch.data, 0.0)

    def _order(self) -> list[tuple[int, torch.Generator | None]]:
        """The windows of this epoch, each with random numbers of its own, so that it can be begun with any."""
        count = len(self.windows)
        if self.seed is None:
            return [(i, None) for i in range(count)]
        generator = of_epoch(self.seed, self.epoch)
        order = torch.randperm(count, generator=generator).tolist()
        seeds = torch.randint(2**62, (count,), generator=generator).tolist()
        return [(i, torch.Generator().manual_seed(seeds[i])) for i in order]

    def _lengths(self, window: Window) -> Int[Tensor, " n"]:
        return window.lengths(beside=self.tokens is not None)

    def _cut(self, lengths: Int[Tensor, " n"]) -> list[tuple[int, int]]:
        return cut(lengths.sort().values.tolist(), self.tokens, self.size)

    def _indices(self, window: Window, generator: torch.Generator | None) -> list[Int[Tensor, " n"]]:
        lengths = self._lengths(window)
        return arrange(lengths, self._cut(lengths), generator, self.bucket)

    def _batch(self, window: Window, index: Int[Tensor, " n"]) -> Batch:
        return Batch(window.numbers[index], window.checked(index, self.conform))

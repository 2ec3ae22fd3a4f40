"""Which letter of a word stands for which of its phonemes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

SILENT = "_"
PRIOR = 0.1
"""Added to every count of a letter's labels, so that no label is impossible."""


def align(words: Sequence[tuple[str, tuple[str, ...]]], iterations: int = 10) -> list[tuple[str, tuple[str, ...]]]:
    """Give each letter no phoneme, one or two, in order, as the letters of the other words do.

    Hard expectation maximisation: the likeliest alignment of every word under ∏ P(label | letter), then P(label |
    letter) by counting, `iterations` times, from how often letters and phonemes occur in the same word. Every step
    is deterministic.

    Args:
        words: letters a–z and phonemes of each word.

    Returns:
        The words and a label for each letter: "_", a phoneme, or two with a space between. Words with more than
        two phonemes a letter have no alignment and are left out.

    Raises:
        ValueError: a letter outside a–z.
    """
    words = [(word, spoken) for word, spoken in words if word and len(spoken) <= 2 * len(word)]
    odd = next((word for word, _ in words if not (word.isascii() and word.isalpha() and word.islower())), None)
    if odd is not None:
        raise ValueError(f"align() takes words of the letters a–z; got {odd!r}. Leave it out.")
    phonemes = sorted({phoneme for _, spoken in words for phoneme in spoken})
    number = {phoneme: i for i, phoneme in enumerate(phonemes, 1)}
    groups: dict[int, list[int]] = {}
    for i, (word, _) in enumerate(words):
        groups.setdefault(len(word), []).append(i)
    batches = [_batch([words[i] for i in group], number) for group in groups.values()]
    names = [SILENT, *phonemes]
    label = [second if first == SILENT else f"{first} {second}" for first in names for second in names]
    log_law = _association(batches, len(names))
    found = []
    for _ in range(iterations):
        found = [_best(letters, spoken, sizes, log_law) for letters, spoken, sizes in batches]
        counts = torch.full((26, len(names) ** 2), PRIOR, dtype=torch.float64)
        for (letters, _, _), labels in zip(batches, found, strict=True):
            ones = torch.ones(labels.numel(), dtype=torch.float64)
            counts.index_put_((letters.flatten(), labels.flatten()), ones, accumulate=True)
        log_law = (counts / counts.sum(-1, keepdim=True)).log()
    aligned: dict[int, tuple[str, ...]] = {}
    for group, labels in zip(groups.values(), found, strict=True):
        aligned |= {i: tuple(label[k] for k in row) for i, row in zip(group, labels.tolist(), strict=True)}
    return [(word, aligned[i]) for i, (word, _) in enumerate(words)]


Batch = tuple[Tensor, Tensor, Tensor]
"""n words of l letters: letters from 0 (n, l); phonemes from 1, then 0 (n, p); how many phonemes (n,); int64."""


def _batch(words: Sequence[tuple[str, tuple[str, ...]]], number: dict[str, int]) -> Batch:
    letters = torch.tensor([[ord(letter) - ord("a") for letter in word] for word, _ in words])
    most = max(len(spoken) for _, spoken in words)
    rows = [[number[phoneme] for phoneme in spoken] + [0] * (most - len(spoken)) for _, spoken in words]
    sizes = torch.tensor([len(spoken) for _, spoken in words])
    return letters, torch.tensor(rows, dtype=torch.int64).reshape(len(words), most), sizes


def _association(batches: Sequence[Batch], names: int) -> Float[Tensor, "26 o"]:
    """A first log P(label | letter): counts of letter and phoneme in a word, more where both stand equally far in it.

    One phoneme in 70 % of the cases, none in 20 %, two in 10 %, as if independent. Label a·names + b is phoneme a,
    then b, where phoneme 0 is none.
    """
    together = torch.full((26, names), PRIOR, dtype=torch.float64)
    for letters, spoken, sizes in batches:
        of_letter = (torch.arange(letters.shape[1]) + 0.5) / letters.shape[1]
        of_phoneme = (torch.arange(spoken.shape[1]) + 0.5) / sizes.unsqueeze(-1)
        near = torch.exp(-50 * (of_letter[:, None] - of_phoneme[:, None, :]) ** 2).double()
        pair = letters.unsqueeze(-1).expand(near.shape), spoken.unsqueeze(1).expand(near.shape)
        together.index_put_(pair, near, accumulate=True)
    together[:, 0] = 0
    share = together / together.sum(-1, keepdim=True)
    law = 0.1 * share.unsqueeze(-1) * share.unsqueeze(-2)
    law[:, 0] = 0.7 * share
    law[:, 0, 0] = 0.2
    return law.flatten(1).log()


def _best(
    letters: Int[Tensor, "n l"], spoken: Int[Tensor, "n p"], sizes: Int[Tensor, " n"], log_law: Float[Tensor, "26 o"]
) -> Int[Tensor, "n l"]:
    """The labels of the likeliest alignment, by dynamic programming over letters and phonemes read."""
    names = round(log_law.shape[1] ** 0.5)
    rows, never = len(letters), -torch.inf
    pair = spoken[:, :-1] * names + spoken[:, 1:]
    score = torch.full((rows, spoken.shape[1] + 1), never, dtype=torch.float64)
    score[:, 0] = 0
    taken = []
    for letter in letters.unbind(1):
        options = score.new_full((3, *score.shape), never)
        options[0] = score + log_law[letter, 0].unsqueeze(-1)
        options[1, :, 1:] = score[:, :-1] + log_law[letter.unsqueeze(-1), spoken]
        options[2, :, 2:] = score[:, :-2] + log_law[letter.unsqueeze(-1), pair]
        score, which = options.max(0)
        taken.append(which)
    everyone, read, labels = torch.arange(rows), sizes, []
    padded = torch.cat([spoken.new_zeros(rows, 2), spoken], 1)
    for which in reversed(taken):
        size = which[everyone, read]
        # Phoneme j stands in column j + 1 of `padded`, counted from 1: the last one read, and the one before it.
        last, before = padded[everyone, read + 1], padded[everyone, read]
        labels.append(torch.where(size > 0, last, 0) + torch.where(size > 1, before, 0) * names)
        read = read - size
    return torch.stack(labels[::-1], 1)

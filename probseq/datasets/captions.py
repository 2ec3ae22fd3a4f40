"""Pictures of numbers, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.datasets.alphabet import Alphabet
from probseq.datasets.splits import Pairs, split

ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True)
class Captions:
    """Pictures x and the letters y of what they show.

    Shapes:
        train, validation, test: pairs (y, x) of n sequences of letters and pictures (n, 128), float32 in [0, 1]:
            8 rows of 16 pixels.
    """

    letters: Alphabet
    train: Pairs
    validation: Pairs
    test: Pairs


def captions(sizes: Sequence[int] = (20_000, 2_000, 2_000), seed: int = 0) -> Captions:
    """Two handwritten digits side by side, and the number that they make in English: "seven", "forty-two".

    The 1,797 digits of scikit-learn (UCI, 8 × 8 pixels) are first divided by `seed`, 80, 10 and 10 %, so that no
    picture of one part has a digit of another; then pairs are drawn in each part, with replacement. A zero on the
    left is not named.

    Args:
        sizes: how many pairs train, validation and test have.

    Raises:
        ValueError: not three sizes of 1 or more.
        ModuleNotFoundError: scikit-learn is not installed; it comes with `probseq[experiments]`.
    """
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"sizes must be three numbers ≥ 1, of train, validation and test; got {tuple(sizes)}.")
    from sklearn.datasets import load_digits

    pixels, digits = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    images = pixels.reshape(-1, 8, 8).float() / 16
    letters = Alphabet("".join(sorted(set("".join(map(cardinal, range(100)))))))
    generator = torch.Generator().manual_seed(seed)

    def draw(part: list[int], size: int) -> Pairs:
        chosen = torch.tensor(part)[torch.randint(len(part), (size, 2), generator=generator)]
        left, right = digits[chosen].unbind(1)
        texts = [cardinal(number) for number in (10 * left + right).tolist()]
        return Pairs(letters.encode(texts), beside(images, chosen).flatten(1))

    parts = split(range(len(images)), seed)
    return Captions(letters, *(draw(part, size) for part, size in zip(parts, sizes, strict=True)))


def beside(images: Float[Tensor, "m r c"], chosen: Int[Tensor, "n k"]) -> Float[Tensor, "n r w"]:
    """Pictures of k images in a row, w = k·c."""
    return images[chosen].transpose(1, 2).flatten(2)


def cardinal(number: int) -> str:
    """A number from 0 to 99 in English.

    Raises:
        ValueError: another number.

    >>> [cardinal(number) for number in (0, 13, 40, 99)]
    ['zero', 'thirteen', 'forty', 'ninety-nine']
    """
    if not 0 <= number <= 99:
        raise ValueError(f"cardinal() names 0…99; got {number}. Extend it, or divide the number.")
    if number < 20:
        return (ONES + TEENS)[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")

"""Images of handwritten digits, in black and white."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probseq.datasets.files import locate
from probseq.datasets.splits import split

FILE = "mnist/mnist.npz"
SHA256 = "7a9e9afe3e5a31a40029aea4d65940367b3e0a32c169095d18883ac86d672e09"


class Images(NamedTuple):
    """Binary images in three parts, each with the labels of its images.

    Shapes:
        train, validation, test: (b, height, width, 1), zeros and ones as floats.
        train_labels, validation_labels, test_labels: (b,), int64.
    """

    train: Float[Tensor, "b height width 1"]
    validation: Float[Tensor, "b height width 1"]
    test: Float[Tensor, "b height width 1"]
    train_labels: Int[Tensor, " b"]
    validation_labels: Int[Tensor, " b"]
    test_labels: Int[Tensor, " b"]


def digits(seed: int = 0, threshold: int = 8) -> Images:
    """1,797 digits of 8 × 8 pixels from scikit-learn (Alpaydin & Kaynak, 1998), whose 17 grey levels become two.

    A pixel is 1 where its level, 0 to 16, is `threshold` or more. Shuffled by `seed`, then 80, 10 and 10 %.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed; it comes with `probseq[experiments]`.
    """
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(levels >= threshold).float().reshape(-1, 8, 8, 1)
    found = torch.from_numpy(labels).long()
    parts = split(range(len(labels)), seed)
    return Images._make([*(images[part] for part in parts), *(found[part] for part in parts)])


def mnist(seed: int = 0) -> Images:
    """70,000 digits of 28 × 28 pixels (LeCun et al., 1998): 50,000 to train, 10,000 to validate, 10,000 to test.

    A pixel is 1 with its grey level as the probability, drawn once, by `seed`: the law of the binarised MNIST of
    Salakhutdinov & Murray (2008), but other draws, so that its figures are comparable in distribution. The last
    10,000 of the published training images validate.

    Raises:
        FileNotFoundError: PROBSEQ_DATA names no folder with mnist/mnist.npz, which has the arrays train_x, train_y,
            test_x, test_y of unsigned bytes, in the published order.
    """
    if not os.environ.get("PROBSEQ_DATA"):
        raise FileNotFoundError(f"MNIST is not fetched. Set PROBSEQ_DATA to a folder that has {FILE}.")
    with np.load(locate(FILE, "", SHA256)) as arrays:
        levels = np.concatenate([arrays["train_x"], arrays["test_x"]])
        labels = np.concatenate([arrays["train_y"], arrays["test_y"]])
    drawn = np.random.default_rng(seed).random(levels.shape, dtype=np.float32) * 255 < levels
    images, found = torch.from_numpy(drawn).float().unsqueeze(-1), torch.from_numpy(labels).long()
    return Images._make(part for whole in (images, found) for part in whole.tensor_split([50_000, 60_000]))

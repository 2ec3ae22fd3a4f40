"""What every autoregressive model offers its user."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from probseq.arguments import checked
from probseq.context import Context
from probseq.distribution import SequenceDistribution
from probseq.inference.sample import sample
from probseq.inference.score import Score, score, score_features
from probseq.program import Program
from probseq.protocols import Autoregressive
from probseq.randomness import Seed
from probseq.sequences import Sequences


class Face:
    """Mix it into a class that keeps the contract: it is scored, sampled, and put inside Pyro."""

    @checked
    def log_prob(self: Autoregressive, y: Sequences, context: Any = None, validate: bool = True) -> Float[Tensor, " b"]:
        """log P(y | x) of each sequence, in nats; see `score`. Without validation y and x must be fit to be scored."""
        if validate:
            return score(self, y, context).log_prob
        features, state = self.unroll(Context.none(len(y), y.device) if context is None else context, y.values)
        return score_features(self, features, state.context, y.to(features.device)).log_prob

    def log_prob_steps(self: Autoregressive, y: Sequences, context: Any = None) -> Score:
        """The factors of log P(y | x), element by element, and those of going on and stopping; see `score`."""
        return score(self, y, context)

    @checked
    def sample(
        self: Autoregressive,
        num_samples: int = 1,
        context: Any = None,
        max_length: int | None = None,
        generator: Seed = None,
    ) -> Sequences:
        """Exact draws; see `probseq.sample`."""
        return sample(self, num_samples, context, max_length, generator)

    def distribution(self: Any, context: Any = None, max_length: int | None = None) -> SequenceDistribution:
        """The law of y as a Pyro distribution; see `SequenceDistribution`."""
        return SequenceDistribution(self, context, max_length)

    def program(self: Autoregressive, length: int) -> Program:
        """The law of y, truncated to `length`, unfolded into a Pyro program; see `Program`."""
        return Program(self, length)

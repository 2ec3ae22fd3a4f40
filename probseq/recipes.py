"""Assemblies of a few lines: the models that are asked for most, with choices that are good to begin with.

Each gives a `SequenceModel` like any other: train it with `fit`, score it, sample it, save it. To change what a recipe
does not let you choose, write its few lines yourself.
"""

from __future__ import annotations

from typing import Any, Literal

from probseq.arguments import checked
from probseq.contexts import Aligned, Labels, SeriesScale, Source
from probseq.elements import Bits, Reals, Tokens
from probseq.encoders import Bidirectional, Deep
from probseq.likelihoods import Bernoulli, Categorical, Gaussian
from probseq.model import SequenceModel
from probseq.part import Part, require
from probseq.recurrences import LSTM, Attentive, Grid, Lagged, Memoryless
from probseq.scalings import Chain
from probseq.stops import AlignedLength, BernoulliStop, EndSymbol, FixedLength


@checked
def language_model(
    symbols: int, size: int = 256, layers: int = 1, dropout: float = 0.0, dim: int = 64
) -> SequenceModel:
    """P(y) over sequences of symbols that end by a symbol of their own: letters, words, notes.

    Args:
        symbols: how many there are, the end not counted.
        size, layers: of the LSTM.
        dropout: on the embeddings and the features, in training.
        dim: the width of the embedding of a symbol.

    Raises:
        ValueError: a number out of its range.

    >>> import probseq as ps
    >>> model = language_model(27, size=32)
    >>> model.log_prob(ps.Sequences.of([[2, 0, 19], []])).shape
    torch.Size([2])
    """
    return SequenceModel(Tokens(symbols, dim, dropout), LSTM(size, layers, dropout), Categorical(), EndSymbol())


@checked
def tagger(
    inputs: int | Part,
    tags: int,
    size: int = 128,
    bidirectional: bool = True,
    feedback: bool = True,
    dropout: float = 0.0,
) -> SequenceModel:
    """P(y₁ … y_T | x₁ … x_T): one tag for each element of x (Goodfellow et al., Deep Learning, 10.2.4 and 10.3).

    Args:
        inputs: what one xₜ is: the number of its symbols, or an element part such as `Reals(12)`.
        tags: how many there are.
        size: of the LSTMs: the one over the tags, and one in each direction over x.
        bidirectional: whether a tag may depend on all of x, or on x₁ … xₜ alone.
        feedback: whether a tag depends on those before it; without it, tags are independent given x.
        dropout: on what is read and on the features, in training.

    Raises:
        ValueError: a number out of its range, or `inputs` that is no element part.

    >>> import probseq as ps
    >>> model = tagger(26, tags=40, size=16)
    >>> x, y = ps.Sequences.of([[2, 0, 19], [7]]), ps.Sequences.of([[10, 0, 31], [8]])
    >>> model.log_prob(y, x).shape, model.sample(1, x).lengths.tolist()
    (torch.Size([2]), [3, 1])
    """
    encoder = Bidirectional(LSTM(size, dropout=dropout)) if bidirectional else None
    element = Tokens(tags, dropout=dropout, feedback=feedback)
    x = Aligned(_symbols_or(inputs, dropout), encoder)
    return SequenceModel(element, LSTM(size, dropout=dropout), Categorical(), AlignedLength(), x)


@checked
def classifier(reads: int | Part, classes: int, size: int = 128, dropout: float = 0.0) -> SequenceModel:
    """P(c | x₁ … x_T): one class that sums a sequence up (Goodfellow et al., Deep Learning, figure 10.5).

    It is a sequence of length 1: `Sequences.single(labels)` makes y of labels (b,), and `log_prob` is that of the
    softmax over classes.

    Args:
        reads: what one xₜ is: the number of its symbols, or an element part such as `Reals(12)`.
        classes: how many there are.
        size: of the LSTM in each direction over x, and of the layer that joins them.
        dropout: on symbols that are read and on what the LSTMs give, in training.

    Raises:
        ValueError: a number out of its range, or `reads` that is no element part.

    >>> import torch, probseq as ps
    >>> model = classifier(ps.Reals(12), classes=9, size=16)
    >>> x, labels = torch.randn(2, 20, 12), torch.tensor([3, 8])
    >>> model.log_prob(ps.Sequences.single(labels), x).shape
    torch.Size([2])
    """
    return _summary(Tokens(classes, feedback=False), Categorical(), reads, size, dropout)


@checked
def seq2seq(
    source: int | Part,
    target: int,
    size: int = 256,
    layers: int = 1,
    dim: int = 64,
    dropout: float = 0.3,
    attention: Literal["dot", "general", "additive"] | None = "general",
    feed: bool = False,
) -> SequenceModel:
    """P(y₁ … yₘ | x₁ … xₙ) with m ≠ n: an encoder from both ends, a decoder that attends to it, and a learned end.

    Goodfellow et al., Deep Learning, 10.4. Without attention all that is known of x is the vector C, which enters the
    decoder's first state. `beam(model, x)` finds likely y.

    Args:
        source: what one xₜ is: the number of its symbols, or an element part such as `Reals(12)`.
        target: the number of symbols of y.
        size: of the decoder's LSTM; half of it of the encoder's in each direction.
        layers: of each.
        dim: the width of the embeddings.
        dropout: on what the LSTMs and the attention give, in training; a third of it on symbols that are read.
        attention: how the decoder attends, see `Attentive`; None: not at all.
        feed: whether what was attended to enters the next step: slower to train, step by step.

    Raises:
        ValueError: a number out of its range, an odd size, or `source` that is no element part.

    >>> import probseq as ps
    >>> model = seq2seq(26, 40, size=16)
    >>> x, y = ps.Sequences.of([[2, 0, 19], [7, 4]]), ps.Sequences.of([[10, 1], [8, 8, 30]])
    >>> model.log_prob(y, x).shape, model.alignments(y, x).shape
    (torch.Size([2]), torch.Size([2, 4, 3]))
    """
    require(size % 2 == 0 and layers >= 1, f"seq2seq needs an even size and layers ≥ 1; got {size} and {layers}.")
    reads = Tokens(source, dim, dropout / 3) if isinstance(source, int) else source
    encoders = tuple(Bidirectional(LSTM(size // 2, dropout=dropout)) for _ in range(layers))
    x = Source(reads, encoders[0] if layers == 1 else Deep(encoders), enters="state")
    decoder = LSTM(size, layers, dropout)
    recurrence = decoder if attention is None else Attentive(decoder, attention, feed, dropout=dropout)
    return SequenceModel(Tokens(target, dim, dropout / 3), recurrence, Categorical(), EndSymbol(), x)


@checked
def regressor(reads: int | Part, dim: int = 1, size: int = 128, dropout: float = 0.0) -> SequenceModel:
    """p(v | x₁ … x_T): one vector of real numbers that sums a sequence up, normal with a learned deviation.

    It is a sequence of length 1, as in `classifier`: `Sequences.single(values)` makes y of values (b, dim).

    Args:
        reads: what one xₜ is: the number of its symbols, or an element part such as `Reals(12)`.
        dim: how many numbers. Bring them to a scale near 1.
        size, dropout: as in `classifier`.

    Raises:
        ValueError: a number out of its range, or `reads` that is no element part.

    >>> import torch, probseq as ps
    >>> model = regressor(ps.Reals(3), size=16)
    >>> model.log_prob(ps.Sequences.single(torch.randn(2, 1)), torch.randn(2, 20, 3)).shape
    torch.Size([2])
    """
    return _summary(Reals(dim, feedback=False), Gaussian(), reads, size, dropout)


@checked
def forecaster(
    dim: int = 1,
    size: int = 64,
    covariates: int | None = None,
    length: int | None = None,
    dropout: float = 0.0,
    layers: int = 1,
    lags: tuple[int, ...] = (),
    categories: int | None = None,
    likelihood: Part | None = None,
    scaling: Any = None,
) -> SequenceModel:
    """p(y₁ … y_T) of a series of real vectors given the past, as `forecast` and `backtest` take it.

    What the model is conditioned on is a tuple of those that are asked for, in this order, or the one alone: the
    covariates, Sequences or (b, t, covariates); the category of each series, (b,); its scale, (b, 2, dim), by
    `SeriesScale.of(past)`.

    Args:
        dim: how many numbers one element has. Bring them to a scale near 1, or choose a scaling.
        size: of the LSTM.
        covariates: how many numbers are known of each step beforehand; y is then as long as they are.
        length: the length that all series have. Without it, and without covariates, the end is learned.
        dropout: on the features, in training.
        layers: of the LSTM.
        lags: values from further back that the network and the likelihood see, as (1, 24, 168); see `Lagged`.
        categories: how many kinds of series there are, or how many series, each with an embedding of its own.
        likelihood: the law of an element; None: normal with a learned deviation at each step.
        scaling: the units that the network works in, as `PerSeries()`, `Log()`, `Affine.of(train)`, or a tuple.

    Raises:
        ValueError: a number out of its range, or both covariates and a length.

    >>> import torch, probseq as ps
    >>> model = forecaster(covariates=2, size=16, lags=(1, 24), scaling=ps.PerSeries())
    >>> past = ps.Sequences.of([[[80.0], [120.0], [100.0]]], ended=False)
    >>> x = torch.randn(1, 27, 2), ps.SeriesScale.of(past)
    >>> ps.forecast(model, past, 24, x, num_samples=10).paths.shape
    torch.Size([1, 10, 24, 1])
    """
    require(
        covariates is None or length is None,
        f"forecaster takes covariates, whose length is that of the series, or a length; got {covariates} and {length}. "
        "Leave the length out.",
    )
    scaling = Chain(scaling) if isinstance(scaling, tuple) else scaling
    asked = [
        None if covariates is None else Aligned(Reals(covariates)),
        None if categories is None else Labels(categories, enters="input"),
        SeriesScale(dim) if scaling is not None and scaling.per_series else None,
    ]
    x = tuple(context for context in asked if context is not None)
    end = AlignedLength() if covariates is not None else BernoulliStop() if length is None else FixedLength(length)
    network = LSTM(size, layers, dropout)
    recurrence = Lagged(network, lags, dim) if lags else network
    context = x if len(x) > 1 else x[0] if x else None
    return SequenceModel(Reals(dim), recurrence, likelihood or Gaussian(), end, context, scaling)


@checked
def image_model(height: int, width: int, size: int = 48) -> SequenceModel:
    """P(image) of black and white images, pixel by pixel in raster order, in two dimensions (see `Grid`).

    `raster(images)` makes y of images (b, height, width, 1), and `unraster` the images of a sample.

    Args:
        height, width: of the images, in pixels.
        size: of each scan's state.

    Raises:
        ValueError: a number out of its range.

    >>> import torch, probseq as ps
    >>> model = image_model(4, 3, size=8)
    >>> images = torch.randint(2, (5, 4, 3, 1)).float()
    >>> model.log_prob(ps.raster(images, 4, 3)).shape, ps.unraster(model.sample(2), 4, 3).shape
    (torch.Size([5]), torch.Size([2, 4, 3, 1]))
    """
    return SequenceModel(Bits(1), Grid(height, width, size), Bernoulli(), FixedLength(height * width))


def _summary(element: Part, likelihood: Part, reads: int | Part, size: int, dropout: float) -> SequenceModel:
    """One output given a whole sequence."""
    x = Source(_symbols_or(reads, dropout), Bidirectional(LSTM(size, dropout=dropout)), enters="input")
    return SequenceModel(element, Memoryless(size), likelihood, FixedLength(1), x)


def _symbols_or(reads: int | Part, dropout: float) -> Part:
    """An element part as it is, or one of so many symbols."""
    return Tokens(reads, dropout=dropout) if isinstance(reads, int) else reads

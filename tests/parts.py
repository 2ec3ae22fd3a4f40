"""The table of constructors: a new part joins by one line, and is held to every law."""

from __future__ import annotations

import itertools

import pyro.distributions as dist
import torch

import probseq as ps

RECURRENCES = {
    "Elman": ps.Elman(5),
    "GRU": ps.GRU(5),
    "LSTM": ps.LSTM(5),
    "Unrolled": ps.Unrolled(ps.LSTM(5)),
}
DEEP = {
    "deep Elman": ps.Elman(4, layers=2, dropout=0.3),
    "deep GRU": ps.GRU(4, layers=3),
    "deep LSTM": ps.LSTM(4, layers=2, dropout=0.3),
    "Unrolled deep GRU": ps.Unrolled(ps.GRU(4, layers=2)),
    "Unrolled Elman": ps.Unrolled(ps.Elman(4)),
}
STOPS = {
    "EndSymbol": ps.EndSymbol(),
    "BernoulliStop": ps.BernoulliStop(),
    "LengthStop": ps.LengthStop(5),
    "FixedLength": ps.FixedLength(4),
}
CONTEXTS = {
    "none": None,
    "input": ps.Vector(3, enters="input"),
    "state": ps.Vector(3, enters="state"),
    "both": ps.Vector(3, enters="both"),
}
LABELS = {enters: ps.Labels(4, dim=3, enters=enters) for enters in ("input", "state", "both")}
DISCRETE = {
    "Tokens": (ps.Tokens(3, dim=4, dropout=0.2), ps.Categorical()),
    "Tokens by Parametric": (ps.Tokens(3, dim=4), ps.Parametric(dist.Categorical)),
    "Bits": (ps.Bits(2), ps.Bernoulli()),
    "Bits by NADE": (ps.Bits(2), ps.NADE(4)),
    "Choices by NADE": (ps.Choices((2, 3), dim=4), ps.NADE(4, order="descending")),
}
RECORDS = {
    "record of two Tokens": (
        ps.Record((ps.Tokens(2, dim=2), ps.Tokens(3, dim=2))),
        ps.Product((ps.Categorical(), ps.Categorical(tied=True))),
    ),
    "record of Bits, then Tokens": (
        ps.Record((ps.Bits(2), ps.Tokens(2, dim=3))),
        ps.Product((ps.Bernoulli(), ps.Categorical()), chained=True),
    ),
    "record of Reals and Tokens": (
        ps.Record((ps.Reals(2), ps.Tokens(3, dim=2, dropout=0.2))),
        ps.Product((ps.MixtureOf(ps.Gaussian(covariance="full"), 2), ps.Categorical())),
    ),
    "record of Tokens, then positive Reals": (
        ps.Record((ps.Tokens(3, dim=2), ps.Reals(2))),
        ps.Product((ps.Categorical(), ps.Parametric(dist.LogNormal)), chained=True),
    ),
}
EVENTS = {
    "times": (
        ps.Reals(1), ps.Clock(ps.Memoryless(4)), ps.Waiting("weibull"), ps.Window(3.0), CONTEXTS["input"],
    ),
    "marked": (
        ps.Record((ps.Reals(1), ps.Tokens(3, dim=2))), ps.Clock(ps.GRU(4)),
        ps.Product((ps.Waiting("lognormal", 2), ps.Categorical())), ps.Window(3.0), CONTEXTS["both"],
    ),
    "marked, chained": (
        ps.Record((ps.Reals(1), ps.Tokens(3, dim=2))), ps.Clock(ps.Stack((ps.GRU(4), ps.Attentive(ps.LSTM(4))))),
        ps.Product((ps.Waiting("loglogistic"), ps.Categorical()), chained=True), ps.Window(2.0),
        ps.Source(ps.Reals(2), ps.Unidirectional(ps.GRU(3)), enters="state"),
    ),
}  # fmt: skip
PARALLEL = {
    "Memoryless": ps.Memoryless(5),
    "deep Memoryless": ps.Memoryless(5, layers=2),
    "CausalConv": ps.CausalConv(5, window=3),
    "CausalConv of one": ps.CausalConv(5, window=1, layers=2),
    "MinGRU": ps.MinGRU(5),
    "deep MinGRU": ps.MinGRU(4, layers=2, dropout=0.3),
    "MinLSTM": ps.MinLSTM(4, layers=2),
    "LRU": ps.LRU(4),
    "deep LRU": ps.LRU(3, layers=2, dropout=0.3),
    "Unrolled LRU": ps.Unrolled(ps.LRU(3)),
    "DEER": ps.DEER(ps.GRU(4, layers=2)),
    "DEER of Elman": ps.DEER(ps.Elman(4, layers=2, dropout=0.3)),
}
COMPOSED = {
    "Leaky": ps.Leaky(5),
    "Unrolled Leaky": ps.Unrolled(ps.Leaky(5)),
    "Stack": ps.Stack((ps.LSTM(4), ps.Leaky(3), ps.Memoryless(4))),
    "Stack with skips": ps.Stack((ps.GRU(3), ps.Positional(ps.LSTM(3), 4, dim=2)), skip=True),
    "Positional": ps.Positional(ps.GRU(4), 3, dim=2),
    "SharedDropout": ps.SharedDropout(ps.Stack((ps.LSTM(4), ps.SharedDropout(ps.GRU(3), 0.5))), before=0.2, after=0.3),
    "Lagged": ps.Lagged(ps.GRU(3), (1, 3, 4)),
    "Lagged, two numbers": ps.Stack((ps.Lagged(ps.Memoryless(4), (2,), dim=2), ps.Lagged(ps.LSTM(3), (1, 2), dim=3))),
    "Positional Memoryless": ps.Positional(ps.Memoryless(4), 3, dim=2),
}
PLANNED = {
    "PlannedLength": ps.PlannedLength(4, dim=3),
    "PlannedLength not fed": ps.PlannedLength(4, remaining=False),
}
ALIGNED = {
    "reals": ps.Aligned(ps.Reals(2)),
    "tokens": ps.Aligned(ps.Tokens(3, dim=2)),
    "bidirectional": ps.Aligned(ps.Tokens(3, dim=2), ps.Bidirectional(ps.GRU(3))),
    "unidirectional": ps.Aligned(ps.Reals(2), ps.Unidirectional(ps.LSTM(3))),
}
SOURCES = {
    "source from left to right": ps.Source(ps.Reals(2), ps.Unidirectional(ps.GRU(3)), enters="state"),
    "source from both ends": ps.Source(ps.Tokens(3, dim=2), ps.Bidirectional(ps.LSTM(3))),
}
ATTENDED = {
    "reals": ps.Source(ps.Reals(2), ps.Unidirectional(ps.GRU(3)), enters="state"),
    "tokens": ps.Source(ps.Tokens(3, dim=2), ps.Bidirectional(ps.LSTM(2)), enters=None),
    "deep": ps.Source(ps.Tokens(3, dim=2), ps.Deep((ps.Bidirectional(ps.GRU(2)), ps.Bidirectional(ps.LSTM(2))))),
    "convolved": ps.Source(ps.Reals(2), ps.Convolutional(ps.Bidirectional(ps.GRU(2)), 3, stride=2), enters="input"),
    "among others": (ps.Vector(2, enters="input"), ps.Source(ps.Tokens(3, dim=2), ps.Bidirectional(ps.LSTM(2)))),
}
ATTENTIVE = {
    **{
        f"{score}{', fed' if feed else ''}": ps.Attentive(ps.LSTM(4), score, feed, dropout=0.2)
        for score in ("dot", "general", "additive")
        for feed in (False, True)
    },
    "local": ps.Attentive(ps.GRU(4), local=2.0),
    "local, fed": ps.Attentive(ps.GRU(4), "additive", feed=True, local=1.0),
    "over a Stack": ps.Attentive(ps.Stack((ps.GRU(3), ps.Positional(ps.LSTM(4), 3, dim=2))), feed=True),
    "in a Stack": ps.Stack((ps.Attentive(ps.GRU(3), feed=True), ps.Attentive(ps.LSTM(3), "additive")), skip=True),
    "in Positional": ps.Positional(ps.Attentive(ps.Elman(4)), 3, dim=2),
    "under SharedDropout": ps.SharedDropout(ps.Attentive(ps.GRU(4)), 0.2, 0.2),
    "over Memoryless": ps.Attentive(ps.Memoryless(4)),
}
MIXED = {
    "vector and labels": (ps.Vector(2, enters="state"), ps.Labels(3, dim=2, enters="input")),
    "labels, aligned, vector": (ps.Labels(3, dim=2, enters="both"), ALIGNED["tokens"], ps.Vector(2, enters="input")),
    "two aligned and a source": (ALIGNED["reals"], ALIGNED["bidirectional"], SOURCES["source from left to right"]),
}
SCALAR = {
    "Gaussian": ps.Gaussian(),
    "Gaussian of fixed scale": ps.Gaussian(scale=0.7),
    "StudentT": ps.Parametric(dist.StudentT),
    "Logistic": ps.Parametric(dist.Logistic),
    "Gumbel": ps.Parametric(dist.Gumbel),
    "StudentT with bounds": ps.StudentT(),
    "MixtureOf StudentT": ps.MixtureOf(ps.StudentT(), 2),
    "affine Flow": ps.Flow("affine", hidden=(4,)),
}
VECTOR = {
    "Gaussian": ps.Gaussian(),
    "StudentT": ps.Parametric(dist.StudentT, {"df": 4.0}),
    "MultivariateNormal": ps.Parametric(dist.MultivariateNormal),
    "Laplace": ps.Parametric(dist.Laplace),
    "VonMises": ps.Parametric(dist.VonMises),
    "Beta": ps.Parametric(dist.Beta),
    "Gamma": ps.Parametric(dist.Gamma),
    "LogNormal": ps.Parametric(dist.LogNormal),
    "Dirichlet": ps.Parametric(dist.Dirichlet),
    "Binomial": ps.Parametric(dist.Binomial, {"total_count": 4}),
    "Poisson": ps.Parametric(dist.Poisson),
    "NegativeBinomial": ps.Parametric(dist.NegativeBinomial),
}
LIKELIHOODS = {
    "Ordinal": (ps.Tokens(3, dim=4), ps.Ordinal()),
    "DiscretisedLogistic": (ps.Tokens(3, dim=4), ps.DiscretisedLogistic(2)),
    "MixtureOf Categorical": (ps.Tokens(3, dim=4), ps.MixtureOf(ps.Categorical(), 2)),
    "MixtureOf Bernoulli": (ps.Bits(2), ps.MixtureOf(ps.Bernoulli(), 2, min_weight=0.1)),
    "full Gaussian": (ps.Reals(2), ps.Gaussian(covariance="full")),
    "low-rank Gaussian": (ps.Reals(2), ps.Gaussian(covariance="low-rank", rank=1)),
    "StudentT with bounds": (ps.Reals(2), ps.StudentT()),
    "VonMises by atan2": (ps.Reals(2), ps.VonMises()),
    "MixtureOf full Gaussian": (ps.Reals(2), ps.MixtureOf(ps.Gaussian(covariance="full"), 2)),
    "Poisson with a floor": (ps.Reals(2), ps.Poisson()),
    "NegativeBinomial by dispersion": (ps.Reals(2), ps.NegativeBinomial()),
    "ZeroInflated": (ps.Reals(2), ps.ZeroInflated(ps.NegativeBinomial())),
    "DiscretisedLogistic of vectors": (ps.Reals(2), ps.DiscretisedLogistic(2, levels=4)),
    "Flow": (ps.Reals(2), ps.Flow(hidden=(4,), bins=4)),
}
"""Likelihoods that know nothing of the end: each is tried with one stop law."""

SCALINGS = {
    "learned affine": (ps.Affine(-0.5, (2.0, 0.3), learned=True), ps.Vector(2, enters="state")),
    "logarithmic": (ps.Log(0.5), None),
    "per series": (ps.PerSeries(), ps.SeriesScale(2)),
    "chained": ((ps.Log(), ps.PerSeries(), ps.Affine(0.0, 2.0)), (ps.Vector(2, enters="input"), ps.SeriesScale(2))),
}


def model(element, recurrence, likelihood, stop, context=None, seed=0, scaling=None):
    """A model in float64 whose laws are far from uniform, so that a wrong factor shows."""
    torch.manual_seed(seed)
    made = ps.SequenceModel(element, recurrence, likelihood, stop, context, scaling).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.5)
        for parameter in made.stop.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def x(context, batch):
    """What a context part takes, for `batch` sequences."""
    if context is None:
        return None
    generator = torch.Generator().manual_seed(7)
    if isinstance(context, tuple):
        return tuple(x(member, batch) for member in context)
    if isinstance(context, ps.Labels):
        return torch.randint(context.classes, (batch,), generator=generator)
    if isinstance(context, ps.SeriesScale):
        return 0.1 + torch.rand(batch, 2, context.dim, generator=generator, dtype=torch.float64)
    if isinstance(context, ps.Vector):
        return torch.randn(batch, context.dim, generator=generator, dtype=torch.float64)
    # The longest x of one sequence alone is what enumeration walks; of several, one is empty.
    lengths = ([4, 6, 0, 3, 5] * batch)[:batch]
    if isinstance(context.reads, ps.Tokens):
        return ps.Sequences(torch.randint(context.reads.size, (batch, 6), generator=generator), lengths)
    return ps.Sequences(torch.randn(batch, 6, *context.reads.shape, generator=generator, dtype=torch.float64), lengths)


def _table():
    """Every assembly that the laws are tried on, by name."""
    tokens, categorical = DISCRETE["Tokens"]
    for (r, recurrence), (s, stop), (c, context) in itertools.product(
        RECURRENCES.items(), STOPS.items(), CONTEXTS.items()
    ):
        yield f"Tokens, {r}, {s}, {c}", (tokens, recurrence, categorical, stop, context)
    for name, recurrence in DEEP.items():
        yield (
            f"Tokens, {name}, EndSymbol, both",
            (tokens, recurrence, categorical, STOPS["EndSymbol"], CONTEXTS["both"]),
        )
    for enters, context in LABELS.items():
        yield f"Tokens, GRU, LengthStop, labels {enters}", (
            tokens, RECURRENCES["GRU"], categorical, STOPS["LengthStop"], context,
        )  # fmt: skip
    for name, recurrence in {**PARALLEL, **COMPOSED}.items():
        yield f"Tokens, {name}, EndSymbol, input", (
            tokens, recurrence, categorical, STOPS["EndSymbol"], CONTEXTS["input"],
        )  # fmt: skip
    for size, stop in (
        (4, ps.EndSymbol()),
        (5, ps.EndSymbol()),
        (5, ps.BernoulliStop()),
        (5, PLANNED["PlannedLength"]),
    ):
        yield f"Tokens, LSTM({size}), tied Categorical, {stop.describe()}, input", (
            tokens, ps.LSTM(size), ps.Categorical(tied=True), stop, CONTEXTS["input"],
        )  # fmt: skip
    for name, recurrence in {"Stack": COMPOSED["Stack"], "CausalConv": PARALLEL["CausalConv"]}.items():
        yield f"Tokens, {name}, LengthStop, both", (
            tokens, recurrence, categorical, STOPS["LengthStop"], CONTEXTS["both"],
        )  # fmt: skip
    for (r, recurrence), (s, stop) in itertools.product(
        {**RECURRENCES, "Memoryless": PARALLEL["Memoryless"], "Positional": COMPOSED["Positional"]}.items(),
        PLANNED.items(),
    ):
        yield f"Tokens, {r}, {s}, input", (tokens, recurrence, categorical, stop, CONTEXTS["input"])
    for name, (element, likelihood) in list(DISCRETE.items())[1:]:
        yield f"{name}, LSTM, PlannedLength", (element, RECURRENCES["LSTM"], likelihood, ps.PlannedLength(3, dim=2))
    for (c, context), feedback in itertools.product({**ALIGNED, **SOURCES, **MIXED}.items(), (True, False)):
        goes = c in ALIGNED or "aligned" in c
        element = ps.Tokens(3, dim=4, feedback=feedback)
        if not feedback and c in SOURCES and context.enters == "state":
            continue
        for stop in [ps.AlignedLength(), ps.BernoulliStop(), ps.EndSymbol()] if goes else [ps.EndSymbol()]:
            yield f"Tokens, GRU, {stop.describe()}, {c}{'' if feedback else ', no feedback'}", (
                element, RECURRENCES["GRU"], categorical, stop, context,
            )  # fmt: skip
    for (a, recurrence), stop in itertools.product(ATTENTIVE.items(), (ps.EndSymbol(), ps.BernoulliStop())):
        source = ATTENDED["tokens"] if a == "over Memoryless" or stop.symbols == 0 else ATTENDED["deep"]
        yield f"Tokens, Attentive {a}, {stop.describe()}", (tokens, recurrence, categorical, stop, source)
    for c, context in ATTENDED.items():
        yield f"Tokens, Attentive, EndSymbol, {c}", (
            tokens, ps.Attentive(ps.GRU(4), feed=True), categorical, ps.EndSymbol(), context,
        )  # fmt: skip
    for name, stop in {"EndSymbol": ps.EndSymbol(), **PLANNED, "LengthStop": STOPS["LengthStop"]}.items():
        recurrence = ps.Attentive(ps.LSTM(4), copies=3, feed=name == "EndSymbol")
        yield f"Tokens, Attentive, Pointer, {name}", (tokens, recurrence, ps.Pointer(), stop, ATTENDED["tokens"])
    yield "Tokens, Attentive, Pointer, source of more symbols", (
        tokens, ps.Attentive(ps.LSTM(4), copies=3), ps.Pointer(), ps.EndSymbol(),
        ps.Source(ps.Tokens(5, dim=2), ps.Bidirectional(ps.LSTM(2))),
    )  # fmt: skip
    yield "Tokens, Memoryless, AlignedLength, bidirectional", (
        tokens, PARALLEL["Memoryless"], categorical, ps.AlignedLength(), ALIGNED["bidirectional"],
    )  # fmt: skip
    for name, (element, likelihood) in list(DISCRETE.items())[1:]:
        for s in ("BernoulliStop", "LengthStop", "FixedLength"):
            yield f"{name}, LSTM, {s}", (element, RECURRENCES["LSTM"], likelihood, STOPS[s])
    for name, likelihood in SCALAR.items():
        yield (
            f"scalar {name}, GRU, BernoulliStop",
            (ps.Reals(1), RECURRENCES["GRU"], likelihood, STOPS["BernoulliStop"]),
        )
    for name, likelihood in VECTOR.items():
        for s in ("BernoulliStop", "LengthStop", "FixedLength"):
            yield f"vector {name}, LSTM, {s}, both", (
                ps.Reals(2), RECURRENCES["LSTM"], likelihood, STOPS[s], CONTEXTS["both"],
            )  # fmt: skip
    for name, (element, likelihood) in LIKELIHOODS.items():
        yield f"{element.describe()}, {name}, LSTM, BernoulliStop, both", (
            element, RECURRENCES["LSTM"], likelihood, STOPS["BernoulliStop"], CONTEXTS["both"],
        )  # fmt: skip
    for name in ("Ordinal", "MixtureOf full Gaussian"):
        element, likelihood = LIKELIHOODS[name]
        yield f"{element.describe()}, {name}, GRU, PlannedLength", (
            element, RECURRENCES["GRU"], likelihood, PLANNED["PlannedLength"],
        )  # fmt: skip
    nade = ps.NADE(4, order=(1, 0), components=2)
    yield "vector NADE, LSTM, FixedLength, both", (
        ps.Reals(2), RECURRENCES["LSTM"], nade, STOPS["FixedLength"], CONTEXTS["both"],
    )  # fmt: skip
    for name in ("Gaussian", "Gamma"):
        for stop in (ps.PlannedLength(3, dim=2), ps.AlignedLength()):
            context = ALIGNED["reals"] if stop.aligned else CONTEXTS["both"]
            yield f"vector {name}, LSTM, {stop.describe()}", (
                ps.Reals(2), RECURRENCES["LSTM"], VECTOR[name], stop, context,
            )  # fmt: skip
    for name, (element, likelihood) in RECORDS.items():
        for stop in (ps.BernoulliStop(), *([ps.PlannedLength(3, dim=2)] if likelihood.chained else [])):
            yield f"{name}, GRU, {stop.describe()}", (
                element, RECURRENCES["GRU"], likelihood, stop, CONTEXTS["input"],
            )  # fmt: skip
    for name, parts in EVENTS.items():
        yield f"events, {name}", parts
    for name, (scaling, context) in SCALINGS.items():
        stop = ps.PlannedLength(3, dim=2) if name == "per series" else STOPS["BernoulliStop"]
        yield f"vector Gaussian, Lagged, {stop.describe()}, scaled {name}", (
            ps.Reals(2), COMPOSED["Lagged"], VECTOR["Gaussian"], stop, context, scaling,
        )  # fmt: skip
    yield "scalar StudentT, GRU, BernoulliStop, scaled per series", (
        ps.Reals(1), RECURRENCES["GRU"], SCALAR["StudentT"], STOPS["BernoulliStop"], ps.SeriesScale(1), ps.PerSeries(),
    )  # fmt: skip
    for c in ("none", "input", "both"):
        yield f"Bits, Grid, FixedLength, {c}", (
            ps.Bits(1), ps.Grid(2, 2, 4), ps.Bernoulli(), STOPS["FixedLength"], CONTEXTS[c],
        )  # fmt: skip


TABLE = dict(_table())
ENUMERABLE = {name: parts for name, parts in TABLE.items() if getattr(parts[0], "cardinality", None) is not None}
DENSITIES = {name: parts for name, parts in TABLE.items() if name.startswith("scalar")}
CONTINUOUS = {name: parts for name, parts in TABLE.items() if name not in ENUMERABLE}


def build(parts, batch, seed=0):
    """The model of a row of the table, and what it is conditioned on."""
    context = parts[4] if len(parts) > 4 else None
    return model(*parts[:5], seed=seed, scaling=parts[5] if len(parts) > 5 else None), x(context, batch)

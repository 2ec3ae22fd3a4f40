"""What does a hidden cause of the whole sequence add to a decoder with a state, and to one without?"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import probseq as ps
from experiments.report import destination, table, write
from probseq.datasets import names, words
from probseq.datasets.splits import Texts

SHOWN = ["olivia", "christopher", "xavien"]


@dataclass(frozen=True)
class Size:
    """How much is trained and scored.

    Args:
        hidden: the dimensions of z.
        particles: draws of z for a name's importance weighted score.
        scored: test names, the first ones.
    """

    epochs: int
    width: int
    hidden: int
    particles: int
    scored: int


FULL = Size(epochs=15, width=64, hidden=16, particles=100, scored=1_000)
SMOKE = Size(epochs=1, width=8, hidden=2, particles=5, scored=50)


def decoders(size: Size) -> dict[str, Any]:
    """A recurrence by name."""
    return {"last letter alone": ps.Memoryless(size.width), "LSTM": ps.LSTM(size.width)}


def assemble(recurrence: Any, symbols: int, context: Any = None) -> ps.SequenceModel:
    """A model of letters."""
    return ps.SequenceModel(ps.Tokens(symbols, dim=16), recurrence, ps.Categorical(), ps.EndSymbol(), context)


class Latent(nn.Module):
    """z ~ N(0, I), y ~ P(y | z), as a Pyro model; its guide q(z | y) reads y from both ends (Kingma & Welling, 2014).

    Args:
        length: above that of every y: a sequence that fills it is open.
    """

    def __init__(self, recurrence: Any, symbols: int, size: Size, length: int) -> None:
        super().__init__()
        self.decoder = assemble(recurrence, symbols, ps.Vector(size.hidden, enters="input"))
        self.reader = ps.Source(ps.Tokens(symbols, dim=16), ps.Bidirectional(ps.LSTM(size.width // 2)))
        self.reader.build()
        self.posterior = nn.Linear(self.reader.width, 2 * size.hidden)
        self.hidden, self.length = size.hidden, length

    def model(self, y: ps.Sequences) -> None:
        """The joint law."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("names", len(y), dim=-1):
            z: Any = pyro.sample("z", dist.Normal(torch.zeros(self.hidden), 1.0).to_event(1))
            pyro.sample("y", self.decoder(z, self.length), obs=y.dense(self.length))

    def guide(self, y: ps.Sequences) -> None:
        """q(z | y), normal in each dimension."""
        pyro.module("reader", self.reader)
        pyro.module("posterior", self.posterior)
        loc, log_scale = self.posterior(self.reader.encode(y).summary).chunk(2, -1)
        with pyro.plate("names", len(y), dim=-1):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def log_weights(self, y: ps.Sequences, particles: int) -> Tensor:
        """log p(y, z) − log q(z | y) for `particles` draws of z from q, (particles, b)."""

        def many(program: Any) -> Any:
            return pyro.plate("particles", particles, dim=-2)(program)

        drawn = poutine.trace(many(self.guide)).get_trace(y)
        joint = poutine.trace(poutine.replay(many(self.model), drawn)).get_trace(y)
        for trace in (drawn, joint):
            trace.compute_log_prob()
        sites: Any = (joint.nodes["z"], joint.nodes["y"], drawn.nodes["z"])
        prior, likelihood, posterior = (site["log_prob"] for site in sites)
        return prior + likelihood - posterior


def train(latent: Latent, y: ps.Sequences, epochs: int, seed: int) -> None:
    """Maximise the evidence lower bound, its KL in closed form."""
    pyro.clear_param_store()
    svi = SVI(latent.model, latent.guide, pyro.optim.Adam({"lr": 2e-3}), TraceMeanField_ELBO())  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).split(128):
            svi.step(y.select(rows))


@torch.no_grad()
def bounds(latent: Latent, y: ps.Sequences, particles: int) -> dict[str, float]:
    """Nats a decision by the lower bound of one draw, and of many; and nats a name that z tells of y, its KL."""
    total: dict[str, float] = {"elbo": 0.0, "iwae": 0.0, "kl": 0.0}
    for rows in torch.arange(len(y)).split(50):
        part = y.select(rows)
        weights = latent.log_weights(part, particles).double()
        total["elbo"] -= float(weights.mean(0).sum())
        total["iwae"] -= float((weights.logsumexp(0) - math.log(particles)).sum())
        loc, log_scale = latent.posterior(latent.reader.encode(part).summary).chunk(2, -1)
        total["kl"] += float(0.5 * (loc.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum())
    decisions = int(y.decisions.sum())
    return {"elbo": total["elbo"] / decisions, "iwae": total["iwae"] / decisions, "kl": total["kl"] / len(y)}


@torch.no_grad()
def neighbours(latent: Latent, data: Texts, word: str, count: int = 6) -> list[str]:
    """Names decoded from draws of q(z | word)."""
    y = data.alphabet.encode([word] * count)
    drawn: Any = poutine.trace(latent.guide).get_trace(y)
    return data.alphabet.decode(latent.decoder.sample(1, drawn.nodes["z"]["value"], latent.length))


def study(name: str, data: Texts, size: Size, seed: int) -> dict[str, Any]:
    """A decoder by itself, and with a hidden cause."""
    y, validation, test = (data.alphabet.encode(part) for part in (data.train, data.validation, data.test))
    symbols, test = len(data.alphabet), test.select(range(min(size.scored, len(test))))
    length = max(int(part.lengths.max()) for part in (y, validation, test)) + 1
    pyro.set_rng_seed(seed)
    plain = assemble(decoders(size)[name], symbols)
    # Batches as the other's: of names of any lengths.
    ps.fit(
        plain, y, validation, max_epochs=size.epochs, batch_size=128, batch_tokens=None, bucket=False,
        learning_rate=2e-3, seed=seed, progress=False,
    )  # fmt: skip
    with torch.no_grad():
        own = float(-plain.log_prob(test).sum() / int(test.decisions.sum()))
    latent = Latent(decoders(size)[name], symbols, size, length)
    train(latent, y, size.epochs, seed)
    found = bounds(latent, test, size.particles)
    print(f"{name}: {own:.4f} alone, {found['iwae']:.4f} with z", flush=True)
    return {"alone": own, **found, "drawn": {word: neighbours(latent, data, word) for word in SHOWN}}


def main() -> None:
    """Train, score, show."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, on some words, into a temporary folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.process_time()
    size, data = (SMOKE, smoke_data()) if arguments.smoke else (FULL, names())
    results = {name: study(name, data, size, arguments.seed) for name in decoders(size)}
    content = {
        "question": __doc__, "seed": arguments.seed, "size": vars(size), "decoders": results,
        "processor_seconds": round(time.process_time() - begin),
    }  # fmt: skip
    folder = destination(__file__, arguments.smoke)
    write(content, folder)
    rows = [[name, *(row[key] for key in ("alone", "iwae", "elbo", "kl"))] for name, row in results.items()]
    print(f"\n{table(['decoder', 'alone', 'with z', 'one draw', 'KL'], rows)}")
    print(f"\n{content['processor_seconds']} s of processor time, in {folder}")


def smoke_data() -> Texts:
    """Words, which are embedded, in the place of names, which may be absent."""
    data = words()
    plain = [[word for word in part if "'" not in word] for part in (data.train, data.validation, data.test)]
    return Texts(data.alphabet, plain[0][:1000], plain[1][:100], plain[2][:100])


if __name__ == "__main__":
    main()

"""One model of several: the mean of their weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from probseq.arguments import checked
from probseq.model import SequenceModel
from probseq.part import require


@checked
@torch.no_grad()
def average(models: Sequence[SequenceModel]) -> SequenceModel:
    """A model whose weights are the mean of those of several models of the same assembly, with its costs as one.

    For models that lie in one valley of the likelihood, as checkpoints of one training do (Izmailov et al., Averaging
    weights leads to wider optima, 2018). Of models trained apart, the mean of the weights is no good: take `Mixture`.

    Raises:
        ValueError: no models, or models of different assemblies.

    >>> import probseq as ps
    >>> model = ps.SequenceModel(ps.Tokens(3), ps.GRU(4), ps.Categorical(), ps.EndSymbol())
    >>> y = ps.Sequences.of([[0, 2, 1]])
    >>> bool(ps.average([model, model]).log_prob(y) == model.log_prob(y))
    True
    """
    models = list(models)
    require(bool(models), "average() needs one model at least; got none.")
    first = models[0]
    for i, other in enumerate(models[1:], 1):
        for name, part in first.parts.items():
            shown, got = (None if each is None else each.describe() for each in (part, other.parts[name]))
            require(
                shown == got,
                f"average() needs models of one assembly; model {i} has {name}={got}, model 0 {name}={shown}. "
                "Use Mixture(models), which takes any.",
            )
    mean = copy.deepcopy(first)
    states = [model.state_dict() for model in models]
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            stacked = torch.stack([state[name].to(value.device, torch.float64) for state in states])
            value.copy_(stacked.mean(0))
    return mean.eval()

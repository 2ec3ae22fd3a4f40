"""Models together."""

from probseq.ensembles.average import average
from probseq.ensembles.members import Contexts
from probseq.ensembles.mixture import Mixture
from probseq.ensembles.product import ProductOfSteps

__all__ = ["Contexts", "Mixture", "ProductOfSteps", "average"]

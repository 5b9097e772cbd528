"""How a network comes to its weights: end to end, in two stages, or by reading stage one in another way."""

from ccar.training.procedures.build import build_procedure
from ccar.training.procedures.end_to_end import EndToEnd
from ccar.training.procedures.without_training import WithoutTraining

__all__ = ["EndToEnd", "WithoutTraining", "build_procedure"]

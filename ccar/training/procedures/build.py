"""A procedure by its name."""

from __future__ import annotations

import torch
from torch import Tensor

from ccar.errors import UserError
from ccar.training.config import TrialConfig
from ccar.training.procedures.bbn import BilateralBranch
from ccar.training.procedures.end_to_end import EndToEnd
from ccar.training.procedures.paco import ParametricContrast
from ccar.training.procedures.stage_two import ClassifierRetraining, LearnableWeightScaling
from ccar.training.procedures.without_training import PostHocLogitAdjustment, TauNormalisation

PROCEDURES: dict[str, type[EndToEnd]] = {
    "end_to_end": EndToEnd,
    "crt": ClassifierRetraining,
    "lws": LearnableWeightScaling,
    "tau_norm": TauNormalisation,
    "post_hoc": PostHocLogitAdjustment,
    "bbn": BilateralBranch,
    "paco": ParametricContrast,
}


def build_procedure(
    config: TrialConfig,
    class_counts: tuple[int, ...],
    in_channels: int,
    device: torch.device,
    stage_one: dict[str, Tensor] | None,
) -> EndToEnd:
    """The procedure that `config` names, ready for its first epoch.

    Args:
        config: what to train.
        class_counts: K training images per class.
        in_channels: of the images.
        device: where to.
        stage_one: the trained network of `config.stage_one`; None where there is no stage one.

    Raises:
        UserError: the network or the loss cannot take this data, or stage one has another network.
    """
    procedure = PROCEDURES[config.procedure.name](config, class_counts, in_channels, device)
    if config.stage_one is not None:
        assert stage_one is not None, "a procedure with a stage one is built from its weights"
        try:
            procedure.start_from(stage_one)
        except RuntimeError as error:  # torch: missing, unexpected or misshapen weights
            raise UserError(f"the network of stage one is another one: {str(error).splitlines()[0]}") from error
    return procedure

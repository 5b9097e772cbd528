"""Long-tail losses and CCAR's weight for any of them; needs torch and nothing else.

from ccar.losses import build_loss

loss_fn = build_loss("balanced_softmax", class_counts, reweighting={"omega": 0.75})
loss_fn(logits, labels).backward()
"""

from ccar.losses.base import BaseLoss
from ccar.losses.build import LOSSES, Loss, build_loss
from ccar.losses.logit_adjustment import post_hoc_logit_adjustment
from ccar.losses.reweighting import ccar_weight
from ccar.losses.softmax_loss import SoftmaxLoss

__all__ = ["LOSSES", "BaseLoss", "Loss", "SoftmaxLoss", "build_loss", "ccar_weight", "post_hoc_logit_adjustment"]

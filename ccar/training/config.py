"""What one trial trains: a value that is already checked, equal for equal trainings, and plain JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ccar.data.config import DataConfig as DataConfig  # the data room owns it: imports point down
from ccar.data.config import DatasetName as DatasetName
from ccar.training.recipe import Recipe

ModelName = Literal["small_cnn", "resnet32"]
Head = Literal["linear", "normed"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Omega = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="pivot, no unit, in (0, 1]")]
Frequency = Literal["fraction", "max_normalised", "effective_number", "uniform", "none"]
Phase = Literal["dual", "standard_only", "inverted_only", "constant"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CrossEntropy(_Frozen):
    name: Literal["cross_entropy"] = "cross_entropy"


class Focal(_Frozen):
    name: Literal["focal"] = "focal"
    gamma: Finite = Field(1.0, ge=0)


class ClassBalanced(_Frozen):
    name: Literal["class_balanced"] = "class_balanced"
    beta: Finite = Field(0.9999, ge=0, lt=1)


class ClassBalancedFocal(_Frozen):
    name: Literal["class_balanced_focal"] = "class_balanced_focal"
    beta: Finite = Field(0.9999, ge=0, lt=1)
    gamma: Finite = Field(1.0, ge=0)


class LDAM(_Frozen):
    """Margins from class sizes, with deferred re-weighting after `drw_start` of the epochs (1: never)."""

    name: Literal["ldam"] = "ldam"
    max_margin: Finite = Field(0.5, gt=0)
    scale: Finite = Field(30.0, gt=0)
    drw_start: Finite = Field(0.8, ge=0, le=1)
    drw_beta: Finite = Field(0.9999, ge=0, lt=1)


class LogitAdjustment(_Frozen):
    name: Literal["logit_adjustment"] = "logit_adjustment"
    tau: Finite = Field(1.0, ge=0)


class BalancedSoftmax(_Frozen):
    name: Literal["balanced_softmax"] = "balanced_softmax"


class FocalLogitAdjustment(_Frozen):
    name: Literal["focal_logit_adjustment"] = "focal_logit_adjustment"
    gamma: Finite = Field(1.0, ge=0)
    tau: Finite = Field(1.0, ge=0)


class FocalBalancedSoftmax(_Frozen):
    name: Literal["focal_balanced_softmax"] = "focal_balanced_softmax"
    gamma: Finite = Field(1.0, ge=0)


BaseLoss = Annotated[
    CrossEntropy
    | Focal
    | ClassBalanced
    | ClassBalancedFocal
    | LDAM
    | LogitAdjustment
    | BalancedSoftmax
    | FocalLogitAdjustment
    | FocalBalancedSoftmax,
    Field(discriminator="name"),
]


class Reweighting(_Frozen):
    """The switches of Omega; the field names are those of `ccar.losses.build_loss(reweighting=...)`."""

    omega: Omega
    frequency: Frequency | tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...] = "fraction"
    effective_number_beta: Finite = Field(0.99, ge=0, lt=1, description="used by frequency: effective_number")
    phase: Phase = "dual"
    confidence: Literal["adjusted", "raw"] = "adjusted"
    gradient: Literal["through", "detached"] = "through"
    keep_z: bool = False


class TrialConfig(_Frozen):
    """One configuration with its seed: the unit of training and of scheduling."""

    data: DataConfig
    model: ModelName
    head: Head
    recipe: Recipe
    loss: BaseLoss
    reweighting: Reweighting | None = None
    reduction: Literal["mean", "weight_normalised", "scale_matched"] = "mean"
    post_hoc_tau: Finite | None = Field(None, gt=0, description="predict argmax z - tau log pi")
    seed: int = Field(ge=0)

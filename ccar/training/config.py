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
FrequencySource = Frequency | tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...]
Phase = Literal["dual", "standard_only", "inverted_only", "constant"]
Confidence = Literal["adjusted", "raw"]
Gradient = Literal["through", "detached"]
Reduction = Literal["mean", "weight_normalised", "scale_matched"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CrossEntropy(_Frozen):
    """Softmax cross-entropy, the plain baseline."""

    name: Literal["cross_entropy"] = "cross_entropy"


class Focal(_Frozen):
    """Softmax focal loss: images that are classified well count less (Lin et al. 2017)."""

    name: Literal["focal"] = "focal"
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")


class ClassBalanced(_Frozen):
    """Cross-entropy weighted by the inverse effective number of images (Cui et al. 2019)."""

    name: Literal["class_balanced"] = "class_balanced"
    beta: Finite = Field(0.9999, ge=0, lt=1, description="of the effective number (1 - beta^n) / (1 - beta)")


class ClassBalancedFocal(_Frozen):
    """Focal loss with the class-balanced weights (Cui et al. 2019)."""

    name: Literal["class_balanced_focal"] = "class_balanced_focal"
    beta: Finite = Field(0.9999, ge=0, lt=1, description="of the effective number (1 - beta^n) / (1 - beta)")
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")


class LDAM(_Frozen):
    """Larger margins for rarer classes, then re-weighting (LDAM-DRW; Cao et al. 2019)."""

    name: Literal["ldam"] = "ldam"
    max_margin: Finite = Field(0.5, gt=0, description="margin of the rarest class, on cosines")
    scale: Finite = Field(30.0, gt=0, description="multiplies the cosines, no unit")
    drw_start: Finite = Field(
        0.8, ge=0, le=1, description="share of the epochs after which re-weighting sets in; 1: never"
    )
    drw_beta: Finite = Field(0.9999, ge=0, lt=1, description="effective-number beta of those weights")


class LogitAdjustment(_Frozen):
    """Cross-entropy on logits shifted by tau times the log prior (Menon et al. 2021)."""

    name: Literal["logit_adjustment"] = "logit_adjustment"
    tau: Finite = Field(1.0, ge=0, description="strength of the class prior: 1 is balanced softmax")


class BalancedSoftmax(_Frozen):
    """Cross-entropy on logits shifted by the log counts (Ren et al. 2020): logit adjustment at tau 1."""

    name: Literal["balanced_softmax"] = "balanced_softmax"


class FocalLogitAdjustment(_Frozen):
    """Focal loss on the logits of logit adjustment."""

    name: Literal["focal_logit_adjustment"] = "focal_logit_adjustment"
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")
    tau: Finite = Field(1.0, ge=0, description="strength of the class prior: 1 is balanced softmax")


class FocalBalancedSoftmax(_Frozen):
    """Focal loss on the logits of balanced softmax."""

    name: Literal["focal_balanced_softmax"] = "focal_balanced_softmax"
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")


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
    frequency: FrequencySource = Field(
        "fraction", description="class frequency f_c: a source by name, or one number in [0, 1] per class"
    )
    effective_number_beta: Finite = Field(0.99, ge=0, lt=1, description="used by frequency: effective_number")
    phase: Phase = Field("dual", description="which of Omega's two phases are used")
    confidence: Confidence = Field("adjusted", description="p_t from the logits of the base loss, or raw")
    gradient: Gradient = Field("through", description="through Omega, or Omega detached")
    keep_z: bool = Field(False, description="divide by Z, which the paper drops")


class TrialConfig(_Frozen):
    """One configuration with its seed: the unit of training and of scheduling."""

    data: DataConfig
    model: ModelName
    head: Head
    recipe: Recipe
    loss: BaseLoss
    reweighting: Reweighting | None = None
    reduction: Reduction = "mean"
    post_hoc_tau: Finite | None = Field(None, gt=0, description="predict argmax z - tau log pi")
    seed: int = Field(ge=0)

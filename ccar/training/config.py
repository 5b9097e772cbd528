"""What one trial trains: a value that is already checked, equal for equal trainings, and plain JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, WithJsonSchema, model_validator

from ccar.data.config import Augmentation
from ccar.data.config import DataConfig as DataConfig  # the data room owns it: imports point down
from ccar.data.config import DatasetName as DatasetName
from ccar.training.recipe import CutMix, Mixup, Recipe

ModelName = Literal["small_cnn", "resnet32", "resnet10", "resnet50", "resnet152", "resnext50_32x4d"]
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


class _BaseLoss(_Frozen):
    head: ClassVar[Head] = "linear"  # the classifier whose logits the loss is made for
    takes_two_labels: ClassVar[bool] = True  # under mixup and CutMix; as the loss of this name says
    adjusts_logits: ClassVar[bool] = False  # whether its softmax has a prior or a margin in it


class CrossEntropy(_BaseLoss):
    """Softmax cross-entropy, the plain baseline."""

    name: Literal["cross_entropy"] = "cross_entropy"


class Focal(_BaseLoss):
    """Softmax focal loss: images that are classified well count less (Lin et al. 2017)."""

    name: Literal["focal"] = "focal"
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")


class ClassBalanced(_BaseLoss):
    """Cross-entropy weighted by the inverse effective number of images (Cui et al. 2019)."""

    name: Literal["class_balanced"] = "class_balanced"
    beta: Finite = Field(0.9999, ge=0, lt=1, description="of the effective number (1 - beta^n) / (1 - beta)")


class ClassBalancedFocal(_BaseLoss):
    """Focal loss with the class-balanced weights (Cui et al. 2019)."""

    name: Literal["class_balanced_focal"] = "class_balanced_focal"
    beta: Finite = Field(0.9999, ge=0, lt=1, description="of the effective number (1 - beta^n) / (1 - beta)")
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")


class LDAM(_BaseLoss):
    """Larger margins for rarer classes, then re-weighting (LDAM-DRW; Cao et al. 2019)."""

    head: ClassVar[Head] = "normed"  # the margins are on cosines
    takes_two_labels: ClassVar[bool] = False
    adjusts_logits: ClassVar[bool] = True
    name: Literal["ldam"] = "ldam"
    max_margin: Finite = Field(0.5, gt=0, description="margin of the rarest class, on cosines")
    scale: Finite = Field(30.0, gt=0, description="multiplies the cosines, no unit")
    drw_start: Finite = Field(
        0.8, ge=0, le=1, description="share of the epochs after which re-weighting sets in; 1: never"
    )
    drw_beta: Finite = Field(0.9999, ge=0, lt=1, description="effective-number beta of those weights")


class LogitAdjustment(_BaseLoss):
    """Cross-entropy on logits shifted by tau times the log prior (Menon et al. 2021)."""

    adjusts_logits: ClassVar[bool] = True
    name: Literal["logit_adjustment"] = "logit_adjustment"
    tau: Finite = Field(1.0, ge=0, description="strength of the class prior: 1 is balanced softmax")


class BalancedSoftmax(_BaseLoss):
    """Cross-entropy on logits shifted by the log counts (Ren et al. 2020): logit adjustment at tau 1."""

    adjusts_logits: ClassVar[bool] = True
    name: Literal["balanced_softmax"] = "balanced_softmax"


class FocalLogitAdjustment(_BaseLoss):
    """Focal loss on the logits of logit adjustment."""

    adjusts_logits: ClassVar[bool] = True
    name: Literal["focal_logit_adjustment"] = "focal_logit_adjustment"
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")
    tau: Finite = Field(1.0, ge=0, description="strength of the class prior: 1 is balanced softmax")


class FocalBalancedSoftmax(_BaseLoss):
    """Focal loss on the logits of balanced softmax."""

    adjusts_logits: ClassVar[bool] = True
    name: Literal["focal_balanced_softmax"] = "focal_balanced_softmax"
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is plain cross-entropy; default 1")


class ALA(_BaseLoss):
    """Margins that grow with the rarity of the class and the difficulty of the image (Zhao et al. 2022)."""

    head: ClassVar[Head] = "normed"  # the margins are on cosines
    takes_two_labels: ClassVar[bool] = False
    adjusts_logits: ClassVar[bool] = True
    name: Literal["ala"] = "ala"
    scale: Finite = Field(30.0, gt=0, description="multiplies the cosines, no unit")
    difficulty_gradient: Gradient = Field("through", description="through the difficulty, or the difficulty detached")


class GALA(_BaseLoss):
    """Cross-entropy on logits shifted by the log of each class's gradients so far (Zhang et al. 2024)."""

    takes_two_labels: ClassVar[bool] = False
    adjusts_logits: ClassVar[bool] = True
    name: Literal["gala"] = "gala"
    strength: Finite = Field(1.0, ge=0, description="of the shift: 0 is plain cross-entropy")


class SigmoidFocal(_BaseLoss):
    """Focal loss of K yes-or-no questions, as it was published (Lin et al. 2017)."""

    name: Literal["sigmoid_focal"] = "sigmoid_focal"
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is binary cross-entropy; default 1")


class ClassBalancedSigmoidFocal(_BaseLoss):
    """Sigmoid focal loss with the class-balanced weights (Cui et al. 2019)."""

    name: Literal["class_balanced_sigmoid_focal"] = "class_balanced_sigmoid_focal"
    beta: Finite = Field(0.9999, ge=0, lt=1, description="of the effective number (1 - beta^n) / (1 - beta)")
    gamma: Finite = Field(1.0, ge=0, description="focusing: 0 is binary cross-entropy; default 1")


BaseLoss = Annotated[
    CrossEntropy
    | Focal
    | ClassBalanced
    | ClassBalancedFocal
    | LDAM
    | LogitAdjustment
    | BalancedSoftmax
    | FocalLogitAdjustment
    | FocalBalancedSoftmax
    | ALA
    | GALA
    | SigmoidFocal
    | ClassBalancedSigmoidFocal,
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
    soft_labels: Literal["forbidden", "per_label"] = Field(
        "forbidden",
        description="under mixup or cutmix p_t is not defined by the paper; per_label: mix the losses of both labels",
    )

    def unused(self, loss: BaseLoss, reduction: Reduction) -> frozenset[str]:
        """Names of the fields, omega among them, that change nothing about the loss of a batch beside the others.

        `soft_labels` is not looked at: whether images are mixed, the recipe says.
        """
        one_slope = self.phase == "constant" or (self.phase != "dual" and self.frequency in ("none", "uniform"))
        without_effect = {
            "frequency": self.phase == "constant",
            "effective_number_beta": self.phase == "constant" or self.frequency != "effective_number",
            "confidence": not loss.adjusts_logits,
            # With one beta for all images, Z and e^(beta omega) are a factor of the whole batch: divided out.
            "keep_z": one_slope and reduction != "mean",
            # With one beta on both sides of the pivot, Z has the same e^(beta omega) in it.
            "omega": (one_slope and reduction != "mean") or (self.keep_z and self.phase != "dual"),
        }
        return frozenset(name for name, has_none in without_effect.items() if has_none)

    def normal_form(self, loss: BaseLoss, reduction: Reduction) -> Self:
        """The same weight in the one way that all ways to write it share: as by default what changes nothing.

        Omega has no default and stays, though it may be one of the unused.
        """
        is_constant = self.phase == "standard_only" and self.frequency == "none"  # f' = 0 on both sides
        same = self.model_copy(update={"phase": "constant"}) if is_constant else self
        unused = same.unused(loss, reduction) - {"omega"}
        return same.model_copy(update={name: Reweighting.model_fields[name].default for name in unused})


def _taus(*, above_0: bool) -> WithJsonSchema:
    number = {"type": "number", "exclusiveMinimum" if above_0 else "minimum": 0}
    return WithJsonSchema({"anyOf": [number, {"type": "array", "items": number, "minItems": 1}]})


_OneOrMore = BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))


class Objection(NamedTuple):
    """Why a procedure cannot train a method; as much of it as a study file says in one place."""

    where: Literal["base", "reweighting", "mixing", "sampler"]  # mixing and sampler are of the recipe
    found: str
    expected: str
    hint: str


class _Procedure(_Frozen):
    trains: ClassVar[bool] = True  # False: reads what stage one has trained in another way
    needs_stage_one: ClassVar[bool] = False
    needs_linear_head: ClassVar[bool] = False  # of its stage one
    takes_pretrained: ClassVar[bool] = True  # whether its network can begin with the weights of a backbone
    default_base: ClassVar[BaseLoss] = CrossEntropy()  # where a study names none
    recipe: ClassVar[dict[str, object]] = {}  # what differs from the recipe of the other methods unless a study says

    def objections(
        self, loss: BaseLoss, reweighting: Reweighting | None, reduction: Reduction, recipe: Recipe
    ) -> Iterator[Objection]:
        """What of a method this procedure has no use for, and would have to ignore or to misread."""
        return iter(())


class EndToEnd(_Procedure):
    """Train the whole network on the base loss, in one go."""

    name: Literal["end_to_end"] = "end_to_end"


_STAGE_TWO_RECIPE: dict[str, object] = {
    "schedule": {"name": "cosine"},
    "sampler": "class_balanced",
    "mixing": None,
}
BatchNorm = Annotated[
    Literal["update", "frozen"],
    Field(description="update: running statistics go on moving, as in the authors' code; frozen: they stay"),
]


class ClassifierRetraining(_Procedure):
    """cRT: keep the backbone of stage one, train a new classifier on class-balanced batches (Kang et al. 2020)."""

    needs_stage_one: ClassVar[bool] = True
    recipe: ClassVar[dict[str, object]] = {"epochs": 10, **_STAGE_TWO_RECIPE}
    name: Literal["crt"] = "crt"
    batch_norm: BatchNorm = "update"


class LearnableWeightScaling(_Procedure):
    """LWS: keep all of stage one, learn one factor per class on class-balanced batches (Kang et al. 2020)."""

    needs_stage_one: ClassVar[bool] = True
    needs_linear_head: ClassVar[bool] = True
    recipe: ClassVar[dict[str, object]] = {"epochs": 5, **_STAGE_TWO_RECIPE}
    name: Literal["lws"] = "lws"
    batch_norm: BatchNorm = "update"


class TauNormalisation(_Procedure):
    """Divide each class vector of stage one by its norm to the power tau, drop the bias (Kang et al. 2020)."""

    trains: ClassVar[bool] = False
    needs_stage_one: ClassVar[bool] = True
    needs_linear_head: ClassVar[bool] = True
    name: Literal["tau_norm"] = "tau_norm"
    tau: Annotated[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], _OneOrMore, _taus(above_0=False)] = (
        Field(
            tuple(step / 10 for step in range(21)),
            min_length=1,
            description="strengths to choose from on the validation part; 0 leaves the class vectors as they are",
        )
    )


class PostHocLogitAdjustment(_Procedure):
    """Take tau times the log prior off the logits of stage one (Menon et al. 2021)."""

    trains: ClassVar[bool] = False
    needs_stage_one: ClassVar[bool] = True
    name: Literal["post_hoc"] = "post_hoc"
    tau: Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], _OneOrMore, _taus(above_0=True)] = (
        Field((1.0,), min_length=1, description="strengths to choose from on the validation part")
    )


class BilateralBranch(_Procedure):
    """BBN: one branch for images as they come, one for rare classes; the weight moves to it (Zhou et al. 2020)."""

    takes_pretrained: ClassVar[bool] = False
    name: Literal["bbn"] = "bbn"

    def objections(
        self, loss: BaseLoss, reweighting: Reweighting | None, reduction: Reduction, recipe: Recipe
    ) -> Iterator[Objection]:
        if reduction == "scale_matched":
            yield Objection(
                "reweighting",
                "reduction scale_matched",
                "another reduction: each of the two losses of a step would move the running mean of Omega",
                "weight_normalised takes the scale out of each of the two by itself",
            )
        if recipe.mixing is not None:
            yield _objection_to_mixing(recipe.mixing)
        if recipe.sampler != "instance_balanced":
            yield Objection(
                "sampler",
                f"sampler {recipe.sampler}",
                "sampler instance_balanced for its first branch: the second one samples for the tail",
                "recipe: {sampler: instance_balanced} for it",
            )


# Its loss is not a base loss with something around it, so of a base loss it takes the prior and nothing else.
_PRIORS = ("balanced_softmax", "logit_adjustment", "cross_entropy")
_SIMCLR: tuple[Augmentation, ...] = ("simclr_crop", "flip", "simclr_jitter", "grayscale", "blur")


class ParametricContrast(_Procedure):
    """PaCo: one softmax over class centres and other images, whose keys come from a slow copy (Cui et al. 2021)."""

    default_base: ClassVar[BaseLoss] = BalancedSoftmax()
    name: Literal["paco"] = "paco"
    alpha: Finite = Field(0.01, ge=0, description="target weight of each image of the same class")
    beta: Finite = Field(1.0, gt=0, description="target weight of the class centre")
    gamma: Finite = Field(1.0, ge=0, description="weight of the other images in the softmax")
    supt: Finite = Field(1.0, gt=0, description="temperature of the class logits")
    temperature: Finite = Field(0.05, gt=0, description="of the cosines between images")
    dim: PositiveInt = Field(32, description="length of the embeddings")
    queue_size: PositiveInt = Field(1024, description="keys of earlier steps that are remembered")
    momentum: Finite = Field(0.999, ge=0, le=1, description="of the slow copy: 0 is the network itself, 1 never moves")
    key_augmentation: tuple[Augmentation, ...] = Field(
        _SIMCLR,
        description="what varies the images that the slow copy sees; the network's own are varied by the recipe",
    )

    def objections(
        self, loss: BaseLoss, reweighting: Reweighting | None, reduction: Reduction, recipe: Recipe
    ) -> Iterator[Objection]:
        if loss.name not in _PRIORS:
            yield Objection(
                "base",
                f"base {loss.name}",
                f"one of {', '.join(_PRIORS)}: its loss has a place for a class prior alone",
                "leave base out: balanced_softmax is PaCo as published",
            )
        if reweighting is not None:
            yield Objection(
                "reweighting",
                f"omega {reweighting.omega:g}",
                "no re-weighting: its loss is no function of a confidence p_t",
                "see paco in docs/procedures.md",
            )
        if recipe.mixing is not None:
            yield _objection_to_mixing(recipe.mixing)


def _objection_to_mixing(mixing: Mixup | CutMix) -> Objection:
    return Objection("mixing", f"mixing {mixing.name}", "images of one class", "recipe: {mixing: null} for it")


Procedure = Annotated[
    EndToEnd
    | ClassifierRetraining
    | LearnableWeightScaling
    | TauNormalisation
    | PostHocLogitAdjustment
    | BilateralBranch
    | ParametricContrast,
    Field(discriminator="name"),
]


class Pretrained(_Frozen):
    """Weights that training begins with; where they lie is not part of the trial key."""

    path: Path
    sha256: str = Field(description="of the file, hex")


class TrialConfig(_Frozen):
    """One configuration with its seed: the unit of training and of scheduling."""

    data: DataConfig
    model: ModelName
    pretrained: Pretrained | None = None
    head: Head
    recipe: Recipe
    loss: BaseLoss
    reweighting: Reweighting | None = None
    reduction: Reduction = "mean"
    loss_factor: Finite = Field(1.0, gt=0, description="multiplies the loss of a batch: a control for its scale")
    procedure: Procedure = EndToEnd()
    stage_one: TrialConfig | None = Field(None, description="whose trained network the procedure starts from")
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _stage_one_fits(self) -> Self:
        stage_one = self.stage_one
        if (stage_one is not None) != self.procedure.needs_stage_one:
            raise ValueError(f"procedure {self.procedure.name} and stage_one do not fit: one needs the other")
        if stage_one is not None and (
            (stage_one.data, stage_one.model, stage_one.pretrained, stage_one.seed)
            != (self.data, self.model, self.pretrained, self.seed)
            or stage_one.procedure.name != "end_to_end"
        ):
            raise ValueError("stage_one is trained end to end on the same data and model with the same seed")
        return self

    @model_validator(mode="after")
    def _procedure_has_use_for_all(self) -> Self:
        for objection in self.procedure.objections(self.loss, self.reweighting, self.reduction, self.recipe):
            raise ValueError(f"{self.procedure.name}: found {objection.found}, expected {objection.expected}")
        return self

    def with_seed(self, seed: int) -> TrialConfig:
        """The same configuration, and the same stage one, with another seed."""
        stage_one = self.stage_one and self.stage_one.with_seed(seed)
        return self.model_copy(update={"seed": seed, "stage_one": stage_one})

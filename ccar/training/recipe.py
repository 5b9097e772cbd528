"""A recipe: everything about training that is held equal across the methods that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from ccar.data.config import Augmentation as Augmentation  # the data room owns it


class CosineSchedule(BaseModel):
    """Linear warm-up to the peak, then half a cosine to exactly 0 in the last epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["cosine"] = "cosine"
    warmup_epochs: int = Field(0, ge=0, description="epochs until the peak learning rate, 2 or more; 0: start at it")
    warmup_start: float = Field(0.0, ge=0, le=1, description="learning rate of epoch 1, as a share of the peak")


class StepSchedule(BaseModel):
    """Linear warm-up from lr / warmup_epochs, then constant, multiplied at each milestone."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["steps"] = "steps"
    warmup_epochs: int = Field(0, ge=0, description="epochs until the full learning rate, 2 or more; 0: start at it")
    milestones: tuple[PositiveInt, ...] = Field(description="after these epochs (1-based) the rate is multiplied")
    factor: float = Field(0.1, gt=0, lt=1, description="the multiplier; it accumulates")

    @model_validator(mode="after")
    def _milestones_increase(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise ValueError(f"milestones must increase, found {list(self.milestones)}")
        return self


Share = Annotated[float, Field(gt=0, allow_inf_nan=False, description="of Beta(alpha, alpha); 1 draws uniformly")]


class Mixup(BaseModel):
    """Train on weighted means of two images, by the same weighted mean of the losses of both labels.

    One weight per batch. Source: Zhang et al., ICLR 2018, arXiv:1710.09412.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["mixup"] = "mixup"
    alpha: Share = 1.0


class CutMix(BaseModel):
    """Train on images with a rectangle of another image, by the losses of both labels in proportion to the areas.

    One rectangle per batch. Source: Yun et al., ICCV 2019, arXiv:1905.04899.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["cutmix"] = "cutmix"
    alpha: Share = 1.0


class Recipe(BaseModel):
    """Optimiser, schedule, augmentation and length of one training run.

    Either `epochs` or `iterations` is given. `iterations` follows the Balanced-Softmax protocol: with
    L = ceil(images / batch_size), epochs = ceil(iterations / L); `warmup_iterations` likewise, in place of
    the schedule's `warmup_epochs`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(description="the named recipe this one is, or started from")
    epochs: PositiveInt | None = Field(None, description="passes over the training images")
    iterations: PositiveInt | None = Field(None, description="in place of epochs: total number of batches")
    warmup_iterations: PositiveInt | None = Field(None, description="with iterations: batches until the peak")
    batch_size: PositiveInt = Field(description="images per step")
    drop_last: bool = Field(False, description="leave out the last batch of an epoch when it is not full")
    learning_rate: float = Field(gt=0, allow_inf_nan=False, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    nesterov: bool = Field(False, description="Nesterov momentum")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False, description="L2, on all parameters")
    schedule: CosineSchedule | StepSchedule = Field(discriminator="name", description="learning rate over the epochs")
    augmentation: tuple[Augmentation, ...] = Field((), description="applied to training images, in order")
    sampler: Literal["instance_balanced", "class_balanced"] = Field(
        "instance_balanced",
        description="every image once per epoch; or every class equally often, four images of it at a time",
    )
    mixing: Mixup | CutMix | None = Field(
        None, discriminator="name", description="mix pairs of training images; needs a loss that takes two labels"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of the forward pass (autocast)")

    @model_validator(mode="after")
    def _length_is_said_once(self) -> Self:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("say either epochs or iterations, and only one of them")
        if self.warmup_iterations is not None:
            if self.iterations is None:
                raise ValueError("warmup_iterations needs iterations; with epochs use schedule.warmup_epochs")
            if self.schedule.warmup_epochs:
                raise ValueError("say either warmup_iterations or schedule.warmup_epochs, not both")
            if self.warmup_iterations > self.iterations:
                raise ValueError(f"warmup_iterations {self.warmup_iterations} exceed iterations {self.iterations}")
        return self

    @model_validator(mode="after")
    def _schedule_fits_into_the_epochs(self) -> Self:
        if self.epochs is None:
            return self
        if self.schedule.warmup_epochs > self.epochs:
            raise ValueError(f"schedule.warmup_epochs {self.schedule.warmup_epochs} exceed the {self.epochs} epochs")
        milestones = self.schedule.milestones if isinstance(self.schedule, StepSchedule) else ()
        if milestones and milestones[-1] >= self.epochs:
            # Silently ignored, a shortened protocol would never lower its rate.
            raise ValueError(f"schedule.milestones {list(milestones)} must lie before the last of {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        return self


def changed_recipe(recipe: Recipe, changes: Mapping[str, object]) -> Recipe:
    """`recipe` with some of its fields replaced; a new length in epochs replaces one in iterations, and back.

    Raises:
        pydantic.ValidationError: the changed recipe contradicts itself.
    """
    if not changes:
        return recipe
    values = recipe.model_dump()
    if changes.get("epochs") is not None:
        values |= {"iterations": None, "warmup_iterations": None}
    if changes.get("iterations") is not None:
        values |= {"epochs": None}
    return Recipe.model_validate({**values, **changes})

"""What a study says about its images: which source, how long a tail, how much is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

DatasetName = Literal["digits", "cifar10", "cifar100", "image_folder"]
Augmentation = Literal["crop", "flip", "autoaugment", "cutout"]


def _in_one_sentence(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """Without this, pydantic reports one mistake twice: once for each member of the union."""
    try:
        return check(value)
    except ValidationError as error:
        raise PydanticCustomError(
            "imbalance_factor", "Input should be a number, 1 or larger, or the word 'natural'"
        ) from error


ImbalanceFactor = Annotated[
    Annotated[float, Field(ge=1, allow_inf_nan=False)] | Literal["natural"],
    WrapValidator(_in_one_sentence),
    Field(
        description="largest / smallest class count of the tail that is cut; "
        "natural: keep every training image, for data that has a tail of its own"
    ),
]


class DataConfig(BaseModel):
    """Which images, how long a tail, and how many training images per class are held out for validation.

    `root` and `download` say where the bytes come from; they are not part of the trial key, the bytes are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: DatasetName
    root: Path | None = None
    download: bool = False
    image_size: PositiveInt | None = Field(None, description="image_folder: side length in pixels after resizing")
    imbalance_factor: ImbalanceFactor
    validation_per_class: int = Field(ge=0)
    class_order: Literal["label", "reversed", "shuffled"] = Field(
        "label", description="which class is the head of the tail that is cut"
    )

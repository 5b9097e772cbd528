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

DatasetName = Literal["digits", "cifar10", "cifar100", "image_folder", "imagenet_lt", "inaturalist2018", "places_lt"]
Augmentation = Literal[
    "crop",
    "flip",
    "autoaugment",
    "cutout",
    "random_resized_crop",
    "color_jitter",
    "simclr_crop",
    "simclr_jitter",
    "grayscale",
    "blur",
]

# Protocols of the literature, by the name of the images that they cut their tails from.
PROTOCOL_NAMES: dict[str, DatasetName] = {"cifar10_lt": "cifar10", "cifar100_lt": "cifar100"}

# Published sets with a tail of their own, and whether they come with validation images.
HAS_OWN_VALIDATION: dict[DatasetName, bool] = {"imagenet_lt": True, "inaturalist2018": False, "places_lt": True}


def number_or_word(message: str) -> WrapValidator:
    """Without this, pydantic reports one mistake twice: once for each member of the union."""

    def in_one_sentence(value: object, check: ValidatorFunctionWrapHandler) -> object:
        try:
            return check(value)
        except ValidationError as error:
            raise PydanticCustomError("number_or_word", message) from error

    return WrapValidator(in_one_sentence)


ImbalanceFactor = Annotated[
    Annotated[float, Field(ge=1, allow_inf_nan=False)] | Literal["natural"],
    number_or_word("Input should be a number, 1 or larger, or the word 'natural'"),
    Field(
        description="largest / smallest class count of the tail that is cut; "
        "natural: keep every training image, for data that has a tail of its own"
    ),
]
ValidationPerClass = Annotated[
    Annotated[int, Field(ge=0)] | Literal["own"],
    number_or_word("Input should be a whole number, 0 or larger, or the word 'own'"),
    Field(
        description="training images per class held out before the tail is cut; selection looks at them only; "
        "own: the validation images that imagenet_lt and places_lt come with"
    ),
]


class DataConfig(BaseModel):
    """Which images, how long a tail, and which images are validated on.

    `WHEREABOUTS` say where the bytes come from and how they are checked; they are not part of the trial key,
    the bytes are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: DatasetName
    root: Path | None = None
    lists: Path | None = None
    counts: Literal["published", "listed"] = "published"
    download: bool = False
    image_size: PositiveInt | None = None
    imbalance_factor: ImbalanceFactor
    validation_per_class: ValidationPerClass
    class_order: Literal["label", "reversed", "shuffled"] = "label"

    @property
    def title(self) -> str:
        """What tables call the images: with lists of one's own they are not the published set."""
        return self.name if self.counts == "published" else f"{self.name} (own lists)"


WHEREABOUTS = ("root", "lists", "counts", "download")

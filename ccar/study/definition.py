"""The study file: one question, as YAML. Everything that a user may write, and nothing that they may not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ccar.data.config import (
    PROTOCOL_NAMES,
    DataConfig,
    DatasetName,
    ImbalanceFactor,
    ValidationPerClass,
    number_or_word,
)
from ccar.errors import Problem, StudyFileError, UserError
from ccar.store.address import whole_path
from ccar.study.checks import check_study
from ccar.study.methods import Methods
from ccar.study.parts import OneOrMore, Part, Several, Synonyms, mistake, plain
from ccar.study.recipe_changes import ByName
from ccar.study.schema import study_schema_of
from ccar.study.wording import dotted, problems_of
from ccar.study.yaml_source import KeyPath, YamlSource, parse_yaml, read_yaml
from ccar.training.config import ModelName, Omega
from ccar.training.recipe import Recipe
from ccar.training.recipes import RECIPES

OMEGAS_PER_UNIT = 1000  # searched omegas are rounded: a finer pivot changes nothing that noise does not hide
# Results before a searcher learns from them. Optuna's 10 are for many parameters and would leave a short search without
# a model. The same for every num_samples: a search that is extended goes on as a longer one would have.
NUM_RANDOM_OMEGAS = 4
UNITS_OF_RAY = 10_000  # in a CPU, and in a GPU

Objective = Literal["accuracy", "balanced_accuracy", "many", "medium", "few"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
_PATHS: tuple[KeyPath, ...] = (("data", "root"), ("data", "lists"), ("pretrained",))


def _expanded(value: object) -> object:
    """Fill `${NAME}` and `${NAME:-default}` from the environment; make the path absolute."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise mistake("is empty", "an empty text", "a folder")

    def filled(variable: re.Match[str]) -> str:
        found = os.environ.get(variable["name"]) or variable["default"]
        if found is None:
            name = variable["name"]
            what = "names an environment variable that is not set on this machine"
            hint = f"write ${{{name}:-FOLDER}} for a default, or export {name}=FOLDER; `ccar submit` needs it here, too"
            raise mistake(what, f"${{{name}}}", "a set one", hint=hint)
        return found

    try:
        return whole_path(_VARIABLE.sub(filled, value))  # since workers may start in another folder
    except UserError as error:
        hint = error.hint or ""
        raise mistake("begins with an unknown user", value, "one of this machine", hint=hint) from error


class StudyData(Part):
    """Which images, how long a tail, and how many training images per class are held out for validation."""

    name: Annotated[DatasetName, Synonyms(PROTOCOL_NAMES)] = Field(
        description="digits is built in; image_folder is any train/<class>/*, test/<class>/*; see docs/data.md"
    )
    imbalance_factors: OneOrMore[ImbalanceFactor] = Field(
        description="largest / smallest class count, >= 1, or natural: keep the tail that the data has"
    )
    validation_per_class: ValidationPerClass
    root: Annotated[Path, BeforeValidator(_expanded)] | None = Field(
        None,
        description="folder of the images, relative to where ccar is started; "
        "${NAME} and ${NAME:-default} are filled from the environment",
    )
    lists: Annotated[Path, BeforeValidator(_expanded)] | None = Field(
        None, description="imagenet_lt, inaturalist2018, places_lt: folder of the list files, by default the root"
    )
    counts: Literal["published", "listed"] = Field(
        "published",
        description="imagenet_lt, inaturalist2018, places_lt: the lists must have the published number of images "
        "in every class, or any",
    )
    download: bool = Field(False, description="cifar10, cifar100: download what is missing")
    image_size: PositiveInt | None = Field(
        None, description="side length in pixels after resizing: of image_folder, and of sets that come as lists (224)"
    )
    class_order: Literal["label", "reversed", "shuffled"] = Field(
        "label", description="which class is the head of the tail that is cut"
    )

    def at(self, imbalance_factor: float | Literal["natural"]) -> DataConfig:
        """The data of the trials at one of the imbalance factors."""
        values = {name: getattr(self, name) for name in DataConfig.model_fields if name != "imbalance_factor"}
        return DataConfig(imbalance_factor=imbalance_factor, **values)


class Resources(Part):
    """What one trial takes on the machine it runs on."""

    cpus: float = Field(1, gt=0, allow_inf_nan=False, description="CPU cores per trial")
    gpus: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"],
        number_or_word("Input should be a number, 0 or larger, or the word 'auto'"),
    ] = Field(
        0.0,
        description="GPUs per trial: 0.25 lets four trials share one; above 1 whole; "
        "auto: as many trials on each GPU as pay, by measurement",
    )

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float | Literal["auto"]) -> float | Literal["auto"]:
        if gpus != "auto" and gpus > 1 and gpus != int(gpus):
            raise mistake("is out of range", plain(gpus), "a share of one GPU, or a whole number of GPUs")
        return gpus

    @property
    def gpu_share(self) -> float:
        """GPUs per trial; a whole one where that has yet to be measured."""
        return 1.0 if self.gpus == "auto" else self.gpus

    def with_trials_per_gpu(self, count: int) -> Resources:
        """The same after measuring how many trials share a GPU; what the file says is not changed."""
        return self.model_copy(update={"gpus": share_of_gpu(count)}) if self.gpus == "auto" else self


def ray_units(amount: float) -> int:
    """An amount of CPUs or GPUs as Ray counts it: in steps of 1 / 10 000, rounded."""
    return int(amount * UNITS_OF_RAY + 0.5)


def share_of_gpu(count: int) -> float:
    """The largest share of a GPU of which it holds so many, as Ray counts: of 1/32, rounded up, it would hold 31."""
    return UNITS_OF_RAY // count / UNITS_OF_RAY


def rounded_omega(omega: float) -> float:
    """The nearest omega that a search may try."""
    return round(omega * OMEGAS_PER_UNIT) / OMEGAS_PER_UNIT


def _offered(algorithm: object) -> object:
    """Refuse by name what some would look for here."""
    if isinstance(algorithm, str) and algorithm.lower() in ("pbt", "pb2"):
        raise mistake(
            "is not offered",
            repr(algorithm),
            "an algorithm that leaves a trial the configuration it began with",
            hint="search omega with tpe, gp or random, stop trials with asha or median; docs/decisions/pbt.md says why",
        )
    return algorithm


class OptunaSearch(Part):
    """Let Optuna choose omega, for every base loss and switch combination at every imbalance factor."""

    algorithm: Annotated[Literal["tpe", "gp", "random"], BeforeValidator(_offered)] = Field(
        description="Optuna's TPE, Gaussian process or random sampler; "
        f"all draw at random until {NUM_RANDOM_OMEGAS} omegas have results"
    )
    num_samples: PositiveInt = Field(
        description="omegas tried per base loss, switch combination and imbalance factor, each over all seeds"
    )
    omega: tuple[Omega, Omega] = Field(description="lowest and highest omega, e.g. [0.05, 1.0]")
    objectives: OneOrMore[Objective] = Field(
        ("balanced_accuracy",), description="validation accuracies to maximise, as means over the seeds"
    )
    seed: Seed = Field(0, description="of the searcher: the same seed and results give the same omegas")
    max_concurrent: PositiveInt = Field(
        4,
        description="omegas of one search under way at once; each learns from all but the last few before it",
    )

    @field_validator("omega")
    @classmethod
    def _room_between(cls, omega: tuple[float, float]) -> tuple[float, float]:
        low, high = omega
        if any(bound != rounded_omega(bound) for bound in omega) or not low < high:
            raise mistake(
                "is no range",
                f"[{plain(low)}, {plain(high)}]",
                f"lowest below highest, in steps of {1 / OMEGAS_PER_UNIT:g}",
            )
        return omega

    @property
    def num_omegas(self) -> int:
        """How many different omegas the range holds at the precision of the search."""
        low, high = self.omega
        return round((high - low) * OMEGAS_PER_UNIT) + 1


class EarlyStopping(Part):
    """Stop trials that fall behind the others of their imbalance factor; the baseline is never stopped."""

    algorithm: Annotated[Literal["asha", "median"], BeforeValidator(_offered)] = Field(
        description="asynchronous successive halving, or the median rule"
    )
    grace_epochs: PositiveInt = Field(description="no trial is stopped before so many epochs")
    reduction_factor: int = Field(3, ge=2, description="asha: one in so many goes on at each rung")

    @field_validator("reduction_factor")
    @classmethod
    def _only_for_asha(cls, factor: int, info: Any) -> int:  # noqa: ANN401  (pydantic's ValidationInfo)
        if info.data.get("algorithm") == "median":
            raise mistake("has no effect", "algorithm: median", "algorithm: asha beside it")
        return factor


@dataclass(frozen=True, slots=True)
class _NoneWord:
    """A word that stands for leaving the part out, so that a file can say so."""

    word: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.no_info_before_validator_function(self._spelt_out, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        alternatives = handler(schema)["anyOf"]
        named = [member for member in alternatives if member != {"type": "null"}]
        return {"anyOf": [{"const": self.word, "type": "string"}, *named]}

    def _spelt_out(self, value: object) -> object:
        return None if value == self.word else value


class Study(Part):
    """One question, as trials: base losses x re-weightings x imbalance factors x seeds."""

    study: str = Field(
        min_length=1,
        max_length=60,
        description="name of the study: lower-case letters, digits and hyphens",
        json_schema_extra={"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
    )
    question: str = Field(min_length=1, description="what the study is to answer; stands at the top of the report")
    data: StudyData = Field(description="images, imbalance factors, validation part")
    model: ModelName = Field(description="network, the same for all methods")
    pretrained: Annotated[Path, BeforeValidator(_expanded)] | None = Field(
        None, description="file with the weights that every network begins with: torchvision's state_dict of the model"
    )
    recipe: Annotated[Recipe, ByName()] = Field(
        description="training recipe by name, or {name: ..., and what differs}; the same for all methods"
    )
    methods: Methods = Field(description="what is compared")
    seeds: Several[Seed] = Field(description="one trial per cell and seed, e.g. [0, 1, 2]")
    baseline: str = Field(min_length=1, description="label of the method that all others are compared with")
    resources: Resources = Field(Resources(), description="what one trial takes on its machine")
    search: Annotated[OptunaSearch | None, _NoneWord("grid")] = Field(
        None, description="grid: run all of methods; or how to look for omega where the grid leaves it out"
    )
    early_stopping: Annotated[EarlyStopping | None, _NoneWord("none")] = Field(
        None, description="none: every trial runs to its end; or the rule by which trials are stopped"
    )
    _source: YamlSource | None = PrivateAttr(None)

    @field_validator("study")
    @classmethod
    def _slug(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
            hint = f"did you mean '{slug}'?" if slug else ""
            raise mistake("is not a name", repr(name), "lower-case letters, digits and hyphens", hint=hint)
        return name

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.study

    @property
    def text(self) -> str:
        """The file as it was read; empty for a study that was made in code."""
        return self._source.text if self._source else ""

    def relative_paths(self) -> list[Problem]:
        """A problem for each path that is another one where ccar is started in another folder: as on a cluster."""
        if self._source is None:
            return []
        problems = []
        for path in _PATHS:
            said = self._source.value_at(path) if self._source.written(path) == path else None
            if not isinstance(said, str):
                continue
            filled = _VARIABLE.sub(lambda variable: variable["default"] or "/", said)  # whoever sets it sees to it
            if not filled.startswith(("/", "~")):
                message = f"{'.'.join(map(str, path))} is relative: found {said}, expected a whole path"
                problems.append(self.problem(path, message, "the one that the nodes of the cluster have"))
        return problems

    def problem(self, path: KeyPath, message: str, hint: str | None = None) -> Problem:
        """Something wrong with the value at `path`, with its place in the file."""
        if self._source is None:
            return Problem(f"study {self.study}", None, message, hint)
        return Problem(self._source.file, self._source.line_of(path), message, hint)


# Stand in for parts that are wrong, so that the other parts are checked against each other all the same.
_STAND_INS: dict[str, Any] = {
    "study": "stand-in",
    "question": "stand-in",
    "data": {"name": "digits", "imbalance_factors": 1, "validation_per_class": 1},
    "model": "small_cnn",
    "recipe": next(iter(RECIPES)),
    "methods": {"bases": ("cross_entropy",)},
    "seeds": (0,),
    "baseline": "cross_entropy",
}


def load_study(path: Path | str) -> Study:
    """Read and check a study file.

    Raises:
        StudyFileError: all independent problems of the file, in the order of its lines.
    """
    return _study_of(read_yaml(Path(path)))


def study_of_text(text: str, name: str) -> Study:
    """The same for the text of a study file; `name` stands for the file in messages."""
    return _study_of(parse_yaml(text, name))


def _study_of(source: YamlSource) -> Study:
    problems = list(source.problems)
    wrong: frozenset[str] = frozenset()
    try:
        study = Study.model_validate(source.data, strict=True)
    except ValidationError as error:
        problems += problems_of(error, source, study_schema())
        places = [part["loc"] for part in error.errors() if part["loc"]]
        wrong = frozenset(dotted(place[:depth]) for place in places for depth in (1, 2))
        sound = {key: value for key, value in source.data.items() if key not in wrong}
        if isinstance(data := source.data.get("data"), Mapping):  # its keys are checked against each other
            known = {key: value for key, value in data.items() if f"data.{key}" not in wrong}
            sound["data"] = {**_STAND_INS["data"], **known}
        study = Study.model_validate({**_STAND_INS, **sound}, strict=True)
    study._source = source
    problems += check_study(study, wrong)
    if problems:
        raise StudyFileError(sorted(problems, key=lambda problem: problem.line or 0))
    return study


def study_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a study file, for editors."""
    return study_schema_of(Study)

"""From a study to its trials: every method at every imbalance factor, with every seed, under its key."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ccar.data.config import DataConfig
from ccar.errors import DataError, Problem, StudyFileError, UserError
from ccar.study.data_notes import mention_ignored_files
from ccar.study.data_wording import USUAL_HINT, found_and_expected, hint_on_split
from ccar.study.definition import Study
from ccar.study.methods import Method, OpenMethod
from ccar.study.parts import plain
from ccar.study.recipe_changes import recipe_with
from ccar.study.yaml_source import KeyPath
from ccar.training.config import Pretrained, TrialConfig
from ccar.training.recipe import Recipe, StepSchedule

if TYPE_CHECKING:
    from ccar.data.image_set import SourceData
    from ccar.data.listed_sets import PackState

ImbalanceFactorValue = float | Literal["natural"]
Setting = tuple[ImbalanceFactorValue, int]  # imbalance factor and seed: what decides which images a trial sees

_SHOWN = 10  # classes of one problem; the rest are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One configuration of the study without its seed."""

    id: str  # unique in the study: "if100/focal+ccar(omega=0.75)"
    method: str  # the same at every imbalance factor: "focal+ccar(omega=0.75)"
    family: str  # what a plain loss and its omegas share: "focal"
    may_stop: bool  # whether early stopping may end its trials: not the baseline, not what others start from
    stage_one: str | None  # the method, at the same imbalance factor, whose network its trials start from
    own_recipe_changes: tuple[str, ...]  # fields of the recipe that this method changes by itself
    config: TrialConfig  # with seed 0, which means nothing here


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A cell with its seed, and the key under which the store has it or will have it."""

    cell: Cell
    config: TrialConfig
    key: str
    data_fingerprint: str
    stage_one_key: str | None = None  # of the trial that must have finished before

    @property
    def seed(self) -> int:
        """The seed of the trial."""
        return self.config.seed

    @property
    def name(self) -> str:
        """For people: the cell and the seed."""
        return f"{self.cell.id} seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCell:
    """One configuration whose omega a searcher chooses, again and again."""

    id: str  # unique in the study, with a star for omega: "if100/focal+ccar(omega=*)"
    method: OpenMethod
    imbalance_factor: ImbalanceFactorValue


def cells_of(study: Study) -> tuple[Cell, ...]:
    """The cells with a known configuration: imbalance factors as listed, within them methods as listed."""
    methods = study.methods.fixed()
    return tuple(
        cell_of(study, method, factor)
        for factor in study.data.imbalance_factors
        for method in methods
        if not study.methods.excludes(factor, method)
    )


def open_cells_of(study: Study) -> tuple[OpenCell, ...]:
    """The cells whose omega is searched; none when the study runs a grid."""
    methods = study.methods.open()
    return tuple(
        OpenCell(id=_cell_id(factor, method.label), method=method, imbalance_factor=factor)
        for factor in study.data.imbalance_factors
        for method in methods
        if not study.methods.excludes(factor, method)
    )


def num_trials_of(study: Study) -> int:
    """How many trials the study has at its end, at most; opens no file.

    Those that a searcher has yet to suggest are included: fewer, where the study lists what it has suggested before.
    """
    methods, factors = study.methods, study.data.imbalance_factors
    fixed, searched = (
        sum(not methods.excludes(factor, method) for factor in factors for method in those)
        for those in (methods.fixed(), methods.open())
    )
    samples = study.search.num_samples if study.search else 0
    return (fixed + searched * samples) * len(study.seeds)


def cell_of(study: Study, method: Method, imbalance_factor: ImbalanceFactorValue) -> Cell:
    """The cell of one method at one imbalance factor."""
    procedure = method.procedure
    usual = recipe_with(study.recipe, procedure.recipe)
    recipe = recipe_with(usual, dict(method.recipe_changes))
    config = TrialConfig(
        data=study.data.at(imbalance_factor),
        model=study.model,
        pretrained=None if study.pretrained is None else _pretrained(study.pretrained),
        head=method.base.head,
        recipe=recipe,
        loss=method.base,
        reweighting=method.reweighting,
        reduction=method.reduction,
        loss_factor=method.loss_factor,
        procedure=procedure,
        stage_one=_stage_one(study, method, imbalance_factor),
        seed=0,
    )
    return Cell(
        id=_cell_id(imbalance_factor, method.label),
        method=method.label,
        family=method.family,
        # Only trainings of one length under one recipe compare epoch by epoch.
        may_stop=method.label not in {study.baseline, *study.methods.stage_ones}
        and procedure.name == "end_to_end"
        and recipe == study.recipe,
        stage_one=method.stage_one,
        own_recipe_changes=tuple(name for name, value in recipe if value != getattr(usual, name)),
        config=config,
    )


def method_of(study: Study, cell: Cell) -> Method:
    """The method of a cell of the study, also of one that a search came up with."""
    known = study.methods.by_label.get(cell.method)
    if known is not None:
        return known
    config = cell.config  # searched methods differ in nothing else
    return Method(
        label=cell.method,
        family=cell.family,
        base=config.loss,
        reweighting=config.reweighting,
        reduction=config.reduction,
    )


def _stage_one(study: Study, method: Method, imbalance_factor: ImbalanceFactorValue) -> TrialConfig | None:
    if method.stage_one is None:
        return None
    return cell_of(study, study.methods.by_label[method.stage_one], imbalance_factor).config


@cache
def _pretrained(path: Path) -> Pretrained:
    """Digested once per process: half a second for the largest networks.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return Pretrained(path=path, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise UserError(f"cannot read the pretrained weights {path}: {error.strerror}") from error


def load_data(study: Study, cache_dir: Path, *, pack: bool = True) -> SourceData:
    """The images of the study, once its pretrained weights are there; decoded or packed into `cache_dir` on the first
    call. Files beside them that are no images are mentioned in the log, on every call.

    Args:
        study: says which.
        cache_dir: for decoded and packed images.
        pack: False: where large images are not packed yet, be content with their labels (see `load_labels`).

    Raises:
        StudyFileError: images or weights are missing, unreadable or incomplete; at the line that says where they are,
            or in the list that names them. Or they are to be packed, and cannot give what the study asks for (see
            `fingerprints_of`).
    """
    from ccar.data import sources  # numpy and more: not needed to read a study file

    _check_pretrained(study)
    data = _any_data(study)
    with _at_its_line(study):
        source = sources.load_labels(data, cache_dir)
    mention_ignored_files(source)
    if not pack or source.fingerprint:
        return source
    fingerprints_of(study, source)  # packing may take hours: all that labels can tell is told before
    with _at_its_line(study):
        return sources.load_source(data, cache_dir)


def _check_pretrained(study: Study) -> None:
    """Not where the file is read: whoever submits a study need not have what the cluster's nodes have."""
    path = study.pretrained
    if path is not None and not os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises where one may not look)
        message = f"pretrained weights are missing: found no file {path}, expected a state_dict saved with torch.save"
        hint = "nothing is downloaded: get torchvision's file yourself"
        raise StudyFileError([study.problem(("pretrained",), message, hint)])


def check_images(study: Study, cache_dir: Path) -> int:
    """Look for every image of the study; returns how many there are.

    Raises:
        StudyFileError: as `load_data`.
    """
    from ccar.data import sources

    with _at_its_line(study):
        return sources.check_images(_any_data(study), cache_dir)


def pack_state(study: Study, cache_dir: Path) -> PackState | None:
    """How far the pack of the study's images is; None where they are small enough to need none.

    Raises:
        StudyFileError: as `load_data`.
    """
    from ccar.data import sources

    with _at_its_line(study):
        return sources.pack_state(_any_data(study), cache_dir)


def _any_data(study: Study) -> DataConfig:
    """At whichever imbalance factor: the images are the same."""
    return study.data.at(study.data.imbalance_factors[0])


@contextmanager
def _at_its_line(study: Study) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        path = ("data",) if study.data.root is None else ("data", "root")
        usual = error.hint or USUAL_HINT
        worded = map(found_and_expected, error.problems)
        raise StudyFileError([study.problem(path, message, hint or usual) for message, hint in worded]) from error


def fingerprints_of(study: Study, source: SourceData) -> dict[Setting, str]:
    """Digest of the images that the trials of each imbalance factor and seed see.

    Raises:
        StudyFileError: the data cannot give what the study asks for: a class would be empty, or has no image to
            validate or test it on, a group that the searcher looks at has no class, a custom frequency vector has
            another length, or a recipe does not fit so many images. All at once.
    """
    from ccar.data.long_tail import data_fingerprint, split_long_tailed

    problems = [*_vector_problems(study, len(source.class_names)), *_unseen_classes(study, source)]
    cells = cells_of(study)
    fingerprints: dict[Setting, str] = {}
    for index, factor in enumerate(study.data.imbalance_factors):
        data = study.data.at(factor)
        try:
            splits = {seed: split_long_tailed(source.train.labels, data, seed) for seed in study.seeds}
        except DataError as error:  # whatever the seed: the counts do not depend on it
            problems.append(_split_problem(study, index, error, source))
            continue
        for seed, split in splits.items():
            fingerprints[factor, seed] = data_fingerprint(source.fingerprint, split)
        class_counts = splits[study.seeds[0]].class_counts
        problems += _objective_problems(study, factor, class_counts)
        recipes = dict.fromkeys(cell.config.recipe for cell in cells if cell.config.data.imbalance_factor == factor)
        problems += _recipe_problems(study, factor, recipes, sum(class_counts))
    if problems:
        raise StudyFileError(sorted(set(problems), key=lambda problem: (problem.line or 0, problem.message)))
    return fingerprints


def plan_cells(
    cells: Iterable[Cell], seeds: Iterable[int], fingerprints: Mapping[Setting, str]
) -> tuple[PlannedTrial, ...]:
    """Every cell with every seed; cells vary slowest, so that early results have all their seeds."""
    from ccar.store.key import trial_key

    seeds = tuple(seeds)
    trials = []
    for cell in cells:
        for seed in seeds:
            config = cell.config.with_seed(seed)
            fingerprint = fingerprints[config.data.imbalance_factor, seed]
            trials.append(
                PlannedTrial(
                    cell=cell,
                    config=config,
                    key=trial_key(config, fingerprint),
                    data_fingerprint=fingerprint,
                    stage_one_key=trial_key(config.stage_one, fingerprint) if config.stage_one else None,
                )
            )
    return tuple(trials)


def plan_trials(study: Study, source: SourceData) -> tuple[PlannedTrial, ...]:
    """The trials that are known without a searcher; all of them when the study runs a grid.

    Raises:
        StudyFileError: the data cannot give what the study asks for (see `fingerprints_of`).
    """
    return plan_cells(cells_of(study), study.seeds, fingerprints_of(study, source))


def _cell_id(imbalance_factor: ImbalanceFactorValue, label: str) -> str:
    setting = imbalance_factor if imbalance_factor == "natural" else f"if{plain(imbalance_factor)}"
    return f"{setting}/{label}"


def _split_problem(study: Study, index: int, error: DataError, source: SourceData) -> Problem:
    """At the value that the data room names first, or at the imbalance factor."""
    hint = hint_on_split(str(error), source.class_names)
    expected = {
        "validation_per_class": "a training image left in every class",
        "class_order": "none beside imbalance_factors: natural",
    }
    key = str(error).partition(":")[0]
    if key in expected:
        found = plain(getattr(study.data, key))
        message = f"data.{key} does not fit the data: found {found}, expected {expected[key]}"
        return study.problem(("data", key), message, hint)
    if study.data.class_order == "label" and _has_own_tail(study, source):
        hint += ". This data has a long tail of its own: write `imbalance_factors: natural`"
    found = plain(study.data.imbalance_factors[index])
    message = f"the imbalance factor does not fit the data: found {found}, expected an image in every class"
    return study.problem(("data", "imbalance_factors", index), message, hint)


def _has_own_tail(study: Study, source: SourceData) -> bool:
    """Whether the largest class has at least twice the training images of the smallest."""
    held_out = 0 if study.data.validation_per_class == "own" else study.data.validation_per_class
    left = [count - held_out for count in Counter(source.train.labels.tolist()).values()]
    return max(left) >= 2 * min(left)


def _unseen_classes(study: Study, source: SourceData) -> Iterator[Problem]:
    """Classes that a trial would train on and then, at its first or its last epoch, have no accuracy of."""
    parts = {"test": source.test}
    if study.data.validation_per_class == "own" and source.validation is not None:
        parts["validation"] = source.validation
    for part, images in parts.items():
        absent = sorted(set(range(len(source.class_names))).difference(images.labels.tolist()))
        if absent:
            named = ", ".join(f"{label} ({source.class_names[label]})" for label in absent[:_SHOWN])
            more = f" and {len(absent) - _SHOWN} more" if absent[_SHOWN:] else ""
            message = f"the {part} part lacks classes: found no image of {named}{more}, expected some of every class"
            where = "root" if study.data.lists is None else "lists"
            hint = f"add images of them to the {part} list, or take them out of the training list"
            yield study.problem(("data", where), message, hint)


def _objective_problems(study: Study, factor: ImbalanceFactorValue, class_counts: tuple[int, ...]) -> Iterable[Problem]:
    from ccar.metrics.accuracy import group_of_class

    groups = set(group_of_class(class_counts))
    objectives = study.search.objectives if study.search is not None else ()
    for index, objective in enumerate(objectives):
        if objective in ("many", "medium", "few") and objective not in groups:
            message = (
                f"search.objectives has a group without classes: found {objective}, expected one of "
                f"{', '.join(sorted(groups))} at imbalance factor {plain(factor)}"
            )
            hint = "many: more than 100 training images per class; medium: 20 to 100; few: below 20"
            yield study.problem(("search", "objectives", index), message, hint)


def _recipe_problems(
    study: Study, factor: ImbalanceFactorValue, recipes: Iterable[Recipe], num_images: int
) -> Iterator[Problem]:
    """What is wrong with the recipes once it is known how many images there are to train on."""
    from ccar.training.schedule import num_epochs, steps_per_epoch

    where, rule = f"at imbalance factor {plain(factor)}", study.early_stopping
    for recipe in recipes:
        try:
            steps_per_epoch(recipe, num_images)
        except UserError as error:
            message = (
                f"recipe trains on no batch {where}: found batch_size {recipe.batch_size} for {num_images} training "
                "images, expected at least a batch of them"
            )
            yield study.problem(("recipe",), message, error.hint)
            continue
        if recipe.iterations is None:  # what a recipe in epochs says fits together, or was refused already
            continue
        epochs = num_epochs(recipe, num_images)
        length = f"{recipe.iterations} iterations, which are {epochs} epochs {where}"
        warmup = recipe.schedule.warmup_epochs
        if warmup > epochs:
            message = (
                f"recipe ends before its warm-up does: found warmup_epochs {warmup} and {length}, expected no more "
                "than these"
            )
            yield study.problem(("recipe",), message, "change schedule.warmup_epochs, or train longer")
        milestones = recipe.schedule.milestones if isinstance(recipe.schedule, StepSchedule) else ()
        if milestones and milestones[-1] >= epochs:
            message = (
                f"recipe ends before its learning rate is lowered: found milestones {list(milestones)} and {length}, "
                "expected all of them before the last epoch"
            )
            yield study.problem(("recipe",), message, "change schedule.milestones, or train longer")
        if recipe == study.recipe and rule is not None and rule.grace_epochs >= epochs:  # no other one is stopped early
            message = (
                f"early_stopping.grace_epochs is out of range: found {rule.grace_epochs} and {length}, expected less "
                "than these"
            )
            yield study.problem(("early_stopping", "grace_epochs"), message, "or write early_stopping: none")


def _vector_problems(study: Study, num_classes: int) -> list[Problem]:
    vectors: list[tuple[KeyPath, object]] = [
        (("methods", "reweighting", index, "frequency", position), frequency)
        for index, grid in enumerate(study.methods.reweighting or ())
        for position, frequency in enumerate(grid.frequency)
    ]
    vectors += [
        (("methods", "extra", index, "reweighting", "frequency"), extra.reweighting.frequency)
        for index, extra in enumerate(study.methods.extra)
        if extra.reweighting is not None
    ]
    return [
        study.problem(
            path,
            f"a frequency vector does not fit the data: found {len(vector)} numbers, expected {num_classes}",
            "one number per class, in label order",
        )
        for path, vector in vectors
        if isinstance(vector, tuple) and len(vector) != num_classes
    ]

"""One row per planned trial: what it is, how far it came, what it reached on validation, what it cost.

No column here comes from the test set: those are made in `ccar.evidence.test_results`, which nothing that
selects imports.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NewType

import pandas as pd

from ccar.metrics.accuracy import Evaluation
from ccar.store.records import reason_of
from ccar.study.methods import vector_name
from ccar.study.parts import plain, shown_model
from ccar.training.config import BaseLoss, DataConfig, Reweighting, TrialConfig
from ccar.training.recipe import Recipe
from ccar.training.recipes import RECIPES
from ccar.training.result import EpochResult

if TYPE_CHECKING:
    from ccar.store.records import TrialRecord
    from ccar.study.expansion import PlannedTrial

ValidationFrame = NewType("ValidationFrame", pd.DataFrame)
"""A frame with the columns of `VALIDATION_DTYPES` and no other; only `validation_frame` makes one."""

EVALUATION_METRICS = ("accuracy", "balanced_accuracy", "many", "medium", "few", "worst_class", "ece", "loss")
SETTING = ["data", "imbalance_factor"]  # results are compared inside one setting, never across
FIELD = [*SETTING, "family"]  # what competes for one recommendation: a plain loss and its omegas, in one setting

_IMAGE_SIZE = 224  # pixels: of the published sets that come as lists, in papers and where a study says nothing

# Fixed dtypes: an all-missing column would otherwise change its type from study to study.
VALIDATION_DTYPES: dict[str, str] = {
    "cell": "str",
    "method": "str",
    "base": "str",
    "base_options": "str",  # those that differ from their default, such as "gamma=2"; "" when none does
    "procedure": "str",  # "end_to_end", or how else the network comes to its weights
    "family": "str",  # what a plain loss and its omegas share: the label of the plain one, or `training` without one
    "training": "str",  # all but Omega, spelt out: base, options, changes to the recipe, procedure
    "stage_one": "str",  # the method whose network a two-stage procedure starts from
    "omega": "float64",  # NaN: the plain base loss
    "frequency": "str",
    "phase": "str",
    "confidence": "str",
    "gradient": "str",
    "keep_z": "boolean",
    "effective_number_beta": "float64",  # NaN unless the frequency source uses it
    "reduction": "str",
    "loss_factor": "float64",  # multiplies the loss of a batch; 1 but for controls
    "learning_rate": "float64",  # peak
    "stem": "str",  # equal where nothing but Omega, loss factor, learning rate, data and seed differ
    "imbalance_factor": "str",  # a number, or "natural"
    "data": "str",
    "data_options": "str",  # how its images are not those of papers, such as "class_order=reversed"; "" where they are
    "validation_per_class": "str",  # a number, or "own"
    "model": "str",
    "model_options": "str",  # "pretrained", or ""
    "recipe": "str",
    "recipe_changes": "str",  # the fields that are not as the recipe of this name has them, such as "epochs"; or ""
    "own_recipe_changes": "str",  # those that the method changes by itself: neither the study nor its procedure does
    "mixing": "str",  # of the images that it trains on, such as "mixup"; "" where none are mixed, or nothing is trained
    "seed": "int64",
    "key": "str",
    "data_fingerprint": "str",  # sha256 of the bytes of the images and of which of them the trial sees
    "status": "str",
    "epochs": "int64",  # committed ones
    "train_loss": "float64",
    **{f"val_{metric}": "float64" for metric in EVALUATION_METRICS},  # after the last committed epoch
    **{f"val_best_{metric}": "float64" for metric in EVALUATION_METRICS},  # of the best epoch so far
    "val_best_epoch": "float64",  # counts from 1; NaN without a validation part
    "error": "str",  # its reason, on one line
}

COST_DTYPES: dict[str, str] = {
    "cell": "str",
    "seed": "int64",
    "key": "str",
    "seconds": "float64",  # pure training and validation time
    "images_per_second": "float64",
    "host": "str",
    "device": "str",
    "processor": "str",  # of the host; missing where the record is older than this column
    "threads": "float64",
    "versions": "str",  # of the libraries that trained it
    "started_at": "float64",  # Unix time
    "ended_at": "float64",
}


def validation_frame(trials: Iterable[PlannedTrial], records: Mapping[str, TrialRecord]) -> ValidationFrame:
    """What the trials are and what they reached on the validation part.

    Args:
        trials: the plan, in its order.
        records: the store's record of each trial, by key; a trial without one counts as absent.

    Returns:
        One row per trial, in the order of the plan, with the columns of `VALIDATION_DTYPES`. Accuracies are
        shares in [0, 1]; NaN where a group has no class, where no epoch is committed, or where the study keeps
        no validation part.
    """
    trials = tuple(trials)
    labels = family_labels(trials)
    rows = [
        {**_validation_row(trial, records.get(trial.key)), "family": labels.get(trial.cell.family, trial.cell.family)}
        for trial in trials
    ]
    return ValidationFrame(typed_frame(rows, VALIDATION_DTYPES))


def family_labels(trials: Iterable[PlannedTrial]) -> dict[str, str]:
    """The label of each family that has a plain loss, by the training of its cells; `trials`: all of the study."""
    return {trial.cell.family: trial.cell.method for trial in trials if trial.config.reweighting is None}


def cost_frame(trials: Iterable[PlannedTrial], records: Mapping[str, TrialRecord]) -> pd.DataFrame:
    """What each trial cost and where it ran; the only frame whose numbers differ when a trial is run again."""
    return typed_frame([_cost_row(trial, records.get(trial.key)) for trial in trials], COST_DTYPES)


def evaluation_columns(prefix: str, evaluation: Evaluation | None) -> dict[str, float]:
    """The metrics of one evaluation as `prefix` + metric; NaN for what there is not."""
    return {f"{prefix}{metric}": _number(getattr(evaluation, metric, None)) for metric in EVALUATION_METRICS}


def typed_frame(rows: Sequence[Mapping[str, Any]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """A frame with exactly these columns and dtypes, whatever the rows leave out, and also without rows."""
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dict(dtypes))


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """The rows as named tuples; typed Any, since what a column holds is known by its name alone."""
    return list(frame.itertuples(index=False, name="Row"))


def shown_versions(versions: Mapping[str, str]) -> str | None:
    """Libraries with their versions, by name; None for none.

    Example:
        >>> shown_versions({"torch": "2.11.0", "numpy": "2.3.5"})
        'numpy 2.3.5, torch 2.11.0'
    """
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or None


def _validation_row(trial: PlannedTrial, record: TrialRecord | None) -> dict[str, Any]:
    config = trial.config
    mixing = config.recipe.mixing if config.procedure.trains else None
    epochs = record.epochs if record else ()
    last = epochs[-1] if epochs else None
    best = best_validation_epoch(epochs)
    return {
        "cell": trial.cell.id,
        "method": trial.cell.method,
        "base": config.loss.name,
        "base_options": _options_of(config.loss),
        "procedure": config.procedure.name,
        "training": trial.cell.family,
        "stage_one": trial.cell.stage_one,
        **_reweighting_columns(config.reweighting),
        "reduction": config.reduction,
        "loss_factor": config.loss_factor,
        "learning_rate": config.recipe.learning_rate,
        "stem": _stem_of(trial.cell.config),
        "imbalance_factor": plain(config.data.imbalance_factor),
        "data": config.data.title,
        "data_options": _data_options(config.data),
        "validation_per_class": plain(config.data.validation_per_class),
        "model": config.model,
        "model_options": "" if config.pretrained is None else "pretrained",
        "recipe": config.recipe.name,
        "recipe_changes": _recipe_changes(config.recipe),
        "own_recipe_changes": ", ".join(trial.cell.own_recipe_changes),
        "mixing": "" if mixing is None else mixing.name,
        "seed": config.seed,
        "key": trial.key,
        "data_fingerprint": trial.data_fingerprint,
        "status": record.status if record else "absent",
        "epochs": len(epochs),
        "train_loss": _number(last.train_loss if last else None),
        **evaluation_columns("val_", last.validation if last else None),
        **evaluation_columns("val_best_", best.validation if best else None),
        "val_best_epoch": _number(best.epoch if best else None),
        "error": (reason_of(record.error) or None) if record else None,
    }


def best_validation_epoch(epochs: Sequence[EpochResult]) -> EpochResult | None:
    """The epoch with the highest validation balanced accuracy, the earliest of equals; None without one."""
    best: EpochResult | None = None
    highest = -math.inf
    for epoch in epochs:
        if epoch.validation is not None and epoch.validation.balanced_accuracy > highest:
            best, highest = epoch, epoch.validation.balanced_accuracy
    return best


def _cost_row(trial: PlannedTrial, record: TrialRecord | None) -> dict[str, Any]:
    row: dict[str, Any] = {"cell": trial.cell.id, "seed": trial.config.seed, "key": trial.key}
    if record is None:
        return row
    images = sum((epoch.images_per_second or 0.0) * epoch.seconds for epoch in record.epochs)
    return {
        **row,
        "seconds": record.seconds,
        "images_per_second": images / record.seconds if record.seconds else math.nan,
        "host": record.worker.get("host"),
        "device": record.worker.get("device"),
        "processor": record.worker.get("processor"),
        "threads": record.worker.get("threads"),
        "versions": shown_versions(record.worker.get("versions", {})),
        "started_at": _number(record.started_at),
        "ended_at": _number(record.ended_at),
    }


def _reweighting_columns(reweighting: Reweighting | None) -> dict[str, Any]:
    if reweighting is None:
        return {}
    return {
        "omega": reweighting.omega,
        "frequency": _frequency_name(reweighting.frequency),
        "phase": reweighting.phase,
        "confidence": reweighting.confidence,
        "gradient": reweighting.gradient,
        "keep_z": reweighting.keep_z,
        "effective_number_beta": (
            reweighting.effective_number_beta if reweighting.frequency == "effective_number" else math.nan
        ),
    }


@lru_cache(maxsize=1 << 14)
def _stem_of(config: TrialConfig) -> str:
    rest = config.model_dump(exclude={"data", "seed", "reweighting", "reduction", "loss_factor"})
    del rest["recipe"]["learning_rate"], rest["recipe"]["name"]
    stage_one = rest.pop("stage_one")
    if stage_one is not None and config.procedure.trains:  # what trains nothing is its stage one, read in another way
        del stage_one["data"], stage_one["seed"], stage_one["recipe"]["name"]
        rest["stage_one"] = stage_one
    return hashlib.sha256(repr(rest).encode()).hexdigest()[:8]


def _data_options(data: DataConfig) -> str:
    options = {
        "class_order": None if data.class_order == "label" else data.class_order,
        "image_size": None if data.image_size == _IMAGE_SIZE else data.image_size,
    }
    return ", ".join(f"{name}={value}" for name, value in options.items() if value is not None)


@lru_cache(maxsize=1 << 10)
def _recipe_changes(recipe: Recipe) -> str:
    named = RECIPES.get(recipe.name, recipe)  # a stored study may have one that this version does not know
    return ", ".join(name for name, value in recipe if value != getattr(named, name))


def _frequency_name(frequency: str | tuple[float, ...]) -> str:
    return frequency if isinstance(frequency, str) else vector_name(frequency)


def _options_of(loss: BaseLoss) -> str:
    return shown_model(loss).removeprefix(loss.name).strip("()")


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

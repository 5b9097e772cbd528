"""Trials that were trained where no store is, as one file: what a store's log holds of each, and its test results.

The file is one line of JSON and a second one with its sha256. Trained networks are not in it: a trial that starts from
the network of another one has to be trained where that one was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ccar.errors import StoreError, UserError
from ccar.store.disk_folder import DiskFolder
from ccar.store.files import replace_atomically
from ccar.store.key import digest_of_parts, key_parts
from ccar.store.records import without_unneeded_classes
from ccar.store.seal import sealed, unseal
from ccar.training.config import TrialConfig
from ccar.training.result import EpochResult, TestResult

_FORMAT = "ccar trials, version 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedTrial:
    """One trial that has ended: finished, with test results; or diverged, with the reason in `error`."""

    key: str
    config: TrialConfig
    parts: Mapping[str, Any]  # what the key digests
    class_counts: tuple[int, ...]  # training images per class
    worker: Mapping[str, Any]  # where it was trained: host, device, processor, threads, versions
    epochs: tuple[EpochResult, ...]
    test: TestResult | None
    error: str | None = None


_TRIALS = TypeAdapter(list[TrainedTrial])


def write_trials(path: Path, trials: Sequence[TrainedTrial]) -> None:
    """Write the file, or replace it by one with more trials.

    Raises:
        StoreError: it cannot be written.
    """
    content = [
        {
            **dataclasses.asdict(trial),
            "config": trial.config.model_dump(mode="json"),
            "epochs": without_unneeded_classes([dataclasses.asdict(epoch) for epoch in trial.epochs]),
        }
        for trial in trials
    ]
    replace_atomically(path, sealed({"format": _FORMAT, "trials": content}))


def read_trials(path: Path) -> list[TrainedTrial]:
    """Read such a file, and check that every trial is what its key says, by this version of the training code.

    Raises:
        UserError: it is not such a file, or damaged, or of another version; or a key does not fit its trial.
    """
    trials = _parsed(path)
    for trial in trials:
        _check_key(path, trial)
    return trials


def _parsed(path: Path) -> list[TrainedTrial]:
    try:
        with path.open("rb") as file:
            is_ours = file.read(len(_FORMAT) + 16).startswith(f'{{"format":{json.dumps(_FORMAT)},'.encode())
        if not is_ours:
            hint = "`python -m benchmarks.gpu_table2` writes such files"
            raise UserError(f"{path} is not a file of trials", hint=hint)
        return _TRIALS.validate_python(unseal(DiskFolder(path.parent), path.name)["trials"])
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except StoreError as error:
        raise UserError(
            f"{path} is damaged: its content does not match its sha256", hint="copy it again from where it was written"
        ) from error
    except (ValidationError, KeyError) as error:
        raise UserError(
            f"{path} was written by another version of ccar", hint="import it with the version that wrote it"
        ) from error


def _check_key(path: Path, trial: TrainedTrial) -> None:
    expected = key_parts(trial.config, str(trial.parts.get("data_fingerprint")))
    different = [name for name in {*expected, *trial.parts} if expected.get(name) != trial.parts.get(name)]
    if different == ["code"]:
        raise UserError(
            f"{path}: trial {trial.key[:12]} was trained by another version of the training code than this one",
            hint="import it with the version that trained it; this one would train the trial again",
        )
    if different or digest_of_parts(dict(trial.parts)) != trial.key:
        raise UserError(f"{path}: trial {trial.key[:12]} is not what its key says", hint="nothing was imported")

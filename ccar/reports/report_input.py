"""What a report is made of: the frames of one study, and what its file says about it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

import ccar
from ccar.evidence.frames import ValidationFrame
from ccar.store.key import code_digest

_LIBRARIES = ("numpy", "pandas", "scipy", "statsmodels", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """All that a report is made from.

    Attributes:
        study: name of the study.
        question: what it asks, in the user's words.
        baseline: label of the method that the others are compared with.
        validation: from `ccar.evidence.frames.validation_frame`.
        tests: from `ccar.evidence.test_results.test_frame`.
        reliability: from `ccar.evidence.reliability.reliability_frame`.
        costs: from `ccar.evidence.frames.cost_frame`.
        submitted_at: Unix time at which the study was first run; None: never.
        study_file: its text; empty for a study that was made in code.
        configurations: of each cell, by its id: what the keys of its trials digest, from `keyed_configuration`, with a
            seed that means nothing.
        entries: each cell's method as an entry of a study file, from `entry_of`.
        class_counts: training images per class at each imbalance factor; where there are none, the curves of Omega
            are left out.
        classes: `imbalance_factor`, `label`, `class` (its name), and its images to `train`, `validation` and `test` on;
            empty for a study that was made in code.
    """

    study: str
    question: str
    baseline: str
    validation: ValidationFrame
    tests: pd.DataFrame
    reliability: pd.DataFrame
    costs: pd.DataFrame
    study_file: str
    configurations: Mapping[str, Mapping[str, Any]]
    entries: Mapping[str, Mapping[str, Any]]
    submitted_at: float | None = None
    class_counts: Mapping[float | str, Sequence[int]] = field(default_factory=dict)
    classes: pd.DataFrame = field(default_factory=pd.DataFrame)

    def digest(self) -> str:
        """Sha256 of everything that the written report depends on, the code that writes it included."""
        said = {
            "study": self.study,
            "question": self.question,
            "baseline": self.baseline,
            "study_file": self.study_file,
            "submitted_at": self.submitted_at,
            "class_counts": [[str(factor), list(counts)] for factor, counts in self.class_counts.items()],
            "code": [_code_digest(), code_digest()],
            "libraries": library_versions(),
        }
        digest = hashlib.sha256(json.dumps(said).encode())
        for frame in (self.validation, self.tests, self.reliability, self.costs, self.classes):
            digest.update(b"\0" + frame.to_csv(index=False).encode())
        return digest.hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Of the libraries that compute a report's numbers and draw its figures."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _code_digest() -> str:
    """Of the two rooms that make a report, so that a new version of them writes it anew."""
    package = Path(ccar.__file__).parent
    digest = hashlib.sha256()
    for room in ("evidence", "reports"):
        for path in sorted((package / room).rglob("*")):
            if path.suffix in (".py", ".jinja", ".csv"):
                digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()

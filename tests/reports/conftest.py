from __future__ import annotations

import pytest

from ccar.evidence.selection import CRITERION
from ccar.reports.report_input import ReportInput
from tests.evidence.made_up_study import MadeUpStudy, made_up_study

BASES = ["cross_entropy", "focal", "balanced_softmax"]
EVIL = "=cmd|'calc'!A0 <script>alert(1)</script> **bold** $x_1$ & 100% {#} \\input{a} \x1b[31m\u202e [a](b)".replace(
    "/", ""
)
EVIL_LABEL = EVIL.replace("\x1b", "")  # study files refuse control characters in one


def input_of(made_up: MadeUpStudy, **changes) -> ReportInput:
    """A report's input, with everything that its study file would say."""
    said = {
        "study": "made-up",
        "question": "Does omega help?",
        "baseline": "cross_entropy",
        "validation": made_up.validation,
        "tests": made_up.test_results,
        "reliability": made_up.reliability,
        "costs": made_up.costs,
        "study_file": f"study: {changes.get('study', 'made-up')}\n",
        "configurations": made_up.configurations,
        "entries": made_up.entries,
        "class_counts": {100: [500, 250, 60, 18, 5]},
    }
    return ReportInput(**{**said, **changes})


def tied_input(made_up: MadeUpStudy, **changes) -> ReportInput:
    """The same, where all cells have one and the same accuracy on validation."""
    return input_of(made_up, validation=made_up.validation.assign(**{CRITERION: 0.1667}), **changes)


@pytest.fixture(scope="session")
def study() -> MadeUpStudy:
    """Three base losses, plain and with three omegas, at two imbalance factors; one seed diverged, one failed."""
    methods = {"bases": BASES, "reweighting": {"omega": [0.25, 0.5, 0.75]}}
    whole = made_up_study(methods=methods, imbalance_factors=(100, 50))
    diverged, failed = whole.keys("focal+ccar(omega=0.5)")[0], whole.keys("focal")[4]
    return whole.ended(diverged, "diverged", "the training loss is nan").ended(failed, "failed", "OSError: gone")


@pytest.fixture(scope="session")
def source(study) -> ReportInput:
    """That study, to be reported."""
    return input_of(study)


@pytest.fixture(scope="session")
def evil_source() -> ReportInput:
    """A study whose names are meant to break every format."""
    methods = {
        "bases": ["cross_entropy"],
        "extra": [{"label": EVIL_LABEL, "base": "focal", "reweighting": {"omega": 0.5}}],
    }
    study = made_up_study(methods=methods)
    broken = study.ended(study.keys(EVIL_LABEL)[0], "failed", f"OSError: {EVIL}")
    return input_of(broken, study=EVIL, question=f"Why?\n{EVIL}")

"""The test results, in a frame of their own: joined to the trials only after omega has been chosen."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ccar.evidence.frames import EVALUATION_METRICS, evaluation_columns, typed_frame
from ccar.training.result import TestResult

TEST_DTYPES: dict[str, str] = {
    "key": "str",
    **{f"test_{metric}": "float64" for metric in EVALUATION_METRICS},  # weights of the last epoch
    **{f"test_best_{metric}": "float64" for metric in EVALUATION_METRICS},  # of the best validation epoch
}


def test_frame(tests: Mapping[str, TestResult | None]) -> pd.DataFrame:
    """One row per trial that has test results.

    Args:
        tests: what the store has on each key; None for a trial that has not finished.

    Returns:
        The columns of `TEST_DTYPES`. `test_*` belong to the last epoch, `test_best_*` to the epoch that was
        best on validation (NaN without a validation part); never to the epoch that was best on the test set.
    """
    rows = [
        {
            "key": key,
            **evaluation_columns("test_", test.last_epoch),
            **evaluation_columns("test_best_", test.best_epoch),
        }
        for key, test in tests.items()
        if test is not None
    ]
    return typed_frame(rows, TEST_DTYPES)


test_frame.__test__ = False  # type: ignore[attr-defined]  # not a test case, whatever pytest makes of the name


def with_test_results(trials: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    """`trials` with the columns of `tests`, by key; NaN where a trial has no test results.

    Raises:
        pandas.errors.MergeError: a key stands in `tests` twice.
    """
    return trials.merge(tests, on="key", how="left", validate="many_to_one")

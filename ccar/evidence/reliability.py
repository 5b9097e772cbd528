"""Reliability on the test set: how sure the predictions are, and how often they are right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ccar.evidence.frames import typed_frame
from ccar.training.result import TestResult

RELIABILITY_DTYPES: dict[str, str] = {
    "key": "str",
    "bin": "int64",  # from 0, by confidence
    "count": "int64",  # images
    "confidence": "float64",  # mean, in [0, 1]
    "accuracy": "float64",  # share predicted right
}


def reliability_frame(tests: Mapping[str, TestResult | None]) -> pd.DataFrame:
    """One row per trial and bin that has images, of the weights of the last epoch; see `Reliability`."""
    rows = [
        {"key": key, "bin": bin_, "count": count, "confidence": confidence, "accuracy": accuracy}
        for key, test in tests.items()
        if test is not None and (found := test.last_epoch.reliability) is not None
        for bin_, (count, confidence, accuracy) in enumerate(
            zip(found.counts, found.confidence, found.accuracy, strict=True)
        )
        if count
    ]
    return typed_frame(rows, RELIABILITY_DTYPES)


def pooled_reliability(reliability: pd.DataFrame, trials: pd.DataFrame, cells: Iterable[str]) -> pd.DataFrame:
    """The bins of these cells, all seeds together: `cell`, `bin`, `count`, `confidence`, `accuracy`."""
    wanted = trials[trials["cell"].isin(set(cells)) & (trials["status"] == "finished")][["cell", "key"]]
    bins = reliability.merge(wanted, on="key")
    sums = bins.assign(
        confidence=bins["confidence"] * bins["count"], accuracy=bins["accuracy"] * bins["count"]
    ).groupby(["cell", "bin"], sort=False)[["count", "confidence", "accuracy"]]
    pooled = sums.sum().reset_index()
    for name in ("confidence", "accuracy"):
        pooled[name] = pooled[name] / np.maximum(pooled["count"], 1)
    return pooled.sort_values(["cell", "bin"])

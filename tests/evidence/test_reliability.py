from __future__ import annotations

import dataclasses

import pytest

from ccar.evidence.reliability import pooled_reliability, reliability_frame
from ccar.metrics.calibration import Reliability
from tests.evidence.made_up_study import made_up_study


@pytest.fixture(scope="module")
def study():
    """Two base losses, plain and with two omegas, three seeds."""
    return made_up_study()


def with_bins(study, key, *bins):
    test = study.tests[key]
    counts, confidence, accuracy = zip(*bins, strict=True)
    reliability = Reliability(counts=counts, confidence=confidence, accuracy=accuracy)
    return dataclasses.replace(test, last_epoch=dataclasses.replace(test.last_epoch, reliability=reliability))


def test_bins_with_images_have_a_row_each(study):
    frame = reliability_frame(study.tests)
    assert frame.groupby("key").size().unique().tolist() == [2]
    assert frame["bin"].unique().tolist() == [1, 2]


def test_trials_without_test_results_or_bins_have_no_row(study):
    key = study.trials[0].key
    test = study.tests[key]
    bare = dataclasses.replace(test, last_epoch=dataclasses.replace(test.last_epoch, reliability=None))
    assert reliability_frame({key: None}).empty
    assert reliability_frame({key: bare}).empty


def test_seeds_are_pooled_by_their_images(study):
    first, second, third = study.keys("cross_entropy")
    tests = {
        first: with_bins(study, first, (1, 0.1, 0.0), (3, 0.9, 1.0)),
        second: with_bins(study, second, (0, 0.0, 0.0), (1, 0.5, 0.0)),
        third: None,
    }
    pooled = pooled_reliability(reliability_frame(tests), study.validation, ["if100/cross_entropy"])
    assert pooled["count"].tolist() == [1, 4]
    assert pooled["confidence"].tolist() == pytest.approx([0.1, 0.8])
    assert pooled["accuracy"].tolist() == pytest.approx([0.0, 0.75])

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ccar.evidence.comparison import compare_studies
from ccar.evidence.significance import holm


def trials(accuracies, *, seeds=None, run="a", status="finished"):
    """Trials of one study: method -> accuracies by seed."""
    rows = [
        {
            "data": "digits",
            "imbalance_factor": "50",
            "method": method,
            "cell": f"if50/{method}",
            "seed": seed,
            "key": f"{run}/{method}/{seed}",
            "status": status,
            "test_balanced_accuracy": accuracy,
        }
        for method, values in accuracies.items()
        for seed, accuracy in zip(seeds or range(len(values)), values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_shared_seeds_are_paired_and_all_comparisons_corrected_for_each_other():
    before = {"plain": [0.80, 0.85, 0.90, 0.70], "omega": [0.81, 0.84, 0.92, 0.75]}
    after = {"plain": [0.83, 0.875, 0.93, 0.735], "omega": [0.82, 0.83, 0.93, 0.74]}
    found = compare_studies(trials(before), trials(after, run="b")).set_index("method")
    expected = [stats.ttest_rel(after[method], before[method]) for method in before]
    assert found["p"].tolist() == pytest.approx([each.pvalue for each in expected])
    assert found["p_holm"].tolist() == pytest.approx(holm(found["p"].to_numpy()).tolist())
    interval = expected[0].confidence_interval(0.95)
    assert found.loc["plain", ["low", "high"]].tolist() == pytest.approx([interval.low, interval.high])
    assert found["verdict"].tolist() == ["better", "within noise"]
    assert found["shared"].tolist() == [4, 4]


def test_without_a_shared_seed_means_are_compared_as_those_of_independent_samples():
    before, after = [0.80, 0.81, 0.82], [0.90, 0.92, 0.91, 0.905]
    found = compare_studies(trials({"plain": before}), trials({"plain": after}, seeds=[5, 6, 7, 8], run="b")).iloc[0]
    expected = stats.ttest_ind(after, before, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (found["p"], found["low"], found["high"]) == pytest.approx((expected.pvalue, interval.low, interval.high))
    assert (found["shared"], found["verdict"]) == (0, "better")


def test_the_same_trials_are_no_comparison():
    mine = {"plain": [0.80, 0.81, 0.82], "omega": [0.80, 0.81, 0.82]}
    theirs = pd.concat(
        [trials({"plain": mine["plain"]}), trials({"omega": [0.81, 0.82, 0.84]}, run="b")], ignore_index=True
    )
    found = compare_studies(trials(mine), theirs).set_index("method")
    assert found.loc["plain", ["same", "verdict"]].tolist() == [3, "same trials"]
    assert np.isnan(found.loc["plain", "p"])
    assert found.loc["omega", "p_holm"] == found.loc["omega", "p"]


def test_the_same_trials_are_no_comparison_where_seeds_of_them_dropped_out_either():
    mine = trials({"plain": [0.80, 0.81, 0.82], "omega": [0.80, 0.81, 0.82]})
    theirs = pd.concat([mine[mine["method"] == "plain"], trials({"omega": [0.81, 0.82, 0.84]}, run="b")])
    for each in (mine, theirs):
        each.loc[(each["method"] == "plain") & (each["seed"] == 2), "status"] = "stopped"
    found = compare_studies(mine, theirs).set_index("method")
    assert found.loc["plain", "verdict"] == "same trials"
    assert found.loc["omega", "p_holm"] == found.loc["omega", "p"]


def test_what_has_not_finished_or_has_too_few_seeds_is_not_judged():
    one = trials({"plain": [0.8, 0.9, 0.7]})
    unfinished = trials({"plain": [np.nan] * 3}, run="b", status="failed")
    assert compare_studies(one, unfinished)["verdict"].tolist() == ["too few seeds to tell"]
    two = trials({"plain": [0.9, 0.95]}, run="b")
    assert compare_studies(one, two)["verdict"].tolist() == ["too few seeds to tell"]


@pytest.mark.parametrize("of_the_first", [True, False])
def test_a_cell_that_lost_seeds_to_early_stopping_in_either_study_is_not_judged(of_the_first):
    one, two = trials({"plain": [0.80, 0.85, 0.90, 0.70]}), trials({"plain": [0.83, 0.875, 0.93, 0.735]}, run="b")
    (one if of_the_first else two).loc[3, "status"] = "stopped"
    found = compare_studies(one, two).iloc[0]
    assert (found["shared"], found["verdict"]) == (3, "not judged: seeds dropped out")
    assert np.isnan(found["p"])


def test_only_cells_of_both_are_compared():
    found = compare_studies(trials({"plain": [0.8], "omega": [0.9]}), trials({"omega": [0.8], "other": [0.7]}, run="b"))
    assert found["method"].tolist() == ["omega"]

from __future__ import annotations

import json

import pytest

from ccar.cli.compare import compare_reports, comparison_json, comparison_text
from ccar.errors import UserError
from ccar.reports.content import content_of
from ccar.reports.formats.json_file import render_json
from ccar.reports.report_file import Report
from ccar.reports.results import summarise
from tests.cli.test_commands import ccar
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import EVIL, input_of
from tests.tiny_study import write_tiny_study

NAMES = ("one.yaml", "other.yaml")


def report_of(**options) -> Report:
    results = summarise(input_of(made_up_study(**options)))
    return Report.model_validate_json(render_json(results, content_of(results, [])))


@pytest.fixture(scope="module")
def report():
    """Two base losses, plain and with two omegas; three seeds."""
    return report_of()


def changed(report, **columns):
    """The same cells, trained again with other keys: the columns of each trial shifted."""
    trials = [
        trial.model_copy(update={"key": trial.key[::-1], **{name: shift(trial) for name, shift in columns.items()}})
        for trial in report.trials
    ]
    return report.model_copy(update={"trials": trials})


def test_a_study_compared_with_itself_is_the_same(report):
    text = comparison_text(compare_reports(report, report, NAMES))
    assert "6 cells in both" in text
    assert "6 same trials" in text
    assert "configuration: the same" in text
    assert "in both" in text.partition("chosen omega")[2]
    assert "every trial that both have finished is the same one" in text


def test_what_differs_by_more_than_noise_is_told_with_its_interval(report):
    better = changed(
        report, test_balanced_accuracy=lambda trial: trial.test_balanced_accuracy + 0.1 + 1e-4 * trial.seed
    )
    found = compare_reports(report, better, NAMES)
    assert set(found.cells["verdict"]) == {"better"}
    assert "+10.01" in comparison_text(found)
    assert json.loads(json.dumps(comparison_json(found), allow_nan=False))["cells"][0]["shared"] == 3


def test_what_the_configurations_differ_in_and_what_only_one_has_is_told(report):
    fewer = report_of(methods={"bases": ["cross_entropy"], "reweighting": {"omega": [0.1, 0.75]}})
    longer = fewer.cells[0].model_copy(update={"configuration": {**fewer.cells[0].configuration, "model": "small_cnn"}})
    text = comparison_text(
        compare_reports(report, fewer.model_copy(update={"cells": [longer, *fewer.cells[1:]]}), NAMES)
    )
    assert "configuration, in 1 of 2: model: resnet32 -> small_cnn" in text
    assert "only in A: IF 100 cross_entropy+ccar(omega=0.5), IF 100 balanced_softmax" in text
    assert "only in B: IF 100 cross_entropy+ccar(omega=0.1)" in text
    assert "chosen omega, IF 100 cross_entropy: " in text


def test_studies_without_a_common_cell_are_told(report):
    with pytest.raises(UserError, match="have no cell in common"):
        compare_reports(report, report_of(imbalance_factors=(50,)), NAMES)


def test_the_command_takes_study_files_and_reports(tmp_path):
    path = write_tiny_study(tmp_path)
    code, out, err = ccar("compare", path, path, "--json", cwd=tmp_path)
    assert code == 0, err
    assert [cell["verdict"] for cell in json.loads(out)["cells"]] == ["too few seeds to tell"] * 2
    code, _, err = ccar("compare", path, "report.json", cwd=tmp_path)
    assert code == 2
    assert "cannot read report.json" in err
    code, _, err = ccar("compare", path, "nope", cwd=tmp_path)
    assert code == 2
    assert "there is no nope\n  hint: give a study file, a report.json, or the folder of a report" in err


def test_where_one_has_more_seeds_those_of_both_are_compared_and_the_others_named():
    more = report_of(seeds=range(5))
    found = compare_reports(report_of(), changed(more, test_balanced_accuracy=lambda trial: 0.1 * trial.seed), NAMES)
    text = comparison_text(found)
    assert "only in B: seeds 3, 4" in text
    assert "seeds of both where there are pairs" in text
    (mean,) = set(found.cells["second_mean"].round(12))
    assert mean == 0.1  # of seeds 0, 1, 2
    differences = found.cells["second_mean"] - found.cells["first_mean"]
    assert (differences - found.cells["mean"]).abs().max() < 1e-12
    assert comparison_json(found)["seeds_only_in_second"] == [3, 4]


def renamed(report, names):
    """The report as somebody may have written it who calls things by other names."""
    text = report.model_dump_json()
    for old, new in names.items():
        assert old in text
        text = text.replace(old, json.dumps(new)[1:-1])
    return Report.model_validate_json(text)


def test_names_of_reports_cannot_steer_the_terminal(report):
    names = {"cross_entropy": EVIL}
    first = renamed(report, names)
    second = renamed(changed(report), {**names, "omega=0.75": "omega=0.8", "resnet32": EVIL})
    text = comparison_text(compare_reports(first, second, (EVIL, EVIL)))
    for part in ("A  =cmd", "only in B: ", "configuration, in ", "chosen omega, ", "pairs"):
        assert part in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_an_error_quotes_a_name_without_what_the_terminal_obeys(tmp_path):
    code, _, err = ccar("compare", "\x1b[31mone.json", "other.json", cwd=tmp_path)
    assert code == 2
    assert "cannot read \N{REPLACEMENT CHARACTER}[31mone.json" in err

from __future__ import annotations

import csv
import functools
import io
import json
import math
import operator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from ccar.errors import UserError
from ccar.reports.content import content_of
from ccar.reports.formats.csv_files import render_csv
from ccar.reports.formats.json_file import render_json
from ccar.reports.report_file import Report, read_report, report_schema
from ccar.reports.results import summarise
from ccar.store.key import digest_of_parts
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of


@pytest.fixture(scope="module")
def results(source):
    """The numbers of the study with one diverged and one failed seed."""
    return summarise(source)


def json_of(results):
    return render_json(results, content_of(results, []))


def with_tests(study, **changes):
    """The study with these values in all of its test results."""
    tests = {
        key: test and replace(test, last_epoch=replace(test.last_epoch, **changes)) for key, test in study.tests.items()
    }
    return replace(study, tests=tests)


@pytest.fixture(scope="module")
def report(results):
    """That study's report.json, as json reads it."""
    return json.loads(json_of(results))


def test_the_schema_in_docs_is_current():
    """If not: `ccar schema --report > docs/report.schema.json`."""
    stored = Path(__file__).parents[3] / "docs" / "report.schema.json"
    assert json.loads(stored.read_text()) == report_schema()


STUDIES = {
    "with a diverged and a failed seed": lambda source, evil: source,
    "with evil names": lambda source, evil: evil,
    "that never ran": lambda source, evil: input_of(made_up_study().never_ran, class_counts={}),
    "without validation images": lambda source, evil: input_of(made_up_study(validation_per_class=0)),
    "with ranks": lambda source, evil: input_of(made_up_study(imbalance_factors=(200, 100, 50, 10))),
    "without spread": lambda source, evil: input_of(with_tests(made_up_study(), accuracy=0.5)),
    "with a metric that is no number": lambda source, evil: input_of(with_tests(made_up_study(), ece=math.nan)),
    "without medium and few classes": lambda source, evil: input_of(with_tests(made_up_study(), medium=None, few=None)),
    "with one seed": lambda source, evil: input_of(made_up_study(seeds=(0,))),
}


@pytest.mark.parametrize("made", STUDIES.values(), ids=STUDIES)
def test_every_report_follows_the_schema(made, source, evil_source):
    text = json_of(summarise(made(source, evil_source)))
    report = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.Draft202012Validator(report_schema()).validate(report)
    assert json.loads(Report.model_validate_json(text).model_dump_json()) == report


def test_a_missing_validation_part_is_flagged(report):
    assert report["missing_validation"] is False
    assert json.loads(json_of(summarise(input_of(made_up_study(validation_per_class=0)))))["missing_validation"] is True


def test_what_is_no_number_is_null_and_never_zero():
    study = with_tests(made_up_study(), few=None, ece=math.nan)
    report = json.loads(json_of(summarise(input_of(study))))
    for row in [*report["trials"], *report["cells"]]:
        for metric in ("test_few", "test_ece"):
            assert row.get(metric, row.get(f"{metric}_mean")) is None
    assert {cell["test_few_n"] for cell in report["cells"]} == {0}


def test_keys_can_be_computed_from_the_report_alone(report):
    configurations = {cell["cell"]: cell["configuration"] for cell in report["cells"]}
    for trial in report["trials"]:
        parts = {
            **configurations[trial["cell"]],
            "seed": trial["seed"],
            "data_fingerprint": trial["data_fingerprint"],
            "code": report["provenance"]["training_code"],
        }
        assert digest_of_parts(parts) == trial["key"]


@pytest.mark.parametrize("table", ["cells", "trials"])
def test_rows_are_those_of_the_csv_file_in_full_precision(results, report, table):
    rows = list(csv.DictReader(io.StringIO(render_csv(getattr(results, table)))))
    assert len(rows) == len(report[table])
    for expected, row in zip(rows, report[table], strict=True):
        for name, text in expected.items():
            value = row[name]
            if value is None:
                assert text == ""
            elif value == "over 1000":
                assert text == "inf"
            elif isinstance(value, bool):
                assert text == str(value)
            elif isinstance(value, int | float):
                assert float(text) == value or math.isnan(value)
            else:
                assert text == value


def test_a_report_is_read_from_its_file_or_its_folder(results, tmp_path):
    (tmp_path / "report.json").write_text(json_of(results))
    assert read_report(tmp_path) == read_report(tmp_path / "report.json")
    assert read_report(tmp_path).study == "made-up"


def test_a_report_with_the_tests_of_ranks_that_were_never_made_is_still_read(tmp_path):
    document = json.loads(json_of(summarise(input_of(made_up_study(imbalance_factors=(200, 100, 50, 10))))))
    mean = document["ranks"]["mean"]
    document["ranks"] |= {"friedman_p": None, "critical_difference": None}
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert read_report(tmp_path).ranks.mean == mean


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("choices", 0, "omega"), "high", r"choices\[0\].omega: found 'high', expected a valid number"),
        (("trials", 0, "test_balanced_accuracy"), "?", r"trials\[0\].test_balanced_accuracy: found '\?', expected a"),
        (("trials", 0, "method"), None, r"trials\[0\].method is missing"),
        (("choices", 0, "family"), None, r"choices\[0\].family is missing"),
        (("costs",), [], r"costs: found \[\], expected an object"),
    ],
)
def test_a_report_that_was_altered_says_where_and_what_belongs_there(results, path, value, message, tmp_path):
    document = json.loads(json_of(results))
    *parents, last = path
    part = functools.reduce(operator.getitem, parents, document)
    if value is None:
        del part[last]
    else:
        part[last] = value
    file = tmp_path / "report.json"
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match=f"^{file} is no report of ccar: {message}"):
        read_report(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 2}', "schema version 2 is unknown: expected 1"),
        ("{}", "is no report of ccar: schema_version"),
        ("study: digits", "is no report of ccar: Invalid JSON"),
        ("[1]", r"is no report of ccar: found \[1\], expected an object"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_report_of_this_version_is_the_user_s_mistake(content, message, tmp_path):
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        read_report(path)
    assert raised.value.hint

"""The numbers that people read in each format are those that programs read in report.json and the CSV files."""

from __future__ import annotations

import io
import json
import math
import re

import pandas as pd
import pytest

from ccar.reports.content import content_of
from ccar.reports.formats.csv_files import render_csv
from ccar.reports.formats.html import render_html
from ccar.reports.formats.json_file import render_json
from ccar.reports.formats.latex import render_latex
from ccar.reports.formats.markdown import render_markdown
from ccar.reports.results import summarise
from tests.reports.formats.test_formats import Page, rows_of_latex, rows_of_markdown

SETTINGS = {"IF 100": "100", "IF 50": "50"}


@pytest.fixture(scope="module")
def results(source):
    """The numbers of the study with one diverged and one failed seed."""
    return summarise(source)


@pytest.fixture(scope="module")
def content(results):
    """Its report, without figures."""
    return content_of(results, [])


@pytest.fixture(scope="module")
def report(results, content):
    """Its report.json."""
    return json.loads(render_json(results, content))


READERS = {
    "markdown": lambda content: rows_of_markdown(render_markdown(content)),
    "html": lambda content: [row for table in Page(render_html(content, {})).tables for row in table],
    "latex": lambda content: rows_of_latex(render_latex(content)),
}


@pytest.fixture(scope="module", params=READERS)
def rows(request, content):
    """The rows of all tables as one format has them."""
    return READERS[request.param](content)


def numbers(text: str) -> list[float]:
    """All numbers in the order in which they stand: '+0.42 (−0.10 to +0.94)' has three."""
    return [float(number) for number in re.findall(r"[-+]?\d+(?:\.\d+)?", text.replace("−", "-"))]


def shown(*shares: float | None) -> list[float]:
    """As a table rounds them, in per cent."""
    return [round(100 * share, 2) + 0.0 for share in shares if share is not None]


def test_accuracies_read_in_the_tables_are_those_of_the_json_file(rows, report):
    cells = {(cell["method"], cell["imbalance_factor"]): cell for cell in report["cells"]}
    methods = {method for method, _ in cells}
    found = [row for row in rows if row[0].removesuffix(" (baseline)") in methods and "±" in row[1]]
    assert {row[0].removesuffix(" (baseline)") for row in found} == methods
    for name, *entries in found:
        method = name.removesuffix(" (baseline)")
        for factor, (accuracy, few) in zip(SETTINGS.values(), (entries[:2], entries[2:]), strict=True):
            cell = cells[method, factor]
            for text, metric in ((accuracy, "test_balanced_accuracy"), (few, "test_few")):
                mean, half_width, *n = numbers(text)
                assert [mean, half_width] == shown(cell[f"{metric}_mean"], cell[f"{metric}_half_width"])
                assert (n or [cell["planned"]]) == [cell[f"{metric}_n"]]


def test_choices_read_in_the_tables_are_those_of_the_json_file(rows, report):
    setting = ""
    read = {}
    families = {choice["family"] for choice in report["choices"]}
    for row in rows:
        if len(row) == 9 and row[1] in families:
            setting = row[0] or setting
            read[SETTINGS[setting], row[1]] = row
    assert len(read) == len(report["choices"])
    for choice in report["choices"]:
        _, _, omega, validation, test, difference, verdict, *_ = read[choice["imbalance_factor"], choice["family"]]
        assert float(omega) == choice["omega"]
        assert numbers(validation)[:1] == shown(choice["val_balanced_accuracy_mean"])
        assert numbers(test)[:1] == shown(choice["test_balanced_accuracy_mean"])
        parts = (choice["versus_plain_mean"], choice["versus_plain_low"], choice["versus_plain_high"])
        assert numbers(difference)[:3] == shown(*parts)
        assert verdict.partition(" (")[0] == choice["versus_plain_verdict"]


def test_the_json_file_has_the_numbers_of_the_csv_files(results, report):
    cells = pd.read_csv(io.StringIO(render_csv(results.cells)))
    for name in (
        "test_accuracy_mean",
        "test_balanced_accuracy_versus_plain_p_holm",
        "val_balanced_accuracy_sd",
        "test_ece_mean",
    ):
        read = [math.nan if cell[name] is None else cell[name] for cell in report["cells"]]
        assert cells[name].tolist() == pytest.approx(read, nan_ok=True, rel=0, abs=0)


def test_recommendations_are_the_choices(report):
    assert [(each["family"], each["build_loss"]["reweighting"]["omega"]) for each in report["recommendations"]] == [
        (choice["family"], choice["omega"]) for choice in report["choices"]
    ]

from __future__ import annotations

import json
import re

import pytest

from tests.cli.test_commands import ccar
from tests.tiny_study import write_tiny_study

STUDY = {"bases": "[cross_entropy]", "seeds": "[0, 1]"}
CRT = "methods:\n  extra: [{procedure: crt, recipe: {epochs: 1}}]"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """report.json of the tiny study with cRT, trained in another process; the only thing that is left of it."""
    folder = tmp_path_factory.mktemp("replay")
    path = write_tiny_study(folder, **STUDY)
    path.write_text(path.read_text().replace("methods:", CRT))
    assert ccar("run", path, cwd=folder)[0] == 0
    return (folder / "ccar-store" / "reports" / "tiny" / "report.json").read_text()


@pytest.fixture
def alone(report, tmp_path):
    """A folder with nothing but that file."""
    (tmp_path / "report.json").write_text(report)
    return tmp_path


def test_a_cell_trained_again_from_the_report_alone_is_equal_bit_for_bit(alone):
    code, out, err = ccar("replay", "report.json", "if10/cross_entropy+ccar(omega=0.5)", cwd=alone)
    assert (code, len(out.splitlines())) == (0, 2), out + err
    assert all("all equal, bit for bit" in line for line in out.splitlines())
    assert [path.name for path in alone.iterdir()] == ["report.json"]


def test_a_cell_with_a_stage_one_trains_that_first(alone):
    code, out, err = ccar("replay", ".", "cross_entropy+crt", "--seed", 1, "--json", cwd=alone)
    assert code == 0, out + err
    assert json.loads(out)["equal"] is True
    assert [trial["seed"] for trial in json.loads(out)["trials"]] == [1]


def test_a_number_that_differs_is_named_with_what_may_be_why(alone, report):
    changed = json.loads(report)
    (row,) = [row for row in changed["trials"] if (row["cell"], row["seed"]) == ("if10/cross_entropy", 0)]
    row["test_accuracy"] += 0.25
    (cost,) = [cost for cost in changed["costs"]["trials"] if cost["key"] == row["key"]]
    cost["processor"] = "another one"
    (alone / "report.json").write_text(json.dumps(changed))
    code, out, _ = ccar("replay", "report.json", "if10/cross_entropy", "--seed", 0, cwd=alone)
    assert code == 1
    assert "1 differ" in out
    assert re.search(r"test_accuracy: 0\.\d+ -> 0\.\d+ \(-0\.25\)", out)
    assert "not as it was: processor: another one -> " in out


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["if10/cros_entropy"], "has no cell 'if10/cros_entropy'", "did you mean 'if10/cross_entropy'?"),
        (["if10/cross_entropy", "--seed", 7], "has no seed 7", "choose from 0, 1"),
    ],
)
def test_what_the_report_does_not_have_is_told(alone, words, message, hint):
    code, _, err = ccar("replay", "report.json", *words, cwd=alone)
    assert code == 2
    assert message in err
    assert hint in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("data: {name: digits", "data: {name: image_folder, root: /nowhere"), "/nowhere"),
        (('"data_fingerprint": "', '"data_fingerprint": "0'), "the images here are not those of the report"),
        (('"schema_version": 1', '"schema_version": 99'), "schema version 99 is unknown"),
    ],
)
def test_other_images_and_other_versions_are_told(alone, report, change, message):
    assert change[0] in report
    (alone / "report.json").write_text(report.replace(*change))
    code, _, err = ccar("replay", "report.json", "if10/cross_entropy", cwd=alone)
    assert code == 2
    assert message in err
    assert "Traceback" not in err

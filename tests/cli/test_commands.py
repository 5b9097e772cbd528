"""The commands as a user types them, each in a process of its own or through Typer's runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny_study import write_tiny_study

REPOSITORY = Path(__file__).parents[2]
CCAR = Path(sys.executable).with_name("ccar")


def ccar(*arguments, cwd, command=(CCAR,), **environment):
    """Run `ccar` and return (exit code, stdout, stderr)."""
    done = subprocess.run(
        list(map(str, (*command, *arguments))),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120", **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_help_says_what_to_type_first(tmp_path):
    code, out, _ = ccar("--help", cwd=tmp_path)
    assert code == 0
    assert "ccar run studies/digits_lt.yaml" in out


def test_a_run_imports_for_the_report_only_when_its_last_trials_run():
    probe = "import ccar.cli.run, sys; print(*(set(sys.modules) & {'torch', 'ray', 'mlflow', 'matplotlib', 'scipy'}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_does_not_import_what_only_commands_need():
    probe = "import ccar.cli.app, sys; print(*(set(sys.modules) & {'torch', 'ray', 'mlflow', 'pandas', 'optuna'}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_validate_counts_the_trials_and_creates_nothing(tmp_path):
    path = write_tiny_study(tmp_path)
    code, out, _ = ccar("validate", path, cwd=tmp_path)
    assert (code, out) == (0, f"{path}: valid: 2 trials, 10 classes\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_may_not_be_looked_at_is_told_without_a_traceback(tmp_path):
    """One whose name is too long: as for one that is closed to this user, already the question for it fails."""
    path, closed = write_tiny_study(tmp_path), f"/{300 * 'x'}"
    code, out, err = ccar("plan", path, "--store", closed, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert f"cannot read {closed}" in err
    path.write_text(path.read_text().replace("name: digits,", f"name: image_folder, root: {closed},"))
    code, out, err = ccar("plan", path, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert f"cannot use {closed}: File name too long\n  hint: " in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("lease", ["1m", "0", "nan", "inf"])
def test_a_lease_that_is_no_time_is_told_without_a_traceback(tmp_path, lease):
    code, out, err = ccar("list", "studies", cwd=tmp_path, CCAR_LEASE_SECONDS=lease)
    assert (code, out) == (2, "")
    assert f"CCAR_LEASE_SECONDS: found '{lease}', expected seconds, at least 1" in err


def test_mistakes_are_told_all_at_once_with_their_lines_and_without_a_traceback(tmp_path):
    path = write_tiny_study(tmp_path, bases="[cross_entropi]", omegas="[1.5]", seeds="[0, 0]")
    begun = time.monotonic()
    code, out, err = ccar("run", path, cwd=tmp_path)
    assert time.monotonic() - begun < 10  # measured: 0.7 s; a hang would be a minute
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if line.startswith(str(path))]
    assert [int(line.removeprefix(f"{path}:").split(":")[0]) for line in lines] == [7, 8, 9]
    assert "did you mean 'cross_entropy'?" in err
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_there_is_told_so(tmp_path):
    code, _, err = ccar("plan", "nowhere.yaml", cwd=tmp_path)
    assert code == 2
    assert "nowhere.yaml" in err


def test_a_store_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = ccar("run", write_tiny_study(tmp_path), "--store", tmp_path / "file", cwd=tmp_path)
    assert code == 2
    assert "hint: " in err
    assert "--store" in err


def test_a_tracking_server_that_does_not_answer_is_refused_before_anything_runs(tmp_path):
    path = write_tiny_study(tmp_path)
    cache = tmp_path / "cache"
    code, _, err = ccar("run", path, "--tracking-uri", "http://127.0.0.1:9", cwd=tmp_path, CCAR_CACHE=str(cache))
    assert code == 2
    assert "http://127.0.0.1:9 does not answer" in err
    assert list(tmp_path.iterdir()) == [path]  # not even images were decoded


def test_a_bad_file_and_all_places_that_cannot_be_used_are_told_at_once(tmp_path):
    path = write_tiny_study(tmp_path, bases="[cross_entropi]")
    (tmp_path / "file").touch()
    nobody = ("--tracking-uri", "http://127.0.0.1:9", "--address", "127.0.0.1:9")
    code, out, err = ccar("run", path, "--store", tmp_path / "file" / "store", *nobody, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert f"{path}:7: methods.bases[0] is unknown: found 'cross_entropi', expected" in err
    assert f"cannot write {tmp_path / 'file'}" in err
    assert "the tracking server http://127.0.0.1:9 does not answer" in err
    assert "no Ray cluster can be reached at 127.0.0.1:9" in err
    assert err.count("\n  hint: ") == 4
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file", path]


def test_a_cluster_that_is_not_there_is_refused(tmp_path):
    path = write_tiny_study(tmp_path)
    code, _, err = ccar("run", path, "--address", "127.0.0.1:9", cwd=tmp_path)
    assert code == 2
    assert "no Ray cluster can be reached at 127.0.0.1:9" in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["methods", "datasets", "studies"])
def test_lists_come_as_a_table_and_as_json(kind):
    code, table, _ = ccar("list", kind, cwd=REPOSITORY)
    assert code == 0
    _, text, _ = ccar("list", kind, "--json", cwd=REPOSITORY)
    rows = json.loads(text)
    assert rows
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert next(iter(rows[0].values())) in table


def test_an_unknown_list_names_those_there_are(tmp_path):
    code, _, err = ccar("list", "losses", cwd=tmp_path)
    assert code == 2
    assert "methods, datasets, studies, runs" in err


def test_the_schema_is_json(tmp_path):
    code, out, _ = ccar("schema", cwd=tmp_path)
    assert code == 0
    assert json.loads(out)["properties"]["study"]


def test_why_says_that_nothing_has_run_yet(tmp_path):
    code, out, _ = ccar("why", write_tiny_study(tmp_path), "if10/cross_entropy", cwd=tmp_path)
    assert code == 0
    assert "no trial has finished" in out


def test_why_suggests_the_nearest_name(tmp_path):
    code, _, err = ccar("why", write_tiny_study(tmp_path), "if10/cross_entrop", cwd=tmp_path)
    assert code == 2
    assert "did you mean 'if10/cross_entropy'?" in err

"""The commands as a user types them, each in a process of its own or through Typer's runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ccar.cli.places import Places
from ccar.cli.study_view import StudyView
from ccar.cli.why import find_trial
from ccar.errors import UserError
from ccar.store.key import key_parts
from tests.store.examples import CLASS_COUNTS, WORKER, epoch
from tests.tiny_study import write_tiny_study

REPOSITORY = Path(__file__).parents[2]
CCAR = Path(sys.executable).with_name("ccar")
OF_NOBODY = "~no-such-user-here/folder"


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


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (("plan", "tiny.yaml", "--store", OF_NOBODY), None),
        (("plan", "tiny.yaml"), "CCAR_CACHE"),
        (("cluster", "status", "--folder", OF_NOBODY), None),
        (("cluster", "status"), "CCAR_CLUSTER"),
    ],
)
def test_a_folder_of_a_user_who_is_not_here_is_told_without_a_traceback(tmp_path, words, variable):
    write_tiny_study(tmp_path)
    code, out, err = ccar(*words, cwd=tmp_path, **({variable: OF_NOBODY} if variable else {}))
    assert (code, out) == (2, "")
    assert f"a path begins with an unknown user: found {OF_NOBODY}, expected one of this machine\n  hint: " in err


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "tiny.yaml"),
        ("list", "runs"),
        ("submit", "tiny.yaml"),
        ("compare", "tiny.yaml", "tiny.yaml"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_an_empty_store_which_would_be_the_folder_that_one_is_in_is_refused(tmp_path, words):
    write_tiny_study(tmp_path)
    option = "--other-store" if words[0] == "compare" else "--store"
    code, out, err = ccar(*words, option, "", cwd=tmp_path, CCAR_STORE=str(tmp_path / "trials"))
    assert (code, out) == (2, "")
    assert "the store is empty: found an empty text, expected a folder, or s3://BUCKET/PREFIX\n  hint: " in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.yaml"]


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


@pytest.mark.parametrize(
    ("early_stopping", "answer"),
    [
        ("none", "would go on after epoch 1: it is stopped"),
        ("{algorithm: median, grace_epochs: 1}", "would not run again: it was stopped early"),
    ],
)
def test_why_says_of_a_trial_that_was_stopped_early_what_its_study_does_with_it(tmp_path, early_stopping, answer):
    path = write_tiny_study(tmp_path, epochs=9, more=f"early_stopping: {early_stopping}")
    view = StudyView.open(path, Places.of(tmp_path / "ccar-store", None))
    trial = view.source().known[0]
    parts = key_parts(trial.config, trial.data_fingerprint)
    claim = view.places.store.claim(trial.config, parts, class_counts=CLASS_COUNTS, worker=WORKER)
    claim.commit([epoch(1)], b"state")
    claim.stop("it was behind the others")
    code, out, _ = ccar("why", path, trial.name, cwd=tmp_path)
    assert code == 0
    assert out.splitlines()[1:] == [answer]


def test_the_beginning_of_several_keys_is_told_as_that(tmp_path):
    one, other = StudyView.open(write_tiny_study(tmp_path), Places.of(tmp_path / "ccar-store", None)).source().known
    one, other = replace(one, key="12ab34" + one.key), replace(other, key="12ab56" + other.key)
    same = replace(other, key=one.key)  # two cells may be one training
    assert find_trial("12ab3", [one, other, same]) is one
    assert find_trial(one.key, [one, other, same]) is one
    names = "'if10/cross_entropy seed 0' and 'if10/cross_entropy\\+ccar\\(omega=0.5\\) seed 0'"
    with pytest.raises(UserError, match=f"'12ab' begins the keys of 2 trials, expected one: .*{names}"):
        find_trial("12ab", [one, other, same])
    with pytest.raises(UserError, match="the study has no trial '12ac'"):
        find_trial("12ac", [one, other, same])


def test_what_the_terminal_cannot_show_is_replaced(tmp_path):
    code, out, _ = ccar("list", "methods", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert code == 0
    assert "cross_entropy" in out
    assert "\u2500" not in out
    odd = os.fsdecode(b"\xff.yaml")
    write_tiny_study(tmp_path).rename(tmp_path / odd)
    code, out, _ = ccar("validate", odd, cwd=tmp_path)
    assert (code, out) == (0, "?.yaml: valid: 2 trials, 10 classes\n")


@pytest.mark.parametrize("words", [("schema",), ("lint-claims", "--template")])
def test_output_that_finds_a_full_disk_is_told_without_a_traceback(words, tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([CCAR, *words], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "cannot use the file that the output goes to: No space left on device\n  hint: free some space there\n"
    )


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_there_is_not_is_told_without_a_traceback(tmp_path, port):
    code, out, err = ccar("ui", "--port", port, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "Invalid value for '--port'" in err
    assert list(tmp_path.iterdir()) == []


def test_nodes_without_a_cpu_are_refused(tmp_path):
    code, out, err = ccar("cluster", "start", "--cpus-per-node", "0", "--host", "203.0.113.7", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "Invalid value for '--cpus-per-node'" in err


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"RAY_AUTH_TOKEN": "two words"}, "what is in RAY_AUTH_TOKEN cannot be a token"),
        ({"RAY_AUTH_TOKEN_PATH": "~no-such-user-here/token"}, "a path begins with an unknown user"),
    ],
)
def test_the_doctor_tells_of_a_token_that_is_none_beside_all_else(tmp_path, variable, message):
    code, out, _ = ccar("doctor", "--json", cwd=tmp_path, **variable)
    assert code == 1
    checks = {check["what"]: check for check in json.loads(out)}
    assert (checks["token"]["ok"], message in checks["token"]["found"]) == (False, True)
    assert {"mlflow", "versions", "store"} <= checks.keys()


@pytest.mark.parametrize(
    ("reason", "hint"), [("ENOSPC", "free some space there"), ("EACCES", "choose one that this user may use")]
)
def test_a_file_that_cannot_be_made_is_told_with_what_helps(tmp_path, reason, hint):
    failing = (
        "import errno, os, ccar.cli.app as cli\n"
        "def fail():\n"
        f"    raise OSError(errno.{reason}, os.strerror(errno.{reason}), '/disk/file')\n"
        "cli.app = fail\n"
        "cli.main()"
    )
    code, _, err = ccar(cwd=tmp_path, command=(sys.executable, "-c", failing))
    assert code == 2
    assert "cannot use /disk/file: " in err
    assert err.splitlines()[1] == f"  hint: {hint}"


def test_a_priority_among_studies_that_share_nothing_is_refused(tmp_path):
    path = write_tiny_study(tmp_path)
    code, out, err = ccar("run", path, "--priority", "5", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "--priority is for studies on one cluster" in err
    assert "--address" in err
    assert list(tmp_path.iterdir()) == [path]


def test_another_system_than_linux_is_told_in_one_sentence(tmp_path):
    elsewhere = "import sys; from ccar.cli.app import main; sys.platform = 'darwin'; main()"
    code, out, err = ccar("plan", write_tiny_study(tmp_path), cwd=tmp_path, command=(sys.executable, "-c", elsewhere))
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == "ccar needs Linux: this is darwin"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody whom this machine does not know")
def test_a_user_without_a_home_folder_is_told_what_to_set(tmp_path):
    unknown = "import os; from ccar.cli.app import main; del os.environ['HOME']; os.setuid(12345); main()"
    code, out, err = ccar("plan", write_tiny_study(tmp_path), cwd=tmp_path, command=(sys.executable, "-c", unknown))
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "user 12345 has no home folder, and Ray and MLflow look for one",
        "  hint: set HOME to a folder that this user may write",
    ]

"""Stores that cannot be written: refused before anything runs, with nothing created and nothing lost."""

from __future__ import annotations

import json
import sys

from tests.cli.test_commands import ccar
from tests.cli.test_run import NOTING_ITS_MODULES, train_here
from tests.small_disk import fill, read_only_folder, small_disk
from tests.tiny_study import write_tiny_study


def tree(folder):
    """All that is in a folder, with the content of files."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refusal(study, store, cwd):
    """What a run says that refuses to begin, having imported nothing that begins."""
    noting = (sys.executable, "-c", NOTING_ITS_MODULES)
    code, out, err = ccar("run", study, "--store", store, cwd=cwd, command=noting)
    assert (code, out) == (2, "")
    assert not {"ray", "torch", "mlflow"} & set((cwd / "modules.txt").read_text().split())
    return err


def test_a_full_disk_is_refused_before_ray_starts_and_nothing_is_created(tmp_path):
    study = write_tiny_study(tmp_path)
    with small_disk(tmp_path / "disk", "size=256k") as disk:
        fill(disk)
        before = tree(disk)
        err = refusal(study, disk / "store", tmp_path)
        assert "no space left to write" in err
        assert "  hint: nothing committed is lost: free some space and run the same command again" in err
        assert tree(disk) == before


def test_a_disk_that_is_full_when_a_study_is_run_again_is_refused_and_nothing_is_lost(tmp_path):
    with small_disk(tmp_path / "disk", "size=16m") as disk:
        study = write_tiny_study(disk)
        train_here(study)
        more = write_tiny_study(tmp_path, seeds="[0, 1]")
        filler = fill(disk)
        before = tree(disk)
        for each in (study, more):
            assert "no space left to write" in refusal(each, disk / "ccar-store", tmp_path)
        assert tree(disk) == before
        filler.unlink()
        _, out, _ = ccar("plan", more, "--json", "--store", disk / "ccar-store", cwd=tmp_path)
        plan = json.loads(out)
        assert (plan["done"], plan["to_run"]) == (2, 2)


def test_a_folder_that_cannot_be_written_is_refused_before_ray_starts(tmp_path):
    study = write_tiny_study(tmp_path)
    with read_only_folder(tmp_path / "locked") as folder:
        err = refusal(study, folder / "store", tmp_path)
        assert f"cannot write {folder}" in err
        assert "  hint: choose a folder that this user may read and write: --store DIR" in err
        assert list(folder.iterdir()) == []

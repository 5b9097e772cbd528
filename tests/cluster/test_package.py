from __future__ import annotations

import subprocess
import sys

import pytest

from ccar.cluster.package import MAX_BYTES, STUDY_FILE, packaged
from ccar.errors import UserError
from tests.tiny_study import write_tiny_study


def test_the_package_is_ccar_and_the_study_and_runs_by_itself(tmp_path):
    text = write_tiny_study(tmp_path).read_text()
    with packaged(text) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["ccar", STUDY_FILE]
        assert not list(folder.rglob("*.pyc"))
        code = "import ccar, ccar.store.key as key; print(ccar.__file__, key.code_digest())"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        file, digest = done.stdout.split()
        assert file.startswith(str(folder))
    from ccar.store.key import code_digest

    assert digest == code_digest()
    assert not folder.exists()


def test_code_that_is_too_large_is_refused_and_the_largest_files_are_named(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "small.py").write_text("")
    with (tmp_path / "code" / "forgotten.pt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    refused = pytest.raises(UserError, match=r"too large to submit: found 50\.0 MiB.*forgotten\.pt")
    with refused, packaged(code=tmp_path / "code"):
        pass

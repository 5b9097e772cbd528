"""Scratch folders end with their process, or with the next one."""

from __future__ import annotations

import signal
import subprocess
import sys

from ccar.cluster.scratch import scratch_folder


def test_a_scratch_folder_is_private_and_gone_after_the_block(tmp_path):
    with scratch_folder(tmp_path) as folder:
        (folder / "file").write_text("x")
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed_by_the_next_one_and_nothing_else(tmp_path):
    code = f"""
from pathlib import Path
from ccar.cluster.scratch import scratch_folder
with scratch_folder(Path({str(tmp_path)!r})) as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    input()
"""
    (tmp_path / "somebody-elses").mkdir()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        theirs = tmp_path / other.stdout.readline().decode().strip()
        with scratch_folder(tmp_path) as ours:
            assert {path.name for path in tmp_path.iterdir()} == {"somebody-elses", theirs.name, ours.name}
        other.send_signal(signal.SIGKILL)
    assert (theirs / "file").exists()
    with scratch_folder(tmp_path) as ours:
        assert {path.name for path in tmp_path.iterdir()} == {"somebody-elses", ours.name}

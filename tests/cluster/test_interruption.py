"""A second signal ends a process and all that it has started, whatever becomes of these meanwhile."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import psutil

from tests.processes import end, wait_until_gone

INTERRUPTED_TWICE = """
import os, psutil, signal, subprocess, time
from ccar.cluster.interruption import interruption

has_ended = subprocess.Popen(["true"])
gone = psutil.Process(has_ended.pid)
has_ended.wait()
living = psutil.Process(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
print(living.pid, flush=True)
psutil.Process.children = lambda self, recursive: [gone, living]  # as one finds them that end just then
with interruption(lambda: None) as interrupted, interrupted.being_watched():
    os.kill(os.getpid(), signal.SIGTERM)
    while not interrupted.is_over:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(120)
"""


def test_a_second_signal_ends_a_run_whose_processes_are_ending_too():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_TWICE], capture_output=True, text=True, check=False)
    living = []
    with suppress(psutil.NoSuchProcess):
        living.append(psutil.Process(int(done.stdout)))
    try:
        assert (done.returncode, done.stderr) == (130, "")
        wait_until_gone(living)
    finally:
        end(living, seconds=0)

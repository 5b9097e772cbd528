"""Delivers a study to MLflow while it runs, from a process of its own that training does not wait for.

    MLFLOW_TRACKING_URI=... python -m ccar.tracking.feeder STORE STUDY [REPORT_FOLDER]

The address may hold a password, and everybody can read arguments; so it comes by a variable.
It ends when its standard input does (the driver closes it, or is gone), after one last pass.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ccar.errors import CcarError
from ccar.store.files import make_folder
from ccar.store.trial_store import TrialStore
from ccar.tracking.environment import MLFLOW_ENVIRONMENT
from ccar.tracking.outbox import Outbox

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 2.0
_MIN_AGE_SECONDS = 10.0  # shorter trials are sent once, when they have ended
_LONGEST_PAUSE_SECONDS = 60.0
_NICE = 15  # as Ray runs its workers: behind them, a study of short trials would wait for MLflow at its end
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Feeder:
    """The driver's end of a feeder process."""

    def __init__(self, process: subprocess.Popen[bytes], store: TrialStore, tracking_uri: str, study_name: str) -> None:
        self._process = process
        self._store = store
        self._tracking_uri = tracking_uri
        self._study_name = study_name

    @classmethod
    def start(cls, store: TrialStore, tracking_uri: str, study_name: str, report_dir: Path | None = None) -> Feeder:
        """Start delivering; returns at once. What goes wrong in there stands in tracking/feeder.log, in the store
        or in what belongs to it on this machine.

        Args:
            store: the truth.
            tracking_uri: where MLflow is.
            study_name: the study that runs.
            report_dir: goes to MLflow with the last pass, if there is a report in it by then.

        Raises:
            StoreError: the store cannot be written.
        """
        make_folder(store.root / "tracking")
        with (store.root / "tracking" / "feeder.log").open("ab") as log_file:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "ccar.tracking.feeder",
                    store.address,
                    study_name,
                    *([str(report_dir)] if report_dir else []),
                ],
                stdin=subprocess.PIPE,
                bufsize=0,  # nothing may linger that a dead feeder would refuse when the pipe is closed
                stdout=log_file,
                stderr=log_file,
                env={**MLFLOW_ENVIRONMENT, **os.environ, **_ONE_THREAD, "MLFLOW_TRACKING_URI": tracking_uri},
                # Ctrl-C is for the driver; it tells us by closing the pipe. Not a new session: Linux shares the
                # processor out by session first, and priorities hold within one only.
                process_group=0,
            )
        return cls(process, store, tracking_uri, study_name)

    def hurry(self) -> None:
        """Say that training is over: what was held back to spare it the work can be delivered now."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has given up; `finish` says so
            self._process.stdin.write(b"!")

    def finish(self, timeout: float) -> int:
        """Let it do a last pass and end; after `timeout` seconds end it anyway, which loses nothing.

        Returns:
            How many trials MLflow does not have yet: `ccar sync` sends them later. It cannot send those that are
            damaged in the store, and they do not count.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        study = self._store.study(self._study_name)
        return 0 if study is None else len(Outbox(self._store, self._tracking_uri).pending(study))


def feed(outbox: Outbox, store: TrialStore, study_name: str, driver: Driver, report_dir: Path | None) -> bool:
    """Deliver what is new every few seconds until the driver is gone, and once more after that, with the report.

    Returns:
        Whether everything was delivered.
    """
    failures = 0
    known_damage: tuple[str, ...] = ()
    while True:
        last_pass = driver.is_gone
        try:
            damage = _one_pass(outbox, store, study_name, min_age=0.0 if driver.hurries else _MIN_AGE_SECONDS)
            if last_pass and report_dir is not None and report_dir.is_dir():
                _deliver_report(outbox, store, study_name, report_dir)
        except CcarError as error:
            log.warning("%s", error)
            if last_pass:
                return False
            failures += 1
        else:
            for problem in damage:
                if problem not in known_damage:
                    log.warning("%s", problem)
            if last_pass:
                return not damage
            failures, known_damage = 0, damage
        driver.wait(_pause(failures))


def _pause(failures: int) -> float:
    """Seconds until the next look: doubled by each failure in a row."""
    return min(_SECONDS_BETWEEN_LOOKS * 2.0 ** min(failures, 10), _LONGEST_PAUSE_SECONDS)


def _one_pass(outbox: Outbox, store: TrialStore, study_name: str, *, min_age: float) -> tuple[str, ...]:
    study = store.study(study_name)
    return () if study is None else outbox.deliver(study, min_age=min_age).damaged


def _deliver_report(outbox: Outbox, store: TrialStore, study_name: str, report_dir: Path) -> None:
    study = store.study(study_name)
    if study is not None:
        outbox.deliver_report(study, report_dir)


class Driver:
    """What the driver tells through our standard input: a byte is haste, the end of input that it is gone."""

    def __init__(self) -> None:
        self.hurries = self.is_gone = False
        self._news = threading.Event()
        threading.Thread(target=self._listen, name="ccar-driver-watch", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or as soon as there is news."""
        self._news.wait(seconds)
        self._news.clear()

    def _listen(self) -> None:
        while not self.is_gone:
            self.is_gone = not os.read(0, 1)
            self.hurries = True
            self._news.set()


def main(arguments: Sequence[str]) -> int:
    """Run as a program: exit code 0 when everything was delivered, 1 when not."""
    address, study_name, *report_dir = arguments
    os.nice(_NICE)
    gc.set_threshold(50_000)  # SQLAlchemy makes and drops thousands of objects for each trial
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who ends a job tells all its processes; the driver tells us
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s {study_name}: %(message)s")
    store = TrialStore(address)
    outbox = Outbox(store, os.environ["MLFLOW_TRACKING_URI"])
    everything = feed(outbox, store, study_name, Driver(), Path(report_dir[0]) if report_dir else None)
    gc.freeze()  # the driver waits for our exit, and Python's last collections in it take 0.4 s
    return 0 if everything else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

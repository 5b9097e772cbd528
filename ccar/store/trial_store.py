"""The trial store: a folder, or bucket, of finished and unfinished trials, addressed by key. It is the truth.

Layout::

    trials/ab/abcd.../trial.json          what the key digests
                      log/000000.jsonl    claims, commits until it has finished, the end (see trial_log.py)
                      checkpoint-*.pt     state after the last two commits, until the trial has finished
                      weights-*.pt        the trained model
                      hang.txt            where the trial hung, if it did
                      crash.txt           where its process crashed, if it did
                      test-*.jsonl        the test results, apart from all that selection may read
    studies/NAME.json                     the studies that were run against this store
    gpus/                                 how many trials share a GPU, as measured (see gpu_notes.py)
    drivers/                              who works with it now, and shares a cluster (see drivers.py)

Side files are written first and named, with their digest, in the log record that makes them count.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from ccar.errors import Damaged, Fenced, StoreError, TrialBusy, UserError
from ccar.store.address import folder_at, local_root
from ccar.store.drivers import Drivers
from ccar.store.files import make_private_folder
from ccar.store.folder import Folder
from ccar.store.gpu_notes import GpuNotes
from ccar.store.key import digest_of_parts
from ccar.store.liveness import Heartbeat, Watch, is_alive, this_process
from ccar.store.records import StudyRecord, TrialRecord, TrialStatus, without_unneeded_classes
from ccar.store.seal import TRAIN_AGAIN, read_verified, sealed, unseal_needed
from ccar.store.search_log import StoredSearchLog
from ccar.store.trial_log import ENDS, FINAL, LogRecord, RecordType, TrialLog
from ccar.training.config import TrialConfig
from ccar.training.result import EpochResult, TestResult

log = logging.getLogger(__name__)

_EPOCHS = TypeAdapter(tuple[EpochResult, ...])
_TEST = TypeAdapter(TestResult)
_STUDY = TypeAdapter(StudyRecord)
# Of no use in a trial that has ended for good, unless its last record names it: also what others left that died.
_SWEPT = ("checkpoint-", "test-", "weights-", "heartbeat-", "stacks", ".")
_ID = "store-id"
_KEY_LENGTH = 64  # what else lies there, a file manager or a synchroniser has put there
_PROBE_BYTES = 65_536  # an empty file, or one of a few bytes, still fits on most disks that are full


class TrialStore:
    """Reads and writes a store; many processes on many hosts may use the same one at once."""

    def __init__(self, address: str | Path) -> None:
        """Nothing is read or made yet.

        Args:
            address: a folder, or s3://BUCKET/PREFIX.

        Raises:
            UserError: it cannot be one.
        """
        self.files: Folder = folder_at(address)
        self.root = local_root(address)
        self._watch = Watch()

    @property
    def address(self) -> str:
        """By which other processes find this store, in whatever folder they work."""
        return str(self.files)

    def check_writable(self) -> None:
        """Prove that a trial could be written; leaves nothing behind, not even the store's folder.

        Raises:
            UserError: it cannot be created or written, has no hard links, or its disk is full; or a file can be
                created twice there.
        """
        folder, probe = self.files.nearest(), f".ccar-writable.{uuid.uuid4().hex}"
        try:
            folder.create(probe, os.urandom(_PROBE_BYTES))  # no file system makes less of it
            try:
                again = folder.create(probe, b"")
            finally:
                folder.delete(probe)
        except StoreError as error:
            raise UserError(f"the store {self.address} cannot be used: {error}", hint=error.hint) from error
        if again:
            raise UserError(
                f"{self.address} lets the same file be created twice: exclusive create is the commit",
                hint="use a server that refuses a put with `If-None-Match: *` where there is something already",
            )

    def make_private(self) -> None:
        """Make the store's folder on this machine, its owner's alone; one that is there stays as open as it is.

        Raises:
            StoreError: it cannot be created.
        """
        make_private_folder(self.root)

    def id(self) -> str:
        """A name for this store that no other one has, made when it is first asked for.

        Raises:
            StoreError: the store cannot be written.
        """
        if not self.files.exists(_ID):
            self.files.create(_ID, uuid.uuid4().hex.encode())
        return self.files.read(_ID).decode()

    def read(self, key: str) -> TrialRecord:
        """All that is known of a trial, except its test results.

        Raises:
            Damaged: a file is missing, or was altered after it was written.
            StoreError: one cannot be read, or is of another version of ccar.
        """
        with _of_this_version(key):
            found = _last_and_history(self._log(key), whole=ENDS)
            if found is None:
                return TrialRecord(key=key, status="absent")
            last, history = found
            trial = unseal_needed(self._folder(key), "trial.json", hint=TRAIN_AGAIN)
            return TrialRecord(
                key=key,
                status=cast(TrialStatus, last.type) if last.type in ENDS else "unfinished",
                config=TrialConfig.model_validate(trial["config"]),
                class_counts=tuple(trial["class_counts"]),
                parts=trial["parts"],
                epochs=_EPOCHS.validate_python(history.content["epochs"]),
                started_at=history.content["started_at"],
                ended_at=last.at,
                error=last.content.get("error"),
                worker=history.content["worker"],
                num_records=last.number + 1,
                claim=history.content["claimed_by"],
            )

    def read_test(self, key: str) -> TestResult | None:
        """The test results of a finished trial, or None. Nothing that selects may call this.

        Raises:
            Damaged: a file is missing, or was altered after it was written.
            StoreError: one cannot be read, or is of another version of ccar.
        """
        content = self._side_file_of_finished(key, "test")
        if content is None:
            return None
        with _of_this_version(key):
            return _TEST.validate_json(content.partition(b"\n")[0])

    def read_weights(self, key: str) -> bytes | None:
        """The trained model of a finished trial, as `torch.save` wrote it (load with `weights_only=True`).

        None where the trial has not finished, or was imported: see `ccar.store.trial_file`.

        Raises:
            Damaged: a file is missing, or was altered after it was written.
            StoreError: one cannot be read, or is of another version of ccar.
        """
        return self._side_file_of_finished(key, "weights")

    def stacks_file(self, key: str) -> Path:
        """Where the stacks of a process go that hangs in this trial: a file of this machine, whatever the store."""
        return self.root.joinpath(*_path(key), "stacks.txt")

    def num_records(self, key: str) -> int:
        """Length of a trial's log, without reading it: grows with every commit."""
        return self._log(key).length()

    def log_version(self, key: str) -> str:
        """A text that changes with a trial's log, also where that was deleted and begun anew."""
        return self._log(key).version()

    def is_being_trained(self, record: TrialRecord) -> bool:
        """Whether somebody who seems to be alive is working on this trial; writes nothing.

        Where the clock of this machine is not that of the store, the answer is right once a beat was seen.
        """
        if record.claim is None:
            return False
        return self._watch.is_alive(record.claim["worker"], self._folder(record.key), record.claim["heartbeat"])

    def keys(self) -> list[str]:
        """The keys of all trials that were ever begun, in their order."""
        return sorted(name for name in self.files.folder("trials").names(depth=2) if len(name) == _KEY_LENGTH)

    def begun(self, keys: Iterable[str]) -> set[str]:
        """Those of these trials that were ever begun.

        Asks at most once for each of the 256 folders above them: a look at each trial takes long in a bucket.
        """
        wanted = set(keys)
        folders = {_path(key)[:-1] for key in wanted}
        return wanted.intersection(name for folder in folders for name in self.files.folder(*folder).names())

    def claim(
        self,
        config: TrialConfig,
        parts: Mapping[str, Any],
        *,
        class_counts: Sequence[int],
        worker: Mapping[str, Any],
        even_if_busy: bool = False,
    ) -> Claim:
        """Take a trial over, to train it on from its last commit.

        Args:
            config: what to train.
            parts: what the trial's key digests, from `ccar.store.key.key_parts`.
            class_counts: training images per class, kept with the trial for those who look at it.
            worker: facts about the place (device, threads, versions), kept with the trial.
            even_if_busy: fence off the worker that holds the claim, even when it is alive.

        Raises:
            TrialBusy: somebody who is still alive works on it, or it has ended for good.
            StoreError: the store cannot be written; or a file in it is missing, was altered, or is of another version.
        """
        key = digest_of_parts(dict(parts))
        folder = self._folder(key)
        if not folder.exists("trial.json"):
            stored = {
                "config": config.model_dump(mode="json"),
                "parts": dict(parts),
                "class_counts": [int(count) for count in class_counts],
            }
            folder.create("trial.json", sealed(stored))
        log = self._log(key)
        facts = {**this_process(), **worker}
        while True:
            with _of_this_version(key):
                last, former = _last_and_history(log, whole=FINAL) or (None, None)
                if last is not None and last.type in FINAL:
                    _sweep(folder, last.content)
                    raise TrialBusy(f"trial {key[:12]} has {last.type} meanwhile")
                if former is not None:
                    _EPOCHS.validate_python(former.content["epochs"])
            number = 0 if last is None else last.number + 1
            if former is not None and former.content["claimed_by"] is not None:
                claimant = former.content["claimed_by"]
                if not even_if_busy and is_alive(claimant["worker"], folder, claimant["heartbeat"]):
                    raise TrialBusy(
                        f"trial {key[:12]} is being trained by process {claimant['worker']['pid']} "
                        f"on {claimant['worker']['host']}"
                    )
                folder.delete(claimant["heartbeat"])
            now = time.time()
            # The first beat comes before the claim: a claim without a heartbeat would look dead.
            heartbeat_name = f"heartbeat-{number:06d}-{uuid.uuid4().hex[:8]}"
            heartbeat = Heartbeat(folder, heartbeat_name)
            try:
                log.append(number, "claim", now, {"worker": facts, "heartbeat": heartbeat_name})
            except Fenced:  # another worker was faster: look again who it is
                heartbeat.end()
                continue
            except BaseException:
                heartbeat.end()
                raise
            return Claim(folder, log, number + 1, heartbeat, facts, former, now)

    def sweep(self, key: str) -> None:
        """Remove from a trial that has ended for good what is of no use, left by who died before it could do that.

        Raises:
            StoreError: the trial cannot be read.
        """
        last = self._log(key).last()
        if last is not None and last.type in FINAL:
            _sweep(self._folder(key), last.content)

    @property
    def drivers(self) -> Drivers:
        """The notes of those who work with this store."""
        return Drivers(self.files.folder("drivers"))

    @property
    def gpu_notes(self) -> GpuNotes:
        """How many trials share a GPU, as measured."""
        return GpuNotes(self.files.folder("gpus"))

    def search_log(self, study: str) -> StoredSearchLog:
        """What the searcher of a study has asked for so far."""
        return StoredSearchLog(self.files.folder("studies", f"{study}.search"))

    def put_study(self, record: StudyRecord) -> None:
        """Remember a study, or replace what was remembered under its name.

        A run begins with this, so a store that is not there yet becomes its owner's alone.

        Raises:
            StoreError: the store cannot be written.
        """
        self.make_private()
        content = json.dumps(dataclasses.asdict(record), indent=1).encode()
        self.files.folder("studies").replace(f"{record.name}.json", content)

    def study(self, name: str) -> StudyRecord | None:
        """The study of this name, if one was run against this store.

        Raises:
            StoreError: it was stored by another version of ccar, or altered.
        """
        try:
            return _STUDY.validate_json(self.files.folder("studies").read(f"{name}.json"))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise StoreError(
                f"the study {name} was stored by another version of ccar", hint="use the version that wrote it"
            ) from error

    def studies(self) -> list[StudyRecord]:
        """All studies that were run against this store, by name."""
        return [record for name in self.study_versions() if (record := self.study(name)) is not None]

    def study_versions(self) -> dict[str, str]:
        """The names of all studies, with a text that changes when what is remembered of a study does."""
        found = self.files.folder("studies").versions()
        return {name.removesuffix(".json"): found[name] for name in sorted(found) if name.endswith(".json")}

    def all_records(self) -> Iterator[TrialRecord]:
        """Every trial that was ever begun and can be read, in the order of the keys."""
        for key in self.keys():
            try:
                yield self.read(key)
            except StoreError as error:
                log.warning("%s", error)

    def _side_file_of_finished(self, key: str, kind: Literal["test", "weights"]) -> bytes | None:
        with _of_this_version(key):
            last = self._log(key).last()
            if last is None or last.type != "finished":
                return None
            side = last.content[kind]
        return None if side is None else read_verified(self._folder(key), side["file"], side["sha256"])

    def _folder(self, key: str) -> Folder:
        return self.files.folder(*_path(key))

    def _log(self, key: str) -> TrialLog:
        return TrialLog(self.files.folder(*_path(key), "log"))


class Claim:
    """The right to write to one trial, until it ends, is released, or somebody takes it over."""

    def __init__(
        self,
        folder: Folder,
        log: TrialLog,
        number: int,
        heartbeat: Heartbeat,
        worker: Mapping[str, Any],
        former: LogRecord | None,
        now: float,
    ) -> None:
        self._folder = folder
        self._log = log
        self._number = number
        self._heartbeat = heartbeat
        self._worker = worker
        self._epochs: list[dict[str, Any]] = list(former.content["epochs"]) if former else []
        self._checkpoint: dict[str, str] | None = former.content["checkpoint"] if former else None
        self._one_before: dict[str, str] | None = former.content["one_before"] if former else None
        self._damages: list[str] = list(former.content["damages"]) if former else []
        self._commits: list[int] = list(former.content["commits"]) if former else []
        self._started_at: float = former.content["started_at"] if former else now
        self._is_held = True

    @property
    def epochs(self) -> tuple[EpochResult, ...]:
        """The committed epochs."""
        return _EPOCHS.validate_python(self._epochs)

    def checkpoint(self) -> bytes | None:
        """The state after the last committed epoch; None at the very beginning.

        Where that file is missing, was altered or cannot be read, the one before it takes its place, and None if that
        is damaged too: then committed epochs are trained once more to get to the same state, and `commit` passes over
        them.

        Raises:
            StoreError: there is one that may be whole, and cannot be read just now.
        """
        unreadable: StoreError | None = None
        while (side := self._checkpoint) is not None:
            try:
                return read_verified(self._folder, side["file"], side["sha256"])
            except Damaged:
                self._damages.append(f"{side['file']} was damaged; the trial went on from the state before it")
            except StoreError as error:
                unreadable = error
                self._damages.append(f"{side['file']} could not be read; the trial went on from the state before it")
            self._checkpoint, self._one_before = self._one_before, None
        if unreadable is not None:
            raise unreadable
        return None

    def commit(self, epochs: Sequence[EpochResult], checkpoint: bytes) -> None:
        """Commit the epochs since the last commit, with the state after them; those that it knows stay as they were.

        Raises:
            Fenced: somebody else has taken the trial over, or deleted it; nothing was written.
            StoreError: the store cannot be written; what was committed before stays.
        """
        new = self._new(epochs)
        if not new:
            return
        outdated = self._one_before
        side = self._put_side_file("checkpoint", ".pt", checkpoint)
        state = {"checkpoint": side, "one_before": self._checkpoint, "damages": self._damages}
        self._append("commit", {"epochs": new, **state}, side)
        self._commits.append(self._number - 1)
        self._epochs.extend(new)
        self._checkpoint, self._one_before = side, self._checkpoint
        if outdated is not None:
            _remove(self._folder, outdated["file"])

    def finish(self, test: TestResult, weights: bytes | None, epochs: Sequence[EpochResult] = ()) -> None:
        """End the trial with its test results and its trained model.

        Args:
            test: what the model reached on the test set.
            weights: the model; None where it was trained elsewhere and stayed there.
            epochs: those since the last commit.

        Raises:
            Fenced: somebody else has taken the trial over, or deleted it; nothing was written.
            StoreError: the store cannot be written.
        """
        self._epochs.extend(self._new(epochs))
        test_file = self._put_side_file("test", ".jsonl", sealed(dataclasses.asdict(test)))
        weights_file = None if weights is None else self._put_side_file("weights", ".pt", weights)
        error = "; ".join(self._damages) or None
        self._end("finished", {"test": test_file, "weights": weights_file, "error": error}, test_file, weights_file)

    def diverge(self, error: str, epochs: Sequence[EpochResult] = ()) -> None:
        """End the trial because its loss is no longer finite; it will not be tried again.

        Args:
            error: what happened, and in which epoch.
            epochs: the good epochs since the last commit.
        """
        self._epochs.extend(self._new(epochs))
        self._end("diverged", {"error": error})

    def fail(self, error: str) -> None:
        """End the attempt because the code raised; the next run tries again from the last commit."""
        self._end("failed", {"error": error})

    def stop(self, reason: str) -> None:
        """End the trial early; a study without early stopping would train it on from here."""
        self._end("stopped", {"error": reason})

    def release(self) -> None:
        """Let others go on from the last commit, at once. Nothing happens once the trial has ended."""
        if self._is_held:
            self._append("released", {})
            self._let_go()

    def abandon(self) -> None:
        """Stop the heartbeat without writing anything, after `Fenced` or a store that cannot be written."""
        self._let_go()

    def _new(self, epochs: Sequence[EpochResult]) -> list[dict[str, Any]]:
        """Those that are not committed yet."""
        last = self._epochs[-1]["epoch"] if self._epochs else 0
        return [dataclasses.asdict(epoch) for epoch in epochs if epoch.epoch > last]

    def _end(self, type_: RecordType, content: Mapping[str, Any], *sides: Mapping[str, str] | None) -> None:
        # The last record repeats the whole history, so that readers of ended trials open one file.
        whole = {
            "epochs": without_unneeded_classes(self._epochs),
            "checkpoint": None if type_ in FINAL else self._checkpoint,
            "one_before": None if type_ in FINAL else self._one_before,
            "replaces": self._commits if type_ in FINAL else [],
            "damages": self._damages,
            "started_at": self._started_at,
            "worker": self._worker,
            "claimed_by": None,
            **content,
        }
        self._append(type_, whole, *sides)
        self._let_go()
        if type_ in FINAL:
            _sweep(self._folder, whole)

    def _append(self, type_: RecordType, content: Mapping[str, Any], *sides: Mapping[str, str] | None) -> None:
        """Write the next record, which names these side files."""
        try:
            self._log.append(self._number, type_, time.time(), content)
        except Fenced:
            for side in filter(None, sides):  # whoever took the trial over may have cleaned up already
                _remove(self._folder, side["file"])
            raise
        self._number += 1

    def _put_side_file(self, kind: str, suffix: str, content: bytes) -> dict[str, str]:
        name = f"{kind}-{self._number:06d}-{uuid.uuid4().hex[:8]}{suffix}"
        self._folder.replace(name, content)
        return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}

    def _let_go(self) -> None:
        self._is_held = False
        self._heartbeat.end()


def _path(key: str) -> tuple[str, ...]:
    return "trials", key[:2], key


@contextmanager
def _of_this_version(key: str) -> Iterator[None]:
    """Turn what a trial lacks, or has otherwise, into an error of the store: its files are as they were written."""
    try:
        yield
    except (ValidationError, LookupError, TypeError) as error:
        raise StoreError(
            f"trial {key[:12]} was stored by another version of ccar",
            hint="use the version that wrote it, or delete the trial's folder to train it again",
        ) from error


def _remove(folder: Folder, name: str) -> None:
    """Delete what nobody needs; where that cannot be done, what was committed counts all the same."""
    with suppress(StoreError):
        folder.delete(name)


def _sweep(folder: Folder, end: Mapping[str, Any]) -> None:
    """Delete of a trial that has ended for good what is of no use any more, as far as that can be done.

    Args:
        folder: of the trial.
        end: content of its last record.
    """
    kept = {side["file"] for kind in ("test", "weights") if (side := end.get(kind)) is not None}
    with suppress(StoreError):
        folder.delete(*(name for name in folder.names() if name.startswith(_SWEPT) and name not in kept))
    with suppress(StoreError):
        TrialLog(folder.folder("log")).tidy(end.get("replaces", ()))  # other versions of ccar keep all records


def _last_and_history(log: TrialLog, *, whole: Set[str]) -> tuple[LogRecord, LogRecord] | None:
    """The last record, and the history up to it in the form that ending records carry; None: there is no record.

    Args:
        log: of a trial.
        whole: the types of last records that are the history themselves.

    Raises:
        Damaged: a record is missing, or was altered after it was written.
        StoreError: one cannot be read, or does not follow the one before it.
    """
    while (last := log.last()) is not None:
        try:
            return last, last if last.type in whole else _history_of(log, last)
        except Damaged:
            if log.length() == last.number + 1:  # else the trial has ended just now, and what is missed was replaced
                raise
    return None


def _history_of(log: TrialLog, last: LogRecord) -> LogRecord:
    """`last`, with the whole history up to it in the form that ending records carry."""
    epochs: list[dict[str, Any]] = []
    state: dict[str, Any] = {"checkpoint": None, "one_before": None, "damages": []}
    commits: list[int] = []
    started_at = worker = claimed_by = None
    for number in range(last.number + 1):
        record = last if number == last.number else log.read(number)
        if record.type == "claim":
            worker, claimed_by = record.content["worker"], record.content
            started_at = record.at if started_at is None else started_at
        elif record.type == "commit":
            expected = epochs[-1]["epoch"] + 1 if epochs else 1
            if record.content["epochs"][0]["epoch"] != expected:
                raise StoreError(f"record {number} of {log} does not follow epoch {expected - 1}")
            epochs.extend(record.content["epochs"])
            commits.append(number)
        else:
            claimed_by = None
        state |= {name: record.content[name] for name in state if name in record.content}
    content = {
        "epochs": epochs,
        "commits": commits,
        **state,
        "started_at": started_at,
        "worker": worker,
        "claimed_by": claimed_by,
    }
    return LogRecord(last.number, last.type, last.at, content)

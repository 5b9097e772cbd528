"""Train one trial after another in a warm process: imports, data and device stay from trial to trial.

Knows nothing of Ray: the same worker runs inside a Ray actor and in the driver's own process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import platform
import time
import traceback
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccar.cluster.events import OutcomeStatus, TrialProgress, accuracies_of
from ccar.cluster.watchdog import Watchdog, take_stacks
from ccar.data.image_set import SourceData
from ccar.data.long_tail import Split, data_fingerprint, split_long_tailed
from ccar.data.sources import load_source
from ccar.errors import CcarError, DataError, Diverged, Fenced, StoreError, TrialBusy, WrongNode
from ccar.store.key import digest_of_parts, key_parts, trial_key
from ccar.store.place import facts_of_this_place
from ccar.store.records import reason_of
from ccar.store.trial_store import Claim, TrialStore
from ccar.training.checkpoint import from_bytes, to_bytes
from ccar.training.config import DataConfig, TrialConfig
from ccar.training.loop import Training
from ccar.training.result import EpochResult

log = logging.getLogger(__name__)

# Committing may cost this share of the time: short epochs are committed several at a time. A long one is committed at
# once if that costs no more than a tenth of it: who is killed repeats the epoch in flight, and none before it.
COMMIT_SHARE = 0.01
LONG_EPOCH_SECONDS = 1.0
COMMIT_SHARE_OF_LONG_EPOCHS = 0.1
EXPECTED_COMMIT_SECONDS = 0.005  # of the first one; then it is known what they cost here

# Each word about a trial costs it a round trip to the driver, some 10 ms.
PROGRESS_SECONDS = 5.0

_SAME_EVERYWHERE = "install the same ccar on every node and give all of them the same images; then run the study again"

# Where a GPU is full before torch allocates anything there: what CUDA says, and its libraries when they start.
_NO_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


class TrialWorker:
    """Trains trials for one store on one device, with a data cache that lives as long as the process."""

    def __init__(
        self,
        store: TrialStore,
        cache_dir: Path,
        *,
        device: torch.device,
        threads: int,
        hang_seconds: float | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            store: where trials are committed.
            cache_dir: for decoded images.
            device: to train on.
            threads: CPU threads of this process.
            hang_seconds: end this process when a trial gets through no batch for so long; None: it is not this
                worker's alone.
        """
        self._store = store
        self._cache_dir = cache_dir
        self._device = device
        self._hang_seconds = hang_seconds
        self._sources: dict[DataConfig, SourceData] = {}
        torch.set_num_threads(threads)
        self.facts: Mapping[str, Any] = facts_of_this_place(device, threads)

    def run(self, config: TrialConfig, key: str, *, every_epoch: bool = False) -> Generator[TrialProgress, None, None]:
        """Train one trial, from its last committed epoch on; yields where it stands, the end last.

        Args:
            config: what to train.
            key: the key under which the driver planned it.
            every_epoch: yield after each epoch, the ones trained earlier included, for whoever may stop
                the trial by closing the iterator; else every few seconds.

        Yields:
            TrialProgress; the last one has `ended`. What goes wrong with a trial is told there, not raised.
        """
        try:
            yield from self._run(config, key, every_epoch=every_epoch)
        except StoreError as error:  # before there was a claim
            yield TrialProgress(key=key, status="store_failed", error=error.with_hint)

    def _run(self, config: TrialConfig, key: str, *, every_epoch: bool) -> Generator[TrialProgress, None, None]:
        record = self._store.read(key)
        if record.status in ("finished", "diverged") or (record.status == "stopped" and every_epoch):
            self._store.sweep(key)  # whoever ended it may have died then, and this process was given it again
            yield from _replay(key, record.epochs if every_epoch else record.epochs[-1:], record.status)
            return
        if self._hang_seconds is None:
            yield from self._attempt(config, key, every_epoch=every_epoch, watchdog=None)
            return
        with Watchdog(self._store.stacks_file(key), self._hang_seconds) as watchdog:
            for progress in self._attempt(config, key, every_epoch=every_epoch, watchdog=watchdog):
                watchdog.rest()
                yield progress
                watchdog.sign_of_life()

    def _attempt(
        self, config: TrialConfig, key: str, *, every_epoch: bool, watchdog: Watchdog | None
    ) -> Generator[TrialProgress, None, None]:
        claim: Claim | None = None
        try:
            source, split, parts = self._as_planned(config, key)
            claim = self._store.claim(config, parts, class_counts=split.class_counts, worker=self.facts)
            if watchdog is not None:
                # Not before the claim, since the file may be that of whoever trains it; and not before the images are
                # there: to decode and pack all of a node can take hours.
                if hung := take_stacks(self._store.stacks_file(key)):  # in the process before this one; it would again
                    raise CcarError(hung)
                watchdog.begin()
            weights = self._stage_one_weights(config, data_fingerprint(source.fingerprint, split))
            lives = _nothing if watchdog is None else watchdog.sign_of_life
            training = Training(config, source, split, device=self._device, stage_one=weights, on_batch=lives)
            checkpoint = claim.checkpoint()
            if checkpoint is not None:
                training.load_state_dict(from_bytes(checkpoint, self._device))
            yield from self._train(training, claim, key, every_epoch=every_epoch)
        except GeneratorExit:  # the caller has stopped the trial early, or this process is to end
            if claim is not None:
                _let_go(claim)
            raise
        except WrongNode as error:
            yield TrialProgress(key=key, status="refused", error=error.with_hint)
        except (TrialBusy, Fenced) as error:
            if claim is not None:
                claim.abandon()
            yield TrialProgress(key=key, status="busy", error=str(error))
        except StoreError as error:
            if claim is not None:
                claim.abandon()
            yield TrialProgress(key=key, status="store_failed", error=error.with_hint)
        except Exception as error:
            out_of_memory = _is_out_of_memory(error)
            if watchdog is not None and isinstance(error, torch.AcceleratorError) and not out_of_memory:
                watchdog.crash(error)  # from here on CUDA has only errors for this process, whatever it trains
            text = str(error) if isinstance(error, CcarError) else traceback.format_exc()
            failed = self._fail(claim, key, text)
            yield dataclasses.replace(failed, status="out_of_memory") if out_of_memory else failed

    def _as_planned(self, config: TrialConfig, key: str) -> tuple[SourceData, Split, dict[str, Any]]:
        """The images, which of them to train on, and all that the key is made of.

        Raises:
            WrongNode: they are not what the driver, which had them too, has made the key of.
        """
        try:
            source = self._source(config.data)
            split = split_long_tailed(source.train.labels, config.data, config.seed)
        except (DataError, OSError) as error:
            raise WrongNode(f"node {platform.node()} cannot give the images: {error}", hint=_SAME_EVERYWHERE) from error
        parts = key_parts(config, data_fingerprint(source.fingerprint, split))
        if digest_of_parts(parts) != key:
            raise WrongNode(
                f"the data or the code of ccar on node {platform.node()} differ from the driver's",
                hint=_SAME_EVERYWHERE,
            )
        return source, split, parts

    def _train(self, training: Training, claim: Claim, key: str, *, every_epoch: bool) -> Iterator[TrialProgress]:
        earlier = claim.epochs  # where the last state was damaged, some of these are trained once more, to get there
        seconds = sum(epoch.seconds for epoch in earlier)
        if every_epoch:
            for epoch in earlier[: training.num_epochs - 1]:
                # Whether to stop after the last one may still be open: that was told to a run that has died.
                told = _running(key, epoch, training.num_epochs, seconds)
                yield dataclasses.replace(told, replayed=epoch is not earlier[-1])
        uncommitted: list[EpochResult] = []
        news = _News()
        last_commit = last_yield = time.monotonic()
        commit_cost = EXPECTED_COMMIT_SECONDS
        try:
            for epoch in training.epochs():
                if epoch.epoch <= len(earlier):
                    continue
                seconds += epoch.seconds
                uncommitted.append(epoch)
                news.add(epoch)
                now = time.monotonic()
                # Whoever looks at every epoch may stop the trial after it, and then what it had reached counts.
                is_long = epoch.seconds >= max(LONG_EPOCH_SECONDS, commit_cost / COMMIT_SHARE_OF_LONG_EPOCHS)
                if every_epoch or is_long or now - last_commit >= commit_cost / COMMIT_SHARE:
                    claim.commit(uncommitted, to_bytes(training.state_dict()))
                    uncommitted = []
                    news.commits += 1
                    last_commit = time.monotonic()
                    commit_cost = last_commit - now
                last = epoch.epoch == training.num_epochs  # its progress comes with the end, after the test
                if not last and (every_epoch or now - last_yield >= PROGRESS_SECONDS):
                    last_yield = now
                    yield dataclasses.replace(_running(key, epoch, training.num_epochs, seconds), **news.told())
            test = training.test()
        except Diverged as error:
            claim.diverge(str(error), uncommitted)
            news.commits += 1
            yield TrialProgress(key=key, status="diverged", seconds=seconds, error=str(error), **news.told())
            return
        except GeneratorExit:  # this process is to end, or another study needs it: keep what is trained
            if uncommitted:
                with contextlib.suppress(StoreError):  # fenced off, or the disk is full: the last commit counts
                    claim.commit(uncommitted, to_bytes(training.state_dict()))
            raise
        weights = to_bytes({"model": training.state_dict()["model"]})
        claim.finish(test, weights, uncommitted)
        news.commits += 1
        yield TrialProgress(
            key=key,
            status="finished",
            epoch=training.num_epochs,
            num_epochs=training.num_epochs,
            accuracies=accuracies_of(claim.epochs[-1]),
            seconds=seconds,
            **news.told(),
        )

    def _fail(self, claim: Claim | None, key: str, error: str) -> TrialProgress:
        if claim is not None:
            try:
                claim.fail(error)
            except StoreError as store_error:  # fenced, or the disk is full: the trial stays as committed
                claim.abandon()
                log.warning("trial %s: its failure could not be recorded: %s", key[:12], store_error)
        return TrialProgress(key=key, status="failed", error=error)

    def _stage_one_weights(self, config: TrialConfig, fingerprint: str) -> dict[str, Tensor] | None:
        """The network that a two-stage trial starts from; it is trained by a trial of its own, never here.

        Raises:
            CcarError: that trial has not finished.
        """
        if config.stage_one is None:
            return None
        key = trial_key(config.stage_one, fingerprint)
        weights = self._store.read_weights(key)
        if weights is None:
            record = self._store.read(key)
            if record.status == "finished":
                raise CcarError(
                    f"its stage one, trial {key[:12]}, was imported, and its network stayed where it was trained; "
                    "delete the folder of that trial in the store to train it here"
                )
            why = f": {reason_of(record.error)}" if record.error else ""
            raise CcarError(f"its stage one, trial {key[:12]}, is {record.status}, not finished{why}")
        model: dict[str, Tensor] = from_bytes(weights, self._device)["model"]
        return model

    def _source(self, data: DataConfig) -> SourceData:
        # Neither the tail nor the validation part changes the decoded images.
        which = data.model_copy(update={"imbalance_factor": 1, "validation_per_class": 0, "class_order": "label"})
        if which not in self._sources:
            self._sources[which] = load_source(data, self._cache_dir, verify=True)
        return self._sources[which]


@dataclasses.dataclass(slots=True)
class _News:
    """What has been done since the last progress."""

    epochs: int = 0
    images: int = 0
    commits: int = 0

    def add(self, epoch: EpochResult) -> None:
        self.epochs += 1
        self.images += epoch.num_images

    def told(self) -> dict[str, Any]:
        """As the fields of a `TrialProgress`; begins anew."""
        told = {"new_epochs": self.epochs, "new_images": self.images, "new_commits": self.commits}
        self.epochs = self.images = self.commits = 0
        return told


def _nothing() -> None:
    """Nobody watches."""


def _is_out_of_memory(error: Exception) -> bool:
    """Of the GPU; only of what it allocates by itself torch says so by the kind of the error."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def _let_go(claim: Claim) -> None:
    """Release the claim, unless the driver has taken it over already."""
    try:
        claim.release()
    except StoreError:
        claim.abandon()


def _running(key: str, epoch: EpochResult, num_epochs: int, seconds: float) -> TrialProgress:
    return TrialProgress(
        key=key,
        status="running",
        epoch=epoch.epoch,
        num_epochs=num_epochs,
        accuracies=accuracies_of(epoch),
        seconds=seconds,
    )


def _replay(key: str, epochs: tuple[EpochResult, ...], status: OutcomeStatus) -> Iterator[TrialProgress]:
    """Hand out what the store has, as if it were trained now: schedulers then know what they knew before."""
    for epoch in epochs[:-1]:
        yield dataclasses.replace(_running(key, epoch, len(epochs), 0.0), replayed=True)
    last = epochs[-1] if epochs else None
    yield TrialProgress(
        key=key,
        status=status,
        epoch=last.epoch if last else 0,
        num_epochs=last.epoch if last else 0,
        accuracies=accuracies_of(last) if last else None,
        replayed=True,
    )

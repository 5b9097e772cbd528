"""A worker that trains nothing: it claims, commits and finishes trials in the store, and sleeps meanwhile.

Everything around training is as in `TrialWorker`: data are loaded and split, the key is checked, two epochs are
committed, test results and a model are written. But torch is not imported, and a trial takes next to no processor time,
so that many more than there are processors can be under way.
"""

from __future__ import annotations

import time
from collections.abc import Generator

from benchmarks.report import evaluation
from ccar.cluster.events import TrialProgress, accuracies_of
from ccar.cluster.worker import Workplace
from ccar.data.config import DataConfig
from ccar.data.image_set import SourceData
from ccar.data.long_tail import data_fingerprint, split_long_tailed
from ccar.data.sources import load_source
from ccar.store.key import digest_of_parts, key_parts
from ccar.store.trial_store import TrialStore
from ccar.training.config import TrialConfig
from ccar.training.result import EpochResult, TestResult

NUM_EPOCHS = 2
STATE = bytes(100_000)  # about what small_cnn leaves on disk


class StandIn:
    """Lives in the place of a `TrialWorker`."""

    def __init__(self, workplace: Workplace, seconds: float) -> None:
        """Nothing is loaded yet.

        Args:
            workplace: where the store and the data are.
            seconds: that each trial takes.
        """
        self._store = TrialStore(workplace.store)
        self._cache_dir = workplace.cache_dir
        self._seconds = seconds
        self._sources: dict[str, SourceData] = {}

    def run(self, config: TrialConfig, key: str, *, every_epoch: bool = False) -> Generator[TrialProgress, None, None]:
        """Pretend to train one trial; yields its end."""
        assert self._store.read(key).status == "absent"
        source = self._source(config.data)
        split = split_long_tailed(source.train.labels, config.data, config.seed)
        parts = key_parts(config, data_fingerprint(source.fingerprint, split))
        assert digest_of_parts(parts) == key
        worker = {"device": "cpu", "threads": 1, "versions": {}}
        claim = self._store.claim(config, parts, class_counts=split.class_counts, worker=worker)
        level = 0.6 + int(key[:4], 16) / 2**18  # 0.6 to 0.85: reports want some spread
        for number in range(1, NUM_EPOCHS + 1):
            time.sleep(self._seconds / NUM_EPOCHS)
            epoch = EpochResult(
                epoch=number,
                train_loss=1 / number,
                learning_rate=0.1,
                seconds=self._seconds / NUM_EPOCHS,
                images_per_second=1000.0,
                finished_at=time.time(),
                validation=evaluation(level),
            )
            claim.commit([epoch], STATE)
        last = evaluation(level)
        claim.finish(TestResult(last_epoch=last, best_epoch=last, best_epoch_index=NUM_EPOCHS), STATE)
        yield TrialProgress(
            key=key,
            status="finished",
            epoch=NUM_EPOCHS,
            num_epochs=NUM_EPOCHS,
            accuracies=accuracies_of(epoch),
            seconds=self._seconds,
            new_epochs=NUM_EPOCHS,
            new_images=round(1000 * self._seconds),
            new_commits=NUM_EPOCHS + 1,
        )

    def _source(self, data: DataConfig) -> SourceData:
        if data.name not in self._sources:
            self._sources[data.name] = load_source(data, self._cache_dir, verify=True)
        return self._sources[data.name]

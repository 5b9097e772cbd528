"""Trains one of the study's trials on a GPU for some seconds, several times side by side, without keeping anything."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ccar.cluster.packing import Load
from ccar.cluster.turn import Turn
from ccar.errors import Diverged, UserError
from ccar.study.definition import UNITS_OF_RAY, ray_units, share_of_gpu
from ccar.study.plan import times

if TYPE_CHECKING:
    from ccar.training.config import TrialConfig
    from ccar.training.loop import Training

SECONDS_TO_WARM_UP = 5.0
SECONDS_TO_MEASURE = 10.0
SECONDS_TO_PLACE = 5.0

_SECONDS_BETWEEN_LOOKS = 0.5

_NUMBER = "what each trial takes can be said, too: for example `resources: {gpus: 1}` in the study file"


class GpuProbe:
    """Tries one trial on a GPU of the cluster that Ray is connected to."""

    def __init__(
        self, trial: TrialConfig, cpus: float, say: Callable[[str], None], *, cache_dir: Path, turn: Turn
    ) -> None:
        """Nothing is tried yet.

        Args:
            trial: what to train.
            cpus: of each.
            say: is told what it waits for.
            cache_dir: for decoded images, on nodes that name no other.
            turn: of the study, among those that share the cluster.
        """
        self._turn = turn
        self._trial = trial
        self._cpus = cpus
        self._say = say
        self._cache_dir = cache_dir

    def most(self) -> tuple[str, int]:
        """By the node that has the fewest CPUs for each of its GPUs."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0)]
        kinds = {
            name.removeprefix("accelerator_type:") for node in nodes for name in node if "accelerator_type" in name
        }
        most = min((times(node.get("CPU", 0) / node["GPU"], self._cpus) for node in nodes), default=0)
        return " and ".join(sorted(kinds)) or "unknown kind", most

    def load(self, count: int) -> Load | None:
        """See `ccar.cluster.packing.Probe`.

        Raises:
            UserError: one trial alone died.
            RunIsOver: the run is paused, or to end.
        """
        with self._turn:
            return self._load(count)

    def _load(self, count: int) -> Load | None:
        # All of them in one bundle: so they are on the same GPU. Its CPUs are the sum of what Ray makes of each.
        group = placement_group([{"CPU": ray_units(self._cpus) * count / UNITS_OF_RAY, "GPU": 1}])
        try:
            self._wait_for(group, count)
            actor: Any = ray.remote(num_cpus=self._cpus, num_gpus=share_of_gpu(count))(_Prober)
            there = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
            actors = [actor.options(scheduling_strategy=there).remote() for _ in range(count)]
            what = self._trial.model_dump_json(), str(self._cache_dir), max(1, int(self._cpus))
            try:
                self._answers([one.load.remote(*what) for one in actors])
                for seconds in (SECONDS_TO_WARM_UP, SECONDS_TO_MEASURE):
                    loads = self._answers([one.measure.remote(seconds) for one in actors])
                    if None in loads:
                        return None
            except ray.exceptions.RayError as error:
                if count > 1:  # whatever they died of, alone they did not
                    return None
                reason = str(error).strip().splitlines()[-1]
                raise UserError(
                    f"gpus: auto: the trial that was to be measured died: {reason}", hint=_NUMBER
                ) from error
            return Load(sum(speed for speed, _ in loads), max(memory for _, memory in loads))
        finally:
            remove_placement_group(group)

    def _wait_for(self, group: PlacementGroup, count: int) -> None:
        """Until a GPU is free; what is waited for is said when that is not at once."""
        to_say = time.monotonic() + SECONDS_TO_PLACE
        while not group.wait(_SECONDS_BETWEEN_LOOKS):
            self._turn.go_on()
            if time.monotonic() >= to_say:
                self._say(
                    f"gpus: auto: waits for a free GPU and {self._cpus * count:g} CPUs beside it, to measure on; "
                    "a number of `gpus` in the study file needs no measurement"
                )
                to_say = math.inf
        self._turn.is_placed()

    def _answers(self, calls: list[Any]) -> list[Any]:
        """What the actors answer, all at once; images may have to be decoded first, which can take long."""
        while ray.wait(calls, num_returns=len(calls), timeout=_SECONDS_BETWEEN_LOOKS)[1]:
            self._turn.go_on()
        return list(ray.get(calls))


class _Prober:
    """One of the trials. What it says of memory is that of the whole GPU, with all that is on it."""

    def load(self, config: str, cache_dir: str, threads: int) -> None:
        """Load the images."""
        import torch

        from ccar.cluster.worker import cache_folder
        from ccar.data.long_tail import split_long_tailed
        from ccar.data.sources import load_source
        from ccar.training.config import TrialConfig

        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._config = TrialConfig.model_validate_json(config)
        self._source = load_source(self._config.data, cache_folder(otherwise=Path(cache_dir)), verify=False)
        self._split = split_long_tailed(self._source.train.labels, self._config.data, self._config.seed)

    def measure(self, seconds: float) -> tuple[float, float] | None:
        """Train for so long, and to the end of an epoch: `Training` tells nothing in between.

        Returns:
            Images per second and the share of the memory in use; None: out of memory.
        """
        import torch

        images, took = 0, 0.0
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                for num_images, seconds_of_epoch in self._epochs():
                    images += num_images
                    took += seconds_of_epoch
                    if time.monotonic() >= deadline:
                        break
        except torch.OutOfMemoryError:
            return None
        return images / took, self._memory_share()

    def _epochs(self) -> Iterator[tuple[int, float]]:
        """Images and seconds of each epoch of one training."""
        training = self._training()
        began = time.monotonic()
        try:
            for epoch in training.epochs():
                yield epoch.num_images, epoch.seconds
                began = time.monotonic()
        except Diverged:  # an epoch like any other, for the GPU; that the trial ends so, its own run will tell
            yield len(self._split.train), time.monotonic() - began

    def _training(self) -> Training:
        from ccar.training.loop import Training

        return Training(self._config, self._source, self._split, device=self._device)

    def _memory_share(self) -> float:
        """Of the GPU; 0 where torch sees none and trains on the CPU instead."""
        import torch

        if self._device.type == "cpu":
            return 0.0
        free, total = torch.cuda.mem_get_info(self._device)
        return 1 - free / total

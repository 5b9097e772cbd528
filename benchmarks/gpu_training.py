"""Training on a device: the loop people start from, ccar's, other forms of its step, several trials in one process."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.cells import cells_of, row_of
from benchmarks.cuda_graphs import Captured, CapturedTraining, waits_for_the_gpu
from benchmarks.reference_loop import CPUS, PilImages, training_step
from benchmarks.side_by_side_models import side_by_side, speed_side_by_side, speeds_of_threads
from benchmarks.trial_pack import TrialPack, read_pack
from ccar.data.long_tail import Split, split_long_tailed
from ccar.data.statistics import statistics_of
from ccar.training.config import TrialConfig
from ccar.training.loop import Training
from ccar.training.procedures import build_procedure
from ccar.training.randomness import deterministic
from ccar.training.recipe import changed_recipe
from ccar.training.resident import Normalisation, TrainingImages, on_device
from ccar.training.schedule import num_epochs, steps_per_epoch

AT_ONCE = (2, 4, 8)  # trials in one process
REFERENCE = "reference loop"

Speed = Callable[[float], float]


def split_of(pack: TrialPack, config: TrialConfig) -> Split:
    return split_long_tailed(pack.source.train.labels, config.data, config.seed)


def training_of(
    pack: TrialPack, config: TrialConfig, device: torch.device, kind: type[Training] = Training
) -> Training:
    return kind(config, pack.source, split_of(pack, config), device=device)


def images_of_a_trial(pack: TrialPack, config: TrialConfig) -> int:
    """How many images one trial trains on, each as often as it does."""
    recipe, images = config.recipe, len(split_of(pack, config).train)
    return num_epochs(recipe, images) * min(steps_per_epoch(recipe, images) * recipe.batch_size, images)


def trials_an_hour(pack: TrialPack, images_per_second: float) -> float:
    return 3600 * images_per_second / images_of_a_trial(pack, pack.trials[0])


def time_loops(pack_file: Path, device_name: str, seconds: float) -> None:
    """Images per second of the loop people start from, of ccar's, and of the network alone, in the forms of its step.

    Args:
        pack_file: whose first trial is trained.
        device_name: where. On the CPU only what differs there.
        seconds: for all of them. First epochs and the compiler are not interrupted: they can take longer.
    """
    pack, device, end = read_pack(pack_file), torch.device(device_name), time.time() + seconds
    loops = loops_of(pack, device)
    if device.type == "cuda":  # before the rows: the compiler of the last ones may take all the time there is
        waits, _ = cells_of(lambda: (str(host_waits(training_of(pack, pack.trials[0], device))),), 2)
        print(f"\nTimes that the host waits for the GPU in an epoch of one trial, validation included: {waits}.")
    print(f"\nBatches of {pack.trials[0].recipe.batch_size}; target: 15 times the reference loop.")
    print("In float32, convolutions multiply in TF32 where the GPU has it, as torch does unless told otherwise.")
    print("All but the reference loop run where only deterministic algorithms are allowed.\n")
    print("| loop | images/s | times the reference |\n|---|---|---|")
    speeds: dict[str, float] = {}
    for number, (name, measure) in enumerate(loops.items()):
        share = (end - time.time()) / (len(loops) - number)
        print(row_of(name, *cells_of(partial(_beside, name, measure, share, speeds), 2)))


def host_waits(training: Training) -> int:
    """How often torch says of the second epoch that the host waited for the GPU; the first one warms up."""
    epochs = training.epochs()
    next(epochs)
    with warnings.catch_warnings(record=True) as caught, waits_for_the_gpu("warn"):
        warnings.simplefilter("always")
        next(epochs)
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def _beside(name: str, measure: Speed, seconds: float, speeds: dict[str, float]) -> tuple[str, ...]:
    """Images per second, and how many times those of the reference; `speeds` has those that were measured, by name."""
    speeds[name] = measure(max(seconds, 0.0))
    return f"{speeds[name]:,.0f}", f"{speeds[name] / speeds[REFERENCE]:.1f}" if REFERENCE in speeds else ""


def loops_of(pack: TrialPack, device: torch.device) -> dict[str, Speed]:
    """What `time_loops` measures, by name; each from seconds to images per second."""
    plain = pack.trials[0]
    half = plain.model_copy(update={"recipe": changed_recipe(plain.recipe, {"precision": "bf16"})})
    loops: dict[str, Speed] = {
        REFERENCE: partial(reference_loop, pack, plain, device),
        "ccar, one trial": partial(training_speed, pack, plain, device),
        "floor: its network alone, float32": partial(network_alone, pack, plain, device),
    }
    if device.type != "cuda":  # no graphs, and no use for bfloat16
        return loops
    return loops | {
        "ccar, one trial, bfloat16": partial(training_speed, pack, half, device),
        "ccar, one trial, its step a CUDA graph": partial(training_speed, pack, plain, device, kind=CapturedTraining),
        "ccar, one trial, bfloat16, its step a CUDA graph": partial(
            training_speed, pack, half, device, kind=CapturedTraining
        ),
        "network alone, float32, CUDA graph": partial(network_alone, pack, plain, device, captured=True),
        "network alone, bfloat16": partial(network_alone, pack, half, device),
        "network alone, bfloat16, CUDA graph": partial(network_alone, pack, half, device, captured=True),
        "network alone, bfloat16, compiled": partial(network_alone, pack, half, device, compiled=True),
        "network alone, bfloat16, compiled, CUDA graph": partial(
            network_alone, pack, half, device, compiled=True, captured=True
        ),
    }


def reference_loop(pack: TrialPack, config: TrialConfig, device: torch.device, seconds: float) -> float:
    """PIL images by worker processes, the loss read at every step; the first epoch starts the workers."""
    train = pack.source.train[split_of(pack, config).train]
    batch = min(config.recipe.batch_size, len(train))
    images = PilImages(train.pixels, train.labels)
    loader = DataLoader(
        images, batch_size=batch, shuffle=True, drop_last=True, num_workers=CPUS, persistent_workers=True
    )
    step, seen, end = training_step(str(device)), 0, None
    while end is None or time.perf_counter() < end:
        for pixels, labels in loader:
            step(pixels.to(device), labels.to(device)).item()
            if end is not None:
                seen += len(labels)
                if time.perf_counter() > end:
                    break
        if end is None:
            began = time.perf_counter()
            end = began + seconds
    return seen / (time.perf_counter() - began)


def training_speed(
    pack: TrialPack,
    config: TrialConfig,
    device: torch.device,
    seconds: float,
    *,
    kind: type[Training] = Training,
) -> float:
    """Of whole epochs, without the first one; validation is not in it."""
    end, speeds = time.perf_counter() + seconds, []
    for epoch in training_of(pack, config, device, kind).epochs():
        speeds.append(epoch.images_per_second or 0.0)
        if time.perf_counter() > end and len(speeds) > 1:
            break
    return statistics.median(speeds[1:] or speeds)


def network_alone(
    pack: TrialPack,
    config: TrialConfig,
    device: torch.device,
    seconds: float,
    *,
    compiled: bool = False,
    captured: bool = False,
) -> float:
    """Forward and backward pass and SGD step of the trial's network and loss, on a batch that lies on the device."""
    counts, recipe = split_of(pack, config).class_counts, config.recipe
    procedure = build_procedure(config, counts, 3, device, None)
    procedure.begin_epoch(1, 1)
    if compiled:
        procedure.model.compile(dynamic=False)
    optimizer = torch.optim.SGD(procedure.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    size = pack.source.train.pixels.shape[1:]
    pixels = torch.randn(recipe.batch_size, *size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(len(counts), (recipe.batch_size,), device=device)

    def train(pixels: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = procedure.loss(procedure.logits(pixels), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    with deterministic(device):
        step, steps = Captured(train, pixels, labels) if captured else train, 0
        step(pixels, labels).item()
        began = time.perf_counter()
        while steps == 0 or time.perf_counter() < began + seconds:
            for _ in range(5):
                loss = step(pixels, labels)
            loss.item()
            steps += 5
        return steps * recipe.batch_size / (time.perf_counter() - began)


def time_in_one_process(pack_file: Path, device_name: str, seconds: float) -> None:
    """Trials on one device by one process: threads with a stream each, and networks in one forward pass.

    Args:
        pack_file: whose first trial is trained, so many times at once.
        device_name: where. On the CPU two at once, and no graphs.
        seconds: for all of them. First epochs are not interrupted: they can take longer.
    """
    pack, device, end = read_pack(pack_file), torch.device(device_name), time.time() + seconds
    ways = ways_of(pack, device)
    cases = [(1, "a thread and a stream each")]
    cases += [(count, way) for way in ways for count in (AT_ONCE if device.type == "cuda" else AT_ONCE[:1])]
    print("\nThreads validate after each epoch; networks in one forward pass share the batch, and do not.\n")
    print("| trials at once, in one process | how | images/s together | trials an hour |\n|---|---|---|---|")
    for number, (count, way) in enumerate(cases):
        share = max((end - time.time()) / (len(cases) - number), 0.0)
        print(row_of(count, way, *cells_of(partial(_together, ways[way], pack, count, share), 2)))


def _together(measure: Callable[[int, float], float], pack: TrialPack, at_once: int, seconds: float) -> tuple[str, ...]:
    speed = measure(at_once, seconds)
    return f"{speed:,.0f}", f"{trials_an_hour(pack, speed):,.0f}"


def ways_of(pack: TrialPack, device: torch.device) -> dict[str, Callable[[int, float], float]]:
    """What `time_in_one_process` measures, by name; each from a number of trials and seconds to images per second."""
    ways: dict[str, Callable[[int, float], float]] = {
        "a thread and a stream each": partial(speed_of_threads, pack, device),
        "one forward pass for all (vmap)": partial(speed_of_one_pass, pack, device),
    }
    if device.type != "cuda":
        return ways
    return ways | {
        "one forward pass for all (vmap), CUDA graph": partial(speed_of_one_pass, pack, device, captured=True),
        "a thread and a stream each, steps as CUDA graphs": partial(
            speed_of_threads, pack, device, kind=CapturedTraining
        ),
    }


def speed_of_threads(
    pack: TrialPack, device: torch.device, at_once: int, seconds: float, *, kind: type[Training] = Training
) -> float:
    """Images per second of so many trainings together."""
    trainings = [training_of(pack, pack.trials[0], device, kind) for _ in range(at_once)]
    return sum(speeds_of_threads(trainings, device, seconds))


def speed_of_one_pass(
    pack: TrialPack, device: torch.device, at_once: int, seconds: float, *, captured: bool = False
) -> float:
    """Images per second of so many networks together."""
    config, split = pack.trials[0], split_of(pack, pack.trials[0])
    train = pack.source.train[split.train]
    normalisation = Normalisation.by(statistics_of(config.data.name, train.images), device)
    images = TrainingImages(on_device(train, device), normalisation, config.recipe.augmentation)
    models = side_by_side([config] * at_once, split.class_counts, 3, device)
    return at_once * speed_side_by_side(models, images, config, seconds, captured=captured)

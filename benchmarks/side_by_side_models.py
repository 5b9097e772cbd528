"""Several trials on one device in one process: networks advanced by the same kernels, or by threads with a stream each.

All methods of one seed see the same images in the same order, so networks that take part in one forward pass share the
batch: its pixels are varied once. They share the optimiser, too, but each has a loss of its own, such as another omega.
What of it is for a GPU has not run on one yet.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.cuda_graphs import Captured
from ccar.losses import Loss
from ccar.training.config import TrialConfig
from ccar.training.loop import Training
from ccar.training.procedures import build_procedure
from ccar.training.randomness import deterministic, epoch_generator
from ccar.training.resident import TrainingImages
from ccar.training.result import EpochResult

BARRIER_SECONDS = 120.0  # for the slowest first epoch; who fails in it breaks the barrier at once


class SideBySide:
    """Networks of one architecture as one: each weight is a stack of theirs, a convolution a grouped one.

    Args:
        models: M networks with the same layers, in training mode, on one device; copied.
        losses: the loss of each, in that order.
        sgd: options of `torch.optim.SGD`; it works on each weight alone, so one for all does what M would.

    Attributes:
        parameters: by name, (M, ...) each.
        buffers: likewise; running statistics and the like.
    """

    def __init__(self, models: Sequence[nn.Module], losses: Sequence[Loss], **sgd: Any) -> None:
        self.parameters, self.buffers = stack_module_state(list(models))
        self._losses = tuple(losses)
        layers = copy.deepcopy(models[0]).to("meta")  # what is called; the weights are handed to it
        self._logits = vmap(
            lambda parameters, buffers, pixels: functional_call(layers, (parameters, buffers), (pixels,)),
            in_dims=(0, 0, None),
        )
        self._optimizer = torch.optim.SGD(self.parameters.values(), **sgd)

    def step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """One step of all networks on the same images; returns their losses, (M,).

        Args:
            pixels: (B, C, H, W) float32.
            labels: (B,) int64.
        """
        logits = self._logits(self.parameters, self.buffers, pixels)
        losses = torch.stack([loss(own, labels) for loss, own in zip(self._losses, logits, strict=True)])
        self._optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # no loss depends on the weights of another network
        self._optimizer.step()
        return losses.detach()


def side_by_side(
    configs: Sequence[TrialConfig], class_counts: tuple[int, ...], in_channels: int, device: torch.device
) -> SideBySide:
    """The networks and losses of trials of one recipe and seed, as their training begins."""
    procedures = [build_procedure(config, class_counts, in_channels, device, None) for config in configs]
    for procedure in procedures:
        procedure.begin_epoch(1, 1)
    recipe = configs[0].recipe
    return SideBySide(
        [procedure.model for procedure in procedures],
        [procedure.loss for procedure in procedures],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def speed_side_by_side(
    models: SideBySide, images: TrainingImages, config: TrialConfig, seconds: float, *, captured: bool
) -> float:
    """Images per second of one of the networks: steps with the recipe's augmentation, without validation.

    Args:
        models: what to train.
        images: to train on, at least a batch of them.
        config: gives batch size, augmentation and precision.
        seconds: at least a step is timed.
        captured: the step as one CUDA graph.
    """
    labels, generator = images.labels, epoch_generator(config.seed, 1)
    batch_size = min(config.recipe.batch_size, len(labels))

    def drawn() -> tuple[Tensor, Tensor]:
        batch = torch.randperm(len(labels), generator=generator)[:batch_size].to(labels.device)
        return images.batch(batch, generator), labels[batch]

    def step_of(pixels: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=config.recipe.precision == "bf16"):
            return models.step(pixels, labels)

    with deterministic(labels.device):
        step = Captured(step_of, *drawn()) if captured else step_of
        step(*drawn()).sum().item()
        began, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() < began + seconds:
            losses = step(*drawn())
            steps += 1
            if steps % 20 == 0:  # as at the end of an epoch; else the queue of the GPU would hide the time
                losses.sum().item()
        losses.sum().item()
        return steps * batch_size / (time.perf_counter() - began)


def speeds_of_threads(trainings: Sequence[Training], device: torch.device, seconds: float) -> list[float]:
    """Images per second of each training, all at the same time, each in a thread and on a CUDA stream of its own.

    The first epoch of each warms up, and at least one more is timed; validation is in it, as everywhere in ccar.
    `trainings` were made by one thread: what they begin with is drawn from a generator of all threads.
    """
    together = Barrier(len(trainings), timeout=BARRIER_SECONDS)

    def speed(training: Training) -> float:
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # None: whatever stream there is
        try:
            with torch.cuda.stream(stream):
                if stream is not None:  # weights and images were put there on another one
                    stream.wait_stream(torch.cuda.default_stream(device))
                epochs = training.epochs()
                next(epochs)
                together.wait()
                return images_per_second(epochs, seconds)
        except BaseException:
            together.abort()  # or the others would wait
            raise

    # Around them all: the switches are those of the process, and each training puts back what it found.
    with deterministic(device), ThreadPoolExecutor(len(trainings)) as threads:
        futures = [threads.submit(speed, training) for training in trainings]
    raise_cause(futures)
    return [future.result() for future in futures]


def images_per_second(epochs: Iterator[EpochResult], seconds: float) -> float:
    """Of the epochs that begin in this time, of which validation is a part."""
    began, images = time.perf_counter(), 0
    for epoch in epochs:
        images += epoch.num_images
        if time.perf_counter() > began + seconds:
            break
    return images / (time.perf_counter() - began)


def raise_cause(futures: Sequence[Future[float]]) -> None:
    """Raise the error of those that failed, if any did; that others then waited for them in vain is no news."""
    failures = [error for future in futures if (error := future.exception()) is not None]
    if failures:
        raise next((error for error in failures if not isinstance(error, BrokenBarrierError)), failures[0])

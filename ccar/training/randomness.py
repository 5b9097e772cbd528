"""Everything random in training follows from the trial's seed; the caller's own generators stay put."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# Streams of the trial seed, SeedSequence(seed, spawn_key=(stream, ...)); the data room draws from 1 and 2.
_INITIALISATION = 3  # spawn key (3,)
_EPOCH = 4  # spawn key (4, epoch)
_MIXING = 5  # spawn key (5, epoch)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """What an epoch draws from, on the CPU: first the order of the images, then their augmentation.

    It depends on nothing but the trial's seed and the epoch, so a checkpoint holds no random state.
    """
    return torch.Generator().manual_seed(_derived_seed(seed, _EPOCH, epoch))


def mixing_generator(seed: int, epoch: int) -> np.random.Generator:
    """What an epoch draws the partners and weights of mixed images from: a stream of its own, since torch's seeded
    generators draw no beta distribution, and so that mixing leaves order and augmentation as they are."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_MIXING, epoch)))


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Let layers draw their initial weights from the trial's seed; the caller's generator is put back."""
    with torch.random.fork_rng(devices=[]):  # layers are initialised on the CPU, whatever the device
        torch.default_generator.manual_seed(_derived_seed(seed, _INITIALISATION))
        yield


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Allow deterministic algorithms only; the caller's switches are put back."""
    if device.type == "cuda":  # cuBLAS reads it when it starts, and torch refuses to go on without it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    mode = torch.get_deterministic_debug_mode()  # use_deterministic_algorithms, as one value to put back
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        torch.set_deterministic_debug_mode("error")
        # Else torch writes all memory that it allocates twice, for who reads what was never written: nothing here does.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


def _derived_seed(seed: int, *spawn_key: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=spawn_key).generate_state(1, np.uint64)[0])

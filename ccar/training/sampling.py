"""In which order an epoch sees the training images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ccar.training.recipe import Recipe

IMAGES_PER_DRAW = 4  # of one class in a row, as in the authors' code of cRT and LWS


def epoch_batches(recipe: Recipe, labels: Tensor, num_steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Indices of the training images of each step of one epoch.

    Args:
        recipe: gives `batch_size` and `sampler`.
        labels: (N,) int64 labels of the training images; on any device, where the indices will be too.
        num_steps: see `schedule.steps_per_epoch`.
        generator: on the CPU.

    Returns:
        One int64 tensor per step. `instance_balanced`: every image at most once, the last batch may be smaller.
        `class_balanced`: full batches, every class as often as any other (give or take one draw).
    """
    if recipe.sampler == "instance_balanced":
        order = torch.randperm(len(labels), generator=generator)
    else:
        order = class_balanced_order(labels.cpu(), num_steps * recipe.batch_size, generator)
    return torch.split(order.to(labels.device), recipe.batch_size)[:num_steps]


def class_balanced_order(labels: Tensor, num_images: int, generator: torch.Generator) -> Tensor:
    """Indices of `num_images` images, in which all classes take turns.

    The classes come in a random order, each with `IMAGES_PER_DRAW` images, then again in another order. A
    class goes through its images in a random order, then again in another one.

    Args:
        labels: (N,) int64, on the CPU; classes without an image are left out.
        num_images: length of the result.
        generator: on the CPU.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217 (class-aware sampling with num_samples_cls = 4).
    """
    classes, class_of_image = torch.unique(labels, return_inverse=True)
    num_draws = math.ceil(num_images / IMAGES_PER_DRAW)
    draws = _cycled(torch.arange(len(classes)), num_draws, generator)
    by_class, num_of_class = _sorted_by_class(class_of_image, len(classes))
    by_turn, turns_of_class = _sorted_by_class(draws, len(classes))
    shown = [
        _cycled(images, turns * IMAGES_PER_DRAW, generator)
        for images, turns in zip(torch.split(by_class, num_of_class.tolist()), turns_of_class.tolist(), strict=True)
    ]
    order = torch.empty(num_draws, IMAGES_PER_DRAW, dtype=torch.int64)
    order[by_turn] = torch.cat(shown).view(-1, IMAGES_PER_DRAW)
    return order.flatten()[:num_images]


def reversed_order(labels: Tensor, num_images: int, generator: torch.Generator) -> Tensor:
    """Indices of `num_images` images, drawn with replacement: first a class, the rarer the more often, then an image.

    The probability of a class is proportional to n_max / n_c; within it all images are equally likely.

    Args:
        labels: (N,) int64, on the CPU; classes without an image are left out.
        num_images: length of the result.
        generator: on the CPU.

    Source: Zhou et al., CVPR 2020, arXiv:1912.02413 (the reversed sampler of BBN).
    """
    classes, class_of_image = torch.unique(labels, return_inverse=True)
    by_class, counts = _sorted_by_class(class_of_image, len(classes))
    first_of_class = counts.cumsum(0) - counts
    drawn = torch.multinomial(1 / counts.double(), num_images, replacement=True, generator=generator)
    within = torch.rand(num_images, generator=generator, dtype=torch.float64) * counts[drawn]
    return by_class[first_of_class[drawn] + within.long()]


def _sorted_by_class(classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Where each class is, the places of class 0 in order first, and how many places each class has."""
    return torch.argsort(classes, stable=True), torch.bincount(classes, minlength=num_classes)


def _cycled(values: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """`values` in a random order, then in another one, and so on, `length` in all."""
    rounds = math.ceil(length / len(values))
    shuffled = [values[torch.randperm(len(values), generator=generator)] for _ in range(rounds)]
    return torch.cat(shuffled)[:length] if shuffled else values[:0]

"""How long a training lasts and how fast it learns: arithmetic on a recipe, no state."""

from __future__ import annotations

import math

from ccar.errors import UserError
from ccar.training.recipe import CosineSchedule, Recipe, StepSchedule


def steps_per_epoch(recipe: Recipe, num_images: int) -> int:
    """Batches that one epoch trains on.

    A last batch of a single image is left out even when `drop_last` is off: batch norm would take the
    statistics of that one image for those of the data. The order is new in every epoch, so each epoch
    leaves out another image.

    Raises:
        UserError: not a single batch would be trained.
    """
    full, rest = divmod(num_images, recipe.batch_size)
    steps = full + (not recipe.drop_last and rest > 1)
    if steps == 0:
        raise UserError(
            f"recipe {recipe.name!r} trains on no batch: {num_images} training images, "
            f"batch_size {recipe.batch_size}, drop_last {str(recipe.drop_last).lower()}",
            hint="choose a smaller batch_size, or a recipe made for less data",
        )
    return steps


def num_epochs(recipe: Recipe, num_images: int) -> int:
    """Epochs of one training; for `iterations` by the rule that `Recipe` states."""
    if recipe.epochs is not None:
        return recipe.epochs
    assert recipe.iterations is not None  # the recipe's own validator
    return _iterations_in_epochs(recipe.iterations, recipe, num_images)


def warmup_epochs(recipe: Recipe, num_images: int) -> int:
    """Epochs until the peak learning rate; 0: the first epoch has it already."""
    if recipe.warmup_iterations is not None:
        return _iterations_in_epochs(recipe.warmup_iterations, recipe, num_images)
    return recipe.schedule.warmup_epochs


def learning_rate(recipe: Recipe, epoch: int, *, num_epochs: int, warmup_epochs: int) -> float:
    """Learning rate of a whole epoch.

    Args:
        recipe: gives the peak and the schedule.
        epoch: counted from 1.
        num_epochs: length of the training, see `num_epochs`.
        warmup_epochs: see `warmup_epochs`.

    Source: for the cosine run_networks.py of Ren et al., NeurIPS 2020 (BalancedMetaSoftmax); for the steps
    cifar_train.py of Cao et al., NeurIPS 2019 (LDAM-DRW).
    """
    schedule = recipe.schedule
    if isinstance(schedule, StepSchedule):
        return recipe.learning_rate * _step_share(schedule, epoch, warmup_epochs)
    return recipe.learning_rate * _cosine_share(schedule, epoch, num_epochs, warmup_epochs)


def _cosine_share(schedule: CosineSchedule, epoch: int, num_epochs: int, warmup_epochs: int) -> float:
    peak = max(warmup_epochs, 1)
    if epoch < peak:
        return schedule.warmup_start + (1 - schedule.warmup_start) * (epoch - 1) / (peak - 1)
    if num_epochs == peak:  # nothing left to anneal over
        return 1.0
    return (1 + math.cos(math.pi * (epoch - peak) / (num_epochs - peak))) / 2


def _step_share(schedule: StepSchedule, epoch: int, warmup_epochs: int) -> float:
    if epoch <= warmup_epochs:
        return epoch / warmup_epochs
    return schedule.factor ** sum(epoch > milestone for milestone in schedule.milestones)


def _iterations_in_epochs(iterations: int, recipe: Recipe, num_images: int) -> int:
    # Counts the partial last batch although `drop_last` skips it: the protocol's own rule.
    return math.ceil(iterations / math.ceil(num_images / recipe.batch_size))

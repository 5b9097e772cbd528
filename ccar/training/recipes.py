"""The recipes that a study can name. Protocols are kept as published; see each source."""

from __future__ import annotations

from ccar.training.recipe import CosineSchedule, Recipe, StepSchedule

# Ren et al., NeurIPS 2020, arXiv:2007.10740: config/CIFAR100_LT of BalancedMetaSoftmax-Classification.
_BALANCED_SOFTMAX_CIFAR = Recipe(
    name="balanced_softmax_cifar",
    iterations=13_000,
    warmup_iterations=800,
    batch_size=512,
    drop_last=True,
    learning_rate=0.1,
    weight_decay=5e-4,
    schedule=CosineSchedule(warmup_start=0.5),
    augmentation=("crop", "flip", "autoaugment", "cutout"),
)

# Cao et al., NeurIPS 2019, arXiv:1906.07413: cifar_train.py of LDAM-DRW.
_LDAM_DRW_CIFAR = Recipe(
    name="ldam_drw_cifar",
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    weight_decay=2e-4,
    schedule=StepSchedule(warmup_epochs=5, milestones=(160, 180), factor=0.01),
    augmentation=("crop", "flip"),
)

# The protocol above in miniature, to see real images go through everything in about a minute per trial.
_CIFAR_SMOKE = Recipe(
    name="cifar_smoke",
    epochs=3,
    batch_size=128,
    learning_rate=0.1,
    weight_decay=2e-4,
    schedule=StepSchedule(milestones=(2,), factor=0.1),
    augmentation=("crop", "flip"),
    precision="bf16",
)

# Kang et al., ICLR 2020, arXiv:1910.09217, and Ren et al., NeurIPS 2020, arXiv:2007.10740: their configurations for
# ImageNet-LT. The learning rate is for batches of 512 images and goes down with them: 0.1 for 256.
_IMAGENET_LT_90 = Recipe(
    name="imagenet_lt_90",
    epochs=90,
    batch_size=512,
    learning_rate=0.2,
    weight_decay=5e-4,
    schedule=CosineSchedule(),
    augmentation=("random_resized_crop", "flip", "color_jitter"),
)

# The same for iNaturalist 2018: less weight decay, and colours as they are.
_INATURALIST2018_90 = Recipe(
    name="inaturalist2018_90",
    epochs=90,
    batch_size=512,
    learning_rate=0.2,
    weight_decay=1e-4,
    schedule=CosineSchedule(),
    augmentation=("random_resized_crop", "flip"),
)

# The same for Places-LT, where a network that was trained on ImageNet is trained on (`pretrained` in a study file).
# The configurations give batch and weight decay; 30 epochs at 0.01 are how the literature describes stage one.
_PLACES_LT_30 = Recipe(
    name="places_lt_30",
    epochs=30,
    batch_size=256,
    learning_rate=0.01,
    weight_decay=5e-4,
    schedule=CosineSchedule(),
    augmentation=("random_resized_crop", "flip", "color_jitter"),
)

# For 8x8 digits and the small network: half a second per trial on one CPU thread.
_DIGITS_QUICK = Recipe(
    name="digits_quick",
    epochs=20,
    batch_size=32,
    learning_rate=0.1,
    weight_decay=5e-4,
    schedule=CosineSchedule(warmup_epochs=2, warmup_start=0.1),
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _BALANCED_SOFTMAX_CIFAR,
        _LDAM_DRW_CIFAR,
        _IMAGENET_LT_90,
        _INATURALIST2018_90,
        _PLACES_LT_30,
        _DIGITS_QUICK,
        _CIFAR_SMOKE,
    )
}

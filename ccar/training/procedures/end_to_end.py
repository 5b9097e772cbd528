"""The plain way to train a network, and what every other procedure overrides."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ccar.data.groups import to_device
from ccar.errors import UserError
from ccar.losses import BaseLoss, Loss, build_loss
from ccar.models.build import build_model
from ccar.models.heads import biases_of_linear_heads
from ccar.models.pretrained import load_pretrained
from ccar.training.config import TrialConfig
from ccar.training.mixing import mixed
from ccar.training.randomness import mixing_generator, seeded_initialisation
from ccar.training.resident import TrainingImages
from ccar.training.sampling import epoch_batches


class EndToEnd:
    """One network, one loss, one batch after another.

    Another procedure is a subclass that overrides what it does differently: usually the network, what of it is
    trained, or the loss of a batch. All that a checkpoint must carry is in `model` and `loss`.

    Args:
        config: what to train.
        class_counts: K training images per class, in label order.
        in_channels: of the images.
        device: where to.

    Attributes:
        model: from pixels (B, C, H, W) float32 to logits (B, K) float32.
        loss: see `ccar.losses.build_loss`.

    Raises:
        UserError: the loss cannot take these classes, or cannot be mixed as the recipe says, or the pretrained
            weights are those of another network.
    """

    def __init__(
        self, config: TrialConfig, class_counts: tuple[int, ...], in_channels: int, device: torch.device
    ) -> None:
        self.config = config
        self.class_counts = class_counts
        self._device = device
        self._mixing_generator: np.random.Generator | None = None
        self.loss = _build_loss(config, class_counts).to(device)
        with seeded_initialisation(config.seed):
            model = self.build_model(in_channels)
        if self.loss.initial_bias is not None:
            for bias in biases_of_linear_heads(model):
                nn.init.constant_(bias, self.loss.initial_bias)
        # channels_last: 1.1 to 1.2 times the images per second on CPUs, and what tensor cores want.
        self.model = model.to(device).to(memory_format=torch.channels_last)

    def build_model(self, in_channels: int) -> nn.Module:
        """The network before training; layers draw from torch's global generator, which is seeded here."""
        model = build_model(self.config.model, self.config.head, len(self.class_counts), in_channels)
        if self.config.pretrained is not None:
            load_pretrained(model.get_submodule("backbone"), self.config.pretrained.path, self.config.pretrained.sha256)
        return model

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take over what stage one has trained; only procedures with a stage one are asked to."""
        raise NotImplementedError(f"procedure {self.config.procedure.name} has no stage one")

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """`parameters` as the optimiser takes them: apart, the biases that the loss wants free of weight decay."""
        biases = set(biases_of_linear_heads(self.model)) if self.loss.initial_bias is not None else set()
        decayed = [parameter for parameter in self.parameters() if parameter not in biases]
        free = [parameter for parameter in self.parameters() if parameter in biases]
        return [{"params": decayed}, *([{"params": free, "weight_decay": 0.0}] if free else [])]

    def batches(self, labels: Tensor, num_steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Indices of the training images of each step of an epoch, as `loss_of` takes them.

        Args:
            labels: (N,) int64 labels of the training images; on any device, where the indices will be too.
            num_steps: see `schedule.steps_per_epoch`.
            generator: on the CPU.
        """
        return epoch_batches(self.config.recipe, labels, num_steps, generator)

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        """Make ready to train epoch `epoch` of `num_epochs`, counted from 1."""
        if self.config.recipe.mixing is not None:
            self._mixing_generator = mixing_generator(self.config.seed, epoch)
        self.loss.set_epoch(epoch - 1, num_epochs)
        self.loss.train()
        self.model.train()

    def loss_of(self, batch: Tensor, images: TrainingImages, generator: torch.Generator) -> Tensor:
        """The loss () of one step, with its graph.

        Args:
            batch: one of `batches`.
            images: the training part.
            generator: on the CPU, for all that is random in the step.
        """
        pixels, labels = images.batch(batch, generator), images.labels[batch]
        mixing = self.config.recipe.mixing
        if mixing is None or self._mixing_generator is None:
            return self.loss(self.logits(pixels), labels)  # type: ignore[no-any-return]  # torch's modules return Any
        partners = to_device(torch.from_numpy(self._mixing_generator.permutation(len(batch))), labels.device)
        pixels, weight = mixed(pixels, partners, mixing, self._mixing_generator)
        return self.loss.of_two_labels(self.logits(pixels), labels, labels[partners], weight)

    def logits(self, pixels: Tensor) -> Tensor:
        """(B, K) float32 logits of (B, C, H, W) float32 pixels, in the precision of the recipe."""
        with self.precision():
            logits: Tensor = self.model(pixels)
        return logits

    def precision(self) -> torch.autocast:
        """The autocast that the recipe asks for, or none."""
        bf16 = self.config.recipe.precision == "bf16"
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bf16)

    def predict(self, pixels: Tensor) -> Tensor:
        """(B, K) float32 logits whose softmax is the prediction; the network is in evaluation mode."""
        return self.scaled(self.logits(pixels))

    def scaled(self, logits: Tensor) -> Tensor:
        """Logits with the scale that the loss trains them at: the cosines of a normed head have none."""
        base = self.loss.base
        return logits * base.scale if isinstance(base, BaseLoss) and base.scale != 1 else logits


def _build_loss(config: TrialConfig, class_counts: tuple[int, ...]) -> Loss:
    reweighting = None if config.reweighting is None else config.reweighting.model_dump()
    try:
        loss = build_loss(
            config.loss.name,
            class_counts,
            reweighting=reweighting,
            reduction=config.reduction,
            **config.loss.model_dump(exclude={"name"}),
        )
        if config.recipe.mixing is not None:
            loss.check_two_labels()
    except ValueError as error:  # such as a frequency for each of 10 classes, and data with 100
        raise UserError(str(error)) from error
    return loss

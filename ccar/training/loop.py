"""The training loop: one configuration in, one result per epoch out; the caller decides when to stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ccar.data.augmentation import augment
from ccar.data.image_set import SourceData
from ccar.data.long_tail import Split
from ccar.data.statistics import statistics_of
from ccar.errors import Diverged, UserError
from ccar.losses import BaseLoss, Loss, build_loss, post_hoc_logit_adjustment
from ccar.metrics.accuracy import Evaluation, evaluate_predictions
from ccar.models.build import build_model
from ccar.training.config import TrialConfig
from ccar.training.randomness import deterministic, epoch_generator, seeded_initialisation
from ccar.training.resident import Normalisation, ResidentImages
from ccar.training.result import EpochResult, TestResult
from ccar.training.schedule import learning_rate, num_epochs, steps_per_epoch, warmup_epochs

# Images. Measured with ResNet-32 on one CPU thread: 1000 at once run at half the speed, out of the caches.
EVALUATION_BATCH = 250


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The first epoch with the highest balanced accuracy on the validation part."""

    epoch: int
    balanced_accuracy: float
    weights: dict[str, Tensor]


class Training:
    """One trial on one device: trains epoch by epoch, can be saved after any of them, knows no store.

    Everything random in epoch t follows from (seed, t), and the initial weights from the seed alone. So a
    state holds no random numbers, a resumed training gives the bits of an uninterrupted one (on the same kind
    of device, with as many threads), and all methods with the same model, head and seed start from the same
    weights and see the same images in the same order. torch's global generator and its switches are as
    before whenever the caller runs.

    Args:
        config: what to train.
        source: all images; the test part is not touched before `test`.
        split: which of them to train and to validate on.
        device: where to.

    Attributes:
        epoch: finished epochs.
        num_epochs: epochs of the whole training.

    Raises:
        UserError: the recipe would train on no batch at all, or the loss cannot take these classes.
    """

    def __init__(self, config: TrialConfig, source: SourceData, split: Split, *, device: torch.device) -> None:
        self.config = config
        self.epoch = 0
        self.num_epochs = num_epochs(config.recipe, len(split.train))
        self._warmup_epochs = warmup_epochs(config.recipe, len(split.train))
        self._num_steps = steps_per_epoch(config.recipe, len(split.train))
        self._class_counts = split.class_counts
        self._source = source
        self._device = device

        images = source.train.images[split.train]
        self._train = ResidentImages.of(images, source.train.labels[split.train], device)
        self._validation: ResidentImages | None = None
        if len(split.validation):
            self._validation = ResidentImages.of(
                source.train.images[split.validation], source.train.labels[split.validation], device
            )
        self._normalisation = Normalisation.by(statistics_of(config.data.name, images), device)

        with seeded_initialisation(config.seed):
            model = build_model(config.model, config.head, len(split.class_counts), images.shape[1])
        # channels_last: 1.1 to 1.2 times the images per second on CPUs, and what tensor cores want.
        self._model = model.to(device).to(memory_format=torch.channels_last)
        self._loss = _build_loss(config, split).to(device)
        recipe = config.recipe
        self._optimizer = torch.optim.SGD(
            self._model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        self._best: _Best | None = None

    def epochs(self) -> Iterator[EpochResult]:
        """Train on from `epoch` to the end; yields after each epoch, when `state_dict` may be asked for.

        Raises:
            Diverged: the loss or a weight is no longer finite. There is no going on from there.
        """
        while self.epoch < self.num_epochs:
            yield self._run_epoch(self.epoch + 1)

    def test(self) -> TestResult:
        """Evaluate the weights of the last and of the best validation epoch on the test images.

        Raises:
            RuntimeError: before the last epoch: the test images are for finished trainings.
            Diverged: the loss on the test images is not finite.
        """
        if self.epoch < self.num_epochs:
            raise RuntimeError(f"test() comes after epoch {self.num_epochs}; finished are {self.epoch}")
        test = ResidentImages.of(self._source.test.images, self._source.test.labels, self._device)
        last = self._evaluate(test, "test")
        if self._best is None:
            return TestResult(last_epoch=last, best_epoch=None, best_epoch_index=None)
        if self._best.epoch == self.epoch:
            return TestResult(last_epoch=last, best_epoch=last, best_epoch_index=self.epoch)
        last_weights = copy.deepcopy(self._model.state_dict())
        self._model.load_state_dict(self._best.weights)
        best = self._evaluate(test, "test")
        self._model.load_state_dict(last_weights)
        return TestResult(last_epoch=last, best_epoch=best, best_epoch_index=self._best.epoch)

    def state_dict(self) -> dict[str, Any]:
        """All that a `Training` of the same configuration, source and split needs to go on from here.

        Tensors on the CPU that share no memory with this training, and plain values: what
        `torch.load(weights_only=True)` reads back.
        """
        best = self._best and {
            "epoch": self._best.epoch,
            "balanced_accuracy": self._best.balanced_accuracy,
            "model": self._best.weights,
        }
        state: dict[str, Any] = _copied_to_cpu(
            {
                "epoch": self.epoch,
                "model": self._model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "loss": self._loss.state_dict(),
                "best": best,
            }
        )
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. The tensors may be on any device; they are not changed."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # it would keep and change them
        self._loss.load_state_dict(state["loss"])
        best = state["best"]
        self._best = best and _Best(best["epoch"], best["balanced_accuracy"], best["model"])
        self.epoch = state["epoch"]

    def _run_epoch(self, epoch: int) -> EpochResult:
        started = time.perf_counter()
        rate = learning_rate(self.config.recipe, epoch, num_epochs=self.num_epochs, warmup_epochs=self._warmup_epochs)
        train_loss, num_images = self._train_epoch(epoch, rate)
        trained = time.perf_counter()
        validation = None if self._validation is None else self._evaluate(self._validation, "validation")
        if validation is not None:
            self._remember_if_best(epoch, validation.balanced_accuracy)
        self.epoch = epoch
        return EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            learning_rate=rate,
            seconds=time.perf_counter() - started,
            images_per_second=num_images / (trained - started),
            finished_at=time.time(),
            validation=validation,
        )

    def _train_epoch(self, epoch: int, rate: float) -> tuple[float, int]:
        """Train for one epoch; returns the mean loss over the images seen, and how many they were."""
        generator = epoch_generator(self.config.seed, epoch)
        order = torch.randperm(len(self._train), generator=generator).to(self._device)
        batches = torch.split(order, self.config.recipe.batch_size)[: self._num_steps]
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._loss.set_epoch(epoch - 1, self.num_epochs)
        self._loss.train()
        self._model.train()
        with deterministic(self._device):
            losses = torch.stack([self._step(batch, generator) for batch in batches])
            size_of_weights = torch.nn.utils.get_total_norm(self._model.parameters())
        # The one look at the device per epoch: until here, nothing waits for it.
        *loss_of_batch, size = torch.cat([losses.double(), size_of_weights.double()[None]]).tolist()
        sizes = [len(batch) for batch in batches]
        train_loss = sum(loss * n for loss, n in zip(loss_of_batch, sizes, strict=True)) / sum(sizes)
        if not math.isfinite(train_loss):
            raise Diverged(f"epoch {epoch}: the training loss is {train_loss} at learning rate {rate:g}")
        if not math.isfinite(size):
            raise Diverged(f"epoch {epoch}: a weight is no longer finite at learning rate {rate:g}")
        return train_loss, sum(sizes)

    def _step(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """One step on the images with indices `batch`; returns the loss, still on the device."""
        images = augment(self._train.images[batch], self.config.recipe.augmentation, generator)
        loss: Tensor = self._loss(self._logits(images), self._train.labels[batch])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs leave it out
        self._optimizer.step()
        return loss.detach()

    def _logits(self, images: Tensor) -> Tensor:
        """(B, K) float32 logits of (B, C, H, W) uint8 images."""
        pixels = self._normalisation(images)
        if self.config.recipe.precision == "fp32":
            logits: Tensor = self._model(pixels)
        else:
            with torch.autocast(self._device.type, dtype=torch.bfloat16):
                logits = self._model(pixels)
        return logits

    @torch.no_grad()
    def _evaluate(self, part: ResidentImages, name: str) -> Evaluation:
        self._model.eval()
        predicted, losses = [], []
        with deterministic(self._device):
            for batch in torch.split(torch.arange(len(part), device=self._device), EVALUATION_BATCH):
                logits = self._predicting(self._logits(part.images[batch]))
                predicted.append(logits.argmax(1))
                losses.append(F.cross_entropy(logits, part.labels[batch], reduction="none"))
        loss = torch.cat(losses).double().mean().item()
        if not math.isfinite(loss):
            raise Diverged(f"epoch {self.epoch + 1}: the loss on the {name} images is {loss}")
        return evaluate_predictions(
            torch.cat(predicted).cpu().numpy(),
            part.labels.cpu().numpy(),
            loss,
            self._class_counts,
            len(self._class_counts),
        )

    def _predicting(self, logits: Tensor) -> Tensor:
        """The logits whose softmax is the prediction: scaled as in the loss, adjusted if asked for."""
        base = self._loss.base
        if isinstance(base, BaseLoss) and base.scale != 1:  # the cosines of a normed head
            logits = logits * base.scale
        tau = self.config.post_hoc_tau
        return logits if tau is None else post_hoc_logit_adjustment(logits, self._class_counts, tau)

    def _remember_if_best(self, epoch: int, balanced_accuracy: float) -> None:
        if self._best is None or balanced_accuracy > self._best.balanced_accuracy:
            weights = copy.deepcopy(dict(self._model.state_dict()))
            self._best = _Best(epoch, balanced_accuracy, weights)


def _build_loss(config: TrialConfig, split: Split) -> Loss:
    reweighting = None if config.reweighting is None else config.reweighting.model_dump()
    try:
        return build_loss(
            config.loss.name,
            split.class_counts,
            reweighting=reweighting,
            reduction=config.reduction,
            **config.loss.model_dump(exclude={"name"}),
        )
    except ValueError as error:  # such as a frequency for each of 10 classes, and data with 100
        raise UserError(str(error)) from error


def _copied_to_cpu(value: Any) -> Any:  # noqa: ANN401  a state_dict is nested at will
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied_to_cpu(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_copied_to_cpu(part) for part in value]
    return value

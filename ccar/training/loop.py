"""The training loop: one configuration in, one result per epoch out; the caller decides when to stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ccar.data.image_set import ImageSet, SourceData
from ccar.data.long_tail import Split
from ccar.data.statistics import statistics_of
from ccar.errors import Diverged, UserError
from ccar.metrics.accuracy import Evaluation, evaluate_predictions
from ccar.metrics.confusion import most_confused
from ccar.training.config import TrialConfig
from ccar.training.procedures import WithoutTraining, build_procedure
from ccar.training.randomness import deterministic, epoch_generator
from ccar.training.resident import Normalisation, ResidentImages, TrainingImages, on_device
from ccar.training.result import EpochResult, TestResult
from ccar.training.schedule import learning_rate, num_epochs, steps_per_epoch, warmup_epochs
from ccar.training.streamed import StreamedImages

# Images. Measured with ResNet-32 on one CPU thread: 1000 at once run at half the speed, out of the caches.
EVALUATION_BATCH = 250


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The first epoch with the highest balanced accuracy on the validation part."""

    epoch: int
    balanced_accuracy: float
    weights: dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Predictions:
    """What a network makes of one part of the data."""

    predicted: NDArray[np.integer[Any]]  # (N,) classes
    labels: NDArray[np.integer[Any]]  # (N,) true classes
    confidences: NDArray[np.floating[Any]]  # (N,) probability of the predicted class
    loss: float  # mean cross-entropy, in nats


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
        stage_one: the trained network of `config.stage_one`, `state_dict()["model"]` of that training; None
            where there is no stage one.
        on_batch: is called when another batch, trained or evaluated on, has been given to the device.

    Attributes:
        epoch: finished epochs.
        num_epochs: epochs of the whole training; 1 where nothing is trained.

    Raises:
        UserError: the recipe would train on no batch at all, the loss cannot take these classes, or a choice
            is to be made on a validation part that is empty.
    """

    def __init__(
        self,
        config: TrialConfig,
        source: SourceData,
        split: Split,
        *,
        device: torch.device,
        stage_one: dict[str, Tensor] | None = None,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._on_batch = on_batch
        self.epoch = 0
        self.num_epochs = num_epochs(config.recipe, len(split.train)) if config.procedure.trains else 1
        self._warmup_epochs = warmup_epochs(config.recipe, len(split.train))
        self._num_steps = steps_per_epoch(config.recipe, len(split.train))
        self._class_counts = split.class_counts
        self._source = source
        self._device = device

        train, validation = source.train[split.train], _validation_part(config, source, split)
        self._validation = None if validation is None else on_device(validation, device)
        normalisation = Normalisation.by(statistics_of(config.data.name, train.images), device)
        self._normalisation = normalisation
        images = on_device(train, device)
        self._train = TrainingImages(images, normalisation, config.recipe.augmentation)
        self._procedure = build_procedure(config, split.class_counts, images.num_channels, device, stage_one)
        if (
            isinstance(self._procedure, WithoutTraining)
            and len(self._procedure.candidates) > 1
            and not self._validation
        ):
            raise UserError("tau is chosen on validation images, and there are none", hint="name one tau, or hold out")
        recipe = config.recipe
        self._optimizer = torch.optim.SGD(
            self._procedure.parameter_groups(),
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
        test = on_device(self._source.test, self._device)
        predictions = self._predict(test, "test")
        last, confusions = self._evaluate(predictions), most_confused(predictions.predicted, predictions.labels)
        if self._best is None:
            return TestResult(last_epoch=last, best_epoch=None, best_epoch_index=None, confusions=confusions)
        if self._best.epoch == self.epoch:
            return TestResult(last_epoch=last, best_epoch=last, best_epoch_index=self.epoch, confusions=confusions)
        last_weights = copy.deepcopy(self._procedure.model.state_dict())
        self._procedure.model.load_state_dict(self._best.weights)
        best = self._evaluate(self._predict(test, "test"))
        self._procedure.model.load_state_dict(last_weights)
        return TestResult(last_epoch=last, best_epoch=best, best_epoch_index=self._best.epoch, confusions=confusions)

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
                "model": self._procedure.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "loss": self._procedure.loss.state_dict(),
                "best": best,
            }
        )
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. The tensors may be on any device; they are not changed."""
        self._procedure.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # it would keep and change them
        self._procedure.loss.load_state_dict(state["loss"])
        best = state["best"]
        self._best = best and _Best(best["epoch"], best["balanced_accuracy"], best["model"])
        self.epoch = state["epoch"]

    def _run_epoch(self, epoch: int) -> EpochResult:
        started = time.perf_counter()
        rate = train_loss = images_per_second = None
        num_images = 0
        chosen: dict[str, float] = {}
        if isinstance(self._procedure, WithoutTraining):
            chosen = {"tau": self._choose_tau(self._procedure)}
        else:
            rate = learning_rate(
                self.config.recipe, epoch, num_epochs=self.num_epochs, warmup_epochs=self._warmup_epochs
            )
            train_loss, num_images = self._train_epoch(epoch, rate)
            images_per_second = num_images / (time.perf_counter() - started)
        validation = None
        if self._validation is not None:
            validation = self._evaluate(self._predict(self._validation, "validation"))
        if validation is not None:
            self._remember_if_best(epoch, validation.balanced_accuracy)
        self.epoch = epoch
        return EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            learning_rate=rate,
            seconds=time.perf_counter() - started,
            num_images=num_images,
            images_per_second=images_per_second,
            finished_at=time.time(),
            validation=validation,
            chosen=chosen,
        )

    def _train_epoch(self, epoch: int, rate: float) -> tuple[float, int]:
        """Train for one epoch; returns the mean loss over the images seen, and how many they were."""
        generator = epoch_generator(self.config.seed, epoch)
        batches = self._procedure.batches(self._train.labels, self._num_steps, generator)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._procedure.begin_epoch(epoch, self.num_epochs)
        with deterministic(self._device):
            losses = torch.stack([self._step(batch, generator) for batch in batches])
            size_of_weights = torch.nn.utils.get_total_norm(self._procedure.model.parameters())
        # The one look at results per epoch: until here a GPU is not waited for.
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
        loss = self._descend(self._procedure.loss_of(batch, self._train, generator))
        self._on_batch()
        return loss

    def _descend(self, loss: Tensor) -> Tensor:
        """Change the weights by the gradient of this loss, whose value is returned."""
        if self.config.loss_factor != 1:
            loss = loss * self.config.loss_factor
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs leave it out
        self._optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _choose_tau(self, procedure: WithoutTraining) -> float:
        if self._validation is not None:
            procedure.model.eval()
            with deterministic(self._device):
                parts = [procedure.features(pixels) for pixels, _ in self._evaluation_batches(self._validation)]
                procedure.choose(torch.cat(parts), self._validation.labels)
        return procedure.tau

    def _evaluation_batches(self, part: ResidentImages | StreamedImages) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and labels of all images of a part, in order."""
        for batch in torch.split(torch.arange(len(part), device=self._device), EVALUATION_BATCH):
            yield self._normalisation(part.plain(batch)), part.labels[batch]
            self._on_batch()

    @torch.no_grad()
    def _predict(self, part: ResidentImages | StreamedImages, name: str) -> _Predictions:
        self._procedure.model.eval()
        predicted, confidences, losses = [], [], []
        with deterministic(self._device):
            for pixels, labels in self._evaluation_batches(part):
                logits = self._procedure.predict(pixels)
                predicted.append(logits.argmax(1))
                confidences.append(logits.softmax(1).amax(1))
                losses.append(F.cross_entropy(logits, labels, reduction="none"))
        loss = torch.cat(losses).double().mean().item()
        if not math.isfinite(loss):
            raise Diverged(f"epoch {self.epoch + 1}: the loss on the {name} images is {loss}")
        return _Predictions(
            torch.cat(predicted).cpu().numpy(), part.labels.cpu().numpy(), torch.cat(confidences).cpu().numpy(), loss
        )

    def _evaluate(self, made: _Predictions) -> Evaluation:
        return evaluate_predictions(
            made.predicted, made.labels, made.confidences, made.loss, self._class_counts, len(self._class_counts)
        )

    def _remember_if_best(self, epoch: int, balanced_accuracy: float) -> None:
        if self._best is None or balanced_accuracy > self._best.balanced_accuracy:
            weights = copy.deepcopy(dict(self._procedure.model.state_dict()))
            self._best = _Best(epoch, balanced_accuracy, weights)


def _validation_part(config: TrialConfig, source: SourceData, split: Split) -> ImageSet | None:
    """What the set comes with, or what was held out of the training images; None where nothing is validated on."""
    if config.data.validation_per_class == "own":
        return source.validation
    return source.train[split.validation] if len(split.validation) else None


def _copied_to_cpu(value: Any) -> Any:  # noqa: ANN401  a state_dict is nested at will
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied_to_cpu(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_copied_to_cpu(part) for part in value]
    return value

"""A trial to store, its epochs and its test results: plain values, nothing is trained."""

from __future__ import annotations

from ccar.metrics.accuracy import Evaluation
from ccar.metrics.calibration import Reliability
from ccar.store.key import key_parts
from ccar.training.config import CrossEntropy, DataConfig, TrialConfig
from ccar.training.recipe import Recipe, StepSchedule
from ccar.training.result import EpochResult, TestResult

NUM_EPOCHS = 4

CONFIG = TrialConfig(
    data=DataConfig(name="digits", imbalance_factor=10.0, validation_per_class=5),
    model="small_cnn",
    head="linear",
    recipe=Recipe(
        name="tiny",
        epochs=NUM_EPOCHS,
        batch_size=8,
        learning_rate=0.1,
        schedule=StepSchedule(milestones=(2,)),
    ),
    loss=CrossEntropy(),
    seed=0,
)
PARTS = key_parts(CONFIG, "0" * 64)
CLASS_COUNTS = (20, 2)
WORKER = {"device": "cpu", "threads": 1, "versions": {}}


def evaluation(share: float) -> Evaluation:
    """An evaluation whose every accuracy is `share`."""
    return Evaluation(
        num_images=10,
        loss=1.0 - share,
        accuracy=share,
        balanced_accuracy=share,
        many=None,
        medium=share,
        few=share,
        per_class=(share, share),
        ece=0.1,
        reliability=Reliability(counts=(10,), confidence=(share,), accuracy=(share,)),
    )


def epoch(number: int) -> EpochResult:
    """Epoch `number`, with numbers that tell it from every other one."""
    return EpochResult(
        epoch=number,
        train_loss=1 / number,
        learning_rate=0.1,
        seconds=0.5,
        images_per_second=100.0,
        finished_at=1000.0 + number,
        validation=evaluation(number / 10),
    )


TEST = TestResult(last_epoch=evaluation(0.4), best_epoch=evaluation(0.5), best_epoch_index=NUM_EPOCHS)

"""Studies in a real store whose numbers are made up: written by the store's own claims, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccar.metrics.accuracy import Evaluation
from ccar.metrics.calibration import Reliability
from ccar.metrics.confusion import Confusions
from ccar.store.key import digest_of_parts, key_parts
from ccar.store.records import StudyRecord, StudyTrial
from ccar.store.trial_store import Claim, TrialStore
from ccar.study.definition import study_of_text
from ccar.study.expansion import PlannedTrial, cells_of
from ccar.training.result import EpochResult, TestResult

CLASS_COUNTS = (150, 110, 80, 60, 44, 32, 24, 17, 13, 10)
WORKER = {"device": "cpu", "threads": 1, "versions": {}}
FINGERPRINT = "ab" * 32

TEXT = """\
study: {name}
question: {question}
data: {{name: {data}, imbalance_factors: {factors}, validation_per_class: {validation_per_class}}}
model: {model}
recipe: {{name: digits_quick, epochs: {epochs}}}
methods:
  bases: {bases}
  reweighting: {{omega: {omegas}, frequency: {frequencies}}}
{extra}seeds: {seeds}
baseline: {baseline}
"""


def put_study(
    store: TrialStore,
    name: str = "made-up",
    *,
    question: str = "Does omega help?",
    data: str = "digits",
    model: str = "small_cnn",
    bases: Sequence[str] = ("cross_entropy", "ldam"),
    omegas: Sequence[float] = (0.25, 0.5, 0.75),
    frequencies: Sequence[str] = ("fraction",),
    factors: Sequence[float] = (15,),
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 3,
    validation_per_class: int = 10,
    extra: str = "",
    baseline: str = "cross_entropy",
    submitted_at: float = 1_700_000_000.0,
) -> list[PlannedTrial]:
    """Submit a study, of which nothing was trained; its trials in order."""
    text = TEXT.format(
        name=name,
        question=question,
        data=data,
        model=model,
        bases=list(bases),
        omegas=list(omegas),
        frequencies=list(frequencies),
        factors=list(factors),
        seeds=list(seeds),
        epochs=epochs,
        validation_per_class=validation_per_class,
        extra=extra,
        baseline=baseline,
    )
    trials = [
        PlannedTrial(
            cell=cell,
            config=(config := cell.config.with_seed(seed)),
            key=digest_of_parts(key_parts(config, FINGERPRINT)),
            data_fingerprint=FINGERPRINT,
        )
        for cell in cells_of(study_of_text(text, name))
        for seed in seeds
    ]
    remembered = tuple(
        StudyTrial(cell=trial.cell.id, method=trial.cell.method, seed=trial.seed, key=trial.key) for trial in trials
    )
    store.put_study(StudyRecord(name=name, definition=text, trials=remembered, submitted_at=submitted_at))
    return trials


def begin(store: TrialStore, trial: PlannedTrial, epochs: int = 1, worker: Mapping[str, Any] | None = None) -> Claim:
    """A trial that is being trained: `epochs` of it are committed."""
    parts = key_parts(trial.config, FINGERPRINT)
    claim = store.claim(trial.config, parts, class_counts=CLASS_COUNTS, worker=worker or WORKER)
    for number in range(1, epochs + 1):
        claim.commit([epoch(trial, number)], b"state")
    return claim


def finish(store: TrialStore, trial: PlannedTrial, epochs: int = 3) -> None:
    """A trial that was trained to its end."""
    claim = begin(store, trial, epochs=0)
    test = _evaluation(trial, 1.0, shift=0.01)
    claim.finish(
        TestResult(last_epoch=test, best_epoch=test, best_epoch_index=epochs, confusions=confusions(trial)),
        b"weights",
        [epoch(trial, number, of=epochs) for number in range(1, epochs + 1)],
    )


def confusions(trial: PlannedTrial) -> Confusions:
    """A rare class is taken for a frequent one, the more often the higher the seed."""
    return Confusions(labels=(9, 8), predicted=(0, 1), counts=(7 + trial.seed, 3))


def epoch(trial: PlannedTrial, number: int, of: int = 3) -> EpochResult:
    """Epoch `number`: the nearer to the end, the better."""
    return EpochResult(
        epoch=number,
        train_loss=2.0 / number,
        learning_rate=0.1,
        seconds=1.5,
        images_per_second=400.0,
        finished_at=1_700_000_100.0 + number,
        validation=_evaluation(trial, number / of),
    )


def _evaluation(trial: PlannedTrial, share: float, shift: float = 0.0) -> Evaluation:
    """A seed shifts all alike, omega helps most at 0.75, and every trial has a little noise of its own."""
    noise = np.random.default_rng(int(trial.key[:8], 16))
    omega = trial.config.reweighting.omega if trial.config.reweighting else None
    gain = 0.0 if omega is None else 0.03 - 0.06 * (omega - 0.75) ** 2
    base = {"cross_entropy": 0.0, "ldam": 0.02}.get(trial.config.loss.name, 0.01)
    level = share * (0.8 + base + gain + 0.004 * trial.seed + shift + 0.003 * noise.standard_normal())
    recalls = np.clip(level + np.linspace(0.08, -0.08, len(CLASS_COUNTS)), 0.0, 1.0)
    return Evaluation(
        num_images=100,
        loss=1.2 - level,
        accuracy=float(recalls.mean()),
        balanced_accuracy=float(recalls.mean()),
        many=float(recalls[:2].mean()),
        medium=float(recalls[2:7].mean()),
        few=float(recalls[7:].mean()),
        per_class=tuple(recalls.tolist()),
        ece=0.05,
        reliability=Reliability(counts=(40, 60), confidence=(0.6, 0.9), accuracy=(0.55, 0.88)),
    )

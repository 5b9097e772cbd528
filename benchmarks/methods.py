"""Does every method train? Each one of studies/digits_methods.yaml, briefly, on digits and on real CIFAR-100.

- digits: one seed, twice in two stores: every number has to be the same.
- CIFAR-100: ResNet-32 for six epochs on a tail cut from 100 images of twenty classes each, when CCAR_CIFAR100_ROOT
  names a folder with train/<class>/* and test/<class>/*. The accuracies say that it learns, nothing else.

    python -m benchmarks.methods
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from scipy.stats import binomtest

from ccar.store.records import TrialRecord
from ccar.store.trial_store import TrialStore
from ccar.training.result import TestResult

STUDY = Path(__file__).parents[1] / "studies" / "digits_methods.yaml"
NUM_CLASSES = 20
TRAIN_IMAGES, TEST_IMAGES = 100, 50  # per class
LEARNING_RATE = 0.02  # 66 steps are too few for the 0.1 of long trainings: some methods would stay at chance
RECIPE = {
    "name": "cifar_smoke",
    "epochs": 6,
    "batch_size": 64,
    "learning_rate": LEARNING_RATE,
    "schedule": {"name": "cosine"},
}


def main() -> None:
    """Measure and print Markdown."""
    print("## Methods (`python -m benchmarks.methods`)\n")
    with tempfile.TemporaryDirectory() as folder:
        digits(Path(folder))
        root = os.environ.get("CCAR_CIFAR100_ROOT")
        if root:
            cifar100(Path(folder), Path(root))
        else:
            print("CIFAR-100: not measured, CCAR_CIFAR100_ROOT is not set.")


def digits(folder: Path) -> None:
    """All methods twice on digits."""
    study = write_study(folder, "digits", {})
    first, second = (run(study, folder / f"digits-{number}") for number in (1, 2))
    same = all(first[method][1] == second[method][1] for method in first)
    print(f"digits, IF 50, 20 epochs, seed 0: {len(first)} methods, run twice: every test result ", end="")
    print("is the same bit for bit.\n" if same else "SHOULD BE THE SAME AND IS NOT.\n")
    print_table(first, chance=0.1)


def cifar100(folder: Path, root: Path) -> None:
    """All methods on a small part of CIFAR-100."""
    images = folder / "images"
    for part, per_class in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        for source in sorted((root / part).iterdir())[:NUM_CLASSES]:
            (images / part / source.name).mkdir(parents=True)
            for image in sorted(source.iterdir())[:per_class]:
                (images / part / source.name / image.name).symlink_to(image.resolve())
    data = {"name": "image_folder", "root": str(images), "imbalance_factors": 10, "validation_per_class": 10}
    methods = yaml.safe_load(STUDY.read_text())["methods"]
    for method in methods["extra"]:
        if "learning_rate" in method.get("recipe", {}):  # the control with twice the learning rate
            method["recipe"]["learning_rate"] = 2 * LEARNING_RATE
    changes = {"data": data, "model": "resnet32", "recipe": RECIPE, "methods": methods}
    study = write_study(folder, "cifar100", changes)
    print(
        f"\nCIFAR-100, its first {NUM_CLASSES} classes, {TRAIN_IMAGES} training images each (10 for validation), "
        f"IF 10, ResNet-32, {RECIPE['epochs']} epochs (stage two as long as its procedure says), seed 0:\n"
    )
    print_table(run(study, folder / "cifar100-1"), chance=1 / NUM_CLASSES)


def write_study(folder: Path, name: str, changes: dict) -> Path:
    """The study of all methods, with one seed and other data."""
    study = {**yaml.safe_load(STUDY.read_text()), "study": name, "seeds": [0], **changes}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def run(study: Path, store: Path) -> dict[str, tuple[TrialRecord, TestResult]]:
    """Run a study; what came of each method."""
    command = [str(Path(sys.executable).with_name("ccar")), "run", str(study), "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    trial_store = TrialStore(store)
    trials = trial_store.study(study.stem).trials
    return {trial.method: (trial_store.read(trial.key), trial_store.read_test(trial.key)) for trial in trials}


def print_table(results: dict[str, tuple[TrialRecord, TestResult]], *, chance: float) -> None:
    """One row per method; p: of so many right answers by guessing."""
    print(f"| method | epochs | seconds | test accuracy, % (chance {100 * chance:g}) | p |\n|---|---|---|---|---|")
    for method, (record, test) in results.items():
        last = test.last_epoch
        right = round(last.accuracy * last.num_images)
        p = binomtest(right, last.num_images, chance, alternative="greater").pvalue
        shown = f"{p:.0e}" if p else "< 1e-300"
        print(f"| {method} | {len(record.epochs)} | {record.seconds:.1f} | {100 * last.accuracy:.1f} | {shown} |")


if __name__ == "__main__":
    main()

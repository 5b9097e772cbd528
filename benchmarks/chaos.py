"""A study in a long storm: what it costs, and whether anything is lost.

python -m benchmarks.chaos [FAULTS [SEED]]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import tests.conftest  # noqa: F401  # its clean environment
from tests.chaos.checker import doubled_epochs, left_behind, percentile, results, wrong_in_mlflow
from tests.chaos.storm import CCAR, Outcome, Storm, schedule
from tests.tiny_study import write_tiny_study

EPOCHS = 150  # of a trial
EPOCHS_PER_FAULT = 150


def main() -> int:
    given = [int(word) for word in sys.argv[1:]]
    num_faults, seed = given + [100, 0][len(given) :]
    seeds = max(1, round(num_faults * EPOCHS_PER_FAULT / (6 * EPOCHS)))
    with tempfile.TemporaryDirectory(prefix="ccar-chaos-") as name:
        base = Path(name)
        study = write_tiny_study(
            base, epochs=EPOCHS, bases="[cross_entropy, ldam, focal]", seeds=str(list(range(seeds)))
        )
        calm, folder = base / "calm", base / "storm"
        subprocess.run([*CCAR, "run", str(study), "--store", str(calm)], check=True, stdout=subprocess.DEVNULL)
        folder.mkdir()
        begun = time.monotonic()
        with Storm(study, 6 * seeds * EPOCHS, folder, say=lambda text: print(text, file=sys.stderr)) as storm:
            storm.rage(schedule(num_faults, seed))
        minutes = (time.monotonic() - begun) / 60
        doubled = doubled_epochs(storm.store.root)
        wrong = [
            *wrong_in_mlflow(storm.store.root, "tiny", storm.store.root / "mlflow.db"),
            *left_behind(folder, storm.outcome),
        ]
        if results(storm.store.root, "tiny") != results(calm, "tiny"):
            wrong.append("numbers, weights or tables differ from those of the undisturbed run")
    outcome, passed = storm.outcome, not wrong and not doubled and not storm.outcome.epochs_lost
    print(f"## Faults (`python -m benchmarks.chaos {num_faults} {seed}`)\n")
    print(
        f"{6 * seeds} trials of {EPOCHS} epochs on two nodes of one CPU each, {minutes:.0f} min, "
        f"{len(outcome.drivers)} drivers, {len(outcome.clusters)} clusters. Recovery: from the fault until every "
        "trial that was under way has committed a further epoch.\n"
    )
    print("| figure | measured | target |\n|---|---|---|")
    print(f"| faults survived | {len(outcome.faults) if passed else 0} of {num_faults} | all |")
    print(f"| epochs lost | {outcome.epochs_lost} | 0 |\n| epochs doubled | {doubled} | 0 |")
    print(f"| numbers, weights, tables, MLflow, what is left behind: deviations | {len(wrong)} | 0 |")
    print(_recovery_rows(outcome))
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 0 if passed and len(outcome.faults) == num_faults else 1


def _recovery_rows(outcome: Outcome) -> str:
    seconds = defaultdict(list)
    for kind, recovery in outcome.recoveries:
        seconds["all faults"].append(recovery)
        seconds[kind].append(recovery)
    struck = Counter(outcome.faults)
    return "\n".join(
        f"| recovery p50 / p95, {kind} ({struck[kind] or len(outcome.faults)}) "
        f"| {percentile(values, 0.5):.1f} / {percentile(values, 0.95):.1f} s | |"
        for kind, values in sorted(seconds.items())
    )


if __name__ == "__main__":
    sys.exit(main())

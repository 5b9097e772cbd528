"""Would racing pick the omega that the full grid picks, for less? Replayed on stored results of a finished study.

    python -m benchmarks.racing [STUDY_FILE STORE]

Without arguments the demo study is run first, into a temporary store. Every base loss at every imbalance factor is one
race of its omegas. A replay draws the seeds of the study with replacement, the same for all omegas; in it the full grid
picks the omega with the highest mean validation balanced accuracy after the last epoch, and each rule below picks its
own from what it let run. Cost is in epochs, of the omegas alone and with the plain base loss, which is never stopped.

Rules, all on validation accuracy alone:

- racing over epochs: at each look an omega stops when the paired t interval of its difference to the leader lies
  below 0;
- racing over seeds: the same after each seed from the third on, at the last epoch;
- leader at half time: what no rule with the same looks can beat without knowing more: at one epoch all omegas but the
  leader stop.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ccar.cli.places import Places
from ccar.cli.study_view import StudyView

REPLAYS = 1000
ALPHA = 0.05
DEMO = Path(__file__).parents[1] / "studies" / "digits_lt.yaml"

Race = NDArray[np.float64]  # (omegas, seeds, epochs) validation balanced accuracy
Outcome = tuple[int, float]  # index of the omega that is picked; share of the epochs of all omegas that was trained
Rule = Callable[[Race], Outcome]


def races_of(study_file: Path, store: Path) -> list[Race]:
    """The omegas of every base loss at every imbalance factor, as the store has them."""
    view = StudyView.open(study_file, Places.of(store, None))
    races: dict[tuple[object, str], dict[float, list[list[float]]]] = {}
    for trial in view.source().known:
        reweighting = trial.config.reweighting
        if reweighting is not None:
            record = view.places.store.read(trial.key)
            assert record.status == "finished", f"{trial.name} is {record.status}"
            curve = [epoch.validation.balanced_accuracy for epoch in record.epochs if epoch.validation is not None]
            race = races.setdefault((trial.config.data.imbalance_factor, trial.cell.family), {})
            race.setdefault(reweighting.omega, []).append(curve)
    return [np.array([race[omega] for omega in sorted(race)]) for race in races.values()]


def pick(values: NDArray[np.float64]) -> int:
    """The row with the highest mean; of equals the steadier one, then the smaller omega, as `select_omega` does."""
    spread = values.std(axis=1, ddof=1) if values.shape[1] > 1 else np.zeros(len(values))
    return int(np.lexsort((np.arange(len(values)), spread.round(9), -values.mean(axis=1).round(9)))[0])


def is_beaten(differences: NDArray[np.float64], alpha: float) -> bool:
    """Whether the paired t interval of a mean difference to the leader lies below 0."""
    n = len(differences)
    half_width = stdtrit(n - 1, 1 - alpha / 2) * differences.std(ddof=1) / np.sqrt(n)
    return bool(differences.mean() + half_width < 0)


def race_over_epochs(race: Race, *, looks: int) -> Outcome:
    """Stop what is beaten at equally spaced looks; each look spends its share of alpha."""
    num_omegas, _, num_epochs = race.shape
    running, trained = list(range(num_omegas)), 0
    last = 0
    for look in range(1, looks + 1):
        epoch = num_epochs * look // looks
        trained += len(running) * (epoch - last)
        last = epoch
        now = race[running, :, epoch - 1]
        leader = pick(now)
        if look < looks:
            running = [
                omega
                for omega, values in zip(running, now, strict=True)
                if not is_beaten(values - now[leader], ALPHA / looks)
            ]
    return running[pick(race[running, :, -1])], trained / (num_omegas * num_epochs)


def race_over_seeds(race: Race, *, first_look: int = 3) -> Outcome:
    """Train seed by seed to the end; stop what is beaten on the seeds so far."""
    num_omegas, num_seeds, _ = race.shape
    running, trained = list(range(num_omegas)), 0
    for seeds in range(1, num_seeds + 1):
        trained += len(running)
        now = race[running, :seeds, -1]
        if first_look <= seeds < num_seeds:
            leader = pick(now)
            running = [
                omega
                for omega, values in zip(running, now, strict=True)
                if not is_beaten(values - now[leader], ALPHA / (num_seeds - first_look))
            ]
    return running[pick(race[running, :, -1])], trained / (num_omegas * num_seeds)


def leader_at(race: Race, *, share: float) -> Outcome:
    """Keep the leader alone after this share of the epochs."""
    num_omegas, _, num_epochs = race.shape
    epoch = max(1, round(share * num_epochs))
    return pick(race[:, :, epoch - 1]), (num_omegas * epoch + num_epochs - epoch) / (num_omegas * num_epochs)


RULES: dict[str, Rule] = {
    "full grid": lambda race: (pick(race[:, :, -1]), 1.0),
    **{f"racing over epochs, {looks} looks": partial(race_over_epochs, looks=looks) for looks in (2, 5, 10)},
    "racing over seeds": race_over_seeds,
    **{
        f"leader at {share:.0%} of the epochs": partial(leader_at, share=share) for share in (0.1, 0.33, 0.5, 0.75, 0.9)
    },
}


def stored_grid(folder: Path) -> tuple[Path, Path]:
    """A study and the store of its trials: those that were asked for, or the demo's, trained into `folder` first."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1]), Path(sys.argv[2])
    return DEMO, train(DEMO, folder / "store")


def train(study: Path, store: Path) -> Path:
    """Run it as a user would, into a new store."""
    command = [sys.executable, "-m", "ccar", "run", str(study), "--store", str(store)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return store


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
        study, store = stored_grid(Path(folder))
        races = races_of(study, store)
    num_omegas, num_seeds, num_epochs = races[0].shape
    print("## Racing (`python -m benchmarks.racing`)\n")
    print(
        f"{study.stem}: {len(races)} races of {num_omegas} omegas, {num_seeds} seeds, {num_epochs} epochs; {REPLAYS:,} "
        "replays each, seeds drawn with replacement. Target: the same omega in at least 95 % at 50 % of the cost.\n"
    )
    print(
        "| rule | same omega as the full grid | least of the races | cost, omegas alone | cost, with the plain losses |"
    )
    print("|---|---|---|---|---|")
    for name, rule in RULES.items():
        random = np.random.default_rng(0)  # the same replays for every rule
        same, costs = [], []
        for race in races:
            draws = random.integers(num_seeds, size=(REPLAYS, num_seeds))
            outcomes = [(pick(race[:, draw, -1]), *rule(race[:, draw])) for draw in draws]
            same.append(np.mean([full == own for full, own, _ in outcomes]))
            costs.append(np.mean([cost for _, _, cost in outcomes]))
        cost = float(np.mean(costs))
        whole = (cost * num_omegas + 1) / (num_omegas + 1)
        print(f"| {name} | {np.mean(same):.1%} | {min(same):.1%} | {cost:.0%} | {whole:.0%} |")


if __name__ == "__main__":
    main()

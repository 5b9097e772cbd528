"""What a search would have found for less than the full grid, replayed on the stored results of a finished study.

    python -m benchmarks.search_regret [STUDY_FILE STORE]

Without arguments the demo study is run first, into a temporary store, and where the variable CIFAR100_FOLDER says where
the images of CIFAR-100 are (see `studies/cifar100_lt_smoke.yaml`), a small grid of real CIFAR-100-LT trials. Two kinds
of search: the omega of one base loss at one imbalance factor, and base loss and omega together at one imbalance factor.
A replay draws the seeds of the study with replacement, the same for all candidates; the truth is what the full grid
picks then, by mean validation balanced accuracy after the last epoch. Regret is how much less the pick of a search has,
in points. Cost is device-time, as a share of that of the full grid.

- grid, random: the candidates one after another, all seeds of each.
- TPE, GP: Optuna's samplers as ccar starts them; what they suggest is the nearest stored candidate not tried yet.
- ASHA: candidates in random order; at a ninth and at a third of the epochs those outside the best third so far stop.
- racing over epochs: `benchmarks.racing`, five looks; its cost is in epochs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.racing import pick, race_over_epochs, stored_grid, train
from ccar.cli.places import Places
from ccar.cli.study_view import StudyView
from ccar.study.definition import NUM_RANDOM_OMEGAS

REPLAYS = 200
SLOW_REPLAYS = 40  # of the samplers, which take up to half a second for a suggestion
BUDGETS = (0.25, 0.5, 0.75, 1.0)
REDUCTION = 3
CIFAR_GRID = """\
study: cifar100-lt-smoke-grid
question: Which omega is ahead after a few epochs on real images?
data: {name: image_folder, root: "${CIFAR100_FOLDER}", imbalance_factors: 100, validation_per_class: 20}
model: resnet32
recipe: cifar_smoke
methods:
  bases: [cross_entropy, logit_adjustment]
  reweighting: {omega: [0.25, 0.5, 0.75, 1.0]}
seeds: [0, 1, 2]
baseline: cross_entropy
"""


@dataclass(frozen=True)
class Search:
    """The candidates of one search: base loss and omega, and what each of their trials reached and took."""

    candidates: tuple[tuple[str, float], ...]
    reached: NDArray[np.float64]  # (candidates, seeds, epochs) validation balanced accuracy
    seconds: NDArray[np.float64]  # (candidates, seeds, epochs)

    def with_seeds(self, draw: NDArray[np.int64]) -> Search:
        """The same with other seeds."""
        return Search(self.candidates, self.reached[:, draw], self.seconds[:, draw])

    @property
    def values(self) -> NDArray[np.float64]:
        """(candidates,) what the full grid goes by."""
        return self.reached[:, :, -1].mean(axis=1)

    @property
    def costs(self) -> NDArray[np.float64]:
        """(candidates,) device-time of all seeds, as a share of that of all candidates."""
        seconds = self.seconds.sum(axis=(1, 2))
        return seconds / seconds.sum()


Orders = Callable[[Search, np.random.Generator], Iterator[int]]


def searches_of(study_file: Path, store: Path) -> tuple[list[Search], list[Search]]:
    """One search for each base loss and imbalance factor; one for each imbalance factor."""
    view = StudyView.open(study_file, Places.of(store, None))
    found: dict[object, dict[tuple[str, float], list[tuple[list[float], list[float]]]]] = {}
    for trial in view.source().known:
        reweighting = trial.config.reweighting
        if reweighting is not None:
            record = view.places.store.read(trial.key)
            assert record.status == "finished", f"{trial.name} is {record.status}"
            epochs = [epoch for epoch in record.epochs if epoch.validation is not None]
            curve = [epoch.validation.balanced_accuracy for epoch in epochs]
            candidates = found.setdefault(trial.config.data.imbalance_factor, {})
            seeds = candidates.setdefault((trial.cell.family, reweighting.omega), [])
            seeds.append((curve, [epoch.seconds for epoch in epochs]))
    together = [search_of(candidates) for candidates in found.values()]
    single = [
        search_of({key: trials for key, trials in candidates.items() if key[0] == family})
        for candidates in found.values()
        for family in dict.fromkeys(family for family, _ in candidates)
    ]
    return single, together


def search_of(candidates: dict[tuple[str, float], list[tuple[list[float], list[float]]]]) -> Search:
    content = np.array(list(candidates.values()))  # (candidates, seeds, 2, epochs)
    return Search(tuple(candidates), content[:, :, 0], content[:, :, 1])


def in_order(search: Search, random: np.random.Generator) -> Iterator[int]:
    yield from range(len(search.candidates))


def at_random(search: Search, random: np.random.Generator) -> Iterator[int]:
    yield from random.permutation(len(search.candidates)).tolist()


def by_sampler(sampler: Callable[..., optuna.samplers.BaseSampler]) -> Orders:
    """The order in which a sampler of Optuna comes to the stored candidates."""

    def order(search: Search, random: np.random.Generator) -> Iterator[int]:
        families = list(dict.fromkeys(family for family, _ in search.candidates))
        omegas = [omega for _, omega in search.candidates]
        space: dict[str, optuna.distributions.BaseDistribution] = {
            "omega": optuna.distributions.FloatDistribution(min(omegas), max(omegas))
        }
        if len(families) > 1:
            space["base"] = optuna.distributions.CategoricalDistribution(families)
        seeded = sampler(seed=int(random.integers(2**31)), n_startup_trials=NUM_RANDOM_OMEGAS)
        study = optuna.create_study(direction="maximize", sampler=seeded)
        left, values = set(range(len(search.candidates))), search.values
        while left:
            asked = study.ask(space)
            wanted = asked.params
            study.tell(asked, state=optuna.trial.TrialState.FAIL)  # what is told instead is the nearest one's result

            def distance(index: int, wanted: dict = wanted) -> tuple[bool, float, int]:
                family, omega = search.candidates[index]
                return family != wanted.get("base", family), abs(omega - wanted["omega"]), index

            chosen = min(left, key=distance)
            left.remove(chosen)
            family, omega = search.candidates[chosen]
            params = {"omega": omega, "base": family}
            study.add_trial(
                optuna.trial.create_trial(
                    params={name: params[name] for name in space}, distributions=space, value=float(values[chosen])
                )
            )
            yield chosen

    return order


SEQUENTIAL: dict[str, tuple[Orders, int]] = {
    "grid": (in_order, REPLAYS),
    "random": (at_random, REPLAYS),
    "TPE": (by_sampler(optuna.samplers.TPESampler), SLOW_REPLAYS),
    "GP": (by_sampler(optuna.samplers.GPSampler), SLOW_REPLAYS),
}


def asha(search: Search, random: np.random.Generator) -> tuple[int, float]:
    """What successive halving picks, and its cost; a candidate is all its seeds, which run and stop together."""
    num_epochs = search.reached.shape[2]
    rungs = sorted({max(1, num_epochs // REDUCTION**2), max(1, num_epochs // REDUCTION)})
    at_rung: dict[int, list[float]] = {rung: [] for rung in rungs}
    curves, seconds = search.reached.mean(axis=1), search.seconds.sum(axis=1)
    finished, spent = [], 0.0
    for index in random.permutation(len(search.candidates)).tolist():
        stopped_at = num_epochs
        for rung in rungs:
            value, others = curves[index, rung - 1], at_rung[rung]
            is_behind = bool(others) and value < np.percentile(others, 100 * (1 - 1 / REDUCTION))
            others.append(value)
            if is_behind:
                stopped_at = rung
                break
        spent += seconds[index, :stopped_at].sum()
        if stopped_at == num_epochs:
            finished.append(index)
    return finished[pick(search.reached[finished, :, -1])], spent / seconds.sum()


def racing(search: Search, random: np.random.Generator) -> tuple[int, float]:
    return race_over_epochs(search.reached, looks=5)


AT_THE_END = {"ASHA": asha, "racing over epochs": racing}


def replays(searches: list[Search], number: int) -> Iterator[tuple[Search, np.random.Generator]]:
    """Each search with drawn seeds; the same draws whatever is replayed."""
    for search in searches:
        for replay in range(number):
            random = np.random.default_rng(replay)
            num_seeds = search.reached.shape[1]
            yield search.with_seeds(np.asarray(random.integers(num_seeds, size=num_seeds))), random


def measure_sequential(searches: list[Search], order: Orders, number: int) -> Iterator[str]:
    """Regret after each share of the candidates; then how much of the grid's time it took to come to its pick."""
    regrets: dict[float, list[float]] = {budget: [] for budget in BUDGETS}
    shares = []
    for search, random in replays(searches, number):
        tried = list(order(search, random))
        spent, values = search.costs[tried].cumsum(), search.values[tried]
        best = pick(search.reached[:, :, -1])
        shares.append(float(spent[tried.index(best)]))
        for budget in BUDGETS:
            reached = values[: max(1, round(budget * len(tried)))].max()
            regrets[budget].append(100 * max(0.0, float(search.values[best] - reached)))
    for budget in BUDGETS:
        yield f"{np.mean(regrets[budget]):.2f}"
    yield f"{np.mean(shares):.0%}"
    yield f"{np.quantile(shares, 0.95):.0%}"


def print_searches(title: str, searches: list[Search]) -> None:
    num_candidates = len(searches[0].candidates)
    print(f"\n{title}; searches: {len(searches)}, each of {num_candidates} candidates.\n")
    budgets = " | ".join(f"regret after {budget:.0%}" for budget in BUDGETS)
    print(f"| search | replays each | {budgets} | best found at, mean | 95 % of replays |")
    print("|---|---|" + "---|" * (len(BUDGETS) + 2))
    for name, (order, number) in SEQUENTIAL.items():
        print(f"| {name} | {number} | " + " | ".join(measure_sequential(searches, order, number)) + " |")
    print("\n| search | replays each | cost | regret at its end | picks the best |\n|---|---|---|---|---|")
    for name, rule in AT_THE_END.items():
        costs, regrets, same = [], [], []
        for search, random in replays(searches, REPLAYS):
            chosen, cost = rule(search, random)
            best = pick(search.reached[:, :, -1])
            costs.append(cost)
            regrets.append(100 * float(search.values[best] - search.values[chosen]))
            same.append(chosen == best)
        print(f"| {name} | {REPLAYS} | {np.mean(costs):.0%} | {np.mean(regrets):.2f} | {np.mean(same):.0%} |")


def stored_grids(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Studies and the stores of their trials."""
    yield stored_grid(folder)
    if len(sys.argv) == 1 and "CIFAR100_FOLDER" in os.environ:
        study = folder / "cifar100_lt_smoke_grid.yaml"
        study.write_text(CIFAR_GRID)
        yield study, train(study, folder / "cifar-store")


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print("## Search (`python -m benchmarks.search_regret`)\n")
    print(
        "Every candidate is stored. Regret in points of validation balanced accuracy below the full grid's pick, mean "
        "over replays, after a share of the candidates; `found at` and cost in shares of the full grid's device-time. "
        "No search can do with less than one candidate."
    )
    with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
        for study, store in stored_grids(Path(folder)):
            single, together = searches_of(study, store)
            _, num_seeds, num_epochs = single[0].reached.shape
            print(f"\n### {study.stem}: {num_seeds} seeds, {num_epochs} epochs")
            print_searches("Omega of one base loss", single)
            print_searches("Base loss and omega together", together)


if __name__ == "__main__":
    main()

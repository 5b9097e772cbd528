"""The report in plain words: what was run, what did not finish, what was found and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any, get_args

import pandas as pd

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME, STATUSES
from ccar.evidence.frames import FIELD, rows_of
from ccar.evidence.paired import DROPPED_OUT
from ccar.evidence.significance import ALPHA, MIN_SEEDS, NOT_JUDGED, Verdict
from ccar.reports.results import Results, Setting, setting_label
from ccar.reports.wording import TIE_RULE, counted, interval, listed, more_seeds, named, p_value, percent, points
from ccar.study.parts import plain

MAX_NAMED = 4  # in a headline; more are counted


def no_choice(results: Results) -> str | None:
    """Why no omega is recommended, where none is; None where some are."""
    if len(results.choices):
        return None
    if results.cells["omega"].isna().all():
        return "No ω is chosen: no method of this study is re-weighted."
    if not results.has_validation:
        return (
            "No ω is chosen: this study holds out no validation images (validation_per_class: 0), and ccar never "
            "chooses on the test set."
        )
    return "No ω is chosen yet: no re-weighted trial has finished."


def what_was_run(results: Results) -> str:
    """Size and subject of the study in one sentence."""
    cells = results.cells
    models, data = _named(cells, "model"), _named(cells, "data")
    seeds = results.trials["seed"].nunique()
    bases = len(cells.drop_duplicates(["base", "base_options"]))
    return (
        f"{counted(len(results.trials), 'trial')}: {counted(cells['method'].nunique(), 'method')} of "
        f"{counted(bases, 'base loss', 'base losses')} at "
        f"{listed([setting.label for setting in results.settings])}, {counted(seeds, 'seed')}; {listed(models)} on "
        f"{listed(data)} with the recipe {listed(recipes_of(cells))}. Baseline: {results.source.baseline}."
    )


def images_per_class(results: Results) -> str:
    """How many images a class has for training, and for validation; empty where neither is known."""
    counts = results.source.class_counts
    told = []
    if counts:
        sizes = [f"{max(each):,} to {min(each):,} at {setting_label(plain(factor))}" for factor, each in counts.items()]
        each_class = "" if results.source.classes.empty else " (classes.csv has every class)"
        told.append(f"Training images per class: {listed(sizes)}{each_class}.")
    held_out = str(results.trials["validation_per_class"].iloc[0])
    if held_out == "own":
        told.append("Validation images: those that the set comes with.")
    elif results.has_validation:
        num_classes = len(next(iter(counts.values()), ()))
        together = f", {int(held_out) * num_classes:,} in all" if counts else ""
        told.append(f"Validation images per class: {held_out}{together}.")
    return " ".join(told)


def recipes_of(cells: pd.DataFrame) -> list[str]:
    """The recipes of a study's cells, with the fields that in all of them are not as the name says.

    What a procedure or a single method changes is in the name of the method.
    """
    told = []
    for name, changes in cells.groupby("recipe", sort=False)["recipe_changes"]:
        first, *others = (each.split(", ") for each in changes.unique())
        shared = [field for field in first if field and all(field in other for other in others)]
        told.append(named(str(name), f"changed: {', '.join(shared)}" if shared else ""))
    return told


def what_did_not_finish(results: Results) -> str:
    """How many trials ended how; nothing is dropped in silence."""
    counts = Counter(results.trials["status"])
    if counts["finished"] == len(results.trials):
        return "All trials finished."
    others = [f"{counts[status]:,} {status}" for status in STATUSES if status != "finished" and counts[status]]
    told = (
        f"{counts['finished']:,} of {counted(len(results.trials), 'trial')} finished; {listed(others)}. "
        "Those are in no mean; the report lists their cells."
    )
    if any(counts[status] for status in DROPPED_OUT):
        told += " Cells with stopped or diverged seeds are not judged: those that are left are the lucky ones."
    return told


def headline(results: Results, setting: Setting) -> str | None:
    """The verdicts at one imbalance factor: on whom, and how many there are of each where that would be a long list.

    Of the chosen omegas against their plain base losses; where none is chosen, of all methods against the baseline.
    None when nothing can be compared.
    """
    choices = setting.of(results.choices)
    if len(choices):
        compared = _verdicts(choices, "versus_plain")
        subject = "the ω chosen on validation, against its own plain base loss"
        names, field = choices["family"], counted(len(compared), "choice")
        if compared.empty:
            return f"{setting.label}: the ω chosen on validation."
    else:
        cells = setting.of(results.cells)
        compared = _verdicts(cells, f"{PRIMARY}_difference")
        subject = f"against the baseline {results.source.baseline}"
        names, field = cells["method"], counted(len(compared), "method")
        if compared.empty:
            return None
    named_by = {verdict: names[compared.index[compared == verdict]].tolist() for verdict in get_args(Verdict)}
    named_by = {verdict: who for verdict, who in named_by.items() if who}
    if len(compared) <= MAX_NAMED:
        told = "; ".join(f"{verdict} for {listed(who)}" for verdict, who in named_by.items())
    else:
        told = f"{listed([f'{verdict} for {len(who)}' for verdict, who in named_by.items()])} of {field}"
    return f"{setting.label}: {subject}: {told}."


def details(results: Results, setting: Setting) -> list[str]:
    """One sentence per base loss: the choice, its effect, and the uncertainty."""
    return [f"{_detail(row)}{_flat_region(results, row)}" for row in rows_of(setting.of(results.choices))]


def multiplicity(results: Results) -> str | None:
    """How many comparisons the verdicts are corrected for; None where there is no verdict."""
    questions = {"versus_plain": "each candidate against its plain base loss"} if len(results.choices) else {}
    for comparison, compared in {**questions, "difference": "each against the baseline"}.items():
        p, verdict = (results.cells[f"{PRIMARY}_{comparison}_{part}"] for part in ("p", "verdict"))
        if p.notna().any():
            num_counted = int((p.notna() | (verdict == NOT_JUDGED)).sum())
            return (
                f"The verdicts are corrected for {counted(num_counted, 'comparison')}, {compared} (Holm): of studies "
                f"in which nothing differs, at most {100 * ALPHA:.0f} in 100 say better or worse among these "
                "comparisons."
            )
    return None


def claimed_by_test_picking(results: Results) -> str | None:
    """What picking omega on the test set would have added to the accuracies; None where there is no choice."""
    if results.optimism.empty:
        return None
    number = len(results.optimism)
    if (results.optimism["picked_cell"] == results.optimism["cell"]).all():
        return f"Picking ω on the test set would have made the same {'choice' if number == 1 else f'{number} choices'}."
    most = results.optimism.sort_values("optimism", ascending=False, kind="stable").iloc[0]
    told = f"{points(results.optimism['optimism'].mean())} points more on average of {counted(number, 'choice')}"
    if number == 1:
        told = f"{points(most['optimism'])} points more"
    elif most["optimism"] > 0:
        told += f", {points(most['optimism'])} for {most['family']} at {setting_label(most['imbalance_factor'])}"
    return f"Picking ω on the test set would have claimed {told}."


def seeds_to_settle(results: Results) -> str | None:
    """How many more seeds would settle the open comparisons of the chosen omegas; None where that is known for none."""
    told = _by_setting(
        results, lambda row: f"{row.family} {more}" if (more := more_seeds(row.versus_plain_more_seeds)) else ""
    )
    return f"More seeds that would probably settle an effect of the estimated size: {told}." if told else None


def ties(results: Results) -> str | None:
    """Which choices validation did not make; None where it made all."""
    told = _by_setting(results, lambda row: f"{row.family} {row.tied} of {row.candidates}" if row.tied > 1 else "")
    if not told:
        return None
    return (
        f"ω rests on a tie; candidates that share the best mean on validation: {told}. Of those, {TIE_RULE}; more "
        "validation images could tell them apart."
    )


def _by_setting(results: Results, said: Callable[[Any], str]) -> str:
    """What is said of each choice, imbalance factor by imbalance factor; nothing of those that it is empty for."""
    by_setting = {
        setting: [text for row in rows_of(setting.of(results.choices)) if (text := said(row))]
        for setting in results.settings
    }
    return "; ".join(f"{setting.label}: {', '.join(texts)}" for setting, texts in by_setting.items() if texts)


def _named(cells: pd.DataFrame, column: str) -> list[str]:
    pairs = dict.fromkeys(zip(cells[column], cells[f"{column}_options"], strict=True))
    return [named(*pair) for pair in pairs]


def _verdicts(frame: pd.DataFrame, comparison: str) -> pd.Series[str]:
    """Those over at least one seed, and those of comparisons that are not judged, be it that no seed is left."""
    verdicts = frame[f"{comparison}_verdict"]
    return verdicts[(frame[f"{comparison}_n"] > 0) | (verdicts == NOT_JUDGED)]


def _detail(row: Any) -> str:  # noqa: ANN401  (a row of a frame)
    field = counted(row.candidates, "candidate")
    left_out = f", {row.left_out} left out for missing seeds" if row.left_out else ""
    best = f"best of {field} on validation"
    if row.tied > 1:
        best = f"{row.tied} of {field} share the best mean on validation; {TIE_RULE}"
    choice = f"{row.method} ({best}{left_out})"
    if not getattr(row, f"{PRIMARY}_n"):
        return f"{choice}: no test results."
    reached = f"{PRIMARY_NAME} {percent(getattr(row, f'{PRIMARY}_mean'))} %"
    if not isinstance(row.plain_cell, str):
        return f"{choice}: {reached}; there is no plain {row.family} to compare with."
    if not row.versus_plain_n:
        return f"{choice}: {reached}; plain {row.family} has no finished seed beside it ({row.versus_plain_verdict})."
    ends = interval(row.versus_plain_low, row.versus_plain_high)
    uncertainty = f"95 % interval {ends}, " if ends else ""
    seeds = counted(row.versus_plain_n, "seed")
    p = "" if math.isnan(row.versus_plain_p) else f", {p_value(row.versus_plain_p_holm)} after correction"
    more = more_seeds(row.versus_plain_more_seeds)
    settle = f"; {more} more seeds would probably settle an effect of the estimated size" if more else ""
    return (
        f"{choice}: {points(row.versus_plain_mean)} points of {PRIMARY_NAME} against plain {row.family} "
        f"({uncertainty}{seeds}{p}): {row.versus_plain_verdict}{settle}."
    )


def _flat_region(results: Results, row: Any) -> str:  # noqa: ANN401  (a row of a frame)
    """What validation cannot tell from the choice; empty where there is nothing or nothing can be told."""
    cells = results.cells[results.cells["omega"].notna()]
    field = cells[(cells[FIELD] == [getattr(row, name) for name in FIELD]).all(axis="columns")]
    is_flat = field["cell"].map(results.flat).fillna(value=False).astype(bool)
    flat = field[is_flat & field["cell"].isin(results.candidates)]
    if len(flat) < 2:
        return ""
    omegas = listed(_runs(sorted(field["omega"].unique()), set(flat["omega"])))
    return f" Validation cannot tell {counted(len(flat) - 1, 'other candidate')} from it (flat region: {omegas})."


def _runs(omegas: list[float], wanted: set[float]) -> list[str]:
    """The wanted ones of all the omegas, neighbours together.

    Example:
        >>> _runs([0.25, 0.5, 0.75, 1.0], {0.25, 0.75, 1.0})
        ['ω = 0.25', 'ω from 0.75 to 1']
    """
    runs = [list(run) for is_wanted, run in groupby(omegas, wanted.__contains__) if is_wanted]
    return [f"ω = {run[0]:g}" if len(run) == 1 else f"ω from {run[0]:g} to {run[-1]:g}" for run in runs]


def damaged_checkpoints(results: Results) -> str | None:
    """Said when trials went on from an earlier checkpoint, since their last one had been altered on disk."""
    trials = results.trials
    damaged = trials[(trials["status"] == "finished") & trials["error"].notna()]
    if damaged.empty:
        return None
    names = [f"{row.cell} seed {row.seed}" for row in rows_of(damaged)]
    return (
        f"The disk of the trial store is not to be trusted: {counted(len(names), 'trial')} found a checkpoint damaged "
        f"and went on from the one before it, to the same numbers: {listed(names)}."
    )


def seeds_warning(results: Results) -> str | None:
    """Said when no comparison can be judged, whatever its size."""
    planned = results.trials["seed"].nunique()
    if planned >= MIN_SEEDS:
        return None
    return (
        f"With {counted(planned, 'seed')} no difference can be told from noise: give the study three seeds or more "
        "(only the new trials will run)."
    )

"""The report in plain words: what was run, what did not finish, what was found and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, get_args

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME, STATUSES
from ccar.evidence.frames import rows_of
from ccar.evidence.paired import DROPPED_OUT
from ccar.evidence.significance import ALPHA, MIN_SEEDS, NOT_JUDGED, Verdict
from ccar.reports.results import Results, Setting, setting_label
from ccar.reports.wording import counted, interval, listed, more_seeds, p_value, percent, points


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
    models, recipes = list(dict.fromkeys(cells["model"])), list(dict.fromkeys(cells["recipe"]))
    data = list(dict.fromkeys(cells["data"]))
    seeds = results.trials["seed"].nunique()
    return (
        f"{counted(len(results.trials), 'trial')}: {counted(cells['method'].nunique(), 'method')} of "
        f"{counted(cells['family'].nunique(), 'base loss', 'base losses')} at "
        f"{listed([setting.label for setting in results.settings])}, {counted(seeds, 'seed')}; {listed(models)} on "
        f"{listed(data)} with the recipe {listed(recipes)}. Baseline: {results.source.baseline}."
    )


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
    """Counts of the verdicts at one imbalance factor.

    Of the chosen omegas against their plain base losses; where none is chosen, of all methods against the baseline.
    None when nothing can be compared.
    """
    choices = setting.of(results.choices)
    if len(choices):
        compared = choices[choices["versus_plain_n"] > 0]["versus_plain_verdict"]
        subject = "the ω chosen on validation, against its own plain base loss"
        field = counted(len(compared), "base loss", "base losses")
        if compared.empty:
            return f"{setting.label}: the ω chosen on validation."
    else:
        cells = setting.of(results.cells)
        compared = cells[cells[f"{PRIMARY}_difference_n"] > 0][f"{PRIMARY}_difference_verdict"]
        subject = f"against the baseline {results.source.baseline}"
        field = counted(len(compared), "method")
        if compared.empty:
            return None
    verdicts = Counter(compared)
    parts = [f"{verdict} for {verdicts[verdict]}" for verdict in get_args(Verdict) if verdicts[verdict]]
    return f"{setting.label}: {subject}: {listed(parts)} of {field}."


def details(results: Results, setting: Setting) -> list[str]:
    """One sentence per base loss: the choice, its effect, and the uncertainty."""
    return [f"{_detail(row)}{_flat_region(results, row)}" for row in rows_of(setting.of(results.choices))]


def multiplicity(results: Results) -> str | None:
    """How many comparisons the verdicts are corrected for; None where there is no verdict."""
    compared = "versus_plain" if len(results.choices) else "difference"
    p, verdict = (results.cells[f"{PRIMARY}_{compared}_{part}"] for part in ("p", "verdict"))
    if p.isna().all():
        return None
    num_counted = int((p.notna() | (verdict == NOT_JUDGED)).sum())
    candidates = "each candidate against its plain base loss" if len(results.choices) else "each against the baseline"
    return (
        f"The verdicts are corrected for {counted(num_counted, 'comparison')}, {candidates} (Holm): of studies in "
        f"which nothing differs, at most {100 * ALPHA:.0f} in 100 say better or worse among these comparisons."
    )


def claimed_by_test_picking(results: Results) -> str | None:
    """What picking omega on the test set would have added to the accuracies; None where there is no choice."""
    if results.optimism.empty:
        return None
    most = results.optimism.sort_values("optimism", ascending=False, kind="stable").iloc[0]
    number = len(results.optimism)
    told = f"{points(results.optimism['optimism'].mean())} points more on average of {counted(number, 'choice')}"
    if number == 1:
        told = f"{points(most['optimism'])} points more"
    elif most["optimism"] > 0:
        told += f", {points(most['optimism'])} for {most['family']} at {setting_label(most['imbalance_factor'])}"
    return f"Picking ω on the test set would have claimed {told}."


def seeds_to_settle(results: Results) -> str | None:
    """How many more seeds would settle the comparisons of the chosen omegas that are not; None where all are."""
    told = []
    for setting in results.settings:
        choices = setting.of(results.choices)
        open_ = choices[choices["versus_plain_more_seeds"].notna()]
        families = [f"{row.family} {more_seeds(row.versus_plain_more_seeds)}" for row in rows_of(open_)]
        if families:
            told.append(f"{setting.label}: {', '.join(families)}")
    return f"More seeds that would probably settle an effect of the size seen: {'; '.join(told)}." if told else None


def _detail(row: Any) -> str:  # noqa: ANN401  (a row of a frame)
    field = counted(row.candidates, "candidate")
    left_out = f", {row.left_out} left out for missing seeds" if row.left_out else ""
    choice = f"{row.method} (best of {field} on validation{left_out})"
    if not getattr(row, f"{PRIMARY}_n"):
        return f"{choice}: no test results."
    if not row.versus_plain_n:
        reached = f"{PRIMARY_NAME} {percent(getattr(row, f'{PRIMARY}_mean'))} %"
        return f"{choice}: {reached}; there is no plain {row.family} to compare with."
    ends = interval(row.versus_plain_low, row.versus_plain_high)
    uncertainty = f"95 % interval {ends}, " if ends else ""
    seeds = counted(row.versus_plain_n, "seed")
    p = "" if math.isnan(row.versus_plain_p) else f", {p_value(row.versus_plain_p_holm)} after correction"
    more = more_seeds(row.versus_plain_more_seeds)
    settle = f"; {more} more seeds would probably settle an effect of this size" if more else ""
    return (
        f"{choice}: {points(row.versus_plain_mean)} points of {PRIMARY_NAME} against plain {row.family} "
        f"({uncertainty}{seeds}{p}): {row.versus_plain_verdict}{settle}."
    )


def _flat_region(results: Results, row: Any) -> str:  # noqa: ANN401  (a row of a frame)
    """What validation cannot tell from the choice; empty where there is nothing or nothing can be told."""
    flat = set(results.flat.index[results.flat.fillna(value=False).astype(bool)])
    cells = results.cells[(results.cells["family"] == row.family) & results.cells["cell"].isin(flat)]
    here = cells[(cells["data"] == row.data) & (cells["imbalance_factor"] == row.imbalance_factor)]
    if len(here) < 2:
        return ""
    low, high = here["omega"].min(), here["omega"].max()
    omegas = f"ω = {low:g}" if low == high else f"ω from {low:g} to {high:g}"
    return f" Validation cannot tell {counted(len(here) - 1, 'other candidate')} from it ({omegas})."


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

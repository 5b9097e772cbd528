"""The report in plain words: what was run, what did not finish, what was found and how sure that is."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

from ccar.evidence.cells import STATUSES
from ccar.evidence.frames import rows_of
from ccar.evidence.paired import LEVEL, MIN_SEEDS, Verdict
from ccar.reports.results import Results, Setting
from ccar.reports.wording import counted, interval, listed, points

FALSE_ALARMS = 1 - LEVEL  # the share of comparisons without any effect that leave noise all the same


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
    return (
        f"{counts['finished']:,} of {counted(len(results.trials), 'trial')} finished; {listed(others)}. "
        "Those are in no mean; the report lists their cells."
    )


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
        compared = cells[cells["test_accuracy_difference_n"] > 0]["test_accuracy_difference_verdict"]
        subject = f"against the baseline {results.source.baseline}"
        field = counted(len(compared), "method")
        if compared.empty:
            return None
    verdicts = Counter(compared)
    parts = [f"{verdict} for {verdicts[verdict]}" for verdict in get_args(Verdict) if verdicts[verdict]]
    return f"{setting.label}: {subject}: {listed(parts)} of {field}."


def details(results: Results, setting: Setting) -> list[str]:
    """One sentence per base loss: the choice, its effect, and the uncertainty."""
    return [_detail(row) for row in rows_of(setting.of(results.choices))]


def multiplicity(results: Results) -> str | None:
    """What the number of comparisons does to the verdicts; None for fewer than two."""
    seeds = results.choices["versus_plain_n"] if len(results.choices) else results.cells["test_accuracy_difference_n"]
    judged = int((seeds >= MIN_SEEDS).sum())
    if judged < 2:
        return None
    return (
        f"These {judged} comparisons are not corrected for their number: if the methods did not differ at all, about "
        f"{FALSE_ALARMS * judged:.1f} of them would still be called better or worse."
    )


def _detail(row: Any) -> str:  # noqa: ANN401  (a row of a frame)
    field = counted(row.candidates, "candidate")
    left_out = f", {row.left_out} left out for missing seeds" if row.left_out else ""
    choice = f"{row.method} (best of {field} on validation{left_out})"
    if not row.test_accuracy_n:
        return f"{choice}: no test results."
    if not row.versus_plain_n:
        reached = f"test accuracy {100 * row.test_accuracy_mean:.2f} %"
        return f"{choice}: {reached}; there is no plain {row.family} to compare with."
    ends = interval(row.versus_plain_low, row.versus_plain_high)
    uncertainty = f"95 % interval {ends}, " if ends else ""
    seeds = counted(row.versus_plain_n, "seed")
    return (
        f"{choice}: {points(row.versus_plain_mean)} points of test accuracy against plain {row.family} "
        f"({uncertainty}{seeds}): {row.versus_plain_verdict}."
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

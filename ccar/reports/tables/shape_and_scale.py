"""How much of a gain is scale, how much confidence shape, how much the class term."""

from __future__ import annotations

import math
from typing import Any

from ccar.evidence.cells import PRIMARY_NAME
from ccar.evidence.frames import rows_of
from ccar.evidence.shape_and_scale import PARTS_OF_GAIN
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.tables.entries import PERCENT_LEVEL, VERDICT_NOTE, difference_entries
from ccar.reports.wording import MISSING, listed

_WANTED = {  # what a study adds to have the part
    "scale": "a loss factor within 10 % of e^ω (loss_factor)",
    "class term": "frequency: none",
    "scale, as a learning rate": "a learning rate within 10 % of e^ω times its own (recipe)",
    "scale, taken out of Omega": "reduction: scale_matched",
    "gradient through Omega": "gradient: detached",
}


def shape_and_scale_table(results: Results) -> Table | None:
    """A block per base loss and imbalance factor, a row per part; None without any control."""
    parts = results.shape_and_scale
    compared = parts[parts["n"] > 0]
    if not (compared["part"] != "gain").any():
        return None
    planned = dict(zip(results.cells["cell"], results.cells["planned"], strict=True))
    rows: list[Row] = []
    for setting in results.settings:
        here = setting.of(compared)
        for method in dict.fromkeys(here["method"]):
            for index, row in enumerate(rows_of(here[here["method"] == method])):
                entries = (
                    Entry(setting.label if index == 0 else ""),
                    Entry(method if index == 0 else ""),
                    Entry(_named(row)),
                    *difference_entries(row, "", planned[row.own]),
                    Entry(MISSING if math.isnan(row.share) else f"{row.share:.0%}".replace("%", " %")),
                )
                rows.append(Row(entries, starts_block=index == 0 and bool(rows)))
    absent = [control for part, control in _WANTED.items() if not (compared["part"] == part).any()]
    return Table(
        name="shape_and_scale",
        caption="What the gain over the plain base loss is made of, for the best ω on validation of those methods "
        "that are no control themselves. Scale: the plain loss times a constant, the one nearest to e^ω (within 10 %), "
        "which is what ω multiplies the loss by below the pivot. Confidence shape: Ω without class frequency, beyond "
        "that constant. Class term: class frequency, beyond Ω without it. These three add up to the "
        "gain where they are over the same seeds. Taken out of Ω: what Ω loses when it is divided by its mean. "
        "Gradient through Ω: beyond Ω as a mere weight. Differences in "
        f"{PRIMARY_NAME} are paired by seed, in percentage points, with their {PERCENT_LEVEL} interval; share: of the "
        "gain, where its interval excludes 0 and both are over the same seeds. "
        f"{VERDICT_NOTE}" + (f" Not in this study: {listed(absent)}." if absent else ""),
        columns=(
            Column("", numeric=False),
            Column("method", numeric=False),
            Column("part", numeric=False),
            Column("difference"),
            Column("verdict", numeric=False),
            Column("share"),
        ),
        rows=tuple(rows),
    )


def _named(row: Any) -> str:  # noqa: ANN401  (a row of a frame)
    name: str = row.part.replace("Omega", "Ω")
    if math.isnan(row.factor):
        return name
    what = "learning rate" if "learning_rate" in PARTS_OF_GAIN[row.part] else "loss"
    return f"{name} ({what} × {row.factor:.3g})"

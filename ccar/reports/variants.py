"""Which cells a plot of omegas shows beside each other: by the switches that a study varies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import pandas as pd

from ccar.evidence.cells import PRIMARY, SWITCHES
from ccar.reports.results import Results, Setting

GAIN = f"{PRIMARY}_versus_plain"  # of the re-weighted cells, in `Results.cells`
Standing = Literal["flat region", "worse", "cannot be told"]
_USUAL = {"phase": "dual", "confidence": "adjusted", "gradient": "through", "keep_z": False, "reduction": "mean"}


def variants(cells: pd.DataFrame) -> tuple[list[str], pd.Series[str]]:
    """The switches beside omega that differ among the cells, and each cell's values of them as a label."""
    varying = [name for name in SWITCHES if cells[name].nunique(dropna=False) > 1]
    if not varying:
        return [], pd.Series("with ω", index=cells.index, dtype="str")
    values = cells[varying].astype("str").fillna("–")
    return varying, values.agg(", ".join, axis="columns").astype("str")


def beside_the_choice(results: Results) -> dict[str, Standing]:
    """What validation says of each re-weighted cell beside the chosen one of its base loss, if there is one."""
    words: dict[bool, Standing] = {True: "flat region", False: "worse"}
    return {str(cell): "cannot be told" if pd.isna(flat) else words[bool(flat)] for cell, flat in results.flat.items()}


def by_frequency(results: Results) -> Iterator[tuple[Setting, str, pd.DataFrame]]:
    """Setting, family and cells where these have two omegas and two class frequencies; all else as the paper has it."""
    cells = results.cells[results.cells[f"{GAIN}_n"] > 0]
    for switch, usual in _USUAL.items():
        cells = cells[cells[switch] == usual]
    for setting in results.settings:
        here = setting.of(cells)
        for family in dict.fromkeys(here["family"]):
            own = here[here["family"] == family]
            if own["omega"].nunique() > 1 and frequency_names(own).nunique() > 1:
                yield setting, family, own


def frequency_names(cells: pd.DataFrame) -> pd.Series[str]:
    """The source of the class frequency, with beta where it is the effective number: a study may have several."""
    names = [
        frequency if math.isnan(beta) else f"{frequency} ({beta:g})"
        for frequency, beta in zip(cells["frequency"], cells["effective_number_beta"], strict=True)
    ]
    return pd.Series(names, index=cells.index, dtype="str")

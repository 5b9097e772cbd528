"""Which cells a plot of omegas shows beside each other: by the switches that a study varies."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from ccar.evidence.cells import PRIMARY, SWITCHES
from ccar.reports.results import Results, Setting

GAIN = f"{PRIMARY}_versus_plain"  # of the re-weighted cells, in `Results.cells`
_USUAL = {"phase": "dual", "confidence": "adjusted", "gradient": "through", "keep_z": False, "reduction": "mean"}


def variants(cells: pd.DataFrame) -> tuple[list[str], pd.Series[str]]:
    """The switches beside omega that differ among the cells, and each cell's values of them as a label."""
    varying = [name for name in SWITCHES if cells[name].nunique(dropna=False) > 1]
    if not varying:
        return [], pd.Series("with ω", index=cells.index, dtype="str")
    values = cells[varying].astype("str").fillna("–")
    return varying, values.agg(", ".join, axis="columns").astype("str")


def worse_on_validation(results: Results) -> set[str]:
    """The cells outside the flat region around the chosen one."""
    return set(results.flat.index[~results.flat.fillna(value=True).astype(bool)])


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

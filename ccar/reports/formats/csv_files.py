"""cells.csv, trials.csv, costs.csv and classes.csv: everything in full precision, for other programs."""

from __future__ import annotations

import pandas as pd
from pandas.api.types import is_string_dtype

from ccar.reports.neutralise import for_csv


def render_csv(frame: pd.DataFrame) -> str:
    """The frame as CSV; empty fields where there is no value, and no text that a spreadsheet would execute."""
    texts = {
        name: frame[name].map(for_csv, na_action="ignore")
        for name in frame.columns
        if is_string_dtype(frame[name].dtype)
    }
    return frame.assign(**texts).to_csv(index=False, lineterminator="\n")

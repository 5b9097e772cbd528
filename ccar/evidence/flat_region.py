"""Which omegas do as well as the chosen one, as far as validation can tell."""

from __future__ import annotations

import pandas as pd

from ccar.evidence.frames import FIELD, ValidationFrame
from ccar.evidence.paired import paired_moments, survivors
from ccar.evidence.selection import CRITERION
from ccar.evidence.significance import MIN_SEEDS


def flat_region(choices: pd.DataFrame, validation: ValidationFrame) -> pd.Series:
    """For each re-weighted cell, whether it belongs to the flat region around the chosen cell of its base loss.

    It does unless the 95 % interval of its paired difference in the criterion lies below 0: then it is worse than the
    chosen cell. Read on validation data, as the choice is. The interval is that of one comparison: with many
    candidates a few drop out of a region that is truly flat.

    Returns:
        Boolean by cell id; NA where nothing can be told: with fewer than three seeds, where all seeds differ by the
        same, which leaves no interval, or where seeds were stopped or diverged. The chosen cell itself is True.
    """
    cells = validation[validation["omega"].notna()].drop_duplicates("cell")[["cell", *FIELD]]
    pairs = cells.merge(choices[[*FIELD, "cell"]], on=FIELD, suffixes=("", "_chosen"))
    chosen_of = dict(zip(pairs["cell"], pairs["cell_chosen"], strict=True))
    difference = paired_moments(validation, CRITERION, chosen_of)
    flat = (~(difference["high"] < 0)).astype("boolean")
    others = difference.index != difference["reference"]
    return flat.mask(
        (difference["n"] < MIN_SEEDS)
        | (difference["high"].isna() & (difference["mean"] != 0))
        | (others & survivors(validation, difference["reference"]))
    )

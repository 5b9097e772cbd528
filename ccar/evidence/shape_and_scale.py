"""Shape against scale: how much of a gain a larger loss alone would have brought, and what the rest is.

Below the pivot, omega multiplies the loss by e^omega: a larger learning rate. A study that wants to know whether more
than that is behind a gain adds controls, and each difference of two of its cells isolates one part of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ccar.evidence.cells import PRIMARY, SWITCHES, plain_cells
from ccar.evidence.frames import FIELD, SETTING, ValidationFrame, rows_of
from ccar.evidence.paired import compare, difference_matrix, survivors
from ccar.evidence.selection import select_omega

_CONTROLS = (  # name, the switch that makes it one, and the values that do, the better one first
    ("no_frequency", "frequency", ["none"]),
    ("detached", "gradient", ["detached"]),
    ("scale_matched", "reduction", ["scale_matched", "weight_normalised"]),
)
_NEAREST = math.log(1.1)  # a factor further from e^omega than 10 % would be taken for the shape, or hide it
PARTS_OF_GAIN = {  # what each is the difference of; the first is the sum of the next three
    "gain": ("method", "plain"),
    "scale": ("loss_factor", "plain"),
    "confidence shape": ("no_frequency", "loss_factor"),
    "class term": ("method", "no_frequency"),
    "shape and class": ("method", "loss_factor"),
    "scale, as a learning rate": ("learning_rate", "plain"),
    "scale, taken out of Omega": ("method", "scale_matched"),
    "gradient through Omega": ("method", "detached"),
}


def select_method(validation: ValidationFrame) -> pd.DataFrame:
    """The re-weighting whose gain is taken apart: of those that are no control themselves, the best on validation."""
    whole = (
        (validation["reduction"] == "mean")
        & (validation["gradient"] == "through")
        & (validation["frequency"] != "none")
        & validation["omega"].notna()
    )
    return select_omega(ValidationFrame(validation[whole]))


def shape_and_scale(methods: pd.DataFrame, trials: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The parts of each method's gain, as differences of the primary metric between two cells of the study.

    Args:
        methods: from `select_method`.
        trials: with test results.
        cells: from `summarise_cells`.

    Returns:
        For each method one row per part of `PARTS_OF_GAIN`: setting, family, `method`, `omega`, `part`, `own` and
        `other` (the cells of the difference; NaN where the study has no such control), `factor` (of the loss or the
        learning rate, where the part is about one), the parts of `paired_differences` - all rows are corrected for
        each other - and `share`: of the gain, NaN where the interval of the gain includes 0, and where the part is over
        other seeds than the gain, since then it is no part of it. No rows for a method without any control.

        The loss factor, and the learning rate, is the one nearest to e^omega, within 10 %. A method has none when the
        study has none so near, or when what omega multiplies its loss by is not e^omega: with Z kept it is about 1, and
        inverted_only makes it (e - 1)^omega for rare classes.
    """
    plain_of = plain_cells(cells)
    facts = cells[["cell", *FIELD, "omega", *SWITCHES, "stem", "loss_factor", "learning_rate"]]
    here = {setting: rows_of(own) for setting, own in facts.groupby(SETTING, sort=False)}
    rows = [
        row
        for method in rows_of(methods)
        for row in _parts(method, here[method.data, method.imbalance_factor], plain_of)
    ]
    columns = [*FIELD, "method", "omega", "part", "own", "other", "factor"]
    pairs = pd.DataFrame(rows, columns=columns).astype({"own": "str", "other": "str", "factor": "float64"})
    known = pairs["other"].notna()
    references = pd.Series(pairs["other"][known].to_numpy(), index=pairs["own"][known], dtype="str")
    differences = difference_matrix(trials, PRIMARY, references)
    judged = compare(differences, survivors(trials, references)).set_index(pairs.index[known])
    found = pairs.join(judged)
    found["n"] = found["n"].fillna(0).astype("int64")
    seeds = pd.Series([row.tobytes() for row in np.isnan(differences)], index=judged.index).reindex(found.index)
    gain = found.assign(seeds=seeds)[(found["part"] == "gain") & ((found["low"] > 0) | (found["high"] < 0))]
    of_gain = gain.set_index(FIELD)[["mean", "seeds"]].add_prefix("gain_")
    beside = found[FIELD].join(of_gain, on=FIELD)
    return found.assign(share=(found["mean"] / beside["gain_mean"]).where(seeds == beside["gain_seeds"]))


def _parts(method: Any, here: Sequence[Any], plain_of: Mapping[str, str]) -> list[dict[str, Any]]:  # noqa: ANN401
    found, factors = _cells_and_factors(method.cell, {row.cell: row for row in here}, plain_of)
    if not found.keys() - {"method", "plain"}:
        return []
    parts = []
    for part, (own, other) in PARTS_OF_GAIN.items():
        complete = own in found and other in found
        parts.append(
            {
                **{name: getattr(method, name) for name in [*FIELD, "method", "omega"]},
                "part": part,
                "own": found[own] if complete else None,
                "other": found[other] if complete else None,
                "factor": factors.get(own, factors.get(other)) if complete else None,
            }
        )
    return parts


def _cells_and_factors(
    method: str, here: Mapping[str, Any], plain_of: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, float]]:
    """The method and its controls by the names that `PARTS_OF_GAIN` uses, as far as the study has them."""
    own = here[method]
    found, factors = {"method": method}, {}
    alike = [row for row in here.values() if (row.family, row.omega) == (own.family, own.omega)]
    for name, switch, values in _CONTROLS:
        for value in values:
            cells = [row.cell for row in alike if getattr(row, switch) == value and _differ_only_in(switch, row, own)]
            if cells and name not in found:
                found[name] = cells[0]
    if own.phase == "standard_only" and "no_frequency" not in found:  # it is `constant` then, and called so
        constant = [row.cell for row in alike if row.phase == "constant" and _differ_only_in("phase", row, own)]
        found |= {"no_frequency": constant[0]} if constant else {}
    if method in plain_of:
        found["plain"] = plain_of[method]
    if method in plain_of and not own.keep_z and own.phase != "inverted_only":
        plain = here[plain_of[method]]
        bare = [row for row in here.values() if math.isnan(row.omega) and row.stem == plain.stem]
        for name, kept in (("loss_factor", "learning_rate"), ("learning_rate", "loss_factor")):
            factor_of = {
                row.cell: getattr(row, name) / getattr(plain, name)
                for row in bare
                if getattr(row, kept) == getattr(plain, kept) and getattr(row, name) != getattr(plain, name)
            }
            distance = {cell: abs(math.log(factor) - own.omega) for cell, factor in factor_of.items()}
            nearest = min(distance, key=distance.__getitem__, default=None)
            if nearest is not None and distance[nearest] <= _NEAREST:
                found[name], factors[name] = nearest, factor_of[nearest]
    return found, factors


def _differ_only_in(switch: str, one: Any, other: Any) -> bool:  # noqa: ANN401  (rows of a frame)
    of_frequency = {"frequency", "effective_number_beta"}  # `constant` has none of its own
    ignored = {"frequency": of_frequency, "phase": {"phase"} | of_frequency}.get(switch, {switch})
    pairs = [(getattr(one, name), getattr(other, name)) for name in SWITCHES if name not in ignored]
    return all(a == b or (a != a and b != b) for a, b in pairs)

"""Numbers as readers of tables expect them. Accuracies are shares in the frames and per cent on paper."""

from __future__ import annotations

import math

from ccar.metrics.accuracy import FEW_BELOW, MANY_ABOVE

MISSING = "–"
TIE_RULE = "the steadiest over the seeds, then the smallest ω, stands"  # among equal means on validation
GROUPS_NOTE = (
    f"Many: classes with more than {MANY_ABOVE} training images; medium: {FEW_BELOW} to {MANY_ABOVE}; "
    f"few: fewer than {FEW_BELOW}."
)
ECE_NOTE = "ECE: expected calibration error, a share."


def percent(mean: float, half_width: float = math.nan) -> str:
    """A share as per cent, with half the width of its interval where there is one.

    Example:
        >>> percent(0.38432, 0.00304), percent(0.5), percent(math.nan)
        ('38.43 ± 0.30', '50.00', '–')
    """
    if math.isnan(mean):
        return MISSING
    return f"{100 * mean:.2f}" if math.isnan(half_width) else f"{100 * mean:.2f} ± {100 * half_width:.2f}"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, always signed.

    Example:
        >>> points(0.0042), points(-0.001), points(0.0)
        ('+0.42', '−0.10', '+0.00')
    """
    if math.isnan(difference):
        return MISSING
    # + 0.0: what rounds to nothing has no sign of its own
    return f"{round(100 * difference, 2) + 0.0:+.2f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """Both ends of an interval in percentage points; empty where there is none.

    Example:
        >>> interval(-0.001, 0.0094), interval(math.nan, math.nan)
        ('−0.10 to +0.94', '')
    """
    return "" if math.isnan(low) else f"{points(low)} to {points(high)}"


def more_seeds(number: float) -> str:
    """How many more seeds would probably settle a comparison; empty where that is settled or unknown.

    Also where it is beyond 1,000: the effect is about zero, and there is nothing to settle.

    Example:
        >>> more_seeds(4.0), more_seeds(math.inf), more_seeds(math.nan)
        ('4', '', '')
    """
    return f"{number:.0f}" if math.isfinite(number) else ""


def lacking(n: int, planned: int) -> str:
    """What stands behind a mean over fewer seeds than planned; empty where all have finished.

    Example:
        >>> lacking(2, 3), lacking(3, 3)
        (' (n = 2)', '')
    """
    return "" if n == planned else f" (n = {n})"


def p_value(p: float) -> str:
    """A p-value to two digits.

    Example:
        >>> p_value(0.0312), p_value(0.00004), p_value(1.0)
        ('p = 0.031', 'p < 0.001', 'p = 1')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def hours(time: float) -> str:
    """A time in hours, to two digits that count.

    Example:
        >>> hours(0.0312), hours(12.34), hours(1234.5), hours(0.00001)
        ('0.031 h', '12 h', '1,234 h', '< 0.001 h')
    """
    if 0 < time < 0.001:
        return "< 0.001 h"
    return f"{time:,.0f} h" if time >= 10 else f"{float(f'{time:.2g}'):g} h"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "seed"), counted(3, "seed"), counted(2, "base loss", "base losses")
        ('1 seed', '3 seeds', '2 base losses')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def named(name: str, details: str) -> str:
    """A name, with what is to be said of it in brackets.

    Example:
        >>> named("resnet50", "pretrained"), named("resnet50", "")
        ('resnet50 (pretrained)', 'resnet50')
    """
    return f"{name} ({details})" if details else name


def listed(items: list[str]) -> str:
    """Items as in a sentence.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"

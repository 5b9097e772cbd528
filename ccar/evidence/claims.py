"""Arithmetic on results tables: what cannot be true as it is stated, what is doubtful, what is weak.

Every check takes rows and gives findings; none of them needs more than what is printed in the tables, the class counts
of the data sets, and the number of their test images.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Literal, get_args

from ccar.evidence.benchmarks import BENCHMARKS, NATURAL
from ccar.evidence.result_rows import GROUPS, ResultRow
from ccar.study.parts import plain

Severity = Literal["contradiction", "doubtful", "weak"]
SEVERITIES: dict[Severity, str] = {
    "contradiction": "the numbers cannot all be right",
    "doubtful": "possible, but the table does not say how",
    "weak": "the numbers do not carry the claim",
}

# With tau = 1 the two differ by a constant on all logits, so loss and gradient are the same (docs/losses.md).
_SAME_LOSS = {"logit_adjustment": "balanced_softmax", "focal_logit_adjustment": "focal_balanced_softmax"}
_ROUNDING = 1e-9  # of float64, so that a gap of exactly the tolerance is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that does not fit. `gap` is in percentage points; `message` has the arithmetic."""

    severity: Severity
    check: str
    rows: tuple[ResultRow, ...]  # the row that it is about, then what it was compared with
    gap: float
    message: str


def check_claims(rows: Sequence[ResultRow], published: Sequence[ResultRow] = ()) -> list[Finding]:
    """All findings, the gravest first.

    Args:
        rows: of one table or of several.
        published: rows of other papers, among which the baselines of a claimed protocol are looked up.
    """
    findings = [finding for check in _CHECKS for finding in check(rows)]
    findings += _claimed_protocol(rows, [*rows, *published])
    order = get_args(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def not_checked(rows: Sequence[ResultRow]) -> list[str]:
    """What could not be checked for want of numbers, in sentences."""
    sentences = []
    no_counts = [row for row in rows if row.group_sizes is None and None not in row.groups]
    for data, number in _tally(row.data for row in no_counts):
        sentences.append(
            f"group means of {number} rows were not checked: the class counts of {data!r} are not known; "
            f"give many_classes, medium_classes and few_classes, or name one of {', '.join(BENCHMARKS)}"
        )
    no_size = [row for row in rows if row.test_images is None and (row.baseline or row.protocol)]
    for data, number in _tally(row.data for row in no_size):
        sentences.append(f"{number} gains were not compared with noise: give test_images of {data!r}")
    return sentences


def standard_error(accuracy: float, num_images: int) -> float:
    """Binomial standard error of one accuracy, in percentage points.

    Args:
        accuracy: in per cent.
        num_images: test images, at least 1.

    Example:
        >>> round(standard_error(38.43, 10_000), 2), round(standard_error(69.8, 24_426), 2)
        (0.49, 0.29)
    """
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / num_images)


def _group_means(rows: Sequence[ResultRow]) -> Iterator[Finding]:
    """On a test set with equally many images per class, overall accuracy is the mean of the groups by their classes."""
    for row in rows:
        if row.group_sizes is None:
            continue
        for group, size, value in zip(GROUPS, row.group_sizes, row.groups, strict=True):
            if not size and value:  # 0 is how some programs print a group without classes
                yield Finding(
                    severity="doubtful",
                    check="group means",
                    rows=(row,),
                    gap=float(value),
                    message=f"{group}: no class is in this group, stated {value}",
                )
        terms = [
            (size / sum(row.group_sizes), value)
            for size, value in zip(row.group_sizes, row.groups, strict=True)
            if size
        ]
        known = [(share, value) for share, value in terms if value is not None]
        if not known or len(known) < len(terms):
            continue
        implied = sum(share * float(value) for share, value in known)
        gap = float(row.overall) - implied
        zeros = min(_zeros(value) for value in (row.overall, *(value for _, value in known)))
        tolerance = _half_unit(row.overall, zeros) + sum(share * _half_unit(value, zeros) for share, value in known)
        if abs(gap) <= tolerance + _ROUNDING:
            continue
        total = " + ".join(f"{share:.4f} x {value}" for share, value in known)
        below = [base for base in _baselines(row, rows) if float(row.overall) >= float(base.overall) > implied]
        yield Finding(
            # Just outside: numbers that were rounded twice, or groups that were cut a little differently.
            severity="contradiction" if abs(gap) > 2 * tolerance else "doubtful",
            check="group means",
            rows=(row, *below[:1]),
            gap=gap,
            message=f"{total} = {implied:.2f}, stated {row.overall}: off by {gap:+.2f}, of which rounding explains "
            f"{tolerance:.2f}"
            + "".join(f"; {implied:.2f} is below its baseline {base.method} ({base.overall})" for base in below[:1]),
        )


def _two_tables(rows: Sequence[ResultRow]) -> Iterator[Finding]:
    """The same method in the same setting has one accuracy."""
    for first, *others in _together(rows, lambda row: (*_method(row), row.setting)):
        for other in others:
            gap = float(first.overall) - float(other.overall)
            if abs(gap) <= _half_unit(first.overall) + _half_unit(other.overall) + _ROUNDING:
                continue
            yield Finding(
                severity="contradiction",
                check="two tables",
                rows=(first, other),
                gap=gap,
                message=f"{first.overall} in {_place(first)}, {other.overall} in {_place(other)}: {abs(gap):.2f} apart",
            )


def _monotony(rows: Sequence[ResultRow]) -> Iterator[Finding]:
    """A longer tail leaves fewer training images, and should not raise the accuracy."""
    cut = [row for row in rows if row.imbalance_factor != NATURAL]
    for same in _together(cut, lambda row: (*_method(row), row.data, row.backbone)):
        ordered = sorted(same, key=lambda row: float(row.imbalance_factor))
        for shorter, longer in pairwise(ordered):
            gap = float(longer.overall) - float(shorter.overall)
            is_longer = shorter.imbalance_factor != longer.imbalance_factor
            if is_longer and gap > _half_unit(shorter.overall) + _half_unit(longer.overall) + _ROUNDING:
                yield Finding(
                    severity="doubtful",
                    check="monotony",
                    rows=(longer, shorter),
                    gap=gap,
                    message=f"{longer.overall} at IF {longer.imbalance_factor}, but {shorter.overall} at IF "
                    f"{shorter.imbalance_factor}: {gap:+.2f} with the longer tail{_noise_of(longer, shorter)}",
                )


def _same_loss(rows: Sequence[ResultRow]) -> Iterator[Finding]:
    """Logit adjustment with tau = 1 and balanced softmax are one loss: two numbers for it are noise, or two recipes."""
    for same in _together(rows, lambda row: (row.paper, row.omega, row.setting, row.recipe, _training(row))):
        for row in same:
            for other in same:
                if row.base not in _SAME_LOSS or other.base != _SAME_LOSS[row.base]:
                    continue
                gap = float(row.overall) - float(other.overall)
                error = _error_of_difference(row, other)
                if error is not None and abs(gap) > error:
                    yield Finding(
                        severity="doubtful",
                        check="same loss",
                        rows=(row, other),
                        gap=gap,
                        message=f"{row.method} {row.overall} and {other.method} {other.overall} train the same loss, "
                        f"unless tau is not 1: {abs(gap):.2f} apart{_noise_of(row, other)}",
                    )


def _gains(rows: Sequence[ResultRow]) -> Iterator[Finding]:
    """A row that claims to improve on a baseline is above it, and by more than the noise of the test set."""
    for row in rows:
        for base in _baselines(row, rows)[:1]:
            gap, error = float(row.overall) - float(base.overall), _error_of_difference(row, base)
            is_noise = error is not None and abs(gap) < error
            if gap >= 0 and not is_noise:
                continue
            yield Finding(
                severity="weak" if is_noise else "doubtful",
                check="below baseline" if gap < 0 else "gain within noise",
                rows=(row, base),
                gap=gap,
                message=f"{row.overall} - {base.overall} ({base.method}) = {gap:+.2f}{_noise_of(row, base)}",
            )


def _claimed_protocol(rows: Sequence[ResultRow], references: Sequence[ResultRow]) -> Iterator[Finding]:
    """Under the protocol that a row claims, its plain base loss reaches what the protocol's own paper says."""
    for row in rows:
        if not row.protocol or not row.base:
            continue
        wanted = (row.protocol, row.setting, None, _training(row))
        for plain_row in references:
            if (plain_row.arxiv, plain_row.setting, plain_row.omega, _training(plain_row)) != wanted:
                continue
            gap, error = float(row.overall) - float(plain_row.overall), _error_of_difference(row, plain_row)
            if gap >= -_half_unit(row.overall) - _half_unit(plain_row.overall):
                continue
            unverified = "" if plain_row.verified else " (not verified)"
            yield Finding(
                severity="weak" if error is not None and -gap < error else "doubtful",
                check="claimed protocol",
                rows=(row, plain_row),
                gap=gap,
                message=f"{row.overall}, but plain {plain_row.method} reaches {plain_row.overall}{unverified} "
                f"under the protocol of arXiv:{row.protocol}: {gap:+.2f}{_noise_of(row, plain_row)}",
            )


_CHECKS: tuple[Callable[[Sequence[ResultRow]], Iterator[Finding]], ...] = (
    _group_means,
    _two_tables,
    _monotony,
    _same_loss,
    _gains,
)


def _baselines(row: ResultRow, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Rows of the method that this one claims to improve on, in the same setting; those of its own table first."""
    if not row.baseline:
        return []
    found = [
        other for other in rows if (other.paper, other.method, other.setting) == (row.paper, row.baseline, row.setting)
    ]
    return sorted(found, key=lambda other: other.table != row.table)


def _together(rows: Iterable[ResultRow], key: Callable[[ResultRow], Hashable]) -> Iterator[list[ResultRow]]:
    groups: dict[Hashable, list[ResultRow]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    yield from groups.values()


def _tally(names: Iterable[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name] += 1
    return list(counts.items())


def _method(row: ResultRow) -> tuple[Hashable, ...]:
    """What two rows share that are the same method, trained in the same way as far as that is known."""
    return row.paper, row.method, row.omega, row.recipe


def _training(row: ResultRow) -> tuple[str, str, str, str]:
    """Base loss, its options, procedure and mixing; one name for losses that are the same."""
    return _SAME_LOSS.get(row.base, row.base), row.options, row.procedure, row.mixing


def _place(row: ResultRow) -> str:
    return row.table or f"line {row.line}"


def _zeros(value: Decimal) -> int:
    """Trailing zeros behind the decimal point."""
    fraction = str(value).partition(".")[2]
    return len(fraction) - len(fraction.rstrip("0"))


def _half_unit(value: Decimal, zeros: int = 0) -> float:
    """By how much rounding may have moved a printed number.

    Args:
        value: as printed.
        zeros: so many of its last digits are zeros that all numbers beside it share, as where a table of 61.7, 72.2
            and 63.0 is printed with two decimals: they say nothing.
    """
    decimals = len(str(value).partition(".")[2]) - zeros
    return 0.5 * 10.0**-decimals


def _error_of_difference(row: ResultRow, other: ResultRow) -> float | None:
    """Standard error of a difference of two accuracies in percentage points; None where a test set is not known.

    They are taken as independent. On the same images the error may be smaller, which only per-image predictions tell.
    """
    if row.test_images is None or other.test_images is None:
        return None
    errors = (standard_error(float(each.overall), each.test_images) for each in (row, other) if each.test_images)
    return math.hypot(*errors)


def _noise_of(row: ResultRow, other: ResultRow) -> str:
    error = _error_of_difference(row, other)
    return "" if error is None else f" (standard error {error:.2f} on {row.test_images:,} images)"


def described(row: ResultRow) -> str:
    """A row in a few words.

    Example:
        >>> described(ResultRow(line=2, method="Ours + CE", data="cifar100_lt", overall=Decimal("39.86"),
        ...                     imbalance_factor="100", omega=0.75, table="Table II"))
        'Table II: Ours + CE (omega 0.75), cifar100_lt IF 100'
    """
    omega = "" if row.omega is None else f" (omega {plain(row.omega)})"
    factor = "" if row.imbalance_factor == NATURAL else f" IF {row.imbalance_factor}"
    return f"{_place(row)}: {row.method}{omega}, {row.data}{factor}"

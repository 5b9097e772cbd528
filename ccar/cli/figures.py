"""`ccar figures`: the CCAR paper's figures 1 and 2 for the classes of a data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ccar.errors import UserError
from ccar.evidence.benchmarks import (
    BENCHMARKS,
    benchmark_class_counts,
    largest_imbalance_factor,
    needs_imbalance_factor,
)
from ccar.reports.figures.paper_figures import write_paper_figures
from ccar.study.parts import plain
from ccar.study.wording import did_you_mean

DEFAULT_DATA = "cifar100_lt"
DEFAULT_IMBALANCE_FACTOR = 100.0


def write_figures(
    out: Path, data: str | None, imbalance_factor: float | None, class_counts_file: Path | None
) -> list[Path]:
    """Write the figures for a benchmark, or for the class counts of a file.

    Args:
        out: the folder.
        data: one of `BENCHMARKS`; None for `DEFAULT_DATA`, unless there is a file.
        imbalance_factor: of a benchmark that is cut to one; None for `DEFAULT_IMBALANCE_FACTOR`.
        class_counts_file: instead of a benchmark.

    Raises:
        UserError: what was asked for does not fit together, cannot be read or cannot be written.
    """
    if class_counts_file is not None:
        if data is not None or imbalance_factor is not None:
            raise UserError("--class-counts stands for a data set of its own", hint="leave out --data and its options")
        return write_paper_figures(out, read_class_counts(class_counts_file), class_counts_file.name)
    counts, name = _benchmark(data or DEFAULT_DATA, imbalance_factor)
    return write_paper_figures(out, counts, name)


def read_class_counts(path: Path) -> list[int]:
    """Images of each class: whole numbers separated by commas, white space or line ends; a JSON list is one too.

    Raises:
        UserError: the file cannot be read, or is not that.
    """
    try:
        words = [word for word in re.split(r"[\s,\[\]]+", path.read_text(encoding="utf-8")) if word]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{path}: {reason}", hint="--class-counts takes a text file of numbers") from error
    wrong = next((word for word in words if not (word.isascii() and word.isdigit() and int(word) > 0)), None)
    if wrong is not None:
        raise UserError(f"{path}: found {wrong!r}, expected the images of a class: a whole number above 0")
    if len(words) < 2:
        raise UserError(f"{path}: {len(words)} class counts, expected at least 2", hint="one number for each class")
    return [int(word) for word in words]


def _benchmark(data: str, imbalance_factor: float | None) -> tuple[Sequence[int], str]:
    """Class counts, and the words for them."""
    if data not in BENCHMARKS:
        hint = did_you_mean(data, BENCHMARKS) or f"choose from {', '.join(BENCHMARKS)}"
        raise UserError(f"unknown data set {data!r}", hint=hint)
    if not needs_imbalance_factor(data):
        if imbalance_factor is not None:
            raise UserError(f"{data} has a tail of its own", hint="leave out --imbalance-factor")
        return benchmark_class_counts(data), data
    factor = DEFAULT_IMBALANCE_FACTOR if imbalance_factor is None else imbalance_factor
    most = largest_imbalance_factor(data)
    if not 1 <= factor <= most:
        raise UserError(f"--imbalance-factor of {data} must be between 1 and {most}: found {plain(factor)}")
    return benchmark_class_counts(data, factor), f"{data} at imbalance factor {plain(factor)}"

"""Rows of results tables as papers print them: what somebody says that a method reaches, and how it was trained.

One CSV format for the published rows that come with ccar and for any table that is to be checked.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from ccar.errors import Problem, UserError
from ccar.evidence.benchmarks import (
    BENCHMARKS,
    NATURAL,
    TEST_IMAGES,
    benchmark_group_sizes,
    largest_imbalance_factor,
    needs_imbalance_factor,
)
from ccar.metrics.accuracy import Group
from ccar.study.parts import plain

GROUPS: tuple[Group, ...] = get_args(Group)

COLUMNS: dict[str, str] = {
    "method": "name of the row, as printed; needed",
    "data": f"data set: {', '.join(BENCHMARKS)}, or a name of your own; needed",
    "overall": "top-1 accuracy in per cent, with the digits that are printed; needed",
    "many": "accuracy of the classes with more than 100 training images, in per cent",
    "medium": "of those with 20 to 100",
    "few": "of those with fewer than 20",
    "imbalance_factor": "largest / smallest class count; natural, or empty, for a tail that the data has",
    "backbone": "network, e.g. resnet32",
    "baseline": "method of this file that the row claims to improve on",
    "base": "base loss by its name in ccar, e.g. cross_entropy",
    "options": "of the base loss, without which it is another method, e.g. drw_start=1 for LDAM without DRW",
    "procedure": "how the network comes to its weights, by its name in ccar, e.g. crt; empty: trained in one go",
    "mixing": "how images are mixed in training, or in that of stage one: mixup or cutmix; empty: not at all",
    "omega": "pivot of CCAR, in (0, 1]; empty for a row without it",
    "protocol": "arXiv id of the paper whose training protocol the row claims to follow",
    "paper": "short name of the paper; rows of different papers are not compared",
    "arxiv": "arXiv id of the paper",
    "table": "table of the paper",
    "epochs": "length of training",
    "augmentation": "of the training images",
    "selection": "which epoch is reported, e.g. last epoch, best test epoch",
    "test_images": "number of test images; known for the data sets above",
    "many_classes": "number of classes in the group; known for the data sets above",
    "medium_classes": "the same",
    "few_classes": "the same",
    "verified": "no: the number was not seen in its source; yes, or empty, otherwise",
    "source": "where the number was read, if not in the paper itself",
    "disputed": "why the number is not to be taken as it stands",
}
NEEDED = ("method", "data", "overall")

_Problem = tuple[str, str | None]  # what is wrong, and what to do about it


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One row. Accuracies are in per cent, as `Decimal`s that keep the printed digits; texts are "" where unknown.

    `group_sizes` and `test_images` are None where neither the row nor ccar knows them.
    """

    line: int  # in its file, counted from 1
    method: str
    data: str
    overall: Decimal
    many: Decimal | None = None
    medium: Decimal | None = None
    few: Decimal | None = None
    imbalance_factor: str = NATURAL  # a number as `plain` shows it, or "natural"
    backbone: str = ""
    baseline: str = ""
    base: str = ""
    options: str = ""
    procedure: str = ""
    mixing: str = ""
    omega: float | None = None
    protocol: str = ""
    paper: str = ""
    arxiv: str = ""
    table: str = ""
    epochs: int | None = None
    augmentation: str = ""
    selection: str = ""
    verified: bool = True
    source: str = ""
    disputed: str = ""
    test_images: int | None = None
    group_sizes: tuple[int, int, int] | None = None

    @property
    def groups(self) -> tuple[Decimal | None, ...]:
        """Accuracy of the many, medium and few classes."""
        return self.many, self.medium, self.few

    @property
    def setting(self) -> tuple[str, str, str]:
        """Data set, imbalance factor and backbone: what rows must share to be compared."""
        return self.data, self.imbalance_factor, self.backbone

    @property
    def recipe(self) -> tuple[int | None, str, str]:
        """What is known of how it was trained."""
        return self.epochs, self.augmentation, self.selection


def read_rows_file(path: Path) -> tuple[ResultRow, ...]:
    """The rows of a CSV file.

    Raises:
        UserError: the file cannot be read, or has mistakes; one line for each of them.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: byte {error.start} cannot be read", hint="save it as CSV UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    return read_rows(text, str(path))


def read_rows(text: str, file: str) -> tuple[ResultRow, ...]:
    """The rows of a CSV text with a line of `COLUMNS` first.

    Args:
        text: fields separated by commas; empty lines count for nothing.
        file: its name, for messages.

    Raises:
        UserError: it has mistakes; one line for each of them.
    """
    reader = csv.reader(io.StringIO(text), strict=True)
    problems: list[Problem] = []
    rows: list[ResultRow] = []
    header: list[str] = []
    try:
        for fields in reader:
            line = reader.line_num
            if not any(field.strip() for field in fields):
                continue
            if not header:
                header = [field.strip() for field in fields]
                problems = [Problem(file, line, *problem) for problem in _problems_of_header(header)]
                if problems:
                    break
            elif len(fields) != len(header):
                what = f"{len(fields)} fields, where the first line names {len(header)} columns"
                problems.append(Problem(file, line, what, "a text with a comma stands between double quotes"))
            else:
                given = {name: field.strip() for name, field in zip(header, fields, strict=True) if field.strip()}
                values, found = _values(given)
                problems += [Problem(file, line, *problem) for problem in found]
                if not found:
                    rows.append(ResultRow(line=line, **values))
    except csv.Error as error:
        problems.append(Problem(file, reader.line_num, f"not CSV: {error}"))
    if not problems:
        problems = _problems_of_whole(rows, file)
    if problems:
        raise UserError("\n".join(str(problem) for problem in problems))
    return tuple(rows)


def _problems_of_header(header: Sequence[str]) -> list[_Problem]:
    problems: list[_Problem] = [
        (f"unknown column {name!r}", _did_you_mean(name, COLUMNS) or f"choose from {', '.join(COLUMNS)}")
        for name in header
        if name not in COLUMNS
    ]
    problems += [(f"column {name!r} stands here twice", None) for name in COLUMNS if header.count(name) > 1]
    missing = [name for name in NEEDED if name not in header]
    if missing and not problems:  # else it may be one that is misspelt
        problems.append(
            (f"column {', '.join(missing)} is missing", f"the first line names the columns: {', '.join(NEEDED)}, ...")
        )
    return problems


def _values(given: Mapping[str, str]) -> tuple[dict[str, Any], list[_Problem]]:
    """What a row says, and what is wrong with it. `given`: its fields that are not empty, by column."""
    problems: list[_Problem] = [(f"{name} is empty", None) for name in NEEDED if name not in given]
    values: dict[str, Any] = {}
    for name, text in given.items():
        try:
            values[name] = _READERS.get(name, str)(text)
        except ValueError as error:
            problems.append((f"{name}: {error}", None))
    if problems:
        return {}, problems
    sizes = [values.pop(f"{group}_classes", None) for group in GROUPS]
    values["group_sizes"] = tuple(sizes) if None not in sizes else None
    if sizes != [None] * 3 and None in sizes:
        problems.append(("many_classes, medium_classes and few_classes go together", "a group without classes has 0"))
    data, factor = values["data"], values.get("imbalance_factor", NATURAL)
    if needs_imbalance_factor(data):
        if factor == NATURAL:
            problems.append((f"imbalance_factor is missing: {data} is cut to one", None))
        elif float(factor) > largest_imbalance_factor(data):
            most = largest_imbalance_factor(data)
            problems.append((f"imbalance_factor: at most {most} leaves every class of {data} an image", None))
    if data in TEST_IMAGES and not problems:
        number = float(factor) if needs_imbalance_factor(data) else None
        values["group_sizes"] = values["group_sizes"] or benchmark_group_sizes(data, number)
        values.setdefault("test_images", TEST_IMAGES[data])
    return values, problems


def _problems_of_whole(rows: Sequence[ResultRow], file: str) -> list[Problem]:
    if not rows:
        return [Problem(file, None, "no rows", "the first line names the columns, every other line is a row")]
    if all(row.overall <= 1 for row in rows):
        return [Problem(file, rows[0].line, "accuracies are in per cent, these are all at most 1", "multiply by 100")]
    methods = {(row.paper, row.method) for row in rows}
    return [
        Problem(
            file,
            row.line,
            f"baseline: no row has the method {row.baseline!r}",
            _did_you_mean(row.baseline, [method for paper, method in methods if paper == row.paper]),
        )
        for row in rows
        if row.baseline and (row.paper, row.baseline) not in methods
    ]


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def _accuracy(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and 0 <= number <= 100):
        raise ValueError(f"found {text!r}, expected per cent between 0 and 100")
    return number


def _omega(text: str) -> float:
    number = _number(text)
    if not 0 < number <= 1:
        raise ValueError(f"found {text!r}, expected a number above 0 and at most 1")
    return number


def _imbalance_factor(text: str) -> str:
    if text == NATURAL:
        return text
    number = _number(text)
    if not 1 <= number < math.inf:
        raise ValueError(f"found {text!r}, expected a number of at least 1, or {NATURAL}")
    return plain(number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"found {text!r}, expected a whole number")
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"found {text!r}, expected yes or no")
    return text == "yes"


_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("overall", *GROUPS), _accuracy),
    **dict.fromkeys(("epochs", "test_images", *(f"{group}_classes" for group in GROUPS)), _count),
    "imbalance_factor": _imbalance_factor,
    "omega": _omega,
    "verified": _yes_or_no,
}

"""`ccar lint-claims`: arithmetic on a results table."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ccar.evidence.claims import SEVERITIES, Finding, check_claims, described, not_checked
from ccar.evidence.published import ccar_paper_rows, published_rows
from ccar.evidence.result_rows import GROUPS, ResultRow, read_rows_file
from ccar.reports.neutralise import one_line
from ccar.reports.wording import counted, listed

CSV_TEMPLATE = """\
method,base,omega,baseline,data,imbalance_factor,backbone,overall,many,medium,few
Cross-Entropy,cross_entropy,,,cifar100_lt,100,resnet32,38.40,66.80,37.10,6.90
Ours + CE,cross_entropy,0.75,Cross-Entropy,cifar100_lt,100,resnet32,38.90,66.40,37.80,8.10
"""


@dataclass(frozen=True, slots=True)
class Lint:
    """What was checked, and what came of it."""

    subject: str
    rows: tuple[ResultRow, ...]
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]


def lint(file: Path | None) -> Lint:
    """Check a file, or the CCAR paper's own tables.

    Raises:
        UserError: the file cannot be read or has mistakes.
    """
    rows = ccar_paper_rows() if file is None else read_rows_file(file)
    subject = "CCAR, arXiv:2601.15924, Tables II to V" if file is None else str(file)
    findings = check_claims(rows, published_rows())
    return Lint(subject, rows, tuple(findings), tuple(not_checked(rows)))


def lint_text(result: Lint) -> str:
    """The findings by severity, each with its row and the arithmetic, and how many there are."""
    total = f"{one_line(result.subject)}: {counted(len(result.rows), 'row')}"
    if not result.findings:
        return f"{total}, nothing found\n"
    text = io.StringIO()
    terminal = Console()
    console = Console(file=text, width=terminal.width if terminal.is_terminal else 120, markup=False, highlight=False)
    counts = Counter(finding.severity for finding in result.findings)
    for severity, meaning in SEVERITIES.items():
        if counts[severity]:
            console.print(f"{severity}: {meaning}")
            console.print(_table([finding for finding in result.findings if finding.severity == severity]))
            console.print()
    found = listed([f"{counts[severity]} {severity}" for severity in SEVERITIES if counts[severity]])
    console.print(f"{total}, {counted(len(result.findings), 'finding')}: {found}")
    console.print("Standard errors are binomial, of a difference of two accuracies taken as independent.")
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(f"  {finding.check}", one_line(described(finding.rows[0])))
        table.add_row("", one_line(finding.message))
    return table


def lint_json(result: Lint) -> dict[str, Any]:
    """The same as plain JSON; gaps are in percentage points."""
    return {
        "subject": result.subject,
        "rows": len(result.rows),
        "findings": [
            {
                "severity": finding.severity,
                "check": finding.check,
                "gap": round(finding.gap, 4),
                "message": finding.message,
                "rows": [_row_json(row) for row in finding.rows],
            }
            for finding in result.findings
        ],
        "not_checked": list(result.not_checked),
    }


def _row_json(row: ResultRow) -> dict[str, Any]:
    return {
        "line": row.line,
        "paper": row.paper,
        "table": row.table,
        "method": row.method,
        "omega": row.omega,
        "data": row.data,
        "imbalance_factor": row.imbalance_factor,
        "backbone": row.backbone,
        **{group: None if value is None else float(value) for group, value in zip(GROUPS, row.groups, strict=True)},
        "overall": float(row.overall),
    }

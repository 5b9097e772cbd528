"""`ccar lint-claims`: arithmetic on a results table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ccar.cli.tables import rows_as_table
from ccar.evidence.claims import SEVERITIES, Finding, Severity, check_claims, described, not_checked
from ccar.evidence.published import ccar_paper_rows, published_rows
from ccar.evidence.result_rows import GROUPS, ResultRow, read_rows_file
from ccar.reports.neutralise import one_line
from ccar.reports.wording import counted, listed

CSV_TEMPLATE = """\
method,base,omega,baseline,data,imbalance_factor,backbone,overall,many,medium,few
Cross-Entropy,cross_entropy,,,cifar100_lt,100,resnet32,38.40,66.80,37.10,6.90
Ours + CE,cross_entropy,0.75,Cross-Entropy,cifar100_lt,100,resnet32,38.90,66.40,37.80,8.10
"""

_ERRORS = "  Standard errors are binomial, of a difference of two accuracies taken as independent.\n"


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
    """A table of the findings, and how many there are."""
    total = f"{one_line(result.subject)}: {counted(len(result.rows), 'row')}"
    if not result.findings:
        return f"{total}, nothing found\n"
    table = rows_as_table(
        [
            {
                "severity": finding.severity,
                "check": finding.check,
                "row": one_line(described(finding.rows[0])),
                "arithmetic": one_line(finding.message),
            }
            for finding in result.findings
        ]
    )
    counts = Counter(finding.severity for finding in result.findings)
    shown = [severity for severity in get_args(Severity) if counts[severity]]
    meanings = "".join(f"  {severity}: {SEVERITIES[severity]}\n" for severity in shown)
    found = listed([f"{counts[severity]} {severity}" for severity in shown])
    return f"{table}{total}, {counted(len(result.findings), 'finding')}: {found}\n{meanings}{_ERRORS}"


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

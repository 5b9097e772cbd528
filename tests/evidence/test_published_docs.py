"""docs/published.md says what there is."""

from __future__ import annotations

from pathlib import Path

from ccar.evidence.claims import SEVERITIES, check_claims
from ccar.evidence.published import ccar_paper_rows, published_rows
from ccar.evidence.result_rows import COLUMNS

TEXT = (Path(__file__).parents[2] / "docs" / "published.md").read_text()


def test_every_column_of_a_results_table_is_described():
    for name, what in COLUMNS.items():
        assert f"| `{name}` | {what} |" in TEXT


def test_every_check_and_severity_is_described():
    for finding in check_claims(ccar_paper_rows(), published_rows()):
        assert f"| {finding.check} |" in TEXT
    for severity, what in SEVERITIES.items():
        assert f"**{severity}**: {what}" in " ".join(TEXT.split())

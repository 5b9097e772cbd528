"""docs/reproduction.md has every row of the paper's tables, and every method that it names is in its study."""

import re
from pathlib import Path

import pytest

from ccar.evidence.published import ccar_paper_rows
from ccar.study.definition import load_study
from ccar.study.expansion import cells_of

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "docs" / "reproduction.md").read_text()
TABLES = dict(re.findall(r"^## (Table [IV]+):.*?\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL))


def rows_of(section):
    return dict(re.findall(r"^\| ([^|]+?) \| `([^`]+)` \|$", section, re.MULTILINE))


@pytest.mark.parametrize("table", ["Table II", "Table III", "Table IV", "Table V"])
def test_every_row_of_the_paper_has_a_method_of_the_study(table):
    rows = rows_of(TABLES[table])
    paper = [row for row in ccar_paper_rows() if row.table == table]
    published = {f"{row.omega:.2f}" if table == "Table V" else row.method for row in paper}
    assert rows.keys() == published
    for name in re.findall(r"ccar run (studies/\S+\.yaml)", TABLES[table]):
        assert set(rows.values()) <= {cell.method for cell in cells_of(load_study(REPOSITORY / name))}


def test_the_cost_table_counts_the_trials_of_each_study():
    counted = dict(re.findall(r"^\| \[(\w+)\]\(.*\|\s*(\d+) \|", TEXT, re.MULTILINE))
    assert len(counted) == 5
    for name, number in counted.items():
        study = load_study(REPOSITORY / "studies" / f"{name}.yaml")
        assert len(cells_of(study)) * len(study.seeds) == int(number)

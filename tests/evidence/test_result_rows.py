"""Results tables as CSV: what is read, and one clear message for everything that cannot be."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ccar.errors import UserError
from ccar.evidence.result_rows import COLUMNS, NEEDED, read_rows, read_rows_file

HEADER = "method,data,overall\n"


def problems(text):
    with pytest.raises(UserError) as caught:
        read_rows(text, "table.csv")
    return [line for line in str(caught.value).splitlines() if not line.startswith("  hint: ")]


def test_numbers_keep_their_printed_digits_and_columns_may_stand_in_any_order():
    (row,) = read_rows("overall,few,data,method\n61.70, 57.20 ,inaturalist2018,CE\n", "table.csv")
    assert (str(row.overall), str(row.few), row.many) == ("61.70", "57.20", None)
    assert row.group_sizes == (842, 4076, 3224)
    assert row.test_images == 24_426


def test_texts_with_commas_quotes_and_empty_lines_are_read():
    rows = read_rows('method,data,overall\n\n"a, ""b""",mine,50\n,,\n', "table.csv")
    assert [(row.method, row.line) for row in rows] == [('a, "b"', 3)]


def test_imbalance_factors_are_compared_as_numbers():
    rows = read_rows("method,data,overall,imbalance_factor\nCE,x,1,100\nCE,x,2,100.0\nCE,x,3,natural\n", "table.csv")
    assert [row.imbalance_factor for row in rows] == ["100", "100", "natural"]


def test_a_known_data_set_may_be_given_other_numbers():
    header = "method,data,overall,test_images,many_classes,medium_classes,few_classes\n"
    (row,) = read_rows(f"{header}CE,imagenet_lt,41.6,20000,390,445,165\n", "table.csv")
    assert (row.test_images, row.group_sizes) == (20_000, (390, 445, 165))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table.csv: no rows"),
        (HEADER, "table.csv: no rows"),
        ("method,data\nCE,x\n", "table.csv:1: column overall is missing"),
        ("method,data,overal\nCE,x,1\n", "table.csv:1: unknown column 'overal'"),
        ("method,data,overall,data\nCE,x,1,x\n", "table.csv:1: column 'data' stands here twice"),
        (HEADER + "CE,x\n", "table.csv:2: 2 fields, where the first line names 3 columns"),
        (HEADER + "CE,x,1,2\n", "table.csv:2: 4 fields, where the first line names 3 columns"),
        (HEADER + ",x,41.6\n", "table.csv:2: method is empty"),
        (HEADER + "CE,x,\n", "table.csv:2: overall is empty"),
        (HEADER + "CE,x,forty\n", "table.csv:2: overall: found 'forty', expected per cent between 0 and 100"),
        (HEADER + "CE,x,41.6%\n", "table.csv:2: overall: found '41.6%', expected per cent between 0 and 100"),
        (HEADER + "CE,x,nan\n", "table.csv:2: overall: found 'nan', expected per cent between 0 and 100"),
        (HEADER + "CE,x,101\n", "table.csv:2: overall: found '101', expected per cent between 0 and 100"),
        (HEADER + "CE,x,-1\n", "table.csv:2: overall: found '-1', expected per cent between 0 and 100"),
        (HEADER + "CE,x,0.416\n", "table.csv:2: accuracies are in per cent, these are all at most 1"),
        (
            "method,data,overall,omega\nCE,x,41.6,1.5\n",
            "table.csv:2: omega: found '1.5', expected a number above 0 and at most 1",
        ),
        (
            "method,data,overall,imbalance_factor\nCE,x,41.6,0.01\n",
            "table.csv:2: imbalance_factor: found '0.01', expected a number of at least 1, or natural",
        ),
        ("method,data,overall,epochs\nCE,x,41.6,9.5\n", "table.csv:2: epochs: found '9.5', expected a whole number"),
        ("method,data,overall,verified\nCE,x,41.6,maybe\n", "table.csv:2: verified: found 'maybe', expected yes or no"),
        (HEADER + "CE,cifar100_lt,38.4\n", "table.csv:2: imbalance_factor is missing: cifar100_lt is cut to one"),
        (
            "method,data,overall,imbalance_factor\nCE,cifar100_lt,38.4,501\n",
            "table.csv:2: imbalance_factor: at most 500 leaves every class of cifar100_lt an image",
        ),
        (
            "method,data,overall,many_classes\nCE,x,38.4,5\n",
            "table.csv:2: many_classes, medium_classes and few_classes go together",
        ),
        (
            "method,data,overall,baseline\nCE,x,38.4,\nOurs,x,39.0,CEE\n",
            "table.csv:3: baseline: no row has the method 'CEE'",
        ),
        (HEADER + 'CE,x,"41.6\n', "table.csv:2: not CSV: unexpected end of data"),
    ],
)
def test_every_mistake_is_one_line_that_says_where_and_what(text, message):
    assert problems(text) == [message]


def test_all_mistakes_are_told_at_once():
    assert len(problems(HEADER + "CE,x,a\n,x,41.6\nCE,x,102\n")) == 3


def test_a_misspelt_column_or_baseline_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'overall'"):
        read_rows("method,data,overal\n", "table.csv")
    with pytest.raises(UserError, match="did you mean 'Cross-Entropy'"):
        read_rows("method,data,overall,baseline\nCross-Entropy,x,38,\nOurs,x,39,Cross-Entropi\n", "table.csv")


def test_files_are_read_with_and_without_the_mark_that_spreadsheets_write(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        path = tmp_path / f"{encoding}.csv"
        path.write_text(HEADER + "τ-norm,x,41.6\r\n", encoding=encoding)
        (row,) = read_rows_file(path)
        assert (row.method, row.overall) == ("τ-norm", Decimal("41.6"))


def test_a_file_that_cannot_be_read_is_told_so(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_rows_file(tmp_path / "missing.csv")
    with pytest.raises(UserError, match="Is a directory"):
        read_rows_file(tmp_path)
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"\xe9,x,41.6\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_rows_file(tmp_path / "latin.csv")


def test_the_needed_columns_are_columns():
    assert set(NEEDED) <= set(COLUMNS)

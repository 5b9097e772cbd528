from __future__ import annotations

import pytest

from ccar.reports.neutralise import for_csv, for_latex, for_markdown, one_line


def test_one_line_has_no_line_breaks_and_no_invisible_characters():
    assert one_line("a\nb\t c\x1b[31m\u202e\u200bd") == "a b c\N{REPLACEMENT CHARACTER}[31m" + 2 * "\ufffd" + "d"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_sees_text_where_it_would_see_a_formula(text):
    assert for_csv(text) == f"'{text.strip()}"


@pytest.mark.parametrize("text", ["focal+ccar(omega=0.5)", "if100/focal", "0.5", ""])
def test_what_is_no_formula_stays_as_it_is_in_csv(text):
    assert for_csv(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cross_entropy+ccar(omega=0.5)", "cross_entropy+ccar(omega=0.5)"),
        ("a|b", r"a\|b"),
        ("**b** _i_ `c`", r"\*\*b\*\* \_i\_ \`c\`"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("[a](b) ![c](d)", r"\[a\](b) !\[c\](d)"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("---", r"\---"),
        ("−0.10 to +0.94", "−0.10 to +0.94"),
    ],
)
def test_markdown_shows_what_was_written(text, expected):
    assert for_markdown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5 % of $x$", r"a\_\allowbreak{}b \& 5 \% of \$x\$"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("38.43 ± 0.30", r"38.43 $\pm$ 0.30"),
        ("ω −1", r"$\omega$ $-$1"),
        ("a--b", "a{-}{-}b"),
        ("中é", "{[}U+4E2D{]}é"),
        ("[a]*", "{[}a{]}{*}"),
    ],
)
def test_latex_prints_what_was_written(text, expected):
    assert for_latex(text) == expected

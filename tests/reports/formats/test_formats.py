from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from ccar.reports.content import content_of
from ccar.reports.figures.all_figures import drawings_of, figures_of
from ccar.reports.figures.drawing import Drawing
from ccar.reports.formats.csv_files import render_csv
from ccar.reports.formats.html import render_html
from ccar.reports.formats.latex import render_latex
from ccar.reports.formats.markdown import render_markdown
from ccar.reports.results import summarise
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of

FAKE_SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.fixture(scope="module")
def results(source):
    """The numbers of the study with one diverged and one failed seed."""
    return summarise(source)


@pytest.fixture(scope="module")
def content(results):
    """That study's report before it has a format."""
    return content_of(results, drawings_of(results))


@pytest.fixture(scope="module")
def evil(evil_source):
    """A report whose names are meant to break every format."""
    return content_of(summarise(evil_source), [])


class Page(HTMLParser):
    """Collects tables as lists of texts, and every tag with its attributes."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.tags, self.text = [], [], ""
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        self.text += data
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def html_of(content):
    return render_html(content, {figure.name: FAKE_SVG for figure in content.figures})


def rows_of_markdown(text):
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("|:", "|-"))]
    cells = [
        [re.sub(r"^\*\*(.*)\*\*$", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]
    return [[re.sub(r"\\([][*])", r"\1", cell) for cell in row] for row in cells]


def rows_of_latex(text):
    lines = [line for line in text.splitlines() if line.endswith(r" \\") and "multicolumn" not in line]
    plain = {
        r"\_\allowbreak{}": "_",
        r"$\pm$": "±",
        "$-$": "−",
        r"$\omega$": "ω",
        r"\textdagger{}": "†",
        "--": "–",
        "{-}": "-",
        "{[}": "[",
        "{]}": "]",
        "{*}": "*",
        r"\%": "%",
    }
    rows = []
    for line in lines:
        text = line.removesuffix(r" \\")
        for marked, shown in plain.items():
            text = text.replace(marked, shown)
        rows.append([cell.strip() for cell in re.sub(r"\\textbf\{([^}]*)\}", r"\1", text).split(" & ")])
    return rows


def test_all_formats_show_the_same_tables(content):
    expected = [[entry.text for entry in row.entries] for table in content.tables for row in table.rows]
    in_markdown = rows_of_markdown(render_markdown(content))
    in_latex = rows_of_latex(render_latex(content))
    in_html = [row for table in Page(html_of(content)).tables for row in table]
    for row in expected:
        assert row in in_markdown
        assert row in in_latex
        assert row in in_html


def test_all_formats_show_the_same_sentences(content):
    page = Page(html_of(content)).text
    markdown = render_markdown(content)
    for sentence in [content.question, content.was_run, content.not_finished, *content.findings[0].details]:
        assert sentence in page
        assert sentence in markdown


def test_tables_and_csv_hold_the_same_numbers(results, content):
    cells = pd.read_csv(io.StringIO(render_csv(results.cells))).set_index("method")
    (table,) = [table for table in content.tables if table.name == "accuracy"]
    shown = {row.entries[0].text: row.entries[1].text for row in table.rows}
    for method, text in shown.items():
        first = cells.loc[[method.removesuffix(" (baseline)")]].iloc[0]
        assert text.startswith(
            f"{100 * first['test_balanced_accuracy_mean']:.2f} ± {100 * first['test_balanced_accuracy_half_width']:.2f}"
        )


def test_csv_reads_back_in_full_precision(results):
    read = pd.read_csv(io.StringIO(render_csv(results.trials)), dtype={"imbalance_factor": str}, keep_default_na=False)
    assert read["key"].tolist() == results.trials["key"].tolist()
    numbers = pd.to_numeric(read["test_accuracy"])
    assert numbers.dropna().tolist() == results.trials["test_accuracy"].dropna().tolist()


def test_the_page_asks_nobody_for_anything(content):
    html = html_of(content)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", html)
    assert not re.search(r"url\(|@import|https?://", html)
    assert "script" not in {tag for tag, _ in Page(html).tags}


def test_the_page_has_figures_with_words_for_those_who_do_not_see_them(content):
    images = [attributes for tag, attributes in Page(html_of(content)).tags if tag == "img"]
    assert len(images) == len(content.figures) == 5
    assert all(image["alt"] and image["src"].startswith("data:image/svg+xml;base64,") for image in images)


def test_tags_of_the_page_are_closed(content):
    html = html_of(content)
    for tag in ("table", "tr", "td", "th", "figure", "section", "div", "ul", "li", "p"):
        assert len(re.findall(rf"<{tag}[ >]", html)) == html.count(f"</{tag}>"), tag


def test_names_cannot_become_markup_on_the_page(evil):
    page = Page(html_of(evil))
    assert "script" not in {tag for tag, _ in page.tags}
    assert "\x1b" not in html_of(evil)
    assert "<script>alert(1)<script>" in page.text


def test_names_cannot_become_markup_in_markdown(evil):
    text, _, rest = render_markdown(evil).partition("\n```yaml\n")  # a file is shown as it is, fenced
    text += rest.partition("\n```\n")[2]
    assert "<script" not in text
    assert "**bold**" not in text
    widths = {len(row) for row in rows_of_markdown(text) if row[0].startswith(("cross", "=cmd"))}
    assert widths == {3}  # method and two columns: the | in the name made no column


def test_a_study_file_cannot_leave_its_fence_and_keeps_its_indentation(content):
    file = "study: x\nquestion: |\n  ```\n  **bold** \\input{a}\x1b & <b>\n"
    shown = replace(content, study_file=file)
    assert "\n````yaml\nstudy: x\nquestion: |\n  ```\n  **bold** \\input{a}\ufffd & <b>\n````\n" in render_markdown(
        shown
    )
    assert "question: |\n  ```\n  **bold** \\input{a}\ufffd &amp; &lt;b&gt;</pre>" in html_of(shown)
    assert r"\hspace*{1em}{*}{*}bold{*}{*} \textbackslash{}input\{a\}" in render_latex(shown)


def test_names_cannot_become_commands_in_latex(evil):
    text = render_latex(evil)
    assert r"\input{a}" not in text
    assert "$x_1$" not in text


@pytest.fixture(scope="module")
def bracketed():
    """A report with names that begin with what LaTeX reads as a part of the command before them."""
    labels = {"[ours]": 0.5, "*ours": 0.75}
    extra = [{"label": label, "base": "focal", "reweighting": {"omega": omega}} for label, omega in labels.items()]
    return content_of(summarise(input_of(made_up_study(methods={"bases": ["cross_entropy"], "extra": extra}))), [])


def test_no_name_becomes_a_part_of_the_latex_command_before_it(bracketed):
    text = render_latex(bracketed)
    assert "\n{[}ours{]} & " in text
    assert "\n{*}ours & " in text
    assert not re.search(r"(\\\\|\\item)\s*[\[*]", text)


def test_figures_are_described_without_characters_that_latex_lacks():
    switches = {"omega": [0.5, 0.75], "frequency": ["fraction", "max_normalised"]}
    methods = {"bases": ["cross_entropy", "focal"], "reweighting": switches}
    results = summarise(input_of(made_up_study(methods=methods)))
    figures = [
        Drawing(name=figure.name, caption=figure.caption, alt=figure.alt, width_inches=7.0, files={})
        for figure in figures_of(results)
    ]
    text = render_latex(content_of(results, figures))
    assert "omega_by_frequency.pdf" in text
    assert r"$\bigtriangleup$ better" in text
    assert "U+" not in text


def test_names_cannot_become_formulas_in_csv(evil_source):
    results = summarise(evil_source)
    for frame in (results.cells, results.trials, evil_source.costs):
        rows = csv.reader(io.StringIO(render_csv(frame)))
        for row in rows:
            for field in row:
                assert not field.startswith(("=", "+", "@", "\t", "\r"))
                assert not field.startswith("-") or field.replace("-", "").replace(".", "").replace("e", "").isdigit()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("name", ["content", "evil", "bracketed"])
def test_the_document_compiles_with_plain_latex(name, request, tmp_path):
    document = render_latex(replace(request.getfixturevalue(name), figures=()))
    (tmp_path / "report.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stdout[-2000:]
    assert "Missing character" not in result.stdout

"""report.tex: booktabs tables that compile with plain pdfLaTeX and can be copied into a paper."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from ccar.reports.content import Content
from ccar.reports.neutralise import for_latex, lines_of
from ccar.reports.table import Entry, Table


class _Latex(str):
    """Text that is LaTeX already."""

    __slots__ = ()


def render_latex(content: Content) -> str:
    """The report as a LaTeX document; its figures are read from `figures/` beside it."""
    environment = Environment(
        loader=PackageLoader("ccar.reports"),
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, _Latex) else for_latex(str(value)),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["identifier"] = _Latex  # a name of ours, not a user's
    environment.filters["file"] = lambda text: _Latex("\n".join(map(_line_of_file, lines_of(text))))
    environment.filters["tabular"] = lambda table: _Latex(latex_table(table))
    return environment.get_template("report.tex.jinja").render(content=content)


def latex_table(table: Table) -> str:
    """A longtable, which may go on over several pages."""
    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    groups = list(table.groups())
    lines = [
        rf"\begin{{longtable}}{{@{{}}{alignment}@{{}}}}",
        rf"\caption{{{for_latex(table.caption)}}}\label{{tab:{table.name}}}\\",
        r"\toprule",
    ]
    headings = []
    if table.has_groups:
        headings.append(
            " & ".join(
                rf"\multicolumn{{{last - first + 1}}}{{c}}{{{for_latex(heading)}}}" for heading, first, last in groups
            )
            + r" \\"
        )
        headings.append(" ".join(rf"\cmidrule(lr){{{first}-{last}}}" for heading, first, last in groups if heading))
    headings.append(" & ".join(for_latex(column.heading) for column in table.columns) + r" \\")
    lines += [*headings, r"\midrule", r"\endfirsthead", r"\toprule", *headings, r"\midrule", r"\endhead"]
    for row in table.rows:
        if row.starts_block:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(_entry(entry) for entry in row.entries) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{longtable}"])


def _line_of_file(line: str) -> str:
    """One line of a file, indented as it was; a long one is broken between its words."""
    text = line.lstrip(" ")
    indent = rf"\hspace*{{{(len(line) - len(text)) / 2:g}em}}"
    return rf"{indent}{for_latex(text) if text else '~'}\par"


def _entry(entry: Entry) -> str:
    text = for_latex(entry.text)
    return rf"\textbf{{{text}}}" if entry.bold else text

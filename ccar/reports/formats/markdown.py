"""report.md: reads well as plain text, and in any Markdown viewer."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from tabulate import tabulate

from ccar.reports.content import Content
from ccar.reports.neutralise import for_markdown, lines_of
from ccar.reports.table import Entry, Table


class _Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def render_markdown(content: Content) -> str:
    """The report as Markdown."""
    environment = Environment(
        loader=PackageLoader("ccar.reports"),
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, _Markdown) else for_markdown(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["identifier"] = _Markdown  # a name of ours, not a user's
    environment.filters["fenced"] = lambda text: _Markdown(fenced(text))
    environment.filters["table"] = lambda table: _Markdown(markdown_table(table))
    return environment.get_template("report.md.jinja").render(content=content)


def markdown_table(table: Table) -> str:
    """A pipe table; Markdown has one line of headings, so the group stands in front of its columns' headings."""
    headings = [
        for_markdown(f"{column.group} {column.heading}" if column.group else column.heading) for column in table.columns
    ]
    return tabulate(
        [[_entry(entry) for entry in row.entries] for row in table.rows],
        headers=headings,
        tablefmt="pipe",
        colalign=["right" if column.numeric else "left" for column in table.columns],
        disable_numparse=True,
    )


def fenced(text: str) -> str:
    """A file as it is, between fences that are longer than any in it."""
    lines = lines_of(text)
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}yaml", *lines, fence])


def _entry(entry: Entry) -> str:
    text = for_markdown(entry.text)
    return f"**{text}**" if entry.bold else text

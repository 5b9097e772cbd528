"""What pages are made of: tables, plots, facts. Names come from users and are shown as text, on one line."""

from __future__ import annotations

import html as escaping
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from dash import dcc, html

from ccar.reports.neutralise import one_line
from ccar.reports.table import Table
from dashboards.address import address

Content = Any  # what Dash takes as children: a component, a text, or a list of these

NAME_LIMIT = 72  # characters of a name in a plot; the whole is beside it in a table
_LINES = textwrap.TextWrapper(width=36)  # characters
_LINES.wordsep_re = re.compile(r"(\s+)|(?=\+)")  # the name of a cell has no blank, but a loss "+" its re-weighting
_TYPED = re.compile(r"`([^`]+)`")


def shown(name: str) -> str:
    """A name as text of a plot, which reads a little HTML: made harmless, in lines, and cut where it is long."""
    line = one_line(name)
    cut = line if len(line) <= NAME_LIMIT else line[: NAME_LIMIT - 1] + "…"
    return "<br>".join(map(escaping.escape, _LINES.wrap(cut)))


def link(text: str, href: str, **more: Any) -> dcc.Link:  # noqa: ANN401  (properties of Dash's component)
    """A link to another page of ours."""
    return dcc.Link(one_line(text), href=href, **more)


def worded(text: str) -> list[Content]:
    """A text on one line, with what stands in `backticks` as something to type."""
    parts = _TYPED.split(one_line(text))
    return [html.Code(part) if place % 2 else part for place, part in enumerate(parts) if part]


def note(text: str) -> html.P:
    """What is said below a heading, or instead of what there is not yet."""
    return html.P(worded(text), className="note")


def section(title: str, *content: Content) -> html.Section:
    """A part of a page under its heading."""
    return html.Section([html.H2(title), *content])


def facts(pairs: Sequence[tuple[str, Content]]) -> html.Dl:
    """Names and values, a pair each."""
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs], className="facts")


def table(name: str, caption: str, headings: Sequence[str], rows: Sequence[Sequence[Content]]) -> html.Div:
    """A table whose first column names the rows; a heading that ends in # stands over numbers."""
    numeric = [heading.endswith("#") for heading in headings]
    labels = [heading.removesuffix("#").strip() for heading in headings]  # on a narrow screen beside each value
    head = [
        html.Th(label, scope="col", className="number" if is_number else None)
        for label, is_number in zip(labels, numeric, strict=True)
    ]
    body = [
        html.Tr(
            [
                html.Th(value, scope="row")
                if place == 0
                else html.Td(value, className="number" if numeric[place] else None, **{"data-label": labels[place]})
                for place, value in enumerate(row)
            ]
        )
        for row in rows
    ]
    return _scrolled(name, caption, html.Table([_caption(name, caption), html.Thead(html.Tr(head)), html.Tbody(body)]))


def report_table(made: Table) -> html.Div:
    """A table of the report, as it stands there."""
    groups = [
        html.Th(heading, colSpan=last - first + 1, scope="colgroup" if heading else None, className="group")
        for heading, first, last in made.groups()
    ]
    head = [
        html.Th(column.heading, scope="col", className="number" if column.numeric else None) for column in made.columns
    ]
    body = [
        html.Tr(
            [
                html.Td(
                    html.B(one_line(entry.text)) if entry.bold else one_line(entry.text),
                    className=f"{'number' if column.numeric else 'name'} {entry.tone}",
                    **{"data-label": ": ".join(filter(None, (column.group, column.heading)))},
                )
                for entry, column in zip(row.entries, made.columns, strict=True)
            ],
            className="block" if row.starts_block else None,
        )
        for row in made.rows
    ]
    rows = [html.Tr(groups)] if made.has_groups else []
    content = html.Table([_caption(made.name, made.caption), html.Thead([*rows, html.Tr(head)]), html.Tbody(body)])
    return html.Div(
        [
            _scrolled(made.name, made.caption, content),
            html.Ul([html.Li(one_line(text)) for text in made.notes], className="note") if made.notes else None,
        ]
    )


def _caption(name: str, caption: str) -> html.Caption:
    return html.Caption([caption, " ", _save(f"{name}.csv")])


def _save(file: str) -> html.Button:
    """Saves what stands around it: see assets/saving.js."""
    words = f"Save as {file.rpartition('.')[2].upper()}"
    return html.Button(words, className="quiet", type="button", **{"data-file": file})


def _scrolled(name: str, caption: str, content: html.Table) -> html.Div:
    return html.Div(
        content, className="scroll", id=name, tabIndex="0", role="region", **{"aria-label": caption.partition(".")[0]}
    )


def plot(name: str, figure: go.Figure, caption: str) -> html.Figure:
    """A plot with its words, and ways to save it as vectors and as numbers beside the toolbar's PNG."""
    return html.Figure(
        [
            dcc.Graph(
                id={"plot": name},
                figure=figure,
                config={
                    "displaylogo": False,
                    "responsive": True,
                    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"],
                    "toImageButtonOptions": {"format": "png", "filename": name, "scale": 2},
                },
            ),
            html.Figcaption([one_line(caption), " ", _save(f"{name}.svg"), " ", _save(f"{name}.csv")]),
        ],
        className="plot",
        role="group",
        **{"aria-label": caption.partition(".")[0]},
    )


def field(label: str, control: Content) -> html.Label:
    """A control with its name."""
    return html.Label([html.Span(label), control])


def control_id(name: str, default: str = "") -> dict[str, str]:
    """The identity of a control that writes `name` into the address unless its value is `default`."""
    return {"control": name, "default": default}


def text_box(name: str, label: str, value: str, **more: Any) -> html.Label:  # noqa: ANN401
    """A box for a few words."""
    return field(
        label, dcc.Input(id=control_id(name), value=value, type="text", debounce=0.3, autoComplete="off", **more)
    )


def choice(path: str, fields: Mapping[str, str], name: str, label: str, options: Sequence[tuple[str, str]]) -> html.Div:
    """One of a few values of a field, as links: the first is what holds where the address says nothing.

    Args:
        path: of the page.
        fields: what its address says.
        name: of the field.
        label: its words.
        options: value and words of each; the value "" leaves the field out.
    """
    chosen = fields.get(name, "")
    known = chosen if chosen in dict(options) else options[0][0]
    links = [
        html.Li(
            link(
                words,
                address(path, **{**fields, name: value if place else None}),
                className="here" if value == known else "",
            )
        )
        for place, (value, words) in enumerate(options)
    ]
    return html.Div(
        [html.Span(f"{label}: "), html.Ul(links)], className="choice", role="group", **{"aria-label": label}
    )

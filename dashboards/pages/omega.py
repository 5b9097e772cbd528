"""Which omega to take: gains with their intervals, the flat region, class frequency, and the verdicts in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from dash import html

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME
from ccar.evidence.frames import rows_of
from ccar.evidence.significance import MIN_SEEDS
from ccar.reports import finding
from ccar.reports.neutralise import one_line
from ccar.reports.published_table import published_table
from ccar.reports.results import Results, Setting
from ccar.reports.tables.best_omega import best_omega_table
from ccar.reports.variants import GAIN, Standing, beside_the_choice, by_frequency, frequency_names, variants
from ccar.reports.wording import MISSING, interval, lacking, points
from dashboards import look
from dashboards.address import address
from dashboards.desk import Desk
from dashboards.elements import Content, choice, link, note, plot, report_table, section, shown, table
from dashboards.pages.study import base_losses

Fields = Mapping[str, str]
MOST_TICKS = 8  # that a telephone has room for
MOST_ROWS = 60  # of a table: a browser takes half a minute for thousands of fields
_POINT = ["cell", "omega", "planned", *(f"{GAIN}_{part}" for part in ("mean", "low", "high", "n", "verdict"))]
_LOOKS: Mapping[Standing, str] = {"worse": "-open", "cannot be told": "-open-dot"}  # of the flat region: filled
_BESIDE = (
    ("", "nothing"),
    ("table", "a table of them"),
    ("baseline", "difference to the baseline"),
    ("published", "published rows"),
)


def choices(desk: Desk, fields: Fields) -> list[Content]:
    """Which base loss, and what stands beside the gains."""
    state = desk.library.state(fields.get("study", ""))
    if state is None:
        return []
    return [*base_losses("/omega", state, fields), choice("/omega", fields, "beside", "Beside the gains", _BESIDE)]


def results(desk: Desk, fields: Fields) -> list[Content]:
    """The answer of the study as far as it is, in words and numbers."""
    found, instead = desk.results(desk.state(fields["study"]))
    if found is None:
        return instead
    chosen = best_omega_table(found)
    return [
        html.P(one_line(found.source.question), className="question"),
        *_words(found),
        *([section("Best omega", report_table(chosen))] if chosen is not None else []),
    ]


def figures(desk: Desk, fields: Fields) -> list[Content]:
    """What the answer rests on."""
    state = desk.state(fields["study"])
    found, _ = desk.results(state)
    if found is None:
        return []
    base, beside = fields.get("base", ""), fields.get("beside", "")
    return [
        *_responses(found, state.name, base, beside == "table"),
        *_frequencies(found, state.name, base),
        *_beside(found, beside),
        html.P(
            [
                "All numbers: ",
                html.A("cells.csv", href=address("/csv/cells", study=state.name)),
                ", ",
                html.A("trials.csv", href=address("/csv/trials", study=state.name)),
                ", ",
                html.A("costs.csv", href=address("/csv/costs", study=state.name)),
            ]
        ),
    ]


def _words(found: Results) -> Iterator[Content]:
    for warning in (finding.no_choice(found), finding.seeds_warning(found), finding.ties(found)):
        if warning:
            yield html.P(warning, className="bad")
    yield note(finding.what_did_not_finish(found))
    for setting in found.settings:
        headline = finding.headline(found, setting)
        if headline is not None:
            yield html.H2(one_line(headline))
            yield html.Ul([html.Li(one_line(detail)) for detail in finding.details(found, setting)])
    for said in (finding.multiplicity(found), finding.seeds_to_settle(found), finding.claimed_by_test_picking(found)):
        if said:
            yield note(said)


def _responses(found: Results, study: str, base: str, with_tables: bool) -> Iterator[Content]:
    """For each imbalance factor the gain over omega, and on request the same as a table."""
    cells = found.cells[found.cells[f"{GAIN}_n"] > 0]
    if base:
        cells = cells[cells["family"] == base]
    if cells.empty:
        return
    switches, labels = variants(cells)
    line_of = cells["family"] if not switches else cells["family"] + ": " + labels
    standing, chosen = beside_the_choice(found), set(found.choices["cell"])
    lines = list(dict.fromkeys(line_of))
    for setting in found.settings:
        here = setting.of(cells)
        if here.empty:
            continue
        omegas = sorted(here["omega"].unique())
        figure = look.figure(
            xaxis={"title": "pivot ω", "tickvals": omegas if len(omegas) <= MOST_TICKS else None},
            yaxis={"title": "gain (points)"},
            hovermode="closest",
            scattermode="group",  # beside each other, so that the bars of equal omegas do not cover one another
            scattergap=0.85,
        )
        figure.add_hline(0, line={"color": look.INK, "width": 1})
        line_here = line_of.reindex(here.index)
        for index, line in enumerate(lines):
            _line(figure, index, line, here[line_here == line].sort_values("omega"), study, standing, chosen)
        for index, line in enumerate(lines):
            if (line_here == line).any():
                _key(figure, index, line)
        caption = (
            f"{setting.label}: gain in {PRIMARY_NAME} over the plain base loss at each ω, in points. Bars: 95 % "
            "interval of the difference paired by seed (no bar: fewer than three seeds). Ringed: chosen on "
            "validation. Hollow: worse than the chosen one on validation; filled: the flat region, which validation "
            "cannot tell from it; hollow with a dot: which of the two cannot be said, for want of seeds. A point leads "
            "to the trials of its cell." + (f" One line per base loss and {', '.join(switches)}." if switches else "")
        )
        yield section(
            f"Gain at {setting.label}",
            plot(f"response-{setting.label}", figure, caption),
            *([_gains(setting, here, study, found, chosen)] if with_tables else []),
        )


def _line(
    figure: go.Figure,
    index: int,
    line: str,
    own: pd.DataFrame,
    study: str,
    standing: Mapping[str, Standing],
    chosen: set[str],
) -> None:
    half_width = 100 * (own[f"{GAIN}_high"] - own[f"{GAIN}_mean"])
    marker = look.marker(index)
    colour, symbol = marker["color"], marker["symbol"]
    is_chosen = own["cell"].isin(chosen)
    figure.add_scatter(
        x=own["omega"],
        y=100 * own[f"{GAIN}_mean"],
        error_y={
            "array": half_width.where(own[f"{GAIN}_n"] >= MIN_SEEDS).fillna(0.0),
            "thickness": 1.2,
            "width": 3,
        },
        name=shown(line),
        legendgroup=line,
        offsetgroup=line,
        showlegend=False,
        mode="lines+markers",
        line={"color": colour, "width": 1.6},
        marker={
            "color": colour,
            "symbol": [f"{symbol}{_LOOKS.get(standing.get(cell, 'flat region'), '')}" for cell in own["cell"]],
            "size": [15 if ringed else 8 for ringed in is_chosen],
            "opacity": 1,
            "line": {
                "width": [3 if ringed else 1.5 for ringed in is_chosen],
                "color": [look.INK if ringed else colour for ringed in is_chosen],
            },
        },
        text=[_hover(cell) for cell in rows_of(own[_POINT])],
        hovertemplate="%{text}<extra></extra>",
        customdata=[address("/trial", study=study, cell=cell) for cell in own["cell"]],
    )


def _key(figure: go.Figure, index: int, line: str) -> None:
    """The line in the legend, where that of its points would have the look of the first: hollow, or ringed."""
    marker = look.marker(index)
    figure.add_scatter(
        x=[None],
        y=[None],
        name=shown(line),
        legendgroup=line,
        offsetgroup=line,
        mode="lines+markers",
        line={"color": marker["color"], "width": 1.6},
        marker=marker,
    )


def _hover(cell: object) -> str:
    mean, n, verdict = (getattr(cell, f"{GAIN}_{part}") for part in ("mean", "n", "verdict"))
    ends = interval(getattr(cell, f"{GAIN}_low"), getattr(cell, f"{GAIN}_high"))
    name = shown(str(getattr(cell, "cell", "")))
    return f"{name}<br>{points(mean)} points{f' ({ends})' if ends else ''}, n = {n}<br>{verdict}"


def _gains(setting: Setting, here: pd.DataFrame, study: str, found: Results, chosen: set[str]) -> html.Div:
    standing = beside_the_choice(found)
    rows = [
        [
            link(cell.cell, address("/trial", study=study, cell=cell.cell)),
            f"{cell.omega:g}",
            points(getattr(cell, f"{GAIN}_mean")),
            interval(getattr(cell, f"{GAIN}_low"), getattr(cell, f"{GAIN}_high")),
            str(getattr(cell, f"{GAIN}_n")),
            str(getattr(cell, f"{GAIN}_verdict")),
            "chosen" if cell.cell in chosen else standing.get(cell.cell, MISSING),
        ]
        for cell in rows_of(here[_POINT].head(MOST_ROWS))
    ]
    headings = ["Cell", "ω #", "gain (points) #", "95 % interval #", "seeds #", "verdict", "on validation"]
    more = f"; {len(here) - MOST_ROWS:,} more in cells.csv" if len(here) > MOST_ROWS else ""
    return table(f"gains-{setting.label}", f"{setting.label}: gain over the plain base loss{more}", headings, rows)


def _frequencies(found: Results, study: str, base: str) -> list[Content]:
    """A heat map for each base loss that was tried with several class frequencies."""
    panels = [(setting, family, cells) for setting, family, cells in by_frequency(found) if not base or family == base]
    if not panels:
        return []
    highest = max(0.01, *(100 * float(cells[f"{GAIN}_mean"].abs().max()) for _, _, cells in panels))
    return [
        section(
            "Does the class frequency matter?",
            *(
                plot(
                    f"frequency-{setting.label}-{index}",
                    _heat_map(cells, study, highest),
                    f"{setting.label}, {family}: gain over the plain base loss in points, by ω and source of the class "
                    "frequency. ▲ better, ▼ worse by the verdict; n: over fewer seeds than planned; empty: not in "
                    "the study. A field leads to its trials.",
                )
                for index, (setting, family, cells) in enumerate(panels)
            ),
        )
    ]


def _heat_map(cells: pd.DataFrame, study: str, highest: float) -> go.Figure:
    names = frequency_names(cells)
    rows: Sequence[str] = list(dict.fromkeys(names))
    omegas = sorted(cells["omega"].unique())
    values: list[list[float | None]] = [[None] * len(omegas) for _ in rows]
    texts = [[""] * len(omegas) for _ in rows]
    places = [[""] * len(omegas) for _ in rows]
    marks = {"better": " ▲", "worse": " ▼"}
    for cell, name in zip(rows_of(cells[_POINT]), names, strict=True):
        place = rows.index(name), omegas.index(cell.omega)
        gain = getattr(cell, f"{GAIN}_mean")
        n = lacking(getattr(cell, f"{GAIN}_n"), cell.planned)
        values[place[0]][place[1]] = 100 * gain
        places[place[0]][place[1]] = address("/trial", study=study, cell=cell.cell)
        texts[place[0]][place[1]] = points(gain) + marks.get(getattr(cell, f"{GAIN}_verdict"), "") + n
    figure = look.figure(
        height=140 + 38 * len(rows),
        xaxis={"title": "pivot ω", "type": "category"},
        yaxis={"autorange": "reversed", "type": "category"},
    )
    figure.add_heatmap(
        x=[f"{omega:g}" for omega in omegas],
        y=[shown(name) for name in rows],
        z=values,
        text=texts,
        texttemplate="%{text}",
        customdata=places,
        hovertemplate="ω %{x}, %{y}: %{text} points<extra></extra>",
        colorscale=look.DIVERGING,
        zmid=0,
        zmin=-highest,
        zmax=highest,
        colorbar={"title": {"text": "points"}, "thickness": 12},
        xgap=2,
        ygap=2,
        hoverongaps=False,
    )
    return figure


def _beside(found: Results, beside: str) -> list[Content]:
    if beside == "published":
        made = published_table(found)
        return [
            section(
                "Published beside measured",
                report_table(made) if made is not None else note("No published row is like a finished cell of this."),
            )
        ]
    if beside == "baseline":
        cells = found.cells[found.cells[f"{PRIMARY}_difference_n"] > 0]
        rows = [
            [
                one_line(cell.cell),
                points(cell.test_balanced_accuracy_difference_mean),
                interval(cell.test_balanced_accuracy_difference_low, cell.test_balanced_accuracy_difference_high),
                cell.test_balanced_accuracy_difference_verdict,
            ]
            for cell in rows_of(cells.head(MOST_ROWS))
        ]
        caption = f"{PRIMARY_NAME.capitalize()} against the baseline {one_line(found.source.baseline)}, paired by seed"
        return [
            section(
                "Against the baseline",
                table("baseline", caption, ["Cell", "difference (points) #", "95 % interval #", "verdict"], rows),
            )
        ]
    return []

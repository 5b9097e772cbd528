"""The web application: one frame for all pages, which the address fills and a tick brings up to date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from plotly.io.json import to_json_plotly

from ccar.tracking.address import without_credentials
from dashboards.address import SEPARATOR, address, fields_of, search_of
from dashboards.desk import Desk
from dashboards.elements import Content, link, note
from dashboards.once import made_once
from dashboards.pages import compare, losses, omega, plan, studies, study, trial
from dashboards.routes import add_routes

_INDEX = """<!doctype html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body>
</html>"""
TICK_MILLISECONDS = 700
_CONTENTS_KEPT = 16  # the two parts of a few pages
_SECONDS_KEPT = 10.0
Fields = Mapping[str, str]


def _nothing(desk: Desk, fields: Fields) -> list[Content]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: what one may choose by links and set by controls, and what is shown for it.

    Attributes:
        title: its heading.
        results: words and tables, which are shown first.
        figures: what follows below and takes longer: a browser a second or more to draw, or a server to answer.
        choices: links above all that.
        controls: boxes and sliders below the links.
        of_study: whether it shows one study.
    """

    title: str
    results: Callable[[Desk, Fields], list[Content]]
    figures: Callable[[Desk, Fields], list[Content]] = _nothing
    choices: Callable[[Desk, Fields], list[Content]] = _nothing
    controls: Callable[[Desk, Fields], list[Content]] = _nothing
    of_study: bool = False


PAGES: dict[str, Page] = {
    "/": Page(
        title="Studies",
        results=studies.results,
        figures=studies.elsewhere,
        choices=studies.choices,
        controls=studies.controls,
    ),
    "/study": Page(
        title="Progress", results=study.results, figures=study.figures, choices=study.choices, of_study=True
    ),
    "/omega": Page(
        title="Best omega", results=omega.results, figures=omega.figures, choices=omega.choices, of_study=True
    ),
    "/compare": Page(
        title="Compare", results=compare.results, figures=compare.figures, choices=compare.choices, of_study=True
    ),
    "/trial": Page(title="Trials", results=trial.results, choices=trial.choices, of_study=True),
    "/losses": Page(title="Losses", results=losses.results, choices=losses.choices, controls=losses.controls),
    "/plan": Page(title="Plan", results=plan.results, controls=plan.controls),
}


def build_app(desk: Desk) -> Dash:
    """The application on what lies on this desk; `app.server` is its Flask application."""
    app = Dash(
        __name__,
        title="ccar",
        update_title="",
        serve_locally=True,
        compress=False,
        suppress_callback_exceptions=True,  # controls come with their page
        index_string=_INDEX,
    )
    app.layout = html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Interval(id="tick", interval=TICK_MILLISECONDS),
            # What is on the page, each made of the address. A call is asked for by more than one component, and where
            # two come together Dash gives up the earlier one: what is to be done follows from these, not from who asks.
            dcc.Store(id="framed", data=["", ""]),  # the address, and what the choices for it say
            dcc.Store(id="controlled", data=["", ""]),  # page and the study its controls began with; what they followed
            dcc.Store(id="shown", data=["", ""]),  # the address, and the edition of the library
            dcc.Store(id="said", data=""),  # what the controls made of the address
            html.A("Skip to the content", href="#results", className="skip"),
            html.Header(
                [html.Div(link("ccar", "/"), className="brand"), html.Nav(id="nav", **{"aria-label": "Pages"})]
            ),
            html.Main(
                [
                    html.H1(id="title"),
                    html.Div(id="choices"),
                    html.Div(id="controls"),
                    html.Div(id="results", **{"aria-live": "off"}),
                    html.Div(id="figures", **{"aria-live": "off"}),
                ]
            ),
        ]
    )

    @made_once(_CONTENTS_KEPT, _SECONDS_KEPT)
    def content_of(part: Literal["results", "figures"], path: str, search: str, edition: str) -> list[Content]:
        """Made once for all who look at the same page, until something of the library changes."""
        fields = fields_of(search)
        page = PAGES[path]
        return page.results(desk, fields) if part == "results" else page.figures(desk, fields)

    # However long a page takes; where no answer comes at all, assets/dashboards.js turns it on again.
    one_at_a_time = [(Output("tick", "disabled"), True, False)]

    @app.callback(
        Output("nav", "children"),
        Output("title", "children"),
        Output("choices", "children"),
        Output("framed", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("shown", "data"),
        State("framed", "data"),
    )
    def frame(path: str, search: str, _shown: list[str], framed: list[str]) -> tuple[Any, ...]:
        page, fields = PAGES.get(path), fields_of(search)
        choices = page.choices(desk, fields) if page else []
        # They follow the store, but nothing is drawn anew under the hand of who is about to choose.
        here = [f"{path}{search}", sha256(to_json_plotly(choices).encode()).hexdigest()]
        if framed == here:
            return (no_update,) * 4
        if framed[0] == here[0]:
            return no_update, no_update, choices, here
        return _navigation(desk, path, fields), _title(page, fields), choices, here

    @app.callback(
        Output("controls", "children"),
        Output("controlled", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("shown", "data"),
        State({"control": ALL, "default": ALL}, "value"),
        State("controlled", "data"),
        State("said", "data"),
    )
    def controls(
        path: str, search: str, _shown: list[str], values: list[Any], controlled: list[str], said: str
    ) -> tuple[Any, Any]:
        page, fields = PAGES.get(path), fields_of(search)
        there, followed = controlled
        study = fields.get("study", "")
        is_known = desk.library.state(study) is not None
        wanted = address(path, study=study if is_known else None)
        if study and not is_known and there.partition("?")[0] == path:  # not read yet, or deleted meanwhile
            wanted = there
        is_followed = search in (followed, said) or _agree(ctx.states_list[0], values, fields)
        if there == wanted and is_followed:
            return no_update, [wanted, search]  # somebody may be typing
        return page.controls(desk, fields) if page else [], [wanted, search]

    @app.callback(
        Output("results", "children"),
        Output("figures", "children", allow_duplicate=True),
        Output("shown", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
        State("shown", "data"),
        running=one_at_a_time,
        prevent_initial_call="initial_duplicate",
    )
    def results(path: str, search: str, _tick: int, shown: list[str]) -> tuple[Any, ...]:
        desk.library.is_asked()
        if path == "/":
            desk.elsewhere.is_asked()
        here = [f"{path}{search}", desk.library.edition]
        if shown == here:
            return (no_update,) * 3
        former = no_update if shown[0] == here[0] else []  # those of another page go at once
        page, fields = PAGES.get(path), fields_of(search)
        if page is None:
            return [note("There is no such page."), link("All studies", "/")], former, here
        if _lacks_its_study(desk, page, fields):
            return desk.missing_study(fields.get("study", "")), [], here
        troubles = desk.troubles(fields["study"]) if page.of_study else []
        return [*troubles, *content_of("results", path, search, here[1])], former, here

    @app.callback(
        Output("figures", "children"),
        Input("shown", "data"),
        State("url", "pathname"),
        State("url", "search"),
        running=one_at_a_time,
        prevent_initial_call=True,
    )
    def figures(_shown: list[str], path: str, search: str) -> list[Content]:
        page, edition = PAGES.get(path), desk.library.edition
        if page is None or _lacks_its_study(desk, page, fields_of(search)):
            return []
        return content_of("figures", path, search, edition)

    @app.callback(
        Output("url", "search"),
        Output("said", "data"),
        Input({"control": ALL, "default": ALL}, "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def say_in_address(values: list[Any], search: str) -> tuple[Any, Any]:
        fields = fields_of(search)
        wanted = dict(fields)
        for control, value in zip(ctx.inputs_list[0], values, strict=True):
            text = _text(value)
            wanted[control["id"]["control"]] = "" if text == control["id"]["default"] else text
        wanted = {name: value for name, value in wanted.items() if value}
        return (no_update,) * 2 if wanted == fields else (search_of(wanted),) * 2

    @app.callback(Output("plan", "children"), Input("plan-text", "value"))
    def plan_text(text: str | None) -> Any:  # noqa: ANN401
        return plan.planned(desk, text or "")

    @app.callback(
        Output("plan-file", "data"),
        Input("plan-download", "n_clicks"),
        State("plan-text", "value"),
        prevent_initial_call=True,
    )
    def plan_file(clicks: int, text: str | None) -> Any:  # noqa: ANN401
        return dcc.send_string(text or "", plan.FILE) if clicks else no_update

    add_routes(app, desk)
    app.clientside_callback(ClientsideFunction("ccar", "entitle"), Output("title", "title"), Input("title", "children"))
    app.clientside_callback(
        ClientsideFunction("ccar", "follow"),
        Output("url", "href"),
        Input({"plot": ALL}, "clickData"),
        prevent_initial_call=True,
    )
    return app


def _title(page: Page | None, fields: Fields) -> str:
    if page is None:
        return "Not found"
    return f"{fields.get('study', '')}: {page.title}" if page.of_study else page.title


def _navigation(desk: Desk, path: str, fields: Fields) -> list[Content]:
    study_name = fields.get("study")
    links = [
        html.Li(
            link(
                page.title,
                address(where, study=study_name if page.of_study else None),
                className="here" if where == path else "",
            )
        )
        for where, page in PAGES.items()
        if study_name or not page.of_study
    ]
    if desk.mlflow:
        links.append(html.Li(html.A("MLflow", href=without_credentials(desk.mlflow)[0])))
    return [html.Ul(links)]


def _lacks_its_study(desk: Desk, page: Page, fields: Fields) -> bool:
    return page.of_study and desk.library.state(fields.get("study", "")) is None


def _agree(controls: list[dict[str, Any]], values: list[Any], fields: Fields) -> bool:
    """Whether the controls on the page say what the address says."""
    return all(
        _text(value) == fields.get(control["id"]["control"], control["id"]["default"])
        for control, value in zip(controls, values, strict=True)
    )


def _text(value: Any) -> str:  # noqa: ANN401  (what a control of Dash holds)
    if isinstance(value, list):
        return SEPARATOR.join(map(str, value))
    return "" if value is None else str(value)

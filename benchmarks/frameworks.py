"""What five frameworks for dashboards take to install, to start, and for each visitor, with the same small page.

    python -m benchmarks.frameworks [FOLDER FOR SCREENSHOTS]

The page is a drop-down, a line plot that follows it and a table of 1,000 rows, written as each framework's own
introduction does, and served as it is to be served. Each has an environment of its own with our pandas and plotly, is
started twice, and is opened in Debian's Chromium, every time in a window that has nothing cached.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Error, Page, Route, sync_playwright

from ccar.errors import TrackingError
from ccar.tracking.web_server import free_port, running

UV = Path(sys.executable).with_name("uv")
LOCK = Path(__file__).parents[1] / "requirements.lock"
PINNED = [f"{name}=={importlib.metadata.version(name)}" for name in ("pandas", "plotly")]
STARTS, VIEWS, ROWS, FEW_ROWS = 2, 4, 1000, 200  # Dash needs a minute for 1,000 rows of components
SECONDS_TO_SHOW, SECONDS_TO_REFUSE, SECONDS_TO_SETTLE = 120, 20, 1  # for a machine that is busy with other work
# Else a page whose headers we have changed may not open a web socket: it is no longer known to come from this machine.
ARGUMENTS = ["--disable-features=LocalNetworkAccessChecks"]
FRAME = """
import numpy as np, pandas as pd, plotly.graph_objects as go
MEASURES = ["loss", "accuracy"]
random = np.random.default_rng(0)
FRAME = pd.DataFrame({name: random.random(1000).round(4) for name in MEASURES})
FRAME.insert(0, "epoch", range(1000))
FRAME.insert(0, "trial", [f"trial-{number:04}" for number in range(1000)])
def figure(measure):
    return go.Figure(go.Scatter(x=FRAME["epoch"], y=FRAME[measure]), {"title": {"text": f"plot of {measure}"}})
"""
DASH = """
import sys, waitress
from dash import Dash, Input, Output, dash_table, dcc, html
from frame import FRAME, MEASURES, figure
def table():
    return dash_table.DataTable(FRAME.to_dict("records"), page_action="none")
app = Dash()
app.layout = lambda: [dcc.Dropdown(MEASURES, MEASURES[0], id="measure"), dcc.Graph(id="plot"), table()]
app.callback(Output("plot", "figure"), Input("measure", "value"))(figure)
waitress.serve(app.server, host="127.0.0.1", port=int(sys.argv[1]))
"""
COMPONENTS = DASH.replace(
    'dash_table.DataTable(FRAME.to_dict("records"), page_action="none")',
    f"html.Table(html.Tbody([html.Tr([html.Td(cell) for cell in row]) for row in FRAME[:{FEW_ROWS}].to_numpy()]))",
)
STREAMLIT = """
import streamlit as st
from frame import FRAME, MEASURES, figure
@st.fragment
def chosen():
    st.plotly_chart(figure(st.selectbox("measure", MEASURES)))
chosen()
st.table(FRAME)
"""
PANEL = """
import panel as pn
from frame import FRAME, MEASURES, figure
pn.extension("plotly")
measure = pn.widgets.Select(name="measure", options=MEASURES)
pn.Column(measure, pn.pane.Plotly(pn.bind(figure, measure)), pn.pane.DataFrame(FRAME, index=False)).servable()
"""
NICEGUI = """
import sys
from nicegui import ui
from frame import FRAME, MEASURES, figure
@ui.page("/")
def page():
    ui.select(MEASURES, value=MEASURES[0], on_change=lambda event: plot.update_figure(figure(event.value)))
    plot = ui.plotly(figure(MEASURES[0]))
    ui.table.from_pandas(FRAME)
ui.run(host="127.0.0.1", port=int(sys.argv[1]), show=False, reload=False,
       reconnect_timeout=60)  # else it loads the page anew where the machine is busy for 3 s
"""
MARIMO = """
import marimo
app = marimo.App()
@app.cell
def _():
    import marimo as mo
    from frame import FRAME, MEASURES, figure
    measure = mo.ui.dropdown(MEASURES, MEASURES[0], label="measure")
    return FRAME, figure, measure, mo
@app.cell
def _(measure):
    measure
@app.cell
def _(figure, measure):
    figure(measure.value)
@app.cell
def _(FRAME, mo):
    mo.Html(FRAME.to_html(index=False))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    name: str
    packages: list[str]
    app: str
    command: str  # in the folder with the programs of its environment
    hook: str  # into every request, by its documentation
    rows: int = ROWS


DASH_ITSELF = Framework(
    name="dash",
    packages=["dash", "waitress"],
    app=DASH,
    command="python app.py {port}",
    hook="`before_request`, `after_request` of Flask",
)
FRAMEWORKS = (
    DASH_ITSELF,
    replace(DASH_ITSELF, app=COMPONENTS, rows=FEW_ROWS),
    Framework(
        name="streamlit",
        packages=["streamlit"],
        app=STREAMLIT,
        command="streamlit run app.py --server.port {port} --server.address 127.0.0.1 --server.headless true "
        "--server.fileWatcherType none --browser.gatherUsageStats false",
        hook="ASGI middleware of `st.App`",
    ),
    Framework(
        name="panel",
        packages=["panel"],
        app=PANEL,
        command="panel serve app.py --port {port} --address 127.0.0.1",
        hook="ASGI middleware, with the extra `fastapi`",
    ),
    Framework(
        name="nicegui", packages=["nicegui"], app=NICEGUI, command="python app.py {port}", hook="ASGI middleware"
    ),
    Framework(
        name="marimo",
        packages=["marimo"],
        app=MARIMO,
        command="marimo run app.py --port {port} --host 127.0.0.1 --headless --no-token",
        hook="ASGI middleware of `create_asgi_app`",
    ),
)
POLICIES = {  # from strict to lax; {} are the hashes of the answer's own inline scripts
    "`'self'`": "",
    "hashes": "{}",
    "hashes, eval": "{} 'unsafe-eval'",
    "inline": "'unsafe-inline'",
    "inline, eval": "'unsafe-inline' 'unsafe-eval'",
    "any": "'unsafe-inline' 'unsafe-eval' blob: data: *",
}


def main() -> None:
    print("## Frameworks for the dashboard (`python -m benchmarks.frameworks`)\n")
    print(
        f"A drop-down, a line plot that follows it, a table of {ROWS:,} rows; figures of {STARTS} starts. CPU and\n"
        "memory (PSS) are those of the server, but for one row; MB installed are without bytecode.\n"
        f"`script-src` is what a page needs besides `'self'` to be shown within {SECONDS_TO_REFUSE} s: nothing, the\n"
        "hashes of its inline scripts, eval, any inline script. axe: serious and critical.\n"
    )
    with tempfile.TemporaryDirectory(prefix="ccar-bench-") as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        bare, needed = set(install(Path(name) / "bare", [])), resolved([])
        columns = [
            measure(browser, Path(name) / str(number), each, bare, needed) for number, each in enumerate(FRAMEWORKS)
        ]
        browser.close()
    figures = list(dict.fromkeys(figure for column in columns for figure in column))
    print(f"| | {' | '.join(column.pop('') for column in columns)} |\n|---|{'---|' * len(columns)}")
    for figure in figures[1:]:
        print(f"| {figure} | {' | '.join(column.get(figure, '-') for column in columns)} |")


def measure(browser: Browser, folder: Path, framework: Framework, bare: set[str], needed: set[str]) -> dict[str, str]:
    """Figures of a framework by what they are; the one without a name is the framework."""
    column = {"": framework.name}
    try:
        sizes = install(folder, framework.packages)
        column[""] += f" {sizes[framework.packages[0]][1]}"
        beyond = [size for name, (size, _) in sizes.items() if name not in bare]
        column["packages beyond pandas and plotly"] = str(len(beyond))
        column["MB of them"] = f"{sum(beyond):.0f}"
        new = [sizes[name][0] for name in resolved(framework.packages) - needed]
        column["packages new to ccar, plotly included"] = str(len(new))
        column["MB of those"] = f"{sum(new):.0f}"
        (folder / "app.py").write_text(framework.app)
        (folder / "frame.py").write_text(FRAME)
        starts = [measure_a_start(browser, folder, framework) for _ in range(STARTS)]
        for figure in starts[0]:
            column[figure] = ", ".join(start[figure] for start in starts)
        if framework.rows < ROWS:
            column[""] += f", {framework.rows} rows of components"
        with served(folder, framework) as (address, _):
            column |= look_closer(browser, address, framework.rows)
    except subprocess.CalledProcessError as error:
        column["not installed"] = str(error.stderr).strip().splitlines()[-1]
    except (TrackingError, Error) as error:
        column["not shown"] = str(error).splitlines()[0]
    column["a hook into every request, by its documentation"] = framework.hook
    return column


def install(folder: Path, packages: list[str]) -> dict[str, tuple[float, str]]:
    """MB and version of every package in a new environment in this folder, bytecode not counted."""
    subprocess.run([str(UV), "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    command = [str(UV), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(folder / "bin" / "python")]
    subprocess.run([*command, *PINNED, *packages], check=True, capture_output=True, text=True)
    (site,) = folder.glob("lib/python*/site-packages")
    return {
        canonical(found.name): (
            sum(Path(str(file.locate())).stat().st_size for file in found.files) / 1e6,
            found.version,
        )
        for found in importlib.metadata.distributions(path=[str(site)])
    }


def resolved(packages: list[str]) -> set[str]:
    """Names of all that ccar installs when its dashboard is written with these packages, as far as locked as locked."""
    others = [each for each in importlib.metadata.requires("ccar") if not re.match("dash|waitress|.*extra ==", each)]
    command = [str(UV), "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--constraints", str(LOCK), "-"]
    wanted = "\n".join([*others, *(PINNED if packages else []), *packages])
    done = subprocess.run(command, input=wanted, check=True, capture_output=True, text=True)
    return {canonical(name) for name in re.findall(r"^[\w.-]+", done.stdout, re.MULTILINE)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@contextmanager
def served(folder: Path, framework: Framework) -> Iterator[tuple[str, psutil.Process]]:
    """The page by a server of its own, which has answered once."""
    port = free_port("127.0.0.1")
    program, *arguments = framework.command.format(port=port).split()
    command = [str(folder / "bin" / program), *(str(folder / each) if each == "app.py" else each for each in arguments)]
    environment = os.environ | {"HOME": str(folder), "PYTHONPATH": str(folder)}
    with running(command, environment, framework.name, f"http://127.0.0.1:{port}") as server:
        server.wait_until_it_answers("/")
        yield server.address, psutil.Process(server._process.pid)


def measure_a_start(browser: Browser, folder: Path, framework: Framework) -> dict[str, str]:
    with served(folder, framework) as (address, server):
        answered = cpu_seconds(server)
        views, updates, memory = list[tuple[float, float]](), list[tuple[float, float]](), list[float]()
        contexts = [browser.new_context() for _ in range(VIEWS)]  # visitors, all of whom stay
        pages = [context.new_page() for context in contexts]
        traffic = Traffic(pages[0])
        for page in pages:
            views.append(seconds_of(server, page, partial(shown, page, address, framework.rows)))
            traffic.counts = False
            updates.append(seconds_of(server, page, partial(choose, page, "accuracy")))
            memory.append(sum(each.memory_full_info().pss for each in family(server)) / 1e6)
        if len(sys.argv) > 1:
            page.screenshot(path=Path(sys.argv[1]) / f"{framework.name}-{framework.rows}.png")
        for context in contexts:
            context.close()
    return {
        "CPU until the first answer, s": f"{answered:.2f}",
        "CPU of the first view, s": f"{views[0][0]:.2f}",
        "CPU of each further view, s": f"{sum(view[0] for view in views[1:]) / (VIEWS - 1):.2f}",
        "CPU of an update of the plot, s": f"{sum(update[0] for update in updates) / VIEWS:.2f}",
        "CPU of browser and Playwright for a view, s": f"{sum(view[1] for view in views[1:]) / (VIEWS - 1):.1f}",
        "memory after two views, MB": f"{memory[1]:.0f}",
        "more for each further one that stays open, MB": f"{(memory[-1] - memory[1]) / (VIEWS - 2):.1f}",
        "first view over HTTP, MB": f"{traffic.http / 1e6:.1f}",
        "and by web socket, MB": f"{traffic.web_socket / 1e6:.2f}",
    }


class Traffic:
    """Bytes to a page as they came by HTTP, headers included, and what web sockets said, before it was compressed."""

    def __init__(self, page: Page) -> None:
        self.http, self.web_socket, self.counts = 0.0, 0, True
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        network.on("Network.loadingFinished", self._loaded)
        page.on("websocket", lambda socket: socket.on("framereceived", self._received))

    def _loaded(self, event: dict[str, float]) -> None:
        self.http += event["encodedDataLength"] * self.counts

    def _received(self, said: str | bytes) -> None:
        self.web_socket += len(said) * self.counts


def shown(page: Page, address: str, rows: int, seconds: float = SECONDS_TO_SHOW) -> None:
    """Return when the plot and all rows of the table are on the page."""
    page.goto(address, timeout=SECONDS_TO_SHOW * 1000)
    page.locator(".gtitle", has_text="loss").wait_for(state="attached", timeout=seconds * 1000)
    page.locator("tbody tr").nth(rows - 1).wait_for(state="attached", timeout=seconds * 1000)


def choose(page: Page, name: str) -> None:
    """Choose another measure and return when the plot shows it."""
    if page.locator("select").count():
        page.locator("select").select_option(name)
    else:
        page.locator("[role=combobox], .dash-dropdown").first.click()
        page.locator("[role=option], .dash-dropdown-option", has_text=name).first.click()
    page.locator(".gtitle", has_text=name).wait_for(state="attached", timeout=SECONDS_TO_SHOW * 1000)


def look_closer(browser: Browser, address: str, rows: int) -> dict[str, str]:
    """What can be told once: who else is asked, is the web socket needed, which policy is enough, what axe finds."""
    with window(browser) as page:
        others = set[str]()
        page.on("request", lambda asked: others.add(urlsplit(asked.url).hostname))
        shown(page, address, rows)
        address = page.url  # some send on to another
        page.wait_for_timeout(SECONDS_TO_SETTLE * 1000)
        found = Axe().run(page).response["violations"]
        serious = sorted(each["id"] for each in found if each["impact"] in ("serious", "critical"))
    with window(browser) as page:
        page.route_web_socket(re.compile(".*"), lambda socket: socket.close())
        without = shows(page, address, rows)
        first, second = (hashes(page.request.get(address).text()) for _ in range(2))
    policy = next((name for name in POLICIES if shows_under(browser, address, rows, name)), "none of these")
    return {
        "asks other hosts": ", ".join(sorted(others - {None, "127.0.0.1"})) or "no",
        "shown without its web socket": "yes" if without else "no",
        "shown under `script-src`": policy,
        "inline scripts, of them another in every answer": f"{len(first)}, {len(set(second) - set(first))}",
        "rules of axe it breaks": ", ".join(serious) or "none",
    }


def shows_under(browser: Browser, address: str, rows: int, policy: str) -> bool:
    """Whether the page is shown when the browser has been told to refuse other scripts than these."""

    def answer(route: Route) -> None:
        if route.request.resource_type != "document":
            return route.continue_()
        given = route.fetch()
        sources = POLICIES[policy].format(" ".join(hashes(given.text())))
        headers = given.headers | {"content-security-policy": f"script-src 'self' {sources}"}
        return route.fulfill(response=given, headers=headers)

    with window(browser) as page:
        page.route("**/*", answer)
        return shows(page, address, rows)


def hashes(document: str) -> list[str]:
    """Of its inline scripts, as a policy names them."""
    inline = re.findall(r"<script(?![^>]*(?:\ssrc=|/json))[^>]*>(.*?)</script>", document, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inline]
    return [f"'sha256-{digest}'" for digest in digests]


def shows(page: Page, address: str, rows: int) -> bool:
    try:
        shown(page, address, rows, SECONDS_TO_REFUSE)
    except Error:
        return False
    return True


@contextmanager
def window(browser: Browser) -> Iterator[Page]:
    context: BrowserContext = browser.new_context()
    yield context.new_page()
    context.close()


def seconds_of(server: psutil.Process, page: Page, act: Callable[[], None]) -> tuple[float, float]:
    """Seconds of CPU that the server, and the browser, spend on it, and on what they do shortly after."""
    before = cpu_seconds(server), cpu_seconds(psutil.Process())
    act()
    page.wait_for_timeout(SECONDS_TO_SETTLE * 1000)
    spent = cpu_seconds(server) - before[0]
    return spent, cpu_seconds(psutil.Process()) - before[1] - spent


def cpu_seconds(process: psutil.Process) -> float:
    """Of a process and all that it has started, those that have ended included."""
    spent = 0.0
    for each in family(process):
        with suppress(psutil.NoSuchProcess):  # its parent has its seconds now
            spent += sum(each.cpu_times()[:4])
    return spent


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


if __name__ == "__main__":
    main()

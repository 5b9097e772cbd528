"""One browser and one server for the tests of a module; every test has a page of its own that may not complain."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import waitress
from playwright.sync_api import expect, sync_playwright

from ccar.store.trial_store import TrialStore
from ccar.tracking.web_server import free_port
from dashboards.app import build_app
from dashboards.desk import Desk
from dashboards.guard import guard
from dashboards.library import Library
from tests.waiting import SECONDS, wait_until

MILLISECONDS = 1000 * SECONDS  # Playwright's own patience, half a minute and less, is that of an idle machine
expect.set_options(timeout=MILLISECONDS)
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextmanager
def served(
    store: TrialStore, *, password: str | None = None, mlflow: str = "", port: int | None = None
) -> Iterator[str]:
    """The pages on a store, from a thread of this process; yields their address."""
    port = free_port("127.0.0.1", port)
    library = Library(store)
    app = build_app(Desk.on(library, store.root, mlflow))
    guard(app, ["127.0.0.1"], port, password)
    server = waitress.create_server(app.server, host="127.0.0.1", port=port, threads=4)

    def serve():
        with contextlib.suppress(OSError):  # at the end its sockets are closed under it
            server.run()

    thread = threading.Thread(target=serve, daemon=True)
    library.start()
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        library.close()
        # Else an answer that is still being made would wake the server up by a number that another file has by then.
        server.task_dispatcher.shutdown(timeout=SECONDS)
        for kept_alive in list(server.active_channels.values()):
            kept_alive.handle_close()
        server.close()
        thread.join()


def pytest_collection_modifyitems(items):
    """All tests that look at pages in a browser take long."""
    for item in items:
        if "open_page" in getattr(item, "fixturenames", ()):
            item.add_marker("long")


@pytest.fixture(scope="session")
def context():
    """A window of Debian's Chromium; all tests share what it has cached."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: `make system` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        window = browser.new_context(viewport={"width": 1440, "height": 900})
        window.set_default_timeout(MILLISECONDS)
        yield window
        browser.close()


@pytest.fixture
def open_page(context):
    """Opens an address; what the browser complained about fails the test: errors, and what the policy forbids."""
    complaints, pages = [], []

    def opened(address):
        page = context.new_page()
        pages.append(page)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


def wait_until_it_fits(page, width):
    """On a screen of this width nothing is wider; plots take a moment to follow."""
    page.set_viewport_size({"width": width, "height": 800})

    def found():
        # By evaluate: the policy of the pages forbids what Playwright's own waiting would evaluate inside of them.
        return page.evaluate("document.documentElement.scrollWidth")

    wait_until(lambda: found() <= width, told=lambda: f"{found()} pixels wide: {page.url}")


def traces(plot, said):
    """What `said`, a JavaScript expression of `traces`, is for a plot; one that is drawn anew has none for a moment."""
    found = []

    def are_there():
        answer = plot.evaluate(f"({{_fullData: traces}}) => traces ? {{answer: {said}}} : null")
        found.extend([] if answer is None else [answer["answer"]])
        return found

    wait_until(are_there)
    return found[0]


def expect_rows(rows, texts):
    """The rows of a table say these texts, entry by entry."""
    expect(rows).to_have_count(len(texts))
    for row, said in zip(rows.all(), texts, strict=True):
        expect(row.locator("td")).to_have_text(said)

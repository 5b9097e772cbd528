"""Draws docs/images: runs the demo's study in a folder of its own and looks at every page; `make screenshots`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from ccar.tracking.web_server import LOOPBACK, free_port, running

DOCS = Path(__file__).parent
STUDY = DOCS.parent / "studies" / "digits_lt.yaml"
WIDTHS = {1440: 1000, 390: 844}  # and heights of a window
CELL = "if50/logit_adjustment+ccar(omega=0.75)"
PAGES = {
    "studies": ("/", "#studies"),
    "omega": ("/omega?study=digits-lt", ".js-plotly-plot .errorbars"),
    "compare": ("/compare?study=digits-lt", ".js-plotly-plot .scatterlayer"),
    "cell": (f"/trial?study=digits-lt&cell={CELL.replace('+', '%2B')}", ".js-plotly-plot .scatterlayer"),
    "trial": (f"/trial?study=digits-lt&cell={CELL.replace('+', '%2B')}&seed=0", ".js-plotly-plot .scatterlayer"),
    "losses": ("/losses?data=cifar100_lt", ".js-plotly-plot .contourlayer path"),
    "plan": ("/plan", "#plan-cells"),
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ccar-screenshots-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        store = Path(folder) / "ccar-store"
        port = free_port(LOOPBACK, None, 0)
        address = f"http://{LOOPBACK}:{port}"
        command = [sys.executable, "-m", "dashboards", "--store", str(store), "--port", str(port)]
        with running(command, os.environ, "the dashboard", address) as server:
            server.wait_until_it_answers("/")
            run = subprocess.Popen([sys.executable, "-m", "ccar", "run", str(STUDY), "--store", str(store)])
            take(browser, f"{address}/study?study=digits-lt", "progress", "#counts:has-text('running')", seconds=30)
            if run.wait() != 0:
                sys.exit("the study did not run to its end")
            for name, (path, there) in PAGES.items():
                take(browser, f"{address}{path}", name, there)
        browser.close()


def take(browser: Browser, address: str, name: str, there: str, seconds: float = 1.0) -> None:
    """The whole page at each width, once `there` is on it and it has had some seconds more."""
    for width, height in WIDTHS.items():
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(address)
        page.locator(there).first.wait_for(timeout=120_000)
        page.wait_for_timeout(1000 * seconds)
        page.screenshot(path=DOCS / "images" / f"{name}-{width}.png", full_page=True)
        page.close()
        seconds = 1.0


if __name__ == "__main__":
    main()

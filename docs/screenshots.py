"""Draws docs/images: runs the demo's study, and a small one on class frequencies, in a folder of its own and looks at
every page; `make screenshots`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright

from ccar.tracking.web_server import LOOPBACK, free_port, running

DOCS = Path(__file__).parent
STUDY = DOCS.parent / "studies" / "digits_lt.yaml"
WIDTHS = {1440: 1000, 390: 844}  # and heights of a window
CELL = quote("if50/logit_adjustment+ccar(omega=0.75)")
PAGES = {
    "studies": ("/", "#studies:has-text('200 of 200'):has-text('39 of 39')"),
    "omega": ("/omega?study=digits-lt", ".js-plotly-plot .errorbars"),
    "compare": ("/compare?study=digits-lt&at=1", ".js-plotly-plot .scatterlayer"),
    "cell": (f"/trial?study=digits-lt&cell={CELL}", ".js-plotly-plot .scatterlayer"),
    "trial": (f"/trial?study=digits-lt&cell={CELL}&seed=0", ".js-plotly-plot .scatterlayer"),
    "losses": ("/losses?data=cifar100_lt", ".js-plotly-plot .contourlayer path"),
    "plan": ("/plan", "#plan-cells"),
}
IN_THE_DARK = {"frequency": ("/omega?study=digits-frequency", ".js-plotly-plot .heatmaplayer image")}
FREQUENCIES = """\
study: digits-frequency
question: Which class frequency should Omega use on digits with a long tail, and does it matter?
data: {name: digits, imbalance_factors: 50, validation_per_class: 20}
model: small_cnn
recipe: digits_quick
methods:
  bases: [cross_entropy]
  reweighting: {omega: [0.25, 0.5, 0.75, 1.0], frequency: [fraction, max_normalised, none]}
seeds: [0, 1, 2]
baseline: cross_entropy
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ccar-screenshots-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        store = Path(folder) / "ccar-store"
        frequencies = Path(folder) / "digits_frequency.yaml"
        frequencies.write_text(FREQUENCIES)
        port = free_port(LOOPBACK)
        address = f"http://{LOOPBACK}:{port}"
        command = [sys.executable, "-m", "dashboards", "--store", str(store), "--port", str(port)]
        with running(command, os.environ, "the dashboard", address) as server:
            server.wait_until_it_answers("/")
            run = subprocess.Popen(run_command(STUDY, store))
            there = "main:has(#counts:has-text('running')) .js-plotly-plot .scatterlayer"
            take(browser, f"{address}/study?study=digits-lt", "progress", there, seconds=30)
            if run.wait() != 0:
                sys.exit("the study did not run to its end")
            subprocess.run(run_command(frequencies, store), check=True)
            for name, (path, there) in PAGES.items():
                take(browser, f"{address}{path}", name, there)
            for name, (path, there) in IN_THE_DARK.items():
                take(browser, f"{address}{path}", name, there, scheme="dark")
        browser.close()


def run_command(study: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "ccar", "run", str(study), "--store", str(store)]


def take(
    browser: Browser,
    address: str,
    name: str,
    there: str,
    seconds: float = 1.0,
    scheme: Literal["light", "dark"] = "light",
) -> None:
    """The whole page at each width, once `there` is on it and it has had some seconds more."""
    for width, height in WIDTHS.items():
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(address)
        page.locator(there).first.wait_for(timeout=300_000)
        page.wait_for_timeout(1000 * seconds)
        page.screenshot(path=DOCS / "images" / f"{name}-{width}.png", full_page=True)
        page.close()
        seconds = 1.0


if __name__ == "__main__":
    main()

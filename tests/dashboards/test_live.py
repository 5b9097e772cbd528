"""`ccar ui` beside `ccar run`: a real study is watched to its end, and its trials are found in MLflow."""

from __future__ import annotations

import signal
import subprocess

import psutil
import pytest
from playwright.sync_api import expect

from tests.cli.test_commands import CCAR
from tests.tiny_study import write_tiny_study

pytestmark = [pytest.mark.ray, pytest.mark.long]


@pytest.fixture
def pages(tmp_path):
    """`ccar ui` on a store that is not there yet; its address."""
    process = subprocess.Popen(
        [str(CCAR), "ui"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    children = []
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        children = psutil.Process(process.pid).children(recursive=True)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_study_is_watched_from_its_start_to_its_end_and_into_mlflow(pages, tmp_path, open_page):
    study = write_tiny_study(tmp_path, epochs=40, seeds="[0, 1]")
    page = open_page(pages)
    expect(page.locator("#results")).to_contain_text("No study was run")
    run = subprocess.Popen(
        [str(CCAR), "run", str(study)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    page.get_by_role("link", name="tiny", exact=True).click(timeout=120_000)
    expect(page.locator("#counts")).to_contain_text("running", timeout=120_000)
    expect(page.locator(".js-plotly-plot .scatterlayer .point").first).to_be_attached(timeout=120_000)
    expect(page.locator("#counts")).to_have_text("4 of 4 trials done: 4 finished.", timeout=120_000)
    assert run.wait(120) == 0
    page.locator(".matrix a.cell").first.click()
    page.get_by_role("link", name="run", exact=True).first.click()
    page.wait_for_url("**/#/experiments/*/runs/*")

"""`ccar ui` beside `ccar run`: a real study is watched to its end, and its numbers are those of its report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from statistics import stdev
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from ccar.reports.report_file import read_report
from ccar.reports.wording import hours, percent
from ccar.store.trial_store import TrialStore
from ccar.tracking.web_server import free_port, running
from tests.changed_training import WAITS, change_training
from tests.cli.test_commands import CCAR
from tests.processes import alive_of, ended, family_of, listening_on, wait_until_gone
from tests.tiny_study import write_tiny_study
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.long]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the study file lies, and its store once the study has begun."""
    folder = tmp_path_factory.mktemp("live")
    write_tiny_study(folder, epochs=40, seeds="[0, 1]")
    return folder


@pytest.fixture(scope="module")
def ui(folder):
    """`ccar ui --open` on a store that is not there yet, with a browser that only notes the address."""
    browser = folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {folder}/opened\n')
    browser.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER", str(browser))
        # Whoever runs the tests in the background has them ignore Ctrl-C, and all that they start.
        command = ["env", "--default-signal=INT", str(CCAR), "ui", "--open"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    children = []
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        children = family_of(process.pid)[1:]
        yield address, children
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    wait_until_gone(children)


@pytest.fixture(scope="module")
def pages(ui):
    """The printed address."""
    return ui[0]


@pytest.fixture(scope="module")
def report(folder):
    """What the study's report says at its end; of a study that was watched already nothing is trained again."""
    subprocess.run([str(CCAR), "run", "tiny.yaml"], cwd=folder, check=True, capture_output=True)
    return read_report(folder / "ccar-store" / "reports" / "tiny")


def test_the_address_is_opened_in_the_browser(pages, folder):
    wait_until(lambda: (folder / "opened").exists() and (folder / "opened").read_text())
    assert (folder / "opened").read_text() == f"{pages}\n"


def test_the_dashboard_and_mlflow_listen_on_loopback_only(ui):
    listening = [places for process in alive_of(ui[1]) if (places := listening_on([process]))]
    assert len(listening) >= 2
    assert set.union(*listening) == {"127.0.0.1"}


def test_a_study_is_watched_from_its_start_to_its_end_and_into_mlflow(pages, folder, open_page, tmp_path, monkeypatch):
    go_on = tmp_path / "go_on"
    change_training(WAITS.format(path=str(go_on)), tmp_path, monkeypatch)
    page = open_page(pages)
    expect(page.locator("#results")).to_contain_text("No study was run")
    command = [str(CCAR), "run", "tiny.yaml"]
    run = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ended(run):
        page.get_by_role("link", name="tiny", exact=True).click()
        expect(page.locator("#counts")).to_contain_text("running")
        go_on.touch()
        # The line and not a mark on it: long curves have none, and a fast machine is soon there.
        expect(page.locator(".js-plotly-plot .scatterlayer .js-line").first).to_be_attached()
        expect(page.locator("#counts")).to_have_text("4 of 4 trials done: 4 finished.")
        assert run.wait() == 0
    page.locator(".matrix a.cell").first.click()
    page.get_by_role("link", name="run", exact=True).first.click()
    page.wait_for_url("**/#/experiments/*/runs/*")


def accuracy(row, name="test_accuracy"):
    """Mean and interval as all tables write them."""
    return percent(getattr(row, f"{name}_mean"), getattr(row, f"{name}_half_width"))


def test_the_list_of_studies_has_the_numbers_of_the_report(pages, report, open_page):
    row = open_page(pages).get_by_role("row", name="tiny")
    reached = {}
    for trial in report.trials:
        reached.setdefault(trial.cell, []).append(trial.val_balanced_accuracy)
    best = max(
        reached, key=lambda cell: (round(sum(reached[cell]), 9), -stdev(reached[cell]))
    )  # the steadier of equals
    expect(row).to_contain_text("4 of 4")
    said = percent(sum(reached[best]) / 2)
    equal = sum(round(sum(accuracies), 9) == round(sum(reached[best]), 9) for accuracies in reached.values())
    words = f"{best} {said} ±" if equal == 1 else f"{equal} cells at {said} %, among them {best}"
    expect(row).to_contain_text(words)
    expect(row).to_contain_text(hours(report.costs.hours))


def test_the_progress_of_a_study_has_the_numbers_of_the_report(pages, report, open_page):
    page = open_page(f"{pages}/study?study=tiny")
    finished = sum(trial.status == "finished" for trial in report.trials)
    expect(page.locator("#counts")).to_have_text(f"4 of 4 trials done: {finished} finished.")
    expect(page.locator(".facts")).to_contain_text(hours(report.costs.hours))
    expect(page.locator(".matrix a.cell")).to_have_text([f"{cell.finished}/{cell.planned}" for cell in report.cells])


def test_the_best_omega_has_the_numbers_and_the_words_of_the_report(pages, report, open_page):
    page = open_page(f"{pages}/omega?study=tiny")
    table = page.locator("#best_omega")
    (choice,) = [choice.model_dump() for choice in report.choices]
    expect(table).to_be_visible()
    expect(table).to_contain_text(
        percent(choice["test_balanced_accuracy_mean"], choice["test_balanced_accuracy_half_width"])
    )
    expect(table).to_contain_text(
        percent(choice["val_balanced_accuracy_mean"], choice["val_balanced_accuracy_half_width"])
    )
    for finding in report.findings:
        expect(page.locator("main")).to_contain_text(finding.headline)


def test_the_cells_side_by_side_have_the_numbers_of_the_report(pages, report, open_page):
    page = open_page(f"{pages}/compare?study=tiny")
    expect(page.locator("#measures")).to_be_visible()
    for cell in report.cells:
        row = page.locator("#measures tr", has=page.get_by_role("link", name=cell.cell, exact=True))
        expect(row).to_contain_text(accuracy(cell))
        expect(row).to_contain_text(accuracy(cell, "test_balanced_accuracy"))


def test_the_trials_have_the_numbers_of_the_report(pages, report, open_page):
    for cell in report.cells:
        page = open_page(f"{pages}/trial?study=tiny&cell={quote(cell.cell)}")
        for trial in [one for one in report.trials if one.cell == cell.cell]:
            row = page.locator("#trials").get_by_role("row", name=f"seed {trial.seed}")
            expect(row).to_contain_text(percent(trial.test_accuracy))
            expect(row).to_contain_text(percent(trial.val_balanced_accuracy))
    page.get_by_role("link", name=f"seed {trial.seed}", exact=True).click()
    expect(page.locator("#evaluations")).to_be_visible()
    expect(page.locator("#evaluations")).to_contain_text(percent(trial.test_accuracy))
    expect(page.locator("main")).to_contain_text(trial.key)


def test_a_study_of_another_store_is_listed_with_the_way_to_its_runs(pages, tmp_path, open_page):
    page = open_page(pages)
    mlflow = page.get_by_role("link", name="MLflow").get_attribute("href")
    file = write_tiny_study(tmp_path)
    file.write_text(file.read_text().replace("study: tiny", "study: of-others"))
    command = [str(CCAR), "run", file.name, "--tracking-uri", mlflow]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    row = page.locator("#elsewhere").get_by_role("row", name="of-others")
    report = read_report(tmp_path / "ccar-store" / "reports" / "of-others")
    (best,) = report.recommendations
    # It is asked for three times a minute, and what is best is logged last.
    expect(row).to_contain_text(f"{best.method} {100 * best.validation_balanced_accuracy:.2f} %")
    for text in ("finished", "2 of 2", report.question):
        expect(row).to_contain_text(text)
    row.get_by_role("link").click()
    page.wait_for_url("**/#/experiments/*")


def test_a_study_does_not_notice_that_the_dashboard_is_killed(report, folder, tmp_path):
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "dashboards", "--store", str(tmp_path / "ccar-store"), "--port", str(port)]
    trains = [str(CCAR), "run", str(folder / "tiny.yaml")]
    with running(command, os.environ, "the dashboard", f"http://127.0.0.1:{port}") as dashboard:
        dashboard.wait_until_it_answers("/")
        with ended(subprocess.Popen(trains, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)) as run:
            store = TrialStore(tmp_path / "ccar-store")
            wait_until(lambda: any(record.epochs for record in store.all_records()))
            with urllib.request.urlopen(f"{dashboard.address}/", timeout=60):
                pass
            dashboard._process.kill()
            assert run.wait() == 0
    undisturbed = TrialStore(folder / "ccar-store")
    tests = [store.read_test(trial.key) for trial in report.trials]
    assert None not in tests
    assert tests == [undisturbed.read_test(trial.key) for trial in report.trials]

"""How fast the dashboard shows a study, how far it is behind the store, and what a running study notices of it.

    python -m benchmarks.dashboard [TRIALS ...]

The trials are written to a real store first and are not counted. Pages are opened in Debian's Chromium, each in a
window of its own; a page is shown when a frame with its numbers is on the screen, by the browser's own clock.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Browser, sync_playwright

from benchmarks.report import STUDY, put_finished_trial
from ccar.store.records import StudyRecord, StudyTrial
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import PlannedTrial, load_data, plan_trials
from ccar.tracking.web_server import free_port, running

GRIDS = {  # trials: 5 base losses x (plain + omegas x frequencies) x 2 imbalance factors x 5 seeds
    2000: (13, ["fraction", "max_normalised", "none"]),
    20000: (133, ["fraction", "max_normalised", "none"]),
}
CALM = STUDY.format(trials="calm", omegas=[0.25, 0.5, 0.75], frequencies=["fraction"]).replace(
    "seeds: [0, 1, 2, 3, 4]", "seeds: [0]"
)
REPETITIONS = 5
REQUESTS = 200
ALL_READ = "(it('#counts')?.innerText ?? 'being read').includes('being read') === false"
ALL_DRAWN = "it('.main-svg') && all('.dash-graph').every((graph) => graph.querySelector('.main-svg'))"
# Asked from outside, a browser that is busy with the plots says late what has long been on the screen.
_NOTE_WHEN_SHOWN = """
  const it = (one) => document.querySelector(one), all = (some) => [...document.querySelectorAll(some)];
  new MutationObserver((changes, observer) => {
    if (%s) {
      observer.disconnect();
      requestAnimationFrame(() => requestAnimationFrame(() => { window.shownAt = Date.now() / 1000; }));
    }
  }).observe(document, {childList: true, subtree: true, characterData: true});
"""
WAITING = 8  # trials that have not run, to be committed while somebody looks


def main() -> None:
    print("## Dashboard (`python -m benchmarks.dashboard`)\n")
    print("Median (least to most). Pages in headless Chromium, on the same 2 cores as the server.\n")
    print("| figure | measured | target |\n|---|---|---|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for number in map(int, sys.argv[1:] or GRIDS):
            with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
                measure(browser, Path(folder), number)
        with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
            measure_hammering(browser, Path(folder))
        with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
            measure_a_running_study(browser, Path(folder))
        browser.close()


def measure(browser: Browser, folder: Path, number: int) -> None:
    store, name, waiting = filled_store(folder, number)
    begun = time.monotonic()
    with served(store) as (address, process):
        up = time.monotonic() - begun
        first = shown(browser, f"{address}/study?study={name}", "it('#counts')")
        row(
            f"{number:,} trials: server up / progress of the study first shown after that",
            f"{up:.1f} / {first:.2f} s",
            "",
        )
        shown(browser, f"{address}/study?study={name}", ALL_READ)
        row(f"{number:,} trials: all of them read after", f"{time.monotonic() - begun - up:.1f} s", "")
        summed = shown(browser, f"{address}/omega?study={name}", "it('#best_omega')")
        row(f"{number:,} trials: best omega first summed up and shown", f"{summed:.1f} s", "")
        target = "2 s" if number <= 2000 else "4 s"
        for page, there in (
            ("/", "#studies"),
            ("/study", "#counts"),
            ("/omega", "#best_omega"),
            ("/compare", "#measures"),
        ):
            times = [shown(browser, f"{address}{page}?study={name}", f"it('{there}')") for _ in range(REPETITIONS)]
            row(f"{number:,} trials: {page} shown", spread(times, "s"), target)
            if page != "/":
                times = [shown(browser, f"{address}{page}?study={name}", ALL_DRAWN) for _ in range(REPETITIONS)]
                row(f"{number:,} trials: {page} with all its plots drawn", spread(times, "s"), "")
        row(f"{number:,} trials: behind the store", spread(lags(browser, store, address, name, waiting), "s"), "2 s")
        row(f"{number:,} trials: memory of the server", f"{process.memory_info().rss / 1e6:.0f} MB", "600 MB")


def shown(browser: Browser, address: str, condition: str) -> float:
    """Seconds from asking for an address in a new window until a frame in which `condition`, of JavaScript, is true."""
    context = browser.new_context(bypass_csp=True)  # else the page forbids us to ask
    page = context.new_page()
    page.add_init_script(_NOTE_WHEN_SHOWN % condition)
    begun = time.time()
    page.goto(address)
    shown_at = page.wait_for_function("window.shownAt", timeout=120_000).json_value()
    context.close()
    return float(shown_at) - begun


def lags(browser: Browser, store: TrialStore, address: str, name: str, waiting: list[PlannedTrial]) -> list[float]:
    """Seconds from a commit until the number of done trials on an open page has grown."""
    page = browser.new_page()
    page.goto(f"{address}/study?study={name}")
    page.wait_for_selector("#counts")
    found = []
    for trial in waiting:
        before = page.locator("#counts").inner_text()
        put_finished_trial(store, trial, 0.7)
        begun = time.monotonic()
        while page.locator("#counts").inner_text() == before:
            page.wait_for_timeout(20)
        found.append(time.monotonic() - begun)
        time.sleep(1.3)
    page.close()
    return found


def measure_hammering(browser: Browser, folder: Path) -> None:
    """The same study with nobody looking, and with many requests at once for as long as it runs.

    A third of them ask for the layout, a third for all trials as CSV, a third what an open page of the study asks.
    """
    study = folder / "calm.yaml"
    study.write_text(CALM)
    times: dict[str, list[float]] = {"calm": [], "hammered": []}
    for repetition in range(3):
        for kind, seconds in times.items():
            store = TrialStore(folder / f"{kind}-{repetition}")
            store.root.mkdir()
            with served(store) as (address, _), ExitStack() as requests:
                if kind == "hammered":
                    requests.enter_context(hammered(address, asked_by_a_page(browser, address)))
                begun = time.monotonic()
                command = [sys.executable, "-m", "ccar", "run", str(study), "--store", str(store.root)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                seconds.append(time.monotonic() - begun)
    ratio = statistics.median(times["hammered"]) / statistics.median(times["calm"])
    row("a study of 40 trials, nobody looking", spread(times["calm"], "s"), "")
    row(f"the same under {REQUESTS} parallel requests", spread(times["hammered"], "s"), "")
    row("ratio", f"{ratio:.3f}", "1.1")


def measure_a_running_study(browser: Browser, folder: Path) -> None:
    """How far an open page is behind the store while all processors train: at each end of a trial."""
    study, store = folder / "calm.yaml", TrialStore(folder / "store")
    study.write_text(CALM)
    store.root.mkdir()
    with served(store) as (address, _):
        page, shown_at = browser.new_page(), dict[int, float]()
        page.goto(f"{address}/study?study=bench-calm")
        command = [sys.executable, "-m", "ccar", "run", str(study), "--store", str(store.root)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            ended_at = time.time()
            while time.time() - ended_at < 5.0:
                ended_at = time.time() if run.poll() is None else ended_at
                found = page.locator("#counts")
                done = int(found.inner_text().partition(" ")[0]) if found.count() else 0
                shown_at.setdefault(done, time.time())
                page.wait_for_timeout(20)
        page.close()
    ends = sorted(record.ended_at or 0.0 for record in store.all_records())
    behind = [
        min(at for done, at in shown_at.items() if done >= count) - end for count, end in enumerate(ends, start=1)
    ]
    row("behind the store while a study runs on all processors", spread(behind, "s"), "2 s")


def asked_by_a_page(browser: Browser, address: str) -> list[str]:
    """What a page posts while it is open, as JSON."""
    page, posted = browser.new_page(), list[str]()
    page.on("request", lambda request: posted.append(request.post_data or "") if request.method == "POST" else None)
    page.goto(f"{address}/study?study=bench-calm")
    page.wait_for_timeout(3000)
    page.close()
    return posted


@contextmanager
def hammered(address: str, posts: list[str]) -> Iterator[None]:
    """Requests come from a process of the least priority: who hammers a server does so from elsewhere."""
    process = multiprocessing.get_context("spawn").Process(target=_hammer, args=(address, posts))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _hammer(address: str, posts: list[str]) -> None:
    os.setsid()
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")
    requests = [urllib.request.Request(f"{address}/{path}") for path in ("_dash-layout", "csv/trials?study=bench-calm")]
    kind = {"Content-Type": "application/json"}
    page = f"{address}/_dash-update-component"

    def ask(number: int) -> None:
        post = urllib.request.Request(page, posts[number % len(posts)].encode(), kind)
        request = [*requests, post][number % 3]
        while True:
            try:
                with urllib.request.urlopen(request) as answer:
                    answer.read()
            except OSError:
                time.sleep(0.1)

    for number in range(REQUESTS):
        threading.Thread(target=ask, args=(number,)).start()


@contextmanager
def served(store: TrialStore) -> Iterator[tuple[str, psutil.Process]]:
    port = free_port("127.0.0.1")
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dashboards", "--store", str(store.root), "--port", str(port)]
    with running(command, os.environ, "the dashboard", address) as server:
        server.wait_until_it_answers("/")
        yield address, psutil.Process(server._process.pid)


def filled_store(folder: Path, number: int) -> tuple[TrialStore, str, list[PlannedTrial]]:
    """A store with all but the last few trials of a study."""
    num_omegas, frequencies = GRIDS[number]
    omegas = [round(0.05 + 0.9 * step / max(num_omegas - 1, 1), 4) for step in range(num_omegas)]
    path = folder / "study.yaml"
    path.write_text(STUDY.format(trials=number, omegas=omegas, frequencies=frequencies))
    study = load_study(path)
    store = TrialStore(folder / "store")
    trials = plan_trials(study, load_data(study, folder / "cache"))
    store.put_study(
        StudyRecord(
            name=study.name,
            definition=study.text,
            trials=tuple(
                StudyTrial(cell=trial.cell.id, method=trial.cell.method, seed=trial.seed, key=trial.key)
                for trial in trials
            ),
            submitted_at=time.time(),
        )
    )
    sync, os.fsync = os.fsync, lambda fd: None  # only the time of writing them differs
    try:
        random = np.random.default_rng(0)
        for trial in trials[:-WAITING]:
            put_finished_trial(store, trial, 0.7 + 0.01 * float(random.standard_normal()))
    finally:
        os.fsync = sync
    return store, study.name, list(trials[-WAITING:])


def spread(times: list[float], unit: str) -> str:
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f}, n = {len(times)}) {unit}"


def row(figure: str, measured: str, target: str) -> None:
    print(f"| {figure} | {measured} | {target} |", flush=True)


if __name__ == "__main__":
    main()

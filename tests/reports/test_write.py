from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ccar.errors import UserError
from ccar.reports.results import summarise
from ccar.reports.write import MANIFEST, write_report
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of

FILES = {
    "report.md",
    "report.html",
    "report.tex",
    "cells.csv",
    "trials.csv",
    "costs.csv",
    "report.json",
    "best_omega.yaml",
    *(
        f"figures/{name}.{ending}"
        for name in ("omega_response", "groups", "trade_off", "reliability", "weight_curves")
        for ending in ("png", "svg", "pdf")
    ),
}


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    """A report of the study with one diverged and one failed seed; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, summarise(source))
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_every_file_is_written_and_named(source, folder):
    assert {path.relative_to(folder).as_posix() for path in write_report(folder, summarise(source))} == FILES
    assert set(contents(folder)) == FILES | {MANIFEST}


def without_costs(name, content):
    """A report without its last tables, which are those of costs and machines; other files as they are."""
    if name == "report.json":
        return {part: value for part, value in json.loads(content).items() if part not in ("costs", "machines")}
    marks = {"report.md": (b"Device-hours:", b"## Figure 1"), "report.html": (b'id="costs"', b'class="figures"')}
    marks["report.tex"] = (b"Device{-}hours:", rb"\begin{figure}")
    if name not in marks:
        return content
    begin, end = (content.index(mark) for mark in marks[name])
    return content[:begin] + content[end:]


def test_the_same_numbers_from_other_times_and_hosts_change_the_costs_alone(study, folder, tmp_path):
    costs = study.costs
    costs["seconds"] *= 2
    costs["host"] = "elsewhere"
    write_report(tmp_path, summarise(input_of(study, costs=costs)))
    before, after = contents(folder), contents(tmp_path)
    changed = {name for name in before if without_costs(name, before[name]) != without_costs(name, after[name])}
    assert changed == {"costs.csv", MANIFEST}


def test_an_unchanged_report_is_not_written_again(source, folder):
    written_at = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    write_report(folder, summarise(source))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == written_at


@pytest.mark.long
def test_what_is_imported_ahead_is_all_that_takes_long():
    """matplotlib, scipy.stats and torch are hundreds of modules each; PIL's formats and the like are a dozen."""
    code = """if True:
        import sys
        from ccar.reports.results import summarise
        from ccar.reports.write import import_ahead, report_files
        from tests.evidence.made_up_study import made_up_study
        from tests.reports.conftest import input_of
        import_ahead()
        before = set(sys.modules)
        report_files(summarise(input_of(made_up_study())))
        print(*set(sys.modules) - before)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) < 30


@pytest.mark.parametrize("damage", ["missing", "edited", "no manifest", "unreadable manifest"])
def test_a_damaged_report_is_written_again(source, folder, damage, tmp_path, monkeypatch):
    monkeypatch.setattr("ccar.reports.write.report_files", lambda *_: contents_without_manifest)
    contents_without_manifest = {name: text for name, text in contents(folder).items() if name != MANIFEST}
    write_report(tmp_path, summarise(source))
    if damage == "missing":
        (tmp_path / "figures/groups.svg").unlink()
    elif damage == "edited":
        (tmp_path / "cells.csv").write_text("cell\n")
    elif damage == "no manifest":
        (tmp_path / MANIFEST).unlink()
        (tmp_path / "cells.csv").write_text("cell\n")
    else:
        (tmp_path / MANIFEST).write_text("[]")
        (tmp_path / "cells.csv").write_text("cell\n")
    write_report(tmp_path, summarise(source))
    assert contents(tmp_path) == contents(folder)


def test_figures_of_former_numbers_do_not_stay_beside_the_report_and_other_files_do(tmp_path):
    def few(draw, names):
        return map(draw, [name for name in names if name.endswith((":omega_by_frequency", ":group_bars"))])

    switches = {"omega": [0.5, 0.75], "frequency": ["fraction", "max_normalised"]}
    before = made_up_study(methods={"bases": ["cross_entropy"], "reweighting": switches})
    write_report(tmp_path, summarise(input_of(before)), few)
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    former = set(contents(tmp_path))
    after = made_up_study(methods={"bases": ["cross_entropy"], "reweighting": {**switches, "frequency": "fraction"}})
    written = write_report(tmp_path, summarise(input_of(after)), few)
    now = {path.relative_to(tmp_path).as_posix() for path in written} | {MANIFEST, "figures/mine.png"}
    assert set(contents(tmp_path)) == now
    assert "figures/omega_by_frequency.png" in former - now


def test_a_manifest_of_somebody_else_removes_nothing_outside_of_the_figures(source, tmp_path, monkeypatch):
    monkeypatch.setattr("ccar.reports.write.report_files", lambda *_: {"report.md": b""})
    folder = tmp_path / "report"
    (folder / "figures").mkdir(parents=True)
    (tmp_path / "kept.txt").write_text("kept")
    names = dict.fromkeys(["../kept.txt", "figures/../../kept.txt", "figures/.."], "")
    (folder / MANIFEST).write_text(json.dumps({"input": "another", "files": names}))
    write_report(folder, summarise(source))
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_another_question_is_another_report(source, study):
    assert input_of(study, question="Really?").digest() != source.digest() == input_of(study).digest()


def test_a_folder_that_cannot_be_written_is_the_user_s_mistake(source, tmp_path, monkeypatch):
    monkeypatch.setattr("ccar.reports.write.report_files", lambda *_: {"report.md": b""})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report to") as raised:
        write_report(tmp_path / "file" / "report", summarise(source))
    assert "--out" in raised.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_the_user_s_mistake(source, tmp_path, monkeypatch):
    monkeypatch.setattr("ccar.reports.write.report_files", lambda *_: {"report.md": b""})
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        write_report(tmp_path / "report", summarise(source))


def test_figures_are_pictures_of_the_promised_resolution(folder):
    from PIL import Image

    with Image.open(folder / "figures" / "groups.png") as image:
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    svg = (folder / "figures" / "groups.svg").read_text()
    assert "<dc:date>" not in svg


def test_neither_torch_nor_matplotlib_is_loaded_before_it_is_needed():
    seen = "import sys, ccar.reports.write, ccar.reports.terminal; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "matplotlib", "ray", "mlflow", "scipy.stats"} & set(loaded.split())

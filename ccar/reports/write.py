"""Writes a report: the same study in Markdown, HTML, LaTeX, CSV and figures, from the same numbers."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccar.errors import UserError
from ccar.reports.content import content_of
from ccar.reports.figures.all_figures import Map, drawings_of, import_figures
from ccar.reports.formats.csv_files import render_csv
from ccar.reports.formats.html import render_html
from ccar.reports.formats.json_file import render_json
from ccar.reports.formats.latex import render_latex
from ccar.reports.formats.markdown import render_markdown
from ccar.reports.recommendation import render_best_omega
from ccar.reports.results import Results

# Where they are used, so that nobody waits for them who needs none of them.
_IMPORTED_LATE = ("scipy.stats", "statsmodels.stats.power")

MANIFEST = ".written.json"  # what the report was made from, and the digest of every file of it


def import_ahead() -> None:
    """Import what the first report of a process would import: 2 s, for whoever has them to spare before it."""
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    import_figures()


def write_report(out_dir: Path, results: Results, each: Map = map) -> list[Path]:
    """Write `results` as report.md, report.html, report.tex, report.json, best_omega.yaml, CSV files and figures/.

    The same numbers give the same bytes, whenever and wherever the trials ran; what does differ (times, hosts, devices)
    stands in costs.csv, in the tables of costs and machines, and under those names in report.json. When the folder
    already holds the report of the same numbers, nothing is written; of a former report no figure stays that this one
    does not have.

    Args:
        out_dir: made where it is missing.
        results: the numbers.
        each: draws the figures: `map`, or that of `drawing_processes`.

    Returns:
        The files of the report, as they lie in `out_dir`.

    Raises:
        UserError: the folder cannot be written.
    """
    digest = results.source.digest()
    written = _intact_files(out_dir, digest)
    if written is None:
        files = report_files(results, each)
        _write(out_dir, files, digest)
        written = sorted(files)
    return [out_dir / name for name in written]


def report_files(results: Results, each: Map = map) -> dict[str, bytes]:
    """The content of every file of the report, by its path inside the folder of the report.

    Args:
        results: the numbers.
        each: draws the figures: `map`, or that of `drawing_processes`.
    """
    drawings = drawings_of(results, each)
    frames = {  # while others draw, if there are any
        "best_omega.yaml": render_best_omega(results),
        "cells.csv": render_csv(results.cells),
        "trials.csv": render_csv(results.trials),
        "costs.csv": render_csv(results.source.costs),
    }
    if not results.source.classes.empty:
        frames["classes.csv"] = render_csv(results.source.classes)
    content = content_of(results, drawings)
    svgs = {drawing.name: drawing.files["svg"] for drawing in content.figures}
    figures = {
        f"figures/{drawing.name}.{ending}": file
        for drawing in content.figures
        for ending, file in drawing.files.items()
    }
    texts = {
        "report.md": render_markdown(content),
        "report.html": render_html(content, svgs),
        "report.tex": render_latex(content),
        "report.json": render_json(results, content),
        **frames,
    }
    return {**{name: text.encode() for name, text in texts.items()}, **figures}


def _write(out_dir: Path, files: Mapping[str, bytes], digest: str) -> None:
    manifest = {
        "input": digest,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    try:
        figures = out_dir / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        for name in _former_files(out_dir) - files.keys():
            stale = figures / Path(name).name  # figures alone come and go, and a manifest may be of somebody else
            if stale.is_file():
                stale.unlink()
        (out_dir / MANIFEST).unlink(missing_ok=True)  # an interrupted report must not look whole
        for name, content in files.items():
            (out_dir / name).write_bytes(content)
        (out_dir / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write the report to {out_dir}: {error.strerror or error}",
            hint="choose a folder that this user may write, on a disk with room: --out DIR",
        ) from error


def _former_files(out_dir: Path) -> set[str]:
    """The files of the report that lies there, whatever it was made from; none where nothing says which they are."""
    try:
        return {str(name) for name in json.loads((out_dir / MANIFEST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _intact_files(out_dir: Path, digest: str) -> list[str] | None:
    """The files of the report that was written from this digest; None when there is none, or a file was touched."""
    try:
        manifest: dict[str, Any] = json.loads((out_dir / MANIFEST).read_bytes())
        if manifest["input"] != digest:
            return None
        for name, sha256 in manifest["files"].items():
            if hashlib.sha256((out_dir / name).read_bytes()).hexdigest() != sha256:
                return None
        return list(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None

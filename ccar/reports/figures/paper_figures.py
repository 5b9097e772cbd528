"""Figures 1 and 2 of the CCAR paper, for the classes of a real data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ccar.errors import UserError
from ccar.reports.figures.drawing import Drawing
from ccar.reports.figures.gradient_modulation import gradient_modulation
from ccar.reports.figures.omega_contours import omega_contours
from ccar.reports.figures.omega_surface import omega_surface
from ccar.reports.figures.style import figure_style

CAPTIONS = "captions.md"


def write_paper_figures(out_dir: Path, class_counts: Sequence[int], name: str) -> list[Path]:
    """Write the figures as PNG, SVG and PDF, and their captions as captions.md.

    Args:
        out_dir: made where it is missing; files of these names are overwritten.
        class_counts: training images of each class.
        name: what the classes are of, for the captions.

    Returns:
        The files, in the order they were written.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        files = _files(class_counts, name)
        for file, content in files.items():
            (out_dir / file).write_bytes(content)
    except OSError as error:
        raise UserError(
            f"cannot write the figures to {out_dir}: {error.strerror or error}",
            hint="choose a folder that this user may write: --out DIR",
        ) from error
    return [out_dir / file for file in files]


def _files(class_counts: Sequence[int], name: str) -> dict[str, bytes]:
    with figure_style():
        drawings = [make(class_counts, name).drawn() for make in (gradient_modulation, omega_surface, omega_contours)]
    files = {f"{drawing.name}.{ending}": file for drawing in drawings for ending, file in drawing.files.items()}
    return {**files, CAPTIONS: _captions(drawings).encode()}


def _captions(drawings: Sequence[Drawing]) -> str:
    return "\n".join(f"![{drawing.alt}]({drawing.name}.png)\n\n{drawing.caption}\n" for drawing in drawings)

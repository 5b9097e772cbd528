"""What goes to the cluster with a job: ccar's own code and the study file, and nothing else.

So every node trains with the submitter's code, and a trial gets the key that the submitter would give it. Images
and results never travel this way: they lie where the nodes can reach them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import ccar
from ccar.errors import UserError

STUDY_FILE = "study.yaml"
MAX_BYTES = 50 << 20  # the job server takes requests of 100 MiB; ccar itself has less than 2


@contextmanager
def packaged(study_text: str | None = None, code: Path | None = None) -> Iterator[Path]:
    """A temporary folder with ccar's code, and the study file if there is one.

    Args:
        study_text: the study file, as `STUDY_FILE` in the folder.
        code: the folder of the package `ccar`; default: the one that runs.

    Raises:
        UserError: it is too large to submit.
    """
    code = code or Path(ccar.__file__).parent
    files = _files(code)
    _check_size(code, files)
    with TemporaryDirectory(prefix="ccar-package-") as name:
        folder = Path(name)
        for file in files:
            target = folder / "ccar" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(code / file, target)
        if study_text is not None:
            (folder / STUDY_FILE).write_text(study_text, encoding="utf-8")
        yield folder


def _files(code: Path) -> list[Path]:
    """All files of the package, relative to its folder, without what Python and others leave there."""
    files = (path.relative_to(code) for path in sorted(code.rglob("*")) if path.is_file())
    return [file for file in files if not any(part == "__pycache__" or part.startswith(".") for part in file.parts)]


def _check_size(code: Path, files: list[Path]) -> None:
    sizes = {file: (code / file).stat().st_size for file in files}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes, key=lambda file: -sizes[file])[:3]
        named = ", ".join(f"{file} ({_mib(sizes[file])})" for file in largest)
        raise UserError(
            f"the code in {code} is too large to submit: found {_mib(total)}, expected at most {_mib(MAX_BYTES)}; "
            f"largest: {named}",
            hint="move what is no code out of it; images go to a folder that all nodes see, named in the study file",
        )


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 20):.1f} MiB"

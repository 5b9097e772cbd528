"""What the README says to type works as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import ccar

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def blocks(language):
    """The fenced blocks of the README in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def masked(text):
    """The lines of an output without what differs between machines and versions: measured numbers, verdicts, keys."""
    text = "\n".join(" ".join(line.split()) for line in text.splitlines())
    text = re.sub(r"\b[0-9a-f]{12}\b", "KEY", text)
    text = re.sub(r"[+-]?(?<![\w.])(\d+\.\d+|1)(?![\w.])", "NUMBER", text)
    text = re.sub(r"(at once) \d+", r"\1 NUMBER", text)
    text = re.sub(r"\b(better|worse|within noise|too few seeds)$", "VERDICT", text, flags=re.MULTILINE)
    return re.sub(r"─+", "─", text).splitlines()


@pytest.mark.ray
def test_the_commands_run_in_their_order_on_the_study_that_stands_beside_them(tmp_path):
    (study,) = blocks("yaml")
    (tmp_path / "my_study.yaml").write_text(study)
    commands = re.findall(r"^\$ ccar (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks("console")), flags=re.MULTILINE)
    assert [command.split()[0] for command, _ in commands] == ["plan", "run", "why"]
    for command, shown in commands:
        code, out, err = ccar(*shlex.split(command), cwd=tmp_path, COLUMNS="80")
        assert code == 0, (command, err)
        beginning, dots, _ = shown.partition("...\n")
        lines, expected = masked(out), masked(beginning)
        assert (lines[: len(expected)] if dots else lines) == expected, command
    assert (tmp_path / "ccar-store" / "reports" / "my-study" / "report.html").exists()


def test_the_python_lines_run_with_warnings_as_errors():
    (script,) = blocks("python")
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_the_make_targets_exist():
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("console")), flags=re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        subprocess.run(["make", "--dry-run", "--silent", target], cwd=REPOSITORY, check=True, capture_output=True)


def test_every_page_of_the_dashboard_is_shown_as_on_a_screen_and_as_on_a_telephone():
    images = {image.relative_to(REPOSITORY).as_posix() for image in (REPOSITORY / "docs" / "images").glob("*.png")}
    assert images == set(re.findall(r'src="(docs/images/[^"]+)"', README))
    pages = {re.sub(r"-\d+\.png$", "", image) for image in images}
    assert images == {f"{page}-{width}.png" for page in pages for width in (1440, 390)}


def test_every_shipped_study_is_listed():
    for study in (REPOSITORY / "studies").glob("*.yaml"):
        assert f"(studies/{study.name})" in README

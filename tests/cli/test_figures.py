"""`ccar figures` as it is typed, and the file of class counts."""

from __future__ import annotations

import pytest

from ccar.cli.figures import read_class_counts, write_figures
from ccar.errors import UserError
from tests.cli.test_commands import ccar

NAMES = ("figure1_gradient_modulation", "figure2_omega_surface", "figure2_omega_contours")


@pytest.mark.long
def test_every_figure_is_written_as_png_svg_and_pdf_with_its_caption(tmp_path):
    (tmp_path / "counts.json").write_text("[500, 50, 5]\n")
    code, out, _ = ccar("figures", "--out", "shown", "--class-counts", "counts.json", cwd=tmp_path)
    assert code == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "shown").iterdir()}
    assert set(files) == {f"{name}.{ending}" for name in NAMES for ending in ("png", "svg", "pdf")} | {"captions.md"}
    assert sorted(out.split()) == sorted(f"shown/{name}" for name in files)
    for name in NAMES:
        assert files[f"{name}.png"].startswith(b"\x89PNG")
        assert b"<svg" in files[f"{name}.svg"]
        assert files[f"{name}.pdf"].startswith(b"%PDF")
    captions = files["captions.md"].decode()
    assert captions.count("counts.json") == 3
    assert "5 of 555 images" in captions


@pytest.mark.parametrize("text", ["500,50,5", "500 50\n5\n", "[500,\n 50, 5]", "500\r\n50\r\n5"])
def test_class_counts_are_read_however_they_are_separated(text, tmp_path):
    (tmp_path / "counts").write_text(text)
    assert read_class_counts(tmp_path / "counts") == [500, 50, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 class counts, expected at least 2"),
        ("500", "1 class counts, expected at least 2"),
        ("500 0", "found '0'"),
        ("500 -5", "found '-5'"),
        ("500 5.5", "found '5.5'"),
        ("airfield: 500", "found 'airfield:'"),
    ],
)
def test_a_file_that_holds_no_class_counts_is_told_so(text, message, tmp_path):
    (tmp_path / "counts").write_text(text)
    with pytest.raises(UserError, match=message):
        read_class_counts(tmp_path / "counts")


def test_a_file_that_cannot_be_read_is_told_so(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_class_counts(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        read_class_counts(tmp_path / "binary")


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ({"data": "cifar100"}, "unknown data set 'cifar100'", "did you mean 'cifar100_lt'"),
        ({"data": "mnist"}, "unknown data set 'mnist'", "choose from cifar10_lt"),
        ({"data": "imagenet_lt", "imbalance_factor": 100.0}, "has a tail of its own", "leave out --imbalance-factor"),
        ({"data": "cifar100_lt", "imbalance_factor": 501.0}, "must be between 1 and 500: found 501", None),
        ({"data": "cifar10_lt", "imbalance_factor": 0.5}, "must be between 1 and 5000: found 0.5", None),
        ({"data": "cifar10_lt", "imbalance_factor": float("nan")}, "must be between 1 and 5000: found nan", None),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(asked, message, hint, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        write_figures(tmp_path / "out", asked["data"], asked.get("imbalance_factor"), None)
    assert (hint or "") in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_a_data_set_and_a_file_are_not_taken_together(tmp_path):
    with pytest.raises(UserError, match="--class-counts stands for a data set of its own"):
        write_figures(tmp_path, "cifar10_lt", None, tmp_path / "counts")


def test_a_folder_that_cannot_be_written_is_told_so(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "counts").write_text("500 5")
    with pytest.raises(UserError, match="cannot write the figures"):
        write_figures(tmp_path / "file", None, None, tmp_path / "counts")

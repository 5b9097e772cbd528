"""A miniature of ImageNet-LT from its lists to the report, by the commands as a user types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.test_commands import ccar
from tests.data.miniature import write_imagenet_lt

STUDY = """\
study: imagenet-lt-mini
question: Does the whole path of a large set work?
data:
  name: imagenet_lt
  root: images
  lists: lists
  counts: listed
  image_size: 28
  imbalance_factors: natural
  validation_per_class: own
model: resnet10
recipe: {name: imagenet_lt_90, epochs: 2, batch_size: 16, learning_rate: 0.02}
methods:
  bases: [cross_entropy]
  reweighting: {omega: 0.75}
seeds: [0]
baseline: cross_entropy
resources: {cpus: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study of a miniature whose lists lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("imagenet")
    write_imagenet_lt(folder / "images", num_classes=4, largest=12, per_class=(1, 2), stored_by_class=False)
    (folder / "lists").mkdir()
    for file in (folder / "images").glob("*.txt"):
        file.rename(folder / "lists" / file.name)
    (folder / "mini.yaml").write_text(STUDY)
    return folder


def typed(folder, *arguments):
    return ccar(*arguments, cwd=folder, CCAR_CACHE=str(folder / "cache"))


def test_missing_images_are_named_by_validate_and_refused_by_run_before_any_training(folder):
    line = (folder / "lists" / "ImageNet_LT_train.txt").read_text().split()[0]
    image = folder / "images" / line
    image.rename(image.with_suffix(".away"))
    try:
        assert typed(folder, "validate", "mini.yaml")[0] == 0  # the file and the lists are right
        for arguments in (("validate", "mini.yaml", "--data"), ("run", "mini.yaml")):
            code, out, err = typed(folder, *arguments)
            assert (code, out) == (2, "")
            assert err == f"{folder}/lists/ImageNet_LT_train.txt:1: image does not exist: {image}\n"
    finally:
        image.with_suffix(".away").rename(image)
    assert not (folder / "ccar-store").exists()


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize(("part", "file"), [("test", "ImageNet_LT_test.txt"), ("validation", "ImageNet_LT_val.txt")])
def test_a_class_that_one_list_lacks_is_refused_by_every_command(folder, command, part, file):
    listed = folder / "lists" / file
    whole = listed.read_text()
    listed.write_text("".join(line for line in whole.splitlines(keepends=True) if not line.endswith(" 3\n")))
    try:
        code, out, err = typed(folder, command, "mini.yaml")
    finally:
        listed.write_text(whole)
    assert (code, out) == (2, "")
    assert err == (
        f"mini.yaml:6: the {part} part lacks classes: found no image of 3 (n01440767), expected some of every class\n"
        f"  hint: add images of them to the {part} list, or take them out of the training list\n"
    )
    assert not (folder / "ccar-store").exists()
    assert not list(folder.rglob("*.bin"))


def test_the_pack_is_announced_before_it_is_made(folder):
    code, out, _ = typed(folder, "validate", "mini.yaml", "--data")
    assert (code, out) == (0, "mini.yaml: valid: 2 trials, 4 classes, 30 images found\n")
    code, out, _ = typed(folder, "plan", "mini.yaml")
    assert code == 0
    assert re.search(
        r"\n  images    30 to pack, once for all trials: \d\d kB in all, about \d+ s on this machine\n", out
    )
    assert "  done      unknown before that\n  to run    at most 2\n" in out
    assert not list((folder / "cache").rglob("*.bin"))


@pytest.fixture(scope="module")
def finished(folder) -> tuple[Path, str]:
    """The folder once the study has run, and what the run said."""
    code, _, err = typed(folder, "run", "mini.yaml")
    assert code == 0, err
    return folder, err


@pytest.mark.long
@pytest.mark.ray
def test_a_run_packs_the_images_and_trains_on_them(finished):
    folder, err = finished
    assert "packing 30 images into" in err
    code, out, _ = typed(folder, "plan", "mini.yaml", "--json")
    assert code == 0
    plan = json.loads(out)
    assert (plan["done"], plan["to_run"]) == (2, 0)
    assert (plan["images"]["is_ready"], plan["images"]["num_images"]) == (True, 30)
    assert plan["images"]["num_bytes"] == sum(file.stat().st_size for file in (folder / "cache").rglob("*.bin"))


@pytest.mark.long
@pytest.mark.ray
def test_the_report_of_other_lists_is_not_set_beside_published_numbers(finished):
    folder, _ = finished
    code, out, err = typed(folder, "report", "mini.yaml", "--out", "report")
    assert code == 0, err
    assert "cross_entropy" in out
    assert "packing" not in err
    cells = pd.read_csv(folder / "report" / "cells.csv")
    assert set(cells["data"]) == {"imagenet_lt (own lists)"}
    assert set(cells["validation_per_class"]) == {"own"}
    assert "Published beside measured" not in (folder / "report" / "report.md").read_text()

"""Studies of published sets: what the file may say of their tails, their validation images and their weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from ccar.data.image_set import ImageSet
from ccar.errors import StudyFileError
from ccar.store.key import key_parts
from ccar.study.definition import load_study, study_schema
from ccar.study.expansion import cells_of, fingerprints_of, load_data, plan_trials
from tests.data.miniature import write_imagenet_lt, write_inaturalist2018

DATA = "  name: digits\n  imbalance_factors: [10, 50]\n  validation_per_class: 5\n"


def published(name: str, factors: str = "natural", validation: str = "own", more: str = "") -> tuple[str, str]:
    """What to put in the place of the digits."""
    text = f"  name: {name}\n  root: /images\n  imbalance_factors: {factors}\n  validation_per_class: {validation}\n"
    return DATA, text + more


def problems_of(path):
    with pytest.raises(StudyFileError) as caught:
        load_study(path)
    return caught.value.problems


@pytest.mark.parametrize(("protocol", "name"), [("cifar10_lt", "cifar10"), ("cifar100_lt", "cifar100")])
def test_protocol_names_mean_the_images_that_they_cut_their_tails_from(study_file, protocol, name):
    assert load_study(study_file(("name: digits", f"name: {protocol}"))).data.name == name
    assert protocol in json.dumps(study_schema())


@pytest.mark.parametrize(
    ("name", "validation"),
    [("imagenet_lt", "own"), ("places_lt", "own"), ("imagenet_lt", "0"), ("inaturalist2018", "1")],
)
def test_published_sets_keep_their_tail_and_their_validation_images(study_file, name, validation):
    data = load_study(study_file(published(name, validation=validation))).data
    assert data.imbalance_factors == ("natural",)
    assert str(data.at("natural").validation_per_class) == validation


@pytest.mark.parametrize(
    ("replacement", "line", "message"),
    [
        (
            published("imagenet_lt", factors="[natural, 100]"),
            6,
            "imagenet_lt has a tail of its own: found imbalance factor 100, expected natural",
        ),
        (
            published("places_lt", validation="20"),
            7,
            "places_lt comes with validation images: found validation_per_class 20, expected own, or 0",
        ),
        (
            published("inaturalist2018"),
            7,
            "inaturalist2018 has no validation images of its own: found validation_per_class own, expected how many",
        ),
        (
            ("validation_per_class: 5", "validation_per_class: own"),
            6,
            "digits has no validation images of its own: found validation_per_class own, expected how many",
        ),
        (
            ("model: small_cnn", "model: small_cnn\npretrained: weights.pth"),
            8,
            "pretrained weights do not fit the model: found model small_cnn, expected one of torchvision's",
        ),
    ],
)
def test_what_contradicts_the_set_or_the_model_is_told_at_its_line(study_file, replacement, line, message):
    (problem,) = problems_of(study_file(replacement))
    assert problem.line == line
    assert problem.message.startswith(message)
    assert problem.hint


def test_a_procedure_whose_network_has_no_pretrained_weights_is_refused_beside_them(study_file, tmp_path):
    (tmp_path / "weights").write_bytes(b"weights")
    (problem,) = problems_of(
        study_file(
            ("model: small_cnn", f"model: resnet10\npretrained: {tmp_path / 'weights'}"),
            ("  reweighting:", "  extra: [{procedure: bbn, base: cross_entropy}]\n  reweighting:"),
        )
    )
    assert problem.line == 8
    assert problem.message.startswith("pretrained weights do not fit every method: found procedure bbn at ")


def test_a_study_may_be_read_where_its_weights_are_not_and_is_not_trained_there(study_file, tmp_path):
    study = load_study(study_file(("model: small_cnn", "model: resnet152\npretrained: /nowhere/weights.pth")))
    with pytest.raises(StudyFileError) as caught:
        load_data(study, tmp_path / "cache")
    (problem,) = caught.value.problems
    assert problem.line == 8
    assert problem.message == (
        "pretrained weights are missing: found no file /nowhere/weights.pth, "
        "expected a state_dict saved with torch.save"
    )
    assert problem.hint


def test_more_held_out_than_the_smallest_class_has_is_told_before_anything_is_packed(study_file, tmp_path):
    write_inaturalist2018(tmp_path / "images")
    replaced = published("inaturalist2018", validation="2", more="  counts: listed\n")
    study = load_study(study_file((replaced[0], replaced[1].replace("/images", str(tmp_path / "images")))))
    labels = load_data(study, tmp_path / "cache", pack=False)
    assert labels.fingerprint == ""
    with pytest.raises(StudyFileError) as caught:
        fingerprints_of(study, labels)
    (problem,) = caught.value.problems
    assert problem.message.startswith("data.validation_per_class does not fit the data: found 2")
    assert "it has 2, so at most 1" in problem.hint
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("part", "file"), [("test", "ImageNet_LT_test.txt"), ("validation", "ImageNet_LT_val.txt")])
@pytest.mark.parametrize("pack", [True, False])
def test_a_class_without_an_image_to_look_at_is_told_before_anything_is_packed(study_file, tmp_path, part, file, pack):
    root = write_imagenet_lt(tmp_path / "images").root
    lines = (root / file).read_text().splitlines(keepends=True)
    (root / file).write_text("".join(line for line in lines if not line.endswith((" 3\n", " 7\n"))))
    replaced = published("imagenet_lt", more="  counts: listed\n")
    path = study_file((replaced[0], replaced[1].replace("/images", str(root))))
    study = load_study(path)
    with pytest.raises(StudyFileError) as caught:
        plan_trials(study, load_data(study, tmp_path / "cache", pack=pack))
    assert str(caught.value) == (
        f"{path}:5: the {part} part lacks classes: found no image of 3 (n01440767), 7 (n01440771), "
        "expected some of every class\n"
        f"  hint: add images of them to the {part} list, or take them out of the training list"
    )
    assert not (tmp_path / "cache").exists()


def test_validation_images_that_a_study_does_not_look_at_may_lack_classes(study_file, tmp_path):
    root = write_imagenet_lt(tmp_path / "images").root
    (root / "ImageNet_LT_val.txt").write_text("train/n01440764/x.JPEG 0\n")
    replaced = published("imagenet_lt", validation="0", more="  counts: listed\n")
    study = load_study(study_file((replaced[0], replaced[1].replace("/images", str(root)))))
    assert plan_trials(study, load_data(study, tmp_path / "cache", pack=False))


def test_of_many_classes_without_a_test_image_ten_are_named_and_all_are_counted(study_file, ten_classes):
    names = tuple(f"class {label}" for label in range(25))
    test = ten_classes.test
    source = dataclasses.replace(ten_classes, class_names=names, train=ImageSet(test.images, test.labels))
    with pytest.raises(StudyFileError, match=r"no image of 10 \(class 10\), .*, 19 \(class 19\) and 5 more, expected"):
        fingerprints_of(load_study(study_file()), source)


def test_problems_of_the_lists_keep_their_own_place(study_file, tmp_path):
    root = write_imagenet_lt(tmp_path / "images").root
    replaced = published("imagenet_lt", more="  counts: listed\n")
    study = load_study(study_file((replaced[0], replaced[1].replace("/images", str(root)))))
    (root / "ImageNet_LT_val.txt").write_text("train/x.JPEG 99\n")
    with pytest.raises(StudyFileError, match=r"ImageNet_LT_val.txt:1: label is out of range"):
        load_data(study, tmp_path / "cache")
    (root / "ImageNet_LT_val.txt").unlink()
    with pytest.raises(StudyFileError, match=r"study.yaml:5: the lists of imagenet_lt are not in"):
        load_data(study, tmp_path / "cache")


def test_the_digest_of_pretrained_weights_is_part_of_the_key_and_their_place_is_not(study_file, tmp_path):
    for name in ("here", "there", "other"):
        (tmp_path / name).write_bytes(b"other" if name == "other" else b"weights")
    parts = {}
    for name in ("here", "there", "other", None):
        weights = "" if name is None else f"\npretrained: {tmp_path / name}"
        study = load_study(study_file(("model: small_cnn", f"model: resnet10{weights}")))
        parts[name] = key_parts(cells_of(study)[0].config, "fingerprint")
    assert parts["here"] == parts["there"]
    assert parts["here"]["pretrained"] == {"sha256": hashlib.sha256(b"weights").hexdigest()}
    assert parts["here"] != parts["other"]
    assert parts[None]["pretrained"] is None


def test_neither_the_place_of_the_lists_nor_how_they_are_checked_is_part_of_the_key(study_file, ten_classes):
    study = load_study(study_file())
    (trial, *_) = plan_trials(study, ten_classes)
    assert not {"root", "lists", "counts", "download"} & key_parts(trial.config, trial.data_fingerprint)["data"].keys()

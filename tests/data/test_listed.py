"""Lists of the published sets: what is read from them, where images are found, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ccar.data.class_counts import published_class_counts
from ccar.data.config import HAS_OWN_VALIDATION
from ccar.data.listed import find_images, read_listing
from ccar.data.listed_sets import LISTED_SETS
from ccar.errors import DataError, StudyFileError
from tests.data.folders import listed_config
from tests.data.miniature import (
    WRITERS,
    write_imagenet_lt,
    write_inaturalist2018,
    write_list,
    write_places_lt,
)


def listing_of(name: str, root: Path, **fields):
    return read_listing(LISTED_SETS[name], listed_config(name, root, **fields))


def problems_of(name: str, root: Path, **fields) -> list[str]:
    with pytest.raises(StudyFileError) as caught:
        find_images(listing_of(name, root, **fields))
    return [str(problem).splitlines()[0] for problem in caught.value.problems]


def append(file: Path, line: str) -> int:
    """Add a line; returns its number."""
    lines = [*file.read_text().splitlines(), line]
    file.write_text("\n".join(lines) + "\n")
    return len(lines)


def test_what_a_study_may_say_of_validation_is_what_the_sets_come_with():
    assert {name: "validation" in published.files for name, published in LISTED_SETS.items()} == HAS_OWN_VALIDATION


@pytest.mark.parametrize("name", WRITERS)
def test_lists_give_labels_class_names_and_files(name, tmp_path):
    miniature = WRITERS[name](tmp_path)
    listing = listing_of(name, tmp_path)
    train = listing.parts["train"]
    assert tuple(np.bincount(train.labels)) == miniature.class_counts
    assert len(set(listing.class_names)) == len(listing.class_names) == len(miniature.class_counts)
    files = find_images(listing)
    assert len(set(files)) == len(listing)
    assert all((tmp_path / file).is_file() for file in files)
    assert all(listing.class_names[label] in path for path, label in zip(train.paths, train.labels, strict=True))


@pytest.mark.parametrize("listed_by_class", [True, False])
@pytest.mark.parametrize("stored_by_class", [True, False])
def test_imagenet_test_images_are_found_in_classes_and_in_one_folder(tmp_path, listed_by_class, stored_by_class):
    write_imagenet_lt(tmp_path, listed_by_class=listed_by_class, stored_by_class=stored_by_class)
    (last,) = find_images(listing_of("imagenet_lt", tmp_path))[-1:]
    assert last.count("/") == (2 if stored_by_class else 1)


@pytest.mark.parametrize("listed_as_v2", [True, False])
@pytest.mark.parametrize("stored_as_v2", [True, False])
def test_places_are_found_in_both_forms(tmp_path, listed_as_v2, stored_as_v2):
    write_places_lt(tmp_path, listed_as_v2=listed_as_v2, stored_as_v2=stored_as_v2)
    listing = listing_of("places_lt", tmp_path)
    assert listing.class_names == ("airfield", "arena-hockey", "arena-rodeo", "zen_garden")
    files = find_images(listing)
    assert {file.split("/")[0] for file in files} == ({"data_256", "val_256"} if stored_as_v2 else {"train", "val"})


@pytest.mark.parametrize("listed_in", ["train_val2018", "2018"])
@pytest.mark.parametrize("stored_in", ["train_val2018", "2018"])
@pytest.mark.parametrize("as_json", [True, False])
def test_inaturalist_is_found_as_archived_and_as_torchvision_keeps_it(tmp_path, listed_in, stored_in, as_json):
    write_inaturalist2018(tmp_path, listed_in=listed_in, stored_in=stored_in, as_json=as_json)
    listing = listing_of("inaturalist2018", tmp_path)
    assert listing.class_names[:2] == ("Plantae/0", "Aves/1")
    assert {file.split("/")[0] for file in find_images(listing)} == {stored_in}


def test_annotations_say_the_same_as_the_lists_that_are_made_of_them(tmp_path):
    write_inaturalist2018(tmp_path / "json", as_json=True)
    write_inaturalist2018(tmp_path / "text")
    from_json, from_text = (listing_of("inaturalist2018", tmp_path / kind) for kind in ("json", "text"))
    for part in ("train", "test"):
        assert list(from_json.parts[part].paths) == list(from_text.parts[part].paths)
        assert (from_json.parts[part].labels == from_text.parts[part].labels).all()


def test_torchvision_agrees_on_its_own_layout(tmp_path):
    from torchvision.datasets import INaturalist

    write_inaturalist2018(tmp_path, stored_in="2018")
    listing = listing_of("inaturalist2018", tmp_path)
    theirs = INaturalist(str(tmp_path), version="2018", target_type="full")
    label_of_file = {file: theirs.all_categories[category] for category, file in theirs.index}
    labels = np.concatenate([part.labels for part in listing.parts.values()])
    for path, label in zip(find_images(listing), labels, strict=True):
        assert label_of_file[Path(path).name] == listing.class_names[label]


@pytest.mark.parametrize("line_end", ["\r\n", "\n\n", " \n"])
def test_line_ends_of_other_systems_and_empty_lines_make_no_difference(tmp_path, line_end):
    write_imagenet_lt(tmp_path / "plain")
    write_imagenet_lt(tmp_path / "other", line_end=line_end)
    plain, other = (listing_of("imagenet_lt", tmp_path / name).parts["train"] for name in ("plain", "other"))
    assert list(plain.paths) == list(other.paths)
    assert (plain.labels == other.labels).all()


def test_lists_may_lie_in_a_folder_of_their_own(tmp_path):
    write_places_lt(tmp_path / "images")
    (tmp_path / "lists").mkdir()
    for file in (tmp_path / "images").glob("*.txt"):
        file.rename(tmp_path / "lists" / file.name)
    with pytest.raises(DataError, match=r"Places_LT_train.txt, .* not found"):
        listing_of("places_lt", tmp_path / "images")
    assert len(find_images(listing_of("places_lt", tmp_path / "images", lists=tmp_path / "lists"))) > 0


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    return write_imagenet_lt(tmp_path).root


@pytest.mark.parametrize("path", ["../secret.JPEG", "train/../../secret.JPEG", "/etc/passwd"])
def test_a_path_that_leads_out_of_the_root_is_refused_with_its_line(imagenet, path):
    file = imagenet / "ImageNet_LT_val.txt"
    line = append(file, f"{path} 0")
    (problem,) = problems_of("imagenet_lt", imagenet)
    assert problem.startswith(f"{file}:{line}: path leads out of the image folder: found {path}")


@pytest.mark.parametrize("label", [-1, 10, 1000])
def test_a_label_out_of_range_is_refused_with_its_line(imagenet, label):
    file = imagenet / "ImageNet_LT_test.txt"
    line = append(file, f"val/other.JPEG {label}")
    (problem,) = problems_of("imagenet_lt", imagenet)
    assert problem == f"{file}:{line}: label is out of range: found {label}, expected 0 to 9"


def test_a_class_without_a_training_image_is_refused(imagenet):
    file = imagenet / "ImageNet_LT_train.txt"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.endswith(" 4\n")))
    (problem,) = problems_of("imagenet_lt", imagenet)
    assert problem == f"{file}: class 4 has no training image, expected classes 0 to 9"


@pytest.mark.parametrize("again", ["ImageNet_LT_train.txt", "ImageNet_LT_val.txt", "ImageNet_LT_test.txt"])
def test_an_image_that_is_listed_twice_is_refused_with_both_lines(imagenet, again):
    """Also in two parts: what is trained on is not validated or tested on."""
    train = imagenet / "ImageNet_LT_train.txt"
    path = train.read_text().splitlines()[2].split()[0]
    line = append(imagenet / again, f"{path} 1")
    (problem,) = problems_of("imagenet_lt", imagenet)
    assert problem == f"{imagenet / again}:{line}: image is listed twice: found {path}, which {train}:3 has already"


@pytest.mark.parametrize("line", ["train/a.JPEG", "train/a.JPEG one", "train/a.JPEG 1.5", "7"])
def test_a_line_that_is_no_image_and_label_is_refused(imagenet, line):
    file = imagenet / "ImageNet_LT_train.txt"
    number = append(file, line)
    (problem,) = problems_of("imagenet_lt", imagenet)
    assert problem == f"{file}:{number}: not an image and its label: found {line!r}, expected `path label`"


def test_missing_images_are_named_and_counted(imagenet):
    file = imagenet / "ImageNet_LT_train.txt"
    paths = [line.split()[0] for line in file.read_text().splitlines()]
    for path in paths[:15]:
        (imagenet / path).unlink()
    problems = problems_of("imagenet_lt", imagenet)
    assert problems[0] == f"{file}:1: image does not exist: {imagenet / paths[0]}"
    assert problems[10] == f"{file}: 15 of {len(paths)} images do not exist; the first 10 are named here"
    assert len(problems) == 11


def test_a_missing_test_image_tells_where_it_was_looked_for(imagenet):
    path = (imagenet / "ImageNet_LT_test.txt").read_text().split()[0]
    (imagenet / path).unlink()
    (problem,) = problems_of("imagenet_lt", imagenet)
    assert problem.endswith(f"image does not exist: {imagenet / path} (nor as val/{Path(path).name})")


def test_counts_that_are_not_the_published_ones_are_refused_unless_the_lists_are_to_count(tmp_path):
    """A list with the published number of images in every class, but one of class 17 became one of class 16."""
    published = published_class_counts("imagenet_lt")
    lines = [(f"train/n{label}/{i}.JPEG", label) for label, n in enumerate(published) for i in range(n)]
    wrong = next(index for index, (_, label) in enumerate(lines) if label == 17)
    for part, per_class in (("val", 20), ("test", 50)):
        balanced = [(f"{part}/{label}/{i}.JPEG", label) for label in range(1000) for i in range(per_class)]
        write_list(tmp_path / f"ImageNet_LT_{part}.txt", balanced)
    train = tmp_path / "ImageNet_LT_train.txt"
    write_list(train, lines)
    assert len(listing_of("imagenet_lt", tmp_path, counts="published")) == 115_846 + 20_000 + 50_000
    lines[wrong] = (lines[wrong][0], 16)
    write_list(train, lines)
    assert len(listing_of("imagenet_lt", tmp_path, counts="listed")) == 185_846
    assert problems_of("imagenet_lt", tmp_path, counts="published") == [
        f"{train}: class 16 differs from the published set: found 233 images, expected 232",
        f"{train}: class 17 differs from the published set: found 12 images, expected 13",
    ]


def test_a_validation_list_with_too_few_images_is_not_the_published_one(imagenet):
    problems = problems_of("imagenet_lt", imagenet, counts="published")
    file = imagenet / "ImageNet_LT_train.txt"
    assert f"{file}: class 10 has no training image, expected classes 0 to 999" in problems


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [{"id": 1, "file_name": "a"}], "annotations": []}'])
def test_annotations_that_are_none_are_refused(tmp_path, content):
    write_inaturalist2018(tmp_path, as_json=True)
    (tmp_path / "train2018.json").write_text(content)
    with pytest.raises(DataError, match=r"train2018.json does not annotate images"):
        listing_of("inaturalist2018", tmp_path)


def test_folders_that_are_not_there_are_told(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        listing_of("imagenet_lt", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"iNaturalist18_train.txt, iNaturalist18_val.txt not found") as caught:
        listing_of("inaturalist2018", tmp_path)
    assert caught.value.hint is not None
    assert "train2018.json" in caught.value.hint


def test_an_empty_list_is_refused(imagenet):
    (imagenet / "ImageNet_LT_val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"ImageNet_LT_val.txt lists no image"):
        listing_of("imagenet_lt", imagenet)

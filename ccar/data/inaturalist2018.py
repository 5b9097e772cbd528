"""iNaturalist 2018: 8,142 species with 1,000 to 2 training images; its validation set (3 of each) is tested on.

The split comes from list files or from the annotations of the competition, which say the same in the same order.
Source: Van Horn et al., CVPR 2018, arXiv:1707.06642.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ccar.data.listed import ListedImages, ListedSet
from ccar.errors import DataError


def read_annotations(file: Path) -> ListedImages:
    """The images of `train2018.json` or `val2018.json`, in the order of its `images`.

    Raises:
        DataError: the file is not such JSON, or an image has no label.
    """
    try:
        content = json.loads(file.read_bytes())
        label_of_image = {entry["image_id"]: entry["category_id"] for entry in content["annotations"]}
        paths = [image["file_name"] for image in content["images"]]
        labels = np.array([label_of_image[image["id"]] for image in content["images"]], dtype=np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} does not annotate images: {type(error).__name__}: {error}",
            hint="expected {images: [{id, file_name}], annotations: [{image_id, category_id}]}, as published",
        ) from error
    return ListedImages(file, paths, labels, None)


def _class_name(path: str) -> str:
    """`train_val2018/Plantae/7291/9f8e.jpg` is of class Plantae/7291."""
    return "/".join(path.split("/")[-3:-1])


def _locations(path: str, class_name: str) -> tuple[str, ...]:
    """torchvision renames the folder of the archive, train_val2018, to 2018."""
    folder, _, below = path.partition("/")
    match folder:
        case "train_val2018":
            return path, f"2018/{below}"
        case "2018":
            return path, f"train_val2018/{below}"
        case _:
            return (path,)


INATURALIST2018 = ListedSet(
    name="inaturalist2018",
    files={"train": "iNaturalist18_train.txt", "test": "iNaturalist18_val.txt"},
    per_class={"test": 3},
    class_name=_class_name,
    locations=_locations,
    annotations=({"train": "train2018.json", "test": "val2018.json"}, read_annotations),
)

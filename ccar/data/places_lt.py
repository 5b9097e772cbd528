"""Places-LT: 365 scenes with 4,980 to 5 training images out of Places365-Standard.

Its validation part (20 of each class) comes from the training images of Places365 as well; its test part is the
validation set of Places365 (100 of each class). Source: Liu et al., CVPR 2019, arXiv:1904.05160.
"""

from __future__ import annotations

from ccar.data.listed import ListedSet

# The two ways in which Places365 is shipped, and lists are written ("v1" and "v2"):
#   train/arena-hockey/00000001.jpg             val/arena-hockey/Places365_val_00000053.jpg
#   data_256/a/arena/hockey/00000001.jpg        val_256/Places365_val_00000053.jpg


def _class_name(path: str) -> str:
    """`data_256/a/arena/hockey/00000001.jpg` and `train/arena-hockey/00000001.jpg` are of class arena-hockey."""
    folders = path.split("/")[:-1]
    return "-".join(folders[2:] if folders[:1] == ["data_256"] else folders[1:])


def _locations(path: str, class_name: str) -> tuple[str, ...]:
    file = path.rpartition("/")[2]
    match path.partition("/")[0]:
        case "train":
            return path, f"data_256/{class_name[:1]}/{class_name.replace('-', '/', 1)}/{file}"
        case "data_256":
            return path, f"train/{class_name}/{file}"
        case "val":
            return path, f"val_256/{file}"
        case "val_256":
            return path, f"val/{class_name}/{file}"
        case _:
            return (path,)


PLACES_LT = ListedSet(
    name="places_lt",
    files={"train": "Places_LT_train.txt", "validation": "Places_LT_val.txt", "test": "Places_LT_test.txt"},
    per_class={"validation": 20, "test": 100},
    class_name=_class_name,
    locations=_locations,
)

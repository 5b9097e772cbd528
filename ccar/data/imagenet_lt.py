"""ImageNet-LT: 1,000 classes with 1,280 to 5 training images out of ImageNet-2012.

Its validation part (20 of each class) comes from ImageNet's training images as well; its test part is ImageNet's
validation set (50 of each class). Source: Liu et al., CVPR 2019, arXiv:1904.05160.
"""

from __future__ import annotations

from ccar.data.listed import ListedSet


def _class_name(path: str) -> str:
    """`train/n01440764/n01440764_762.JPEG` is of class n01440764."""
    return path.rpartition("/")[0].rpartition("/")[2]


def _locations(path: str, class_name: str) -> tuple[str, ...]:
    """Test images lie in one folder, as ImageNet ships them, or sorted into classes; lists come in both forms."""
    folder, _, file = path.rpartition("/")
    if folder == "val":
        return path, f"val/{class_name}/{file}"
    if folder == f"val/{class_name}":
        return path, f"val/{file}"
    return (path,)


IMAGENET_LT = ListedSet(
    name="imagenet_lt",
    files={
        "train": "ImageNet_LT_train.txt",
        "validation": "ImageNet_LT_val.txt",
        "test": "ImageNet_LT_test.txt",
    },
    per_class={"validation": 20, "test": 50},
    class_name=_class_name,
    locations=_locations,
)

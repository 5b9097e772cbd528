"""Training images per class of the published long-tailed sets that are fixed lists, not cut by a formula.

Sources: ImageNet-LT and Places-LT by Liu et al., CVPR 2019, arXiv:1904.05160, counted from their public lists;
iNaturalist 2018 by Van Horn et al., CVPR 2018, arXiv:1707.06642, from its training annotations.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Literal, get_args

PublishedTail = Literal["imagenet_lt", "inaturalist2018", "places_lt"]
PUBLISHED_TAILS: tuple[PublishedTail, ...] = get_args(PublishedTail)


@functools.cache
def published_class_counts(name: PublishedTail) -> tuple[int, ...]:
    """Training images of each class, in label order (which is not sorted by size).

    Raises:
        KeyError: `name` is none of `PUBLISHED_TAILS`.

    Example:
        >>> counts = published_class_counts("imagenet_lt")
        >>> len(counts), sum(counts), max(counts), min(counts)
        (1000, 115846, 1280, 5)
    """
    return tuple(json.loads(files("ccar.data").joinpath("class_counts.json").read_bytes())[name])
